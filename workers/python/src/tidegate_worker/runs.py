"""What this worker works on, for how long it may, and what happens when time is up.

The invariant: a run that nobody has told to go on for 0.8 of its lease is ended here, before the
server gives its item to somebody else. Only `time.monotonic` decides, and each renewal counts from
when its request was sent, since that is the earliest moment at which the server can have granted
it.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Sequence

from .child import Child
from .protocol import Item

logger = logging.getLogger(__name__)

# Of the lease: when a run without a renewal ends itself.
FENCE = 0.8
# Of the lease: what such a run has to notice it, before its child is killed.
LOST_GRACE = 0.1
# Of a cancel's grace: when the child is killed. The server ends the item by itself when the grace
# does, and the report that the work has stopped should be there before.
KILL = 0.9
# At most one heartbeat in so many seconds is due to progress.
PROGRESS_S = 1.0
# In leases: how long a server that renews an item may fail to take its report.
REPORT_LEASES = 4


class State(enum.Enum):
    WORKING = enum.auto()
    # Told to end, and still to be reported.
    CANCELLED = enum.auto()
    # Somebody else's by now: nothing of it is reported.
    LOST = enum.auto()
    # The child is done with it, and the server is being told.
    REPORTING = enum.auto()


class Run:
    """One item from its claim until its last report. All of it is guarded by the lock of `Runs`."""

    def __init__(self, item: Item, now: float) -> None:
        self.item = item
        self.state = State.WORKING
        self.progress: int | None = None
        self.told_progress: int | None = None
        self.child: Child | None = None
        self.kill_at: float | None = None
        self.report_until = now
        self._lease_s = item.lease_s
        self._renewed_at = now

    def renew(self, sent_at: float, lease_s: float) -> None:
        self._renewed_at = sent_at
        self._lease_s = lease_s

    @property
    def fence_at(self) -> float:
        return self._renewed_at + FENCE * self._lease_s

    @property
    def gone_at(self) -> float:
        """From when on the server has surely given up on this run."""
        return self._renewed_at + self._lease_s

    def end(self, state: State, kill_at: float) -> None:
        self.state = state
        self.kill_at = kill_at if self.kill_at is None else min(self.kill_at, kill_at)
        if self.child is not None:
            self.child.cancel()

    def lose(self, now: float) -> None:
        self.end(State.LOST, now + LOST_GRACE * self._lease_s)

    def handle_time(self, now: float) -> float | None:
        """Does what is due, and says when to ask again."""
        if self.state in (State.WORKING, State.CANCELLED) and now >= self.fence_at:
            logger.warning("%s: no word from the server, so it counts as lost", self.item)
            self.lose(now)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = None
            if self.child is not None:
                logger.warning("%s: did not end when told to; its process is killed", self.item)
                self.child.kill()
        if self.state in (State.WORKING, State.CANCELLED):
            return self.fence_at if self.kill_at is None else min(self.fence_at, self.kill_at)
        return self.kill_at


class Runs:
    """All runs of the worker. Threads wait in here for what concerns them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._runs: dict[tuple[str, int], Run] = {}
        # Cancels that arrived before their claim's answer: what ended by itself, until when.
        self._early: dict[tuple[str, int], float] = {}
        self._draining = False
        self._closed = False

    def begin(self, item: Item) -> Run | None:
        """`None` once draining has begun: the item is to be given back."""
        with self._changed:
            if self._draining:
                return None
            now = time.monotonic()
            run = Run(item, now)
            self._runs[item.id, item.fence] = run
            kill_at = self._early.pop((item.id, item.fence), None)
            if kill_at is not None:
                run.end(State.CANCELLED, kill_at)
            self._changed.notify_all()
            return run

    def attach(self, run: Run, child: Child) -> bool:
        """Lets `child` be told when `run` is to end. False if it is already."""
        with self._changed:
            if run.state is not State.WORKING:
                return False
            run.child = child
            child.prepare()
            return True

    def settle(self, run: Run) -> State:
        """The child is done. The state says what is to be reported, and cannot change to
        `CANCELLED` any more."""
        with self._changed:
            state = run.state
            run.child = None
            run.kill_at = None
            if state is not State.LOST:
                run.state = State.REPORTING
                run.report_until = time.monotonic() + REPORT_LEASES * run.item.lease_s
            self._changed.notify_all()
            return state

    def is_reportable(self, run: Run) -> bool:
        """Whether the server may still take a report."""
        with self._changed:
            now = time.monotonic()
            return run.state is State.REPORTING and now < min(run.gone_at, run.report_until)

    def end(self, run: Run) -> None:
        with self._changed:
            self._runs.pop((run.item.id, run.item.fence), None)
            self._changed.notify_all()

    def advance(self, run: Run, percent: int) -> None:
        with self._changed:
            run.progress = percent
            self._changed.notify_all()

    def cancel(self, item_id: str, fence: int, grace_s: float) -> None:
        """May come twice, and may come too early or too late."""
        with self._changed:
            now = time.monotonic()
            kill_at = now + KILL * grace_s
            run = self._runs.get((item_id, fence))
            if run is None:
                self._early = {key: at for key, at in self._early.items() if at > now}
                self._early[item_id, fence] = kill_at
            elif run.state in (State.WORKING, State.CANCELLED):
                run.end(State.CANCELLED, kill_at)
                self._changed.notify_all()

    def lose(self, run: Run) -> None:
        with self._changed:
            run.lose(time.monotonic())
            self._changed.notify_all()

    def renew(self, run: Run, sent_at: float, lease_s: float) -> None:
        with self._changed:
            run.renew(sent_at, lease_s)
            self._changed.notify_all()

    def wait_for_beat(self, sent_at: float) -> Sequence[tuple[Run, int | None]]:
        """The runs of the next heartbeat and their progress, when it is time for it; `sent_at` is
        when the last one was sent. Empty once closed."""
        with self._changed:
            while not self._closed:
                runs = [run for run in self._runs.values() if run.state is not State.LOST]
                due = sent_at + min((run.item.heartbeat_s for run in runs), default=0.0)
                if any(run.progress != run.told_progress for run in runs):
                    due = min(due, sent_at + PROGRESS_S)
                now = time.monotonic()
                if runs and now >= due:
                    for run in runs:
                        run.told_progress = run.progress
                    return [(run, run.progress) for run in runs]
                self._changed.wait(due - now if runs else None)
            return []

    def watch(self) -> None:
        """Ends what has to end, until closed. Nothing in here may block: it is the one that kills
        what does."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                times = [run.handle_time(now) for run in self._runs.values()]
                deadline = min((at for at in times if at is not None), default=None)
                self._changed.wait(None if deadline is None else max(deadline - now, 0.0))

    def drain(self, drain_s: float, grace_s: float) -> None:
        """Admits nothing more, and returns when all runs have ended by themselves or, after
        `drain_s`, have been made to."""
        with self._changed:
            self._draining = True
            if self._changed.wait_for(lambda: not self._runs, drain_s):
                return
            kill_at = time.monotonic() + grace_s
            for run in self._runs.values():
                if run.state is State.WORKING:
                    logger.warning("%s: not done in time, given back", run.item)
                    run.end(State.CANCELLED, kill_at)
            self._changed.notify_all()
            leases_s = max(run.item.lease_s for run in self._runs.values())
            self._changed.wait_for(lambda: not self._runs, grace_s + leases_s)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
