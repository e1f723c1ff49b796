"""The process in which a function runs, because a process can be killed and a thread cannot.

It is started once and takes one job after the other. What it must hear at any moment, whether its
job is cancelled, is one word in memory that it shares with its parent; everything else goes over a
pipe. It ends with its parent, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import logging.handlers
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .fetch import WithoutQuery
from .job import Cancelled, Failed, Job
from .protocol import Completed, Failure, Item, Outcome, Stopped
from .result import Result, encode

logger = logging.getLogger(__name__)

Function = Callable[[Job], Result | Mapping[str, object]]

# By this a child is known before it has imported anything of ours.
NAME = "tidegate-child"
MESSAGE_CHARS_MAX = 2000
END_S = 2.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ChildEnded(Exception):
    """The process is gone, or as good as gone."""


@dataclass(frozen=True)
class Ready:
    """All that is imported is imported."""


@dataclass(frozen=True)
class Begun:
    """The job has arrived, and the function is called next."""


@dataclass(frozen=True)
class Progress:
    percent: int


Message = Ready | Begun | Progress | logging.LogRecord | Outcome


class Child:
    """The parent's end of a child. It belongs to the thread that has started it, which must stay
    alive: on Linux it is that thread's end which the child dies of. `cancel` and `kill` may come
    from anywhere."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-worker-"))
        self._is_broken = False
        self._number = 0
        # Guards the process's number, which is another's once this process has been waited for.
        self._ending = threading.Lock()
        self._ended = False
        # The number of the job that is cancelled. Numbers only grow, so a cancel that comes too
        # late cannot hit the next job. It is bare memory: a lock would stay locked with a process
        # that was killed inside it.
        self._cancelled = context.RawValue(ctypes.c_int64, 0)
        self._pipe, theirs = context.Pipe()
        level = logging.getLogger().getEffectiveLevel()
        self._process = context.Process(
            target=_main,
            name=NAME,
            args=(theirs, self._cancelled, dict(functions), self._folder, os.getpid(), level),
        )
        # A signal to the whole process group or service is the parent's business. The child
        # inherits this mask, and so is deaf to it until it has handlers of its own. The tracker is
        # started with the first process and, in some versions, takes the mask off as it does so.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    @property
    def is_alive(self) -> bool:
        # A process that is dying has closed its pipe already, and can still be waited for.
        return not self._is_broken and self._process.is_alive()

    def prepare(self) -> None:
        """Names the next job, so that it can be cancelled before it is sent."""
        self._number += 1

    def send(self, item: Item) -> None:
        try:
            self._pipe.send((self._number, item))
        except OSError as error:
            self._is_broken = True
            raise ChildEnded from error

    def receive(self) -> Message:
        try:
            message: Message = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._is_broken = True
            raise ChildEnded from error
        return message

    def cancel(self) -> None:
        self._cancelled.value = self._number

    def kill(self) -> None:
        with self._ending:
            if self._ended or self._process.pid is None or not self._process.is_alive():
                return
            try:
                # With what it has started itself: it leads a group of its own.
                os.killpg(self._process.pid, signal.SIGKILL)
            except (PermissionError, ProcessLookupError):
                # It does not lead a group yet.
                self._process.kill()

    def end(self) -> str:
        """Ends the process, by force if it does not do so at once, and says how it ended."""
        self._pipe.close()
        self._process.join(END_S)
        self.kill()
        self._process.join()
        with self._ending:
            self._ended = True
            code = self._process.exitcode or 0
            self._process.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


class _Line:
    """The child's end of the pipe, which its threads share."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        with self._lock:
            self._pipe.send(message)


class _ToParent(logging.handlers.QueueHandler):
    """What is logged in the child is handled in the parent, where logging is set up."""

    def __init__(self, line: _Line) -> None:
        super().__init__(queue.SimpleQueue())
        self._line = line

    def enqueue(self, record: logging.LogRecord) -> None:
        self._line.send(record)


def _main(
    pipe: Connection[Any, Any],
    cancelled: ctypes.c_int64,
    functions: Mapping[str, Function],
    folder: Path,
    parent: int,
    level: int,
) -> None:
    _detach(parent)
    line = _Line(pipe)
    _forward_logs(line, level)
    line.send(Ready())
    while True:
        try:
            number, item = pipe.recv()
        except (EOFError, OSError):
            return
        line.send(Begun())

        def is_cancelled(number: int = number) -> bool:
            return cancelled.value == number

        job = Job(
            item,
            folder=folder,
            is_cancelled=is_cancelled,
            tell=lambda percent: line.send(Progress(percent)),
        )
        line.send(_work(functions[item.model], job))
        _empty(folder)


def _empty(folder: Path) -> None:
    """Whatever the function has left there: none of it is worth an outcome."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def _work(function: Function, job: Job) -> Outcome:
    begun_at = time.monotonic()
    try:
        result = function(job)
    except Cancelled:
        if job.cancelled:
            return Stopped()
        return Failure("Cancelled was raised, but nobody has cancelled the job", retryable=True)
    except Failed as error:
        return Failure(str(error)[:MESSAGE_CHARS_MAX], error.retryable)
    except Exception as error:  # noqa: BLE001, what a function may raise is not ours to know
        logger.error("item %s: the function failed\n%s", job.id, traceback.format_exc())
        message = f"{type(error).__name__}: {error}"
        return Failure(message[:MESSAGE_CHARS_MAX], retryable=True)
    try:
        return Completed(encode(result, time.monotonic() - begun_at))
    except (AttributeError, TypeError, ValueError) as error:
        # The same code would return the same again.
        message = f"the result is none: {error}"
        return Failure(message[:MESSAGE_CHARS_MAX], retryable=False)


def _detach(parent: int) -> None:
    """Ends with the parent, and with nothing that happens to it but does not end it."""
    os.setsid()
    # Not SIG_IGN, which would be inherited by what a function starts.
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
    # Everywhere else, and with what the function has started.
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _forward_logs(line: _Line, level: int) -> None:
    logging.getLogger("httpx").addFilter(WithoutQuery())
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_ToParent(line))
        root.setLevel(level)
