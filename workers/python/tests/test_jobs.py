"""A job from its claim to its report."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import signal
from pathlib import Path

import pytest
from conftest import Program, Start, eventually, lives, marks
from functions import steps
from stub import TOKEN, Call, Stub, accept, hang, refuse


def test_a_result_is_reported(stub: Stub, start: Start) -> None:
    entry = stub.enqueue(steps())
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    [report] = entry.finishes
    assert report["fence"] == 1
    assert report["outcome"] == "completed"
    assert report["result"].pop("processingTimeMs") > 0
    assert report["result"] == {
        "polygons": [
            {
                "points": [{"x": 0, "y": 0}, {"x": 4, "y": 0}, {"x": 4, "y": 3}],
                "type": "external",
                "area": 6.0,
                "class": "cell",
            }
        ],
        "imageSize": {"width": 4, "height": 3},
    }


def test_a_child_is_used_again(stub: Stub, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "marks"
    entries = [stub.enqueue(steps(["mark", str(path)])) for _ in range(3)]
    start()
    stub.wait_until(lambda: all(e.state == "completed" for e in entries), "all are completed")
    assert len(marks(path)) == 3
    assert len(set(marks(path))) == 1


def test_slots_work_at_once(stub: Stub, start: Start, tmp_path: Path) -> None:
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    entries = [
        stub.enqueue(steps(["mark", here], ["wait_for", there])),
        stub.enqueue(steps(["mark", there], ["wait_for", here])),
    ]
    start(slots=2)
    stub.wait_until(lambda: all(e.state == "completed" for e in entries), "both are completed")
    assert all(call.body["max"] <= 2 for call in stub.called("claim"))


def test_how_a_function_fails_is_told(stub: Stub, start: Start) -> None:
    long = "x" * 5000
    cases: list[tuple[list[object], str, bool]] = [
        (["fail", "no cells", False], "no cells", False),
        (["fail", "no memory", True], "no memory", True),
        (["divide", "by zero"], "ZeroDivisionError: by zero", True),
        (["divide", long], f"ZeroDivisionError: {long}"[:2000], True),
        (["die"], "the process that worked on it has ended", True),
        (["give_nan"], "the result is none: Out of range float values", False),
    ]
    entries = [(stub.enqueue(steps(step)), message, again) for step, message, again in cases]
    last = stub.enqueue(steps())
    start()
    stub.wait_until(lambda: last.state == "completed", "the job after them is completed")
    for entry, message, retryable in entries:
        [report] = entry.finishes
        assert report["outcome"] == "failed"
        assert report["error"]["message"].startswith(message)
        assert len(report["error"]["message"]) <= 2000
        assert report["error"]["retryable"] is retryable


def test_a_result_may_be_a_dict(stub: Stub, start: Start) -> None:
    result = {"polygons": [], "imageSize": {"width": 1, "height": 1}, "processingTimeMs": 5}
    entry = stub.enqueue(steps(["give", result]))
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.finishes[0]["result"] == result


def test_a_child_that_ends_while_it_is_idle_costs_nothing(
    stub: Stub, start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "marks"
    first = stub.enqueue(steps(["mark", str(path)]))
    start()
    stub.wait_until(lambda: first.state == "completed", "completed")
    os.kill(marks(path)[0], signal.SIGKILL)
    eventually(lambda: not lives(marks(path)[0]), "it is gone")
    second = stub.enqueue(steps(["mark", str(path)]))
    stub.wait_until(lambda: second.finishes, "reported")
    assert second.outcomes == ["completed"]
    assert len(set(marks(path))) == 2


def test_a_refused_result_is_a_failure_for_good(stub: Stub, start: Start) -> None:
    entries = [stub.enqueue(steps()) for _ in range(2)]
    # The failure itself is accepted.
    stub.before["finish"] = [refuse(400), accept, refuse(413), accept]
    start()
    stub.wait_until(lambda: all(entry.finishes for entry in entries), "reported")
    for entry in entries:
        assert entry.state == "failed"
        assert entry.finishes[0]["error"]["retryable"] is False
        assert "as the test wants" in entry.finishes[0]["error"]["message"]


def test_a_report_is_repeated_until_it_is_answered(stub: Stub, start: Start) -> None:
    entry = stub.enqueue(steps())
    stub.before["finish"] = [hang, refuse(503)]
    stub.after["finish"] = [hang]
    start()
    stub.wait_until(lambda: len(stub.called("claim")) == 2, "the slot is free again")
    assert entry.outcomes == ["completed", "completed"]
    assert entry.finishes[0] == entry.finishes[1]
    assert entry.state == "completed"


def test_a_report_is_given_up_with_the_lease(stub: Stub, start: Start) -> None:
    stub.lease_ms, stub.heartbeat_ms = 800, 100
    stub.always = {"finish": refuse(503), "heartbeat": hang}
    entry = stub.enqueue(steps())
    start()
    stub.wait_until(lambda: len(stub.called("claim")) == 2, "the slot is free again")
    reports = [call.at for call in stub.called("finish")]
    claimed_at = stub.called("image")[0].at
    assert len(reports) > 1
    assert reports[-1] - claimed_at < 1.0
    assert entry.state == "processing"


def test_a_claim_is_repeated_with_its_id(stub: Stub, start: Start) -> None:
    entry = stub.enqueue(steps())
    stub.before["claim"] = [refuse(500)]
    # It is claimed, and the answer is lost.
    stub.after["claim"] = [hang]
    start()
    stub.wait_until(lambda: entry.state == "completed", "completed")
    stub.wait_until(lambda: len(stub.called("claim")) == 4, "the next claim")
    ids = [call.body["claimId"] for call in stub.called("claim")]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert entry.outcomes == ["completed"]


def test_progress_is_told_once_a_second(stub: Stub, start: Start) -> None:
    stub.heartbeat_ms = 60_000
    entry = stub.enqueue(steps(["count", 0, 99, 0.025]))
    start()
    stub.wait_until(lambda: entry.state == "completed", "completed")
    beats = [call.at for call in stub.called("heartbeat")]
    assert len(entry.progress) >= 2
    assert entry.progress == sorted(entry.progress)
    assert all(later - earlier > 0.95 for earlier, later in itertools.pairwise(beats))


def test_logs_of_the_child_are_logged_by_the_parent(
    stub: Stub, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    entry = stub.enqueue(steps(["log", "seen from inside"], ["divide", "by zero"]))
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert "seen from inside" in caplog.messages
    assert "ZeroDivisionError" in caplog.text


def test_an_image_is_resumed_where_it_was_cut(stub: Stub, start: Start, tmp_path: Path) -> None:
    image = steps(["fetch", str(tmp_path / "copy")]) + b" " * 300_000
    entry = stub.enqueue(image, filename="../../a cell.tif")
    stub.cuts = [100_000, 0, 150_000]
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.state == "completed"
    assert (tmp_path / "copy").read_bytes() == b".tif" + image
    ranges = [call.headers.get("range") for call in stub.called("image")]
    assert ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=250000-"]
    assert [call.headers.get("if-range") for call in stub.called("image")].count(None) == 1


def test_an_image_that_changed_is_fetched_anew(stub: Stub, start: Start, tmp_path: Path) -> None:
    image = steps(["fetch", str(tmp_path / "copy")]) + b" " * 1000
    entry = stub.enqueue(b"x" * len(image))
    stub.cuts = [500]

    def change(_call: Call) -> None:
        entry.image = image

    stub.before["image"] = [accept, change]
    digest = hashlib.sha256(image).hexdigest()
    entry.members["image"] = stub._item_of(entry)["image"] | {"sha256": digest}
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert (tmp_path / "copy").read_bytes() == b".bin" + image


def test_an_image_may_have_no_name_and_no_digest(stub: Stub, start: Start, tmp_path: Path) -> None:
    image = steps(["fetch", str(tmp_path / "copy")])
    entry = stub.enqueue(image)
    unknown = {"filename": None, "sha256": None}
    entry.members["image"] = stub._item_of(entry)["image"] | unknown
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert (tmp_path / "copy").read_bytes() == image


def test_what_a_function_leaves_behind_costs_it_nothing(stub: Stub, start: Start) -> None:
    entries = [stub.enqueue(steps(["litter"])) for _ in range(2)]
    start()
    stub.wait_until(lambda: all(entry.finishes for entry in entries), "reported")
    # Twice in one process: the folder was empty again.
    assert [entry.state for entry in entries] == ["completed", "completed"]


def test_an_image_that_is_gone_is_not_tried_again(stub: Stub, start: Start) -> None:
    entry = stub.enqueue(steps())
    stub.before["image"] = [refuse(404)]
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.finishes[0]["error"]["retryable"] is False
    assert "404" in entry.finishes[0]["error"]["message"]


def test_another_image_than_promised_is_a_failure(stub: Stub, start: Start) -> None:
    entry = stub.enqueue(steps())
    entry.members["image"] = stub._item_of(entry)["image"] | {"sha256": "0" * 64}
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.finishes[0]["error"]["retryable"] is True
    assert "SHA-256" in entry.finishes[0]["error"]["message"]


def test_the_token_goes_to_its_server_alone(
    stub: Stub, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    elsewhere = Stub()
    try:
        stub.image_host = elsewhere.url
        entry = stub.enqueue(steps(["divide", "by zero"]))
        elsewhere.entries[entry.id] = entry
        start()
        stub.wait_until(lambda: entry.finishes, "reported")
        [foreign] = elsewhere.calls
        assert "authorization" not in foreign.headers
        assert foreign.query == {"token": [f"read-{TOKEN}"]}
    finally:
        elsewhere.close()
    for name in ("claim", "control", "heartbeat", "finish"):
        assert stub.called(name)
        for call in stub.called(name):
            assert call.headers["authorization"] == f"Bearer {TOKEN}"
    assert "/images/" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in json.dumps(entry.finishes)


def test_the_token_is_in_no_environment_of_a_function(
    stub: Stub, program: Program, tmp_path: Path
) -> None:
    entry = stub.enqueue(steps(["environment", str(tmp_path / "seen")]))
    program()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert stub.called("finish")[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in (tmp_path / "seen").read_text()


def test_a_redirect_is_not_followed(stub: Stub, start: Start) -> None:
    entry = stub.enqueue(steps())
    stub.before["image"] = [refuse(302)]
    start()
    stub.wait_until(lambda: entry.finishes, "reported")
    assert entry.finishes[0]["error"]["message"].endswith("302 Found")


def test_a_renewed_token_counts_at_once(stub: Stub, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")

    def expired(_call: Call) -> int:
        file.write_text("new\n")
        return 401

    stub.before["claim"] = [expired]
    entry = stub.enqueue(steps())
    start(token_file=file)
    stub.wait_until(lambda: entry.state == "completed", "completed")
    sent = [call.headers["authorization"] for call in stub.called("claim")]
    assert sent[:2] == ["Bearer old", "Bearer new"]
