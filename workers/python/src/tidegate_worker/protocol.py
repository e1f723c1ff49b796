"""The protocol's messages as types. Durations are milliseconds on the wire and seconds in here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Image:
    id: str
    # As far as its sender has said.
    filename: str | None
    size: int
    # As far as the server knows it.
    sha256: str | None
    # Its query is a token that opens the image to whoever has it.
    url: str = field(repr=False)


@dataclass(frozen=True)
class Item:
    """One claimed unit of work. `fence` is what tells this claim of it from every other."""

    id: str
    fence: int
    attempt: int
    lease_s: float
    heartbeat_s: float
    model: str
    threshold: float
    detect_holes: bool
    image: Image

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Item:
        image = members["image"]
        return cls(
            id=members["id"],
            fence=members["fence"],
            attempt=members["attempt"],
            lease_s=members["leaseMs"] / 1000,
            heartbeat_s=members["heartbeatMs"] / 1000,
            model=members["model"],
            threshold=members["threshold"],
            detect_holes=members["detectHoles"],
            image=Image(
                id=image["id"],
                filename=image["filename"],
                size=image["size"],
                sha256=image["sha256"],
                url=image["url"],
            ),
        )

    def __str__(self) -> str:
        return f"item {self.id} (fence {self.fence})"


@dataclass(frozen=True)
class Directive:
    """What the answer to a heartbeat says about one item."""

    item_id: str
    directive: Literal["continue", "cancel", "lost"]
    lease_s: float
    grace_s: float

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Directive:
        return cls(
            item_id=members["id"],
            directive=members["directive"],
            lease_s=members.get("leaseMs", 0) / 1000,
            grace_s=members.get("graceMs", 0) / 1000,
        )


@dataclass(frozen=True)
class Completed:
    # JSON already: results can be large, and it is the child that has the time to encode them.
    result: bytes


@dataclass(frozen=True)
class Failure:
    message: str
    retryable: bool


@dataclass(frozen=True)
class Stopped:
    """The work has ended because it was told to, or was never begun. If nobody has cancelled the
    item, this gives it back to the queue."""


Outcome = Completed | Failure | Stopped


def finish_body(item: Item, outcome: Outcome) -> bytes:
    members: dict[str, object] = {"fence": item.fence}
    if isinstance(outcome, Completed):
        members["outcome"] = "completed"
        return json.dumps(members)[:-1].encode() + b',"result":' + outcome.result + b"}"
    if isinstance(outcome, Failure):
        members["outcome"] = "failed"
        members["error"] = {"message": outcome.message, "retryable": outcome.retryable}
    else:
        members["outcome"] = "cancelled"
    return json.dumps(members).encode()


@dataclass(frozen=True)
class Event:
    """An event of the control stream."""

    name: str
    data: Mapping[str, Any]


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Reads `text/event-stream`. Ids and `retry` have no meaning on the control stream.

    # Errors
    `ValueError` for data that is no JSON object.
    """
    name, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                members = json.loads("\n".join(data))
                if not isinstance(members, dict):
                    raise ValueError("an event's data is no JSON object")
                yield Event(name, members)
            name, data = "", []
            continue
        label, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if label == "event":
            name = value
        elif label == "data":
            data.append(value)
