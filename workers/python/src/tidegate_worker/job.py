"""What a function sees of the item that it works on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .fetch import FetchError, fetch
from .protocol import Image, Item

# How long a waiting job may take to notice that it is cancelled.
NAP_S = 0.02


class Cancelled(BaseException):
    """The job is to end now, and nothing that it returns is of use any more.

    It is no `Exception`, so that an `except Exception` around one tile of many lets it pass.
    """


class Failed(Exception):
    """Raised by a function to say how it has failed. Any other exception counts as retryable."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class Job:
    """An item of the queue, in the child process that works on it, for as long as it does."""

    def __init__(
        self,
        item: Item,
        *,
        folder: Path,
        is_cancelled: Callable[[], bool],
        tell: Callable[[int], None],
    ) -> None:
        self.id: str = item.id
        self.attempt: int = item.attempt
        self.model: str = item.model
        self.threshold: float = item.threshold
        self.detect_holes: bool = item.detect_holes
        self.image: Image = item.image
        self._folder = folder
        self._is_cancelled = is_cancelled
        self._tell = tell
        self._told = -1
        self._fetched: Path | None = None

    @property
    def cancelled(self) -> bool:
        """Whether `check` would raise: the item is cancelled, or is not this worker's any more."""
        return self._is_cancelled()

    def check(self) -> None:
        """Raises `Cancelled` once the job is to end. It reads one word of memory: call it often."""
        if self._is_cancelled():
            raise Cancelled

    def progress(self, percent: float) -> None:
        """Tells how far the job is, from 0 to 100, and does what `check` does."""
        self.check()
        whole = round(min(max(percent, 0.0), 100.0))
        if whole != self._told:
            self._told = whole
            self._tell(whole)

    def wait(self, seconds: float) -> None:
        """Sleeps, and raises `Cancelled` as soon as the job is to end."""
        until = time.monotonic() + seconds
        while True:
            self.check()
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            # No lock is shared with this process, which may be killed while it holds one; so there
            # is nothing to wait on, and the flag is looked at instead.
            time.sleep(min(NAP_S, left_s))

    def fetch(self) -> Path:
        """The image as a file, its size and SHA-256 verified. It is gone when the function
        returns. A cut connection is resumed where it broke.

        # Errors
        `Failed` if the image cannot be had.
        """
        if self._fetched is None:
            path = self._folder / f"image{_suffix(self.image.filename)}"
            try:
                fetch(self.image, path, check=self.check, wait=self.wait)
            except OSError as error:
                # Whoever has enqueued it may not see it any more, or it is gone.
                is_for_good = isinstance(error, FetchError) and error.is_for_good
                message = f"the image cannot be fetched: {error}"
                raise Failed(message, retryable=not is_for_good) from error
            self._fetched = path
        return self._fetched

    def read(self) -> bytes:
        """The image's bytes, as `fetch` gets them."""
        return self.fetch().read_bytes()


def _suffix(filename: str | None) -> str:
    """Libraries judge a file by its suffix. Nothing else of a foreign name gets into a path."""
    suffix = Path(filename or "").suffix
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10 else ""
