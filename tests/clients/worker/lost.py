"""Workers that are killed or stopped lose their items to others, and their late reports count for
nothing."""

import signal
import time

from scene import Worker, scenario, wait_until, worker
from tidegate_worker.examples.cells import photograph, save, scatter


def work(server, folder):
    path = folder / "cells.png"
    save(photograph(scatter(10, 300, 200, seed=5), 300, 200, seed=5), path)
    image, project = server.upload(path)
    seen = {}
    for number in (signal.SIGKILL, signal.SIGSTOP):
        with server.feed(project) as feed:
            lost = Worker(server, "--slow", "600")
            try:
                item = server.enqueue(image)
                feed.until("queue.item.progress", item)
                gone = time.monotonic()
                lost.signal(number)
                again = feed.until("queue.item.queued", item)
                seen[f"{number.name} closed in s"] = round(time.monotonic() - gone, 1)
                assert again["attempt"] == 1, again
                with worker(server):
                    feed.until("queue.item.completed", item)
                    done = server.item(item)
                    assert (done["state"], done["attempt"]) == ("completed", 2), done
                    before = server.result(image)
                    lost.signal(signal.SIGCONT)
                    if number == signal.SIGSTOP:
                        # It has found out by itself that the item is not its any more.
                        wait_until(lambda: is_idle(lost), "the stopped worker gives its job up")
                assert server.item(item) == done
                assert server.result(image) == before
            finally:
                lost.process.kill()
                lost.process.wait()
    # Cancelled while its worker is gone: nobody but the lease ends it.
    with server.feed(project) as feed:
        lost = Worker(server, "--slow", "600")
        item = server.enqueue(image)
        feed.until("queue.item.progress", item)
        lost.signal(signal.SIGKILL)
        lost.process.wait()
        gone = time.monotonic()
        server.call("DELETE", f"/api/queue/items/{item}")
        told = feed.until("queue.item.cancelled", item)
        seen["cancelled closed in s"] = round(time.monotonic() - gone, 1)
        assert (told["how"], told["imageStatus"]) == ("lease_expired", "segmented"), told
    return seen


def is_idle(stopped):
    """Whether it says that it has lost its item: by its own clock, or by the server's word."""
    text = stopped.text()
    return "counts as lost" in text or "given it to somebody else" in text


scenario(work)
