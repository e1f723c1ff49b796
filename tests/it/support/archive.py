"""Reads every entry of a ZIP archive, and tells of each in JSON.

archive.py ARCHIVE [DIRECTORY]: with a directory, everything is extracted into it as well.
"""

import hashlib
import json
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as archive:
    damaged = archive.testzip()
    assert damaged is None, damaged
    entries = []
    for info in archive.infolist():
        digest = hashlib.sha256()
        with archive.open(info) as content:
            while piece := content.read(1 << 20):
                digest.update(piece)
        entries.append(
            {
                "path": info.filename,
                "bytes": info.file_size,
                "crc": info.CRC,
                "method": info.compress_type,
                "mode": info.external_attr >> 16,
                "sha256": digest.hexdigest(),
            }
        )
    if len(sys.argv) > 2:
        archive.extractall(sys.argv[2])
    json.dump(entries, sys.stdout)
