"""A chunk whose SHA-1 is another's is refused, and nothing of it is kept."""

import hashlib

from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.uploader import Uploader

from scenario import MIB, expect_same, make_file, offset_of, scenario


class Mistaken(Uploader):
    """Hashes something else than it sends."""

    mistaken = False

    @property
    def checksum_algorithm(self):
        return (lambda chunk: hashlib.sha1(chunk + b"?")) if self.mistaken else hashlib.sha1


def work(endpoint, folder):
    path = make_file(folder, 3 * MIB)
    client = TusClient(endpoint)
    uploader = Mistaken(path, client=client, chunk_size=MIB, upload_checksum=True)
    statuses = []
    for chunk in range(3):
        uploader.mistaken = True
        try:
            uploader.upload_chunk()
            raise AssertionError("a wrong checksum was accepted")
        except TusUploadFailed as error:
            statuses.append(error.status_code)
        assert offset_of(uploader.url) == chunk * MIB, offset_of(uploader.url)
        uploader.mistaken = False
        uploader.upload_chunk()
        assert offset_of(uploader.url) == (chunk + 1) * MIB, offset_of(uploader.url)
    assert statuses == [460, 460, 460], statuses
    return {**expect_same(uploader.url, path), "statuses": statuses}


scenario(work)
