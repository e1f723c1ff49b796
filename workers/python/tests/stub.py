"""A server that speaks the worker protocol, and does whatever a test wants to go wrong."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DEADLINE_S = 30.0
TOKEN = "a-token-that-nobody-else-may-see"


class Hang(Exception):
    """Close the connection without another byte."""


@dataclass
class Entry:
    """An item of the stub's queue."""

    image: bytes
    model: str
    filename: str
    members: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    fence: int = 0
    state: str = "queued"
    grace_ms: int = 0
    progress: list[int] = field(default_factory=list)
    finishes: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)

    @property
    def outcomes(self) -> list[str]:
        return [finish["outcome"] for finish in self.finishes]


@dataclass(frozen=True)
class Call:
    name: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any
    at: float


# Is asked before the call is carried out, and may raise `Hang` or return a status to refuse with;
# one that is in `after` is asked when it has been carried out and not been answered yet.
Fault = Callable[[Call], int | None]


def hang(_call: Call) -> int | None:
    raise Hang


def accept(_call: Call) -> int | None:
    return None


def refuse(status: int) -> Fault:
    return lambda _call: status


class Stub:
    def __init__(self) -> None:
        self.lease_ms = 15_000
        self.heartbeat_ms = 5_000
        self.ping_ms = 5_000
        self.pings = True
        self.image_host: str | None = None
        # Cuts each answer with image bytes after so many.
        self.cuts: list[int] = []
        self.etags = True
        self.before: dict[str, list[Fault]] = defaultdict(list)
        self.after: dict[str, list[Fault]] = defaultdict(list)
        # Until taken out again.
        self.always: dict[str, Fault] = {}
        self.lost: set[str] = set()
        self.draining = False
        self.calls: list[Call] = []
        self.entries: dict[str, Entry] = {}
        self.changed = threading.Condition()
        self.streams = 0
        self._claims: dict[str, list[Entry]] = {}
        # The call that waits for each claim: an earlier one has been given up by its worker.
        self._waiting: dict[str, object] = {}
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._closed = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        with self.changed:
            self._closed = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def enqueue(
        self, image: bytes, model: str = "act", filename: str = "image.bin", **members: object
    ) -> Entry:
        with self.changed:
            entry = Entry(image, model, filename, members)
            self.entries[entry.id] = entry
            self.changed.notify_all()
            return entry

    def cancel(self, entry: Entry, grace_ms: int) -> None:
        with self.changed:
            entry.state = "cancelling"
            entry.grace_ms = grace_ms
            self._send("cancel", self._cancel_of(entry))

    def drain(self) -> None:
        with self.changed:
            self.draining = True
            self._send("drain", {"deadlineMs": 10_000})

    def cut_streams(self) -> None:
        """Ends all control streams that are open now."""
        with self.changed:
            self._send("cut", {})

    def called(self, name: str) -> list[Call]:
        with self.changed:
            return [call for call in self.calls if call.name == name]

    def wait_until(self, holds: Callable[[], object], why: str) -> None:
        with self.changed:
            if not self.changed.wait_for(holds, DEADLINE_S):
                calls = [f"{call.name} {call.body!r:.200}" for call in self.calls[-10:]]
                raise AssertionError("\n".join([f"still not so: {why}. The last calls:", *calls]))

    def _send(self, name: str, data: dict[str, Any]) -> None:
        self._events.append((name, data))
        self.changed.notify_all()

    def _events_after(self, sent: int) -> list[tuple[str, dict[str, Any]]]:
        """Without any after a ping's time."""
        self.changed.wait_for(lambda: len(self._events) > sent or self._closed, self.ping_ms / 1000)
        return self._events[sent:]

    def _cancel_of(self, entry: Entry) -> dict[str, Any]:
        return {
            "item": entry.id,
            "fence": entry.fence,
            "reason": "a test",
            "graceMs": entry.grace_ms,
        }

    def _claim(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        until = time.monotonic() + body["waitMs"] / 1000
        self._waiting[body["claimId"]] = body
        self.changed.notify_all()
        while self._waiting[body["claimId"]] is body:
            if body["claimId"] not in self._claims and not self.draining:
                found = [
                    entry
                    for entry in self.entries.values()
                    if entry.state == "queued" and entry.model in body["models"]
                ][: body["max"]]
                if found:
                    self._claims[body["claimId"]] = found
                for entry in found:
                    entry.state = "processing"
                    entry.fence += 1
                self.changed.notify_all()
            if body["claimId"] in self._claims:
                entries = self._claims[body["claimId"]]
                return 200, {"items": [self._item_of(entry) for entry in entries]}
            left = until - time.monotonic()
            if left <= 0 or self._closed:
                break
            self.changed.wait(left)
        return 204, {}

    def _item_of(self, entry: Entry) -> dict[str, Any]:
        image = {
            "id": f"image-{entry.id}",
            "filename": entry.filename,
            "size": len(entry.image),
            "sha256": hashlib.sha256(entry.image).hexdigest(),
            "url": f"{self.image_host or self.url}/images/{entry.id}?token=read-{TOKEN}",
        }
        return {
            "id": entry.id,
            "fence": entry.fence,
            "attempt": 1,
            "leaseMs": self.lease_ms,
            "heartbeatMs": self.heartbeat_ms,
            "model": entry.model,
            "threshold": 0.5,
            "detectHoles": True,
            "image": image,
        } | entry.members

    def _heartbeat(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        items = []
        for beat in body["items"]:
            entry = self.entries[beat["id"]]
            if "progress" in beat:
                entry.progress.append(beat["progress"])
            item = {"id": entry.id, "directive": "continue", "leaseMs": self.lease_ms}
            if entry.fence != beat["fence"] or entry.id in self.lost:
                item["directive"] = "lost"
            elif entry.state == "cancelling":
                item |= {"directive": "cancel", "graceMs": entry.grace_ms}
            items.append(item)
        return 200, {"items": items, "drain": self.draining}

    def _finish(self, entry: Entry, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        outcome = body["outcome"]
        key = f"{body['fence']} {outcome}"
        if key in entry.answers:
            return entry.answers[key]
        if body["fence"] != entry.fence or entry.state not in ("processing", "cancelling"):
            return 409, {"code": "LEASE_LOST", "detail": "It is not yours."}
        if entry.state == "cancelling":
            entry.state = "cancelled"
            answer = 200, {"state": "cancelled"}
            if outcome == "completed":
                answer = 409, {"code": "CANCEL_WON", "detail": "It was cancelled."}
        else:
            retryable = outcome == "failed" and body["error"]["retryable"]
            entry.state = "requeued" if retryable or outcome == "cancelled" else outcome
            state = "queued" if entry.state == "requeued" else entry.state
            answer = 200, {"state": state}
        entry.answers[key] = answer
        return answer

    def _handler(stub) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except (ConnectionError, Hang):
                    self.close_connection = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                call = self._call(urlsplit(self.path).path.rsplit("/", 1)[1], body)
                with stub.changed:
                    refused = self._ask(stub.before, call)
                    if refused is None:
                        done = self._carry_out(call)
                        refused = self._ask(stub.after, call)
                    status, answer = refused or done
                    stub.changed.notify_all()
                self._answer(status, json.dumps(answer).encode() if answer else b"")

            def _carry_out(self, call: Call) -> tuple[int, dict[str, Any]]:
                if call.name == "claim":
                    return stub._claim(call.body)
                if call.name == "heartbeat":
                    return stub._heartbeat(call.body)
                entry = stub.entries[call.path.split("/")[-2]]
                entry.finishes.append(call.body)
                return stub._finish(entry, call.body)

            def _ask(
                self, faults: dict[str, list[Fault]], call: Call
            ) -> tuple[int, dict[str, Any]] | None:
                fault = faults[call.name].pop(0) if faults[call.name] else None
                if fault is None and faults is stub.before:
                    fault = stub.always.get(call.name)
                status = fault(call) if fault else None
                if status is None:
                    return None
                return status, {"code": "A_TEST", "detail": "as the test wants"}

            def _call(self, name: str, body: object) -> Call:
                url = urlsplit(self.path)
                headers = {key.lower(): value for key, value in self.headers.items()}
                query = parse_qs(url.query)
                call = Call(name, url.path, query, headers, body, time.monotonic())
                with stub.changed:
                    stub.calls.append(call)
                    stub.changed.notify_all()
                return call

            def _answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                if self.path.startswith("/images/"):
                    self._image()
                else:
                    self._control()

            def _image(self) -> None:
                call = self._call("image", None)
                with stub.changed:
                    refused = self._ask(stub.before, call)
                if refused:
                    self._answer(refused[0], b"")
                    return
                image = stub.entries[call.path.rsplit("/", 1)[1]].image
                etag = f'"{hashlib.sha256(image).hexdigest()}"'
                begin = 0
                if "range" in call.headers and call.headers.get("if-range", etag) == etag:
                    begin = int(call.headers["range"].removeprefix("bytes=").removesuffix("-"))
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(image) - begin))
                if stub.etags:
                    self.send_header("ETag", etag)
                if begin:
                    self.send_header("Content-Range", f"bytes {begin}-/{len(image)}")
                self.end_headers()
                cut = stub.cuts.pop(0) if stub.cuts else len(image)
                self.wfile.write(image[begin:][:cut])
                if cut < len(image) - begin:
                    self.close_connection = True

            def _control(self) -> None:
                call = self._call("control", None)
                self.close_connection = True
                with stub.changed:
                    refused = self._ask(stub.before, call)
                    sent = len(stub._events)
                    hello = {
                        "heartbeatMs": stub.heartbeat_ms,
                        "pingMs": stub.ping_ms,
                        "leaseMs": stub.lease_ms,
                    }
                    outstanding = [
                        ("cancel", stub._cancel_of(entry))
                        for entry in stub.entries.values()
                        if entry.state == "cancelling"
                    ]
                if refused:
                    self._answer(refused[0], b"")
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self._emit([("hello", hello), *outstanding])
                with stub.changed:
                    stub.streams += 1
                    stub.changed.notify_all()
                try:
                    while not stub._closed:
                        with stub.changed:
                            events = stub._events_after(sent)
                            sent += len(events)
                        if any(name == "cut" for name, _ in events):
                            return
                        self._emit(events or ([("ping", {})] if stub.pings else []))
                finally:
                    with stub.changed:
                        stub.streams -= 1
                        stub.changed.notify_all()

            def _emit(self, events: list[tuple[str, dict[str, Any]]]) -> None:
                for name, data in events:
                    self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

        return Handler
