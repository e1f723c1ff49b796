"""The functions that the tests' workers run. An image is a list of what to do with its job.

As a program, it is a worker of its own: `python functions.py URL [DRAIN_S]`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tidegate_worker import Cancelled, Failed, Job, Polygon, Result, Worker

DEADLINE_S = 30.0


def steps(*steps: list[Any]) -> bytes:
    return json.dumps(steps).encode()


def act(job: Job) -> Result | dict[str, object]:
    for name, *arguments in json.loads(job.read()):
        returned = STEPS[name](job, *arguments)
        if returned is not None:
            return returned
    return Result([Polygon([(0, 0), (4, 0), (4, 3)], area=6.0, class_="cell")], 4, 3)


def mark(_job: Job, path: str) -> None:
    """Appends who is here, in one write."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


def listen(job: Job, path: str) -> None:
    """Waits for the cancel, and writes down when it was noticed."""
    until = time.monotonic() + DEADLINE_S
    try:
        while time.monotonic() < until:
            job.check()
    except Cancelled:
        Path(path).write_text(str(time.monotonic()))
        raise


def swallow(job: Job) -> None:
    """A loop over tiles that goes on after any error."""
    for _ in range(int(DEADLINE_S / 0.01)):
        with contextlib.suppress(Exception):
            job.wait(0.01)


def be_deaf(_job: Job) -> None:
    time.sleep(DEADLINE_S)


def start_another(_job: Job, path: str) -> None:
    """Starts a process of its own, which lives longer than any test waits."""
    program = f"import time; time.sleep({4 * DEADLINE_S})"
    with Path(path).open("a") as file:
        file.write(f"{subprocess.Popen([sys.executable, '-c', program]).pid}\n")


def wait_for(job: Job, path: str) -> None:
    until = time.monotonic() + DEADLINE_S
    while not Path(path).exists():
        assert time.monotonic() < until, path
        job.wait(0.01)


def count(job: Job, first: int, last: int, pause_s: float) -> None:
    for percent in range(first, last + 1):
        job.progress(percent)
        job.wait(pause_s)


def die(_job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(_job: Job, message: str, retryable: bool) -> None:
    raise Failed(message, retryable=retryable)


def divide(_job: Job, message: str) -> None:
    raise ZeroDivisionError(message)


def log(_job: Job, message: str) -> None:
    logging.getLogger("tests.child").warning(message)


def give(_job: Job, result: dict[str, object]) -> dict[str, object]:
    return result


def give_nan(_job: Job) -> Result:
    return Result([Polygon([(0, 0), (float("nan"), 0), (1, 1)])], 4, 3)


def fetch(job: Job, path: str) -> None:
    """Writes down what the image is."""
    file = job.fetch()
    Path(path).write_bytes(file.suffix.encode() + file.read_bytes())


def litter(job: Job) -> None:
    """Leaves a folder beside the image."""
    folder = job.fetch().parent / "cache"
    folder.mkdir()
    (folder / "weights").touch()


def environment(_job: Job, path: str) -> None:
    Path(path).write_text(json.dumps(dict(os.environ)))


STEPS = {
    step.__name__: step
    for step in (
        mark,
        listen,
        swallow,
        be_deaf,
        start_another,
        wait_for,
        count,
        die,
        fail,
        divide,
        log,
        give,
        give_nan,
        fetch,
        litter,
        environment,
    )
}


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    worker = Worker(sys.argv[1], name="a-program", drain_s=float(sys.argv[2]))
    worker.model("act")(act)
    worker.run()


# Without a guard, on purpose: a child imports this module, and must not run a worker.
if sys.argv[0] == __file__:
    main()
