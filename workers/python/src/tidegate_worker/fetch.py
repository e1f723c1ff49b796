"""Gets an image, over as many connections as it takes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import httpx

from .backoff import Backoff
from .protocol import Image

logger = logging.getLogger(__name__)

CONNECT_S = 5.0
SILENCE_S = 10.0
# Requests in a row that bring no byte.
TRIES = 8


class FetchError(OSError):
    """The image cannot be had, or is not what it should be: for this time, or for good."""

    def __init__(self, message: str, *, is_for_good: bool = False) -> None:
        super().__init__(message)
        self.is_for_good = is_for_good


def fetch(
    image: Image, path: Path, *, check: Callable[[], None], wait: Callable[[float], None]
) -> None:
    """Writes the image to `path`, and verifies it.

    The request is a plain GET. What is needed to read the image is in its URL, which may lead to
    another host: the worker's token is not even known in here.

    # Errors
    `FetchError` without the URL, whose query is a token; and whatever `check` and `wait` raise.
    """
    backoff = Backoff()
    tries = 0
    timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
    with (
        httpx.Client(timeout=timeout, follow_redirects=False) as http,
        path.open("wb") as file,
    ):
        copy = _Copy(image, file)
        while True:
            before = copy.size
            try:
                copy.append(http, check)
                reason = "the answer ended early"
            except (httpx.TransportError, _Interrupted) as error:
                reason = f"{type(error).__name__}: {error}"
            if copy.size == image.size:
                break
            if copy.size > before:
                backoff.reset()
                tries = 0
            tries += 1
            if tries == TRIES:
                raise FetchError(f"no more of it after {copy.size} bytes: {reason}")
            logger.info("image %s cut after %d bytes: %s", image.id, copy.size, reason)
            wait(backoff.next_s())
        copy.verify()


class _Interrupted(Exception):
    """An answer without bytes that may be another one next time."""


class _Copy:
    """What has arrived so far: a prefix of the image, and its digest."""

    def __init__(self, image: Image, file: BinaryIO) -> None:
        self._image = image
        self._file = file
        self._etag: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.size = 0

    def append(self, http: httpx.Client, check: Callable[[], None]) -> None:
        """One request for what is missing."""
        # The digest is of the bytes as they are, so they must not be compressed on the way.
        headers = {"Accept-Encoding": "identity"}
        if self.size > 0:
            headers["Range"] = f"bytes={self.size}-"
            if self._etag is not None:
                headers["If-Range"] = self._etag
        with http.stream("GET", self._image.url, headers=headers) as response:
            self._handle_head(response)
            for chunk in response.iter_raw():
                check()
                self._file.write(chunk)
                self._digest.update(chunk)
                self.size += len(chunk)
                if self.size > self._image.size:
                    raise FetchError(f"it is longer than {self._image.size} bytes")

    def _handle_head(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {self.size}-"):
                self._begin()
                raise _Interrupted("another range than was asked for")
        elif status == 200:
            # The whole image: the server knows no ranges, or what it has is another one now.
            self._begin()
            etag = response.headers.get("ETag")
            self._etag = etag if etag and not etag.startswith("W/") else None
        elif status == 416:
            self._begin()
            raise _Interrupted("416")
        elif status in (408, 425, 429) or status >= 500:
            raise _Interrupted(f"{status}")
        else:
            is_for_good = status in (403, 404, 410)
            raise FetchError(f"{status} {response.reason_phrase}", is_for_good=is_for_good)

    def verify(self) -> None:
        expected = self._image.sha256
        if expected is not None and self._digest.hexdigest() != expected:
            raise FetchError("its SHA-256 is not what it should be")


class WithoutQuery(logging.Filter):
    """httpx logs URLs as they are, and the query of an image's URL is a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.copy_with(query=None) if isinstance(arg, httpx.URL) else arg
                for arg in record.args
            )
        return True
