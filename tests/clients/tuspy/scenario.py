"""What every scenario has in common: a folder of its own, one line of JSON on standard output that
says what was seen, and exit status 0 or 1."""

import base64
import hashlib
import json
import os
import sys
import tempfile
import traceback

import requests

MIB = 1024 * 1024
TUS = {"Tus-Resumable": "1.0.0"}


def scenario(work):
    """Runs `work(endpoint, folder)` against the creation URL on the command line."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} CREATION_URL")
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-client-") as folder:
            seen = {"ok": True, **work(sys.argv[1], folder)}
    except Exception as error:
        traceback.print_exc()
        seen = {"ok": False, "error": str(error)}
    print(json.dumps(seen))
    sys.exit(0 if seen["ok"] else 1)


def make_file(folder, size):
    """Writes a file of random bytes: any shift, loss or doubling shows."""
    path = os.path.join(folder, "source.bin")
    with open(path, "wb") as file:
        file.write(os.urandom(size))
    return path


def offset_of(url):
    answer = requests.head(url, headers=TUS)
    answer.raise_for_status()
    return int(answer.headers["Upload-Offset"])


def expect_same(url, path):
    """Downloads `url`: its `ETag` (the SHA-256) and every byte must be the file's."""
    with open(path, "rb") as file:
        wanted = file.read()
    answer = requests.get(url)
    assert answer.status_code == 200, f"the download is answered {answer.status_code}"
    assert answer.content == wanted, "the download differs"
    sha256 = hashlib.sha256(wanted).hexdigest()
    assert answer.headers["ETag"] == f'"{sha256}"', answer.headers["ETag"]
    return {"url": url, "bytes": len(wanted), "sha256": sha256}


def metadata_of(url):
    pairs = requests.head(url, headers=TUS).headers["Upload-Metadata"].split(",")
    decode = lambda key, value="": (key, base64.b64decode(value).decode())
    return dict(decode(*pair.split(" ")) for pair in pairs)
