"""A worker: claims items, keeps them, and drains."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TypeVar

from .backoff import Backoff
from .child import NAME, Function
from .client import Client, Refused, Token, Unavailable
from .control import ControlStream, Gate, Heartbeat
from .protocol import Item
from .runs import Runs
from .slot import Slot, give_back

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Function)

SERVER = "http://127.0.0.1:7070"
MODELS_MAX = 32
SLOTS_MAX = 100
WAIT_S = 25.0
# What a job that is given back has to notice it, before its child is killed.
DRAIN_GRACE_S = 2.0
END_S = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Worker:
    """Runs functions on the items of a server's queue, until it is told to stop.

    `server` is else `TIDEGATE_SERVER`; the token is else what `Token.find` finds; `slots` is how
    many jobs it works on at once, each in a process of its own; `drain_s` is how long jobs may go
    on when the worker is told to stop.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        name: str | None = None,
        slots: int = 1,
        drain_s: float = 30.0,
    ) -> None:
        self.server = server or os.environ.get("TIDEGATE_SERVER") or SERVER
        self.name = name or _default_name()
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", self.name):
            raise ValueError("a worker's name is 1 to 100 of A-Z a-z 0-9 . _ -")
        if not 1 <= slots <= SLOTS_MAX:
            raise ValueError(f"slots are 1 to {SLOTS_MAX}")
        self.slots = slots
        self.drain_s = drain_s
        self._token = token
        self._token_file = token_file
        self._functions: dict[str, Function] = {}
        # Not an Event: a signal's handler may put into a SimpleQueue whatever it interrupts.
        self._stops: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def model(self, name: str) -> Callable[[F], F]:
        """Makes the decorated function the one for items of this model.

        It is found by its name in the process that runs it, so it stands at a module's top level.
        """

        def add(function: F) -> F:
            if name in self._functions:
                raise ValueError(f"there is a function for model {name!r} already")
            self._functions[name] = function
            return function

        return add

    def stop(self) -> None:
        """Makes `run` drain and return, from another thread or a signal's handler."""
        self._stops.put(None)

    def run(self) -> None:
        """Works until SIGTERM, SIGINT or `stop`, then drains. A second signal ends the process.

        # Errors
        `RuntimeError` if the process for the functions does not come up; and what a defect raises.
        """
        if multiprocessing.current_process().name == NAME:
            # The module that called this is being imported by a child, to find its functions.
            return
        if not 1 <= len(self._functions) <= MODELS_MAX:
            raise ValueError(f"a worker has functions for 1 to {MODELS_MAX} models")
        token = Token.find(self._token, self._token_file)
        # What functions run in inherits the environment.
        os.environ.pop("TIDEGATE_TOKEN", None)
        session = _Session(self, Client(self.server, self.name, token), self._functions)
        with _signals(self.stop):
            logger.info("worker %s at %s for %s", self.name, self.server, list(self._functions))
            session.start(self._stops)
            failure = self._stops.get()
            if failure is None:
                logger.info(
                    "draining, for %.0f s at most; another signal ends at once", self.drain_s
                )
                session.drain(self.drain_s)
            session.close()
        if failure is not None:
            raise failure


class _Session:
    """All that runs between the beginning and the end of `Worker.run`."""

    def __init__(self, worker: Worker, client: Client, functions: dict[str, Function]) -> None:
        self._client = client
        self._models = list(functions)
        self._runs = Runs()
        self._gate = Gate()
        self._draining = threading.Event()
        self._end = threading.Event()
        self._idle: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        self._slots = [Slot(client, self._runs, functions, self._idle) for _ in range(worker.slots)]
        self._slot_threads: list[threading.Thread] = []
        self._alive = 0
        self._alive_lock = threading.Lock()
        # Of the claim whose items, if any, are not all begun or given back yet.
        self._claim_id: str | None = None

    def start(self, failures: queue.SimpleQueue[BaseException | None]) -> None:
        def start(name: str, run: Callable[[], None]) -> threading.Thread:
            def guarded() -> None:
                try:
                    run()
                except BaseException as error:  # noqa: BLE001, it is raised again by `Worker.run`
                    failures.put(error)
                finally:
                    self._leave()

            with self._alive_lock:
                self._alive += 1
            # What waits for an answer ends with the process, or when it has its answer.
            thread = threading.Thread(target=guarded, name=f"tidegate-{name}", daemon=True)
            thread.start()
            return thread

        control = ControlStream(self._client, self._runs, self._gate)
        heartbeat = Heartbeat(self._client, self._runs, self._gate)
        start("watch", self._runs.watch)
        start("control", partial(control.run, self._end))
        start("heartbeat", partial(heartbeat.run, self._end))
        self._slot_threads = [
            start(f"slot-{number}", partial(slot.run, self._end))
            for number, slot in enumerate(self._slots)
        ]
        start("claim", self._claim_items)

    def _leave(self) -> None:
        with self._alive_lock:
            self._alive -= 1
            last = self._alive == 0
        if last:
            self._client.close()

    def drain(self, drain_s: float) -> None:
        self._draining.set()
        self._runs.drain(drain_s, DRAIN_GRACE_S)
        # The claim that is still waiting may have been answered in this moment. Asked again, the
        # server says with what.
        claim_id = self._claim_id
        if claim_id is not None:
            try:
                for item in self._client.claim(self._models, claim_id=claim_id, most=1, wait_s=0):
                    give_back(self._client, item)
            except (Refused, Unavailable) as error:
                logger.info("the last claim: %s", error)

    def close(self) -> None:
        self._draining.set()
        self._end.set()
        self._idle.put(None)
        self._runs.close()
        for slot in self._slots:
            slot.inbox.put(None)
        until = time.monotonic() + END_S
        for slot, thread in zip(self._slots, self._slot_threads, strict=True):
            thread.join(max(until - time.monotonic(), 0.0))
            if thread.is_alive():
                slot.kill()
                thread.join(END_S)

    def _claim_items(self) -> None:
        while slots := self._idle_slots():
            for item in self._claim(len(slots)):
                run = self._runs.begin(item)
                if run is None:
                    give_back(self._client, item)
                else:
                    slots.pop().inbox.put(run)
            self._claim_id = None
            for slot in slots:
                self._idle.put(slot)

    def _idle_slots(self) -> list[Slot]:
        """All that are idle, at least one. None at the end."""
        slots = []
        slot = self._idle.get()
        while slot is not None and not self._draining.is_set():
            slots.append(slot)
            try:
                slot = self._idle.get_nowait()
            except queue.Empty:
                return slots
        return []

    def _claim(self, most: int) -> list[Item]:
        claim_id = str(uuid.uuid4())
        backoff = Backoff()
        while not self._draining.is_set():
            if not self._gate.wait(1.0):
                continue
            self._claim_id = claim_id
            try:
                items = self._client.claim(
                    self._models, claim_id=claim_id, most=most, wait_s=WAIT_S
                )
            except (Refused, Unavailable) as error:
                delay_s = backoff.next_s()
                logger.warning("claim: %s; again in %.1f s", error, delay_s)
                self._draining.wait(delay_s)
                continue
            return items[:most]
        return []


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first signal stops the worker, the second ends its process as if nobody cared."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle_signal(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        stop()

    before = {number: signal.signal(number, handle_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _default_name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())
    return f"{host[:80]}-{os.getpid()}"
