"""A function that never looks is killed at the end of the grace, and its worker goes on."""

import sys
import time

from scene import Server, scenario, worker
from tidegate_worker import Job, Result, Worker


def deaf(job: Job) -> Result:
    """Slow with the first model, and not with the other."""
    if job.model == "otsu":
        job.progress(1)
        until = time.monotonic() + 600
        while time.monotonic() < until:
            pass
    return Result([], 1, 1)


def work(server, folder):
    path = folder / "any.bin"
    path.write_bytes(b"not looked at")
    image, project = server.upload(path)
    command = (sys.executable, __file__, "work")
    with server.feed(project) as feed, worker(server, command=command):
        item = server.enqueue(image, model="otsu")
        feed.until("queue.item.progress", item)
        called = time.monotonic()
        server.call("DELETE", f"/api/queue/items/{item}")
        told = feed.until("queue.item.cancelled", item)
        killed_ms = round((time.monotonic() - called) * 1000)
        assert (told["how"], told["imageStatus"]) == ("worker", "no_segmentation"), told
        item = server.enqueue(image, model="local")
        feed.until("queue.item.completed", item)
    assert server.status(image) == "segmented"
    return {"killedInMs": killed_ms}


if __name__ == "__main__":
    if sys.argv[1] == "work":
        program = Worker(sys.argv[3])
        for name in ("otsu", "local"):
            program.model(name)(deaf)
        program.run()
    else:
        scenario(work)
