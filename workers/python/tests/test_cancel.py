"""Everything that ends a job before it is done."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import Start, eventually, lives, marks
from functions import steps
from stub import Call, Stub, hang, refuse

A_LONG_GRACE_MS = 60_000
A_SHORT_GRACE_MS = 500


def test_a_cancel_is_noticed_at_once(stub: Stub, start: Start, tmp_path: Path) -> None:
    begun, noticed = tmp_path / "begun", tmp_path / "noticed"
    entry = stub.enqueue(steps(["mark", str(begun)], ["listen", str(noticed)]))
    start()
    eventually(lambda: marks(begun), "the job has begun")
    cancelled_at = time.monotonic()
    stub.cancel(entry, A_LONG_GRACE_MS)
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.outcomes == ["cancelled"]
    assert entry.state == "cancelled"
    assert float(noticed.read_text()) - cancelled_at < 0.5


def test_a_cancel_is_no_error_of_a_tile(stub: Stub, start: Start, tmp_path: Path) -> None:
    begun, went_on = tmp_path / "begun", tmp_path / "went-on"
    entry = stub.enqueue(steps(["mark", str(begun)], ["swallow"], ["mark", str(went_on)]))
    start()
    eventually(lambda: marks(begun), "the job has begun")
    stub.cancel(entry, A_LONG_GRACE_MS)
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.outcomes == ["cancelled"]
    assert not marks(went_on)


def test_what_ignores_a_cancel_is_killed(stub: Stub, start: Start, tmp_path: Path) -> None:
    begun, grandchild = tmp_path / "begun", tmp_path / "grandchild"
    deaf = stub.enqueue(
        steps(["start_another", str(grandchild)], ["mark", str(begun)], ["be_deaf"])
    )
    start()
    eventually(lambda: marks(begun), "the job has begun")
    cancelled_at = time.monotonic()
    stub.cancel(deaf, A_SHORT_GRACE_MS)
    stub.wait_until(lambda: deaf.finishes, "reported")
    # In time for the server, which ends the item by itself at the end of the grace.
    assert 0.9 * A_SHORT_GRACE_MS / 1000 <= time.monotonic() - cancelled_at < 5
    assert deaf.outcomes == ["cancelled"]
    eventually(lambda: not lives(marks(begun)[0]), "the child is gone")
    eventually(lambda: not lives(marks(grandchild)[0]), "and so is what it has started")
    again = stub.enqueue(steps(["mark", str(begun)]))
    stub.wait_until(lambda: again.state == "completed", "another child has done the next job")
    assert len(set(marks(begun))) == 2


def test_a_cancel_that_was_missed_comes_with_the_stream(
    stub: Stub, start: Start, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    entry = stub.enqueue(steps(["mark", str(begun)], ["swallow"]))
    start()
    eventually(lambda: marks(begun), "the job has begun")
    stub.always["control"] = refuse(503)
    stub.cut_streams()
    stub.wait_until(lambda: len(stub.called("control")) >= 3, "connecting fails")
    stub.cancel(entry, A_LONG_GRACE_MS)
    assert not entry.finishes
    del stub.always["control"]
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.outcomes == ["cancelled"]


def test_a_cancel_that_was_missed_comes_with_the_heartbeat(
    stub: Stub, start: Start, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    stub.heartbeat_ms = 100
    entry = stub.enqueue(steps(["mark", str(begun)], ["swallow"]))
    start()
    eventually(lambda: marks(begun), "the job has begun")
    stub.always["control"] = refuse(503)
    stub.cut_streams()
    stub.wait_until(lambda: len(stub.called("control")) >= 3, "connecting fails")
    stub.cancel(entry, A_LONG_GRACE_MS)
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.outcomes == ["cancelled"]


def test_a_cancel_that_comes_before_its_claim_counts(stub: Stub, start: Start) -> None:
    entry = stub.enqueue(steps(["be_deaf"]))

    def cancel(_call: Call) -> None:
        stub.cancel(entry, A_LONG_GRACE_MS)
        # The answer to the claim is held back until the cancel must have arrived.
        stub.changed.wait_for(lambda: False, 0.3)

    stub.after["claim"] = [cancel]
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.outcomes == ["cancelled"]
    assert not stub.called("image")


def test_a_silent_stream_is_opened_anew(stub: Stub, start: Start) -> None:
    stub.ping_ms = 100
    stub.pings = False
    start()
    stub.wait_until(lambda: len(stub.called("control")) >= 4, "opened again and again")


def test_a_stream_with_pings_stays_open(stub: Stub, start: Start, tmp_path: Path) -> None:
    stub.ping_ms = 100
    begun = tmp_path / "begun"
    entry = stub.enqueue(steps(["mark", str(begun)], ["count", 0, 60, 0.02]))
    start()
    stub.wait_until(lambda: entry.finishes, "as long as many pings")
    # The first one did not know yet how often there are pings.
    assert len(stub.called("control")) == 2


def test_what_is_lost_is_not_reported(stub: Stub, start: Start, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    stub.lease_ms, stub.heartbeat_ms = 2000, 100
    lost = stub.enqueue(steps(["mark", str(begun)], ["be_deaf"]))
    start()
    eventually(lambda: marks(begun), "the job has begun")
    stub.lost.add(lost.id)
    eventually(lambda: not lives(marks(begun)[0]), "the child is gone")
    again = stub.enqueue(steps())
    stub.wait_until(lambda: again.state == "completed", "the next job is completed")
    assert not lost.finishes


@pytest.mark.parametrize("ending", ["swallow", "be_deaf"])
def test_without_a_word_from_the_server_a_job_ends_within_its_lease(
    stub: Stub, start: Start, tmp_path: Path, ending: str
) -> None:
    begun = tmp_path / "begun"
    stub.lease_ms, stub.heartbeat_ms = 2000, 200
    fenced = stub.enqueue(steps(["mark", str(begun)], [ending]))
    start()
    eventually(lambda: marks(begun), "the job has begun")
    stub.wait_until(lambda: len(stub.called("heartbeat")) >= 2, "the lease is renewed")
    stub.always["heartbeat"] = hang
    silent_since = max(call.at for call in stub.called("heartbeat"))
    stub.wait_until(lambda: len(stub.called("claim")) == 2, "the slot is free again")
    if ending == "be_deaf":
        eventually(lambda: not lives(marks(begun)[0]), "the child is gone")
        assert 1.4 < time.monotonic() - silent_since < 2.5
    del stub.always["heartbeat"]
    again = stub.enqueue(steps())
    stub.wait_until(lambda: again.state == "completed", "the next job is completed")
    assert not fenced.finishes


def test_a_result_after_a_cancel_is_none(stub: Stub, start: Start, tmp_path: Path) -> None:
    entry = stub.enqueue(steps())

    def cancel(_call: Call) -> None:
        entry.state = "cancelling"

    stub.before["finish"] = [cancel]
    start()
    stub.wait_until(lambda: len(stub.called("claim")) == 2, "the slot is free again")
    assert entry.outcomes == ["completed"]
    assert entry.state == "cancelled"


def test_a_cancel_that_comes_too_late_does_not_hit_the_next_job(stub: Stub, start: Start) -> None:
    entries = [stub.enqueue(steps()) for _ in range(20)]
    start()

    def cancel(_call: Call) -> None:
        for entry in entries:
            if entry.state == "completed":
                stub._send("cancel", stub._cancel_of(entry))

    stub.before["claim"] = [cancel] * 20
    stub.wait_until(lambda: all(e.finishes for e in entries), "all are reported")
    assert {entry.state for entry in entries} == {"completed"}
