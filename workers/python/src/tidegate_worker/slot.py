"""One child, and the thread that gives it work and reports what has become of it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping

from .backoff import Backoff
from .child import Begun, Child, ChildEnded, Function, Progress
from .client import Client, Refused, Unavailable
from .protocol import Completed, Failure, Item, Outcome, Stopped
from .runs import Run, Runs, State

logger = logging.getLogger(__name__)

ENDED = Failure("the process that worked on it has ended", retryable=True)


class Slot:
    """Offers itself in `idle` whenever it can take a run, and takes it from its inbox."""

    def __init__(
        self,
        client: Client,
        runs: Runs,
        functions: Mapping[str, Function],
        idle: queue.SimpleQueue[Slot | None],
    ) -> None:
        # A run, or `None` to end.
        self.inbox: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._client = client
        self._runs = runs
        self._functions = functions
        self._idle = idle
        self._child: Child | None = None

    def run(self, end: threading.Event) -> None:
        """# Errors
        `RuntimeError` if not even the first child comes up: then there is no use in others."""
        child = self._child = Child(self._functions)
        try:
            if not self._is_ready(child):
                raise RuntimeError("the function's process ended before it was ready")
            while True:
                self._idle.put(self)
                run = self.inbox.get()
                if run is None:
                    return
                # One that has ended while it was idle must not cost the item an attempt.
                child = self._child = self._replaced(child, end)
                outcome = self._outcome(run, child)
                if outcome is None:
                    # It was dying already, and nobody could see that.
                    child = self._child = self._replaced(child, end)
                    outcome = self._outcome(run, child)
                self._settle(run, outcome or ENDED, end)
                child = self._child = self._replaced(child, end)
        finally:
            child.end()

    def kill(self) -> None:
        """Ends whatever the thread of this slot is waiting for."""
        if self._child is not None:
            self._child.kill()

    def _settle(self, run: Run, outcome: Outcome, end: threading.Event) -> None:
        state = self._runs.settle(run)
        if state is State.CANCELLED:
            # A result that came too late would be refused, and an error is of no interest.
            outcome = Stopped()
        if state is not State.LOST:
            self._report(run, outcome, end)
        self._runs.end(run)

    def _outcome(self, run: Run, child: Child) -> Outcome | None:
        """What becomes of the item. None: nothing, the child has ended before it began."""
        has_begun = False
        if not self._runs.attach(run, child):
            return Stopped()
        logger.info("%s: begun, model %s", run.item, run.item.model)
        try:
            child.send(run.item)
            while True:
                message = child.receive()
                if isinstance(message, Begun):
                    has_begun = True
                elif isinstance(message, Progress):
                    self._runs.advance(run, message.percent)
                elif isinstance(message, logging.LogRecord):
                    _log(message)
                elif isinstance(message, Completed | Failure | Stopped):
                    return message
        except ChildEnded:
            return ENDED if has_begun else None

    def _report(self, run: Run, outcome: Outcome, end: threading.Event) -> None:
        backoff = Backoff()
        while self._runs.is_reportable(run) and not end.is_set():
            try:
                state = self._client.finish(run.item, outcome)
            except Unavailable as error:
                logger.warning("%s: not reported yet: %s", run.item, error)
                end.wait(backoff.next_s())
            except Refused as refused:
                if refused.status in (400, 413) and isinstance(outcome, Completed):
                    logger.error("%s: the result is refused: %s", run.item, refused)
                    outcome = Failure(f"the result is refused: {refused}"[:2000], retryable=False)
                    continue
                logger.warning("%s: dropped: %s", run.item, refused)
                return
            else:
                logger.info("%s: %s", run.item, state)
                return
        logger.error("%s: could not be reported while it was ours", run.item)

    def _replaced(self, child: Child, end: threading.Event) -> Child:
        """The child, or the next one if it has ended."""
        backoff = Backoff()
        while not child.is_alive and not end.is_set():
            logger.info("the function's process ended with %s, the next is started", child.end())
            child = Child(self._functions)
            if not self._is_ready(child):
                end.wait(backoff.next_s())
        return child

    def _is_ready(self, child: Child) -> bool:
        try:
            while isinstance(message := child.receive(), logging.LogRecord):
                _log(message)
        except ChildEnded:
            return False
        return True


def _log(record: logging.LogRecord) -> None:
    """Logs what a child has sent, if this process cares for it."""
    log = logging.getLogger(record.name)
    if log.isEnabledFor(record.levelno):
        log.handle(record)


def give_back(client: Client, item: Item) -> None:
    """Reports an item that was never begun. If that fails, its lease runs out."""
    try:
        client.finish(item, Stopped())
        logger.info("%s: given back", item)
    except (Refused, Unavailable) as error:
        logger.warning("%s: could not be given back: %s", item, error)
