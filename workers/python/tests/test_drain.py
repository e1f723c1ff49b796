"""How a worker ends, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Program, Start, eventually, lives, marks
from functions import act, steps
from stub import DEADLINE_S, Call, Hang, Stub, refuse

from tidegate_worker import Worker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_jobs_finish(
    stub: Stub, program: Program, tmp_path: Path, number: signal.Signals
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    entry = stub.enqueue(steps(["mark", str(begun)], ["wait_for", str(go_on)]))
    process = program()
    eventually(lambda: marks(begun), "the job has begun")
    waiting = stub.enqueue(steps())
    process.send_signal(number)
    wait_for_line(process, b"draining")
    go_on.touch()
    assert process.wait(DEADLINE_S) == 0
    assert entry.outcomes == ["completed"]
    assert waiting.state == "queued"
    assert not lives(marks(begun)[0])


def test_a_signal_to_all_of_its_processes_drains_it(
    stub: Stub, program: Program, tmp_path: Path
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    entry = stub.enqueue(steps(["mark", str(begun)], ["wait_for", str(go_on)]))
    process = program()
    interrupted: set[int] = set()
    # From the very beginning, when a child has not come to its own handlers yet.
    while not marks(begun):
        for pid in descendants(process.pid) - interrupted:
            os.kill(pid, signal.SIGINT)
            interrupted.add(pid)
        assert process.poll() is None
    assert marks(begun)[0] in interrupted
    os.kill(marks(begun)[0], signal.SIGINT)
    process.send_signal(signal.SIGINT)
    wait_for_line(process, b"draining")
    go_on.touch()
    assert process.wait(DEADLINE_S) == 0
    assert entry.outcomes == ["completed"]


@pytest.mark.parametrize("ending", ["swallow", "be_deaf"])
def test_what_is_not_done_in_time_is_given_back(
    stub: Stub, program: Program, tmp_path: Path, ending: str
) -> None:
    begun = tmp_path / "begun"
    entry = stub.enqueue(steps(["mark", str(begun)], [ending]))
    process = program(drain_s=0.2)
    eventually(lambda: marks(begun), "the job has begun")
    process.terminate()
    assert process.wait(DEADLINE_S) == 0
    assert entry.outcomes == ["cancelled"]
    assert entry.state == "requeued"
    assert not lives(marks(begun)[0])


def test_a_second_signal_ends_it_at_once(stub: Stub, program: Program, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    entry = stub.enqueue(steps(["mark", str(begun)], ["be_deaf"]))
    process = program()
    eventually(lambda: marks(begun), "the job has begun")
    process.terminate()
    wait_for_line(process, b"draining")
    process.terminate()
    assert process.wait(DEADLINE_S) == -signal.SIGTERM
    eventually(lambda: not lives(marks(begun)[0]), "the child is gone")
    assert not entry.finishes


def test_a_killed_worker_leaves_no_child(stub: Stub, program: Program, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    stub.enqueue(steps(["mark", str(begun)], ["be_deaf"]))
    process = program()
    eventually(lambda: marks(begun), "the job has begun")
    session = descendants(process.pid)
    assert marks(begun)[0] in session
    process.kill()
    eventually(lambda: not any(lives(pid) for pid in session), "nothing is left")


def test_what_is_claimed_too_late_is_given_back(stub: Stub, program: Program) -> None:
    def lose(call: Call) -> None:
        if call.body["waitMs"] > 0:
            raise Hang

    stub.after["claim"] = [lose, lose]
    process = program()
    stub.wait_until(lambda: stub.called("claim"), "a claim is waiting")
    with stub.changed:
        # Its item is claimed in the moment of the signal, and the answer does not arrive.
        [claim] = stub.called("claim")
        process.terminate()
        wait_for_line(process, b"draining")
        entry = stub.enqueue(steps())
        entry.state, entry.fence = "processing", 1
        stub._claims[claim.body["claimId"]] = [entry]
    assert process.wait(DEADLINE_S) == 0
    assert entry.outcomes == ["cancelled"]
    assert entry.state == "requeued"


@pytest.mark.parametrize("told_by", ["stream", "heartbeat"])
def test_a_draining_server_is_asked_for_nothing_until_it_is_back(
    stub: Stub, start: Start, tmp_path: Path, told_by: str
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    stub.heartbeat_ms = 100
    entry = stub.enqueue(steps(["mark", str(begun)], ["wait_for", str(go_on)]))
    start()
    eventually(lambda: marks(begun), "the job has begun")
    if told_by == "stream":
        stub.drain()
    else:
        stub.draining = True
    beats = len(stub.called("heartbeat"))
    stub.wait_until(lambda: len(stub.called("heartbeat")) >= beats + 3, "the worker is told")
    go_on.touch()
    stub.wait_until(lambda: entry.state == "completed", "what runs goes on")
    later = stub.enqueue(steps())
    stub.draining = False
    # As long as it takes to fail to connect a few times, it would have asked by now.
    stub.always["control"] = refuse(503)
    stub.cut_streams()
    stub.wait_until(lambda: len(stub.called("control")) >= 4, "connecting fails")
    assert len(stub.called("claim")) == 1
    del stub.always["control"]
    stub.wait_until(lambda: later.state == "completed", "after the next hello")


def test_an_idle_worker_ends_at_once(stub: Stub, program: Program) -> None:
    process = program()
    stub.wait_until(lambda: stub.called("claim"), "a claim is waiting")
    process.terminate()
    assert process.wait(DEADLINE_S) == 0
    asked = [(call.body["claimId"], call.body["waitMs"]) for call in stub.called("claim")]
    assert asked == [(asked[0][0], 25_000), (asked[0][0], 0)]


def test_a_child_that_does_not_come_up_is_an_error(
    stub: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(stub.url)
    worker.model("act")(Unpicklable().act)  # type: ignore[type-var]
    with pytest.raises(RuntimeError, match="before it was ready"):
        worker.run()
    assert "no child can have me" in capfd.readouterr().err
    assert not stub.called("claim")


class Unpicklable:
    def act(self) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        raise RuntimeError("no child can have me")

    def __getstate__(self) -> object:
        return 1


def test_what_is_wrong_with_a_worker_is_said_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="name"):
        Worker(name="not a name")
    with pytest.raises(ValueError, match="slots"):
        Worker(slots=0)
    with pytest.raises(ValueError, match="models"):
        Worker().run()
    worker = Worker("ftp://127.0.0.1")
    worker.model("act")(act)
    with pytest.raises(ValueError, match="http"):
        worker.run()
    with pytest.raises(ValueError, match="already"):
        worker.model("act")(act)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", worker.name)


def wait_for_line(process: subprocess.Popen[bytes], part: bytes) -> None:
    """Until the process logs it. What comes after that is read as well, lest it should block."""
    assert process.stderr is not None
    for line in process.stderr:
        if part in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return
    raise AssertionError(f"it has ended without {part!r}")


def descendants(pid: int) -> set[int]:
    output = subprocess.run(["ps", "-eo", "pid=,ppid="], check=True, capture_output=True).stdout
    pairs = [tuple(map(int, line.split())) for line in output.decode().splitlines()]
    found = {pid}
    while more := {child for child, parent in pairs if parent in found} - found:
        found |= more
    return found - {pid}


assert sys.platform == "linux", "these tests look into /proc"
