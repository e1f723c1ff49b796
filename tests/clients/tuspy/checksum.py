"""Chunks, each with its SHA-1."""

from tusclient.client import TusClient

from scenario import MIB, expect_same, make_file, metadata_of, scenario


def work(endpoint, folder):
    path = make_file(folder, 5 * MIB + 1)
    metadata = {"filename": "Straße 東京.bin"}
    uploader = TusClient(endpoint).uploader(
        path, chunk_size=2 * MIB, metadata=metadata, upload_checksum=True
    )
    uploader.upload()
    assert metadata_of(uploader.url) == metadata
    return expect_same(uploader.url, path)


scenario(work)
