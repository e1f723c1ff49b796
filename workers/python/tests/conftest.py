from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import functions
import pytest
from stub import DEADLINE_S, TOKEN, Stub

from tidegate_worker import Worker


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


Program = Callable[..., "subprocess.Popen[bytes]"]


class Start(Protocol):
    def __call__(self, *, slots: int = 1, token_file: Path | None = None) -> None: ...


@pytest.fixture
def start(stub: Stub) -> Iterator[Start]:
    """Starts workers of `functions.act` in this process, and stops them in the end."""
    running: list[tuple[Worker, threading.Thread]] = []

    def start(*, slots: int = 1, token_file: Path | None = None) -> None:
        token = None if token_file else TOKEN
        worker = Worker(stub.url, token=token, token_file=token_file, slots=slots, drain_s=0)
        worker.model("act")(functions.act)
        thread = threading.Thread(target=worker.run)
        thread.start()
        running.append((worker, thread))
        stub.wait_until(lambda: stub.streams, "a control stream is open")

    yield start
    for worker, thread in running:
        worker.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@pytest.fixture
def program(stub: Stub, tmp_path: Path) -> Iterator[Program]:
    """Starts a worker in a process of its own, for what is done to processes."""
    started: list[subprocess.Popen[bytes]] = []

    def program(drain_s: float = 30.0) -> subprocess.Popen[bytes]:
        path = Path(functions.__file__)
        # A worker that is killed cannot remove its images.
        environment = os.environ | {"TIDEGATE_TOKEN": TOKEN, "TMPDIR": str(tmp_path)}
        command = [sys.executable, str(path), stub.url, str(drain_s)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield program
    for process in started:
        process.kill()
        process.communicate()


def eventually(holds: Callable[[], object], why: str) -> None:
    """Waits for what no condition variable tells of."""
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, f"still not so: {why}"
        threading.Event().wait(0.01)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def marks(path: Path) -> list[int]:
    """The processes that have left a mark."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []
