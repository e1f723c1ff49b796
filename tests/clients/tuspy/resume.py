"""Stopped after two chunks; another client finds the upload's URL in a file and goes on."""

import os

from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

from scenario import MIB, expect_same, make_file, scenario


def work(endpoint, folder):
    path = make_file(folder, 5 * MIB)
    urls = os.path.join(folder, "urls.json")

    def uploader():
        return TusClient(endpoint).uploader(
            path,
            chunk_size=MIB,
            upload_checksum=True,
            store_url=True,
            url_storage=FileStorage(urls),
        )

    first = uploader()
    first.upload(stop_at=2 * MIB)
    second = uploader()
    assert second.url == first.url, second.url
    assert second.offset == 2 * MIB, second.offset
    second.upload()
    return {**expect_same(second.url, path), "resumed_at": 2 * MIB}


scenario(work)
