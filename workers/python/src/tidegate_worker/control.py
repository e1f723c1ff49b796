"""What the server tells a worker: at once by the control stream, and again by each heartbeat."""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import closing

from .backoff import Backoff
from .client import Client, Refused, Unavailable
from .protocol import Directive, Event
from .runs import Run, Runs

logger = logging.getLogger(__name__)

# Of a server that has not said `hello` yet.
PING_S = 5.0
# In pings: how long a stream may be silent before it counts as dead.
SILENCE_PINGS = 3


class Gate:
    """Whether the server wants to be asked for work: from each `hello` until it drains."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._opened_at = -math.inf

    def open(self) -> None:
        self._opened_at = time.monotonic()
        self._open.set()

    def close(self, asked_at: float) -> None:
        """`asked_at` is when the answer that says so was asked for: one that a `hello` has
        overtaken is about the server that is gone."""
        if asked_at > self._opened_at and self._open.is_set():
            logger.info("the server is draining: nothing is claimed until it is back")
            self._open.clear()

    def wait(self, timeout_s: float) -> bool:
        return self._open.wait(timeout_s)


class ControlStream:
    """Keeps the control stream open. Without it cancels still arrive, with the heartbeats."""

    def __init__(self, client: Client, runs: Runs, gate: Gate) -> None:
        self._client = client
        self._runs = runs
        self._gate = gate
        self._ping_s = PING_S
        self._backoff = Backoff()

    def run(self, end: threading.Event) -> None:
        while not end.is_set():
            try:
                if self._listen(end):
                    continue
                reason = "it has ended"
            except (Refused, Unavailable) as error:
                reason = str(error)
            except (KeyError, TypeError) as error:
                reason = f"an event is not understood: {error!r}"
            delay_s = self._backoff.next_s()
            logger.info("control stream: %s; again in %.1f s", reason, delay_s)
            end.wait(delay_s)

    def _listen(self, end: threading.Event) -> bool:
        """Until the stream ends. True if it is to be opened again at once: how long a stream may
        be silent is settled when it is opened, and said only after that."""
        with closing(self._client.control(SILENCE_PINGS * self._ping_s)) as stream:
            for event in stream:
                if end.is_set():
                    break
                if event.name == "hello":
                    self._backoff.reset()
                    self._gate.open()
                    ping_s = event.data.get("pingMs", PING_S * 1000) / 1000
                    if ping_s != self._ping_s:
                        self._ping_s = ping_s
                        return True
                else:
                    self._handle_event(event)
        return False

    def _handle_event(self, event: Event) -> None:
        if event.name == "cancel":
            item_id, fence = event.data["item"], event.data["fence"]
            self._runs.cancel(item_id, fence, event.data["graceMs"] / 1000)
            reason = event.data.get("reason")
            logger.info("item %s (fence %d): cancelled, reason: %s", item_id, fence, reason)
        elif event.name == "drain":
            self._gate.close(time.monotonic())


class Heartbeat:
    """Renews the leases of all runs with one request."""

    def __init__(self, client: Client, runs: Runs, gate: Gate) -> None:
        self._client = client
        self._runs = runs
        self._gate = gate

    def run(self, end: threading.Event) -> None:
        # Within one lease there must be time for several tries.
        backoff = Backoff(most_s=1.0)
        sent_at = -math.inf
        while beats := self._runs.wait_for_beat(sent_at):
            sent_at = time.monotonic()
            try:
                directives, draining = self._client.heartbeat(
                    [(run.item, progress) for run, progress in beats]
                )
            except (Refused, Unavailable) as error:
                logger.warning("heartbeat: %s", error)
                sent_at = -math.inf
                end.wait(backoff.next_s())
                continue
            backoff.reset()
            by_id = {directive.item_id: directive for directive in directives}
            for run, _ in beats:
                if directive := by_id.get(run.item.id):
                    self._handle_directive(run, directive, sent_at)
            if draining:
                self._gate.close(sent_at)

    def _handle_directive(self, run: Run, directive: Directive, sent_at: float) -> None:
        if directive.directive == "lost":
            logger.warning("%s: the server has given it to somebody else", run.item)
            self._runs.lose(run)
            return
        self._runs.renew(run, sent_at, directive.lease_s)
        if directive.directive == "cancel":
            self._runs.cancel(run.item.id, run.item.fence, directive.grace_s)
