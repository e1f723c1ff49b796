"""A cancel in the middle of a slow inference stops it, and the image is what it was before."""

import time

from scene import scenario, worker
from tidegate_worker.examples.cells import photograph, save, scatter


def work(server, folder):
    path = folder / "cells.png"
    save(photograph(scatter(20, 400, 300, seed=3), 400, 300, seed=3), path)
    image, project = server.upload(path)
    with server.feed(project) as feed, worker(server):
        item = server.enqueue(image)
        feed.until("queue.item.completed", item)
    before = server.result(image)
    stopped = []
    with server.feed(project) as feed, worker(server, "--slow", "600"):
        # One after the other with one slot: each begins because the one before has stopped.
        for way in ("delete", "post", "batch", "project", "all"):
            batch, item = enqueue(server, project, image)
            feed.until("queue.item.progress", item)
            assert server.status(image) == "processing"
            called = time.monotonic()
            cancel(server, way, item, batch, project)
            # Without waiting for the worker.
            assert server.item(item)["state"] in ("cancelling", "cancelled")
            assert server.status(image) == "segmented"
            told = feed.until("queue.item.cancelling", item)
            assert told["imageStatus"] == "segmented", told
            told = feed.until("queue.item.cancelled", item)
            stopped.append(round((time.monotonic() - called) * 1000))
            assert (told["how"], told["imageStatus"]) == ("worker", "segmented"), told
    assert server.result(image) == before
    return {"stoppedInMs": stopped}


def enqueue(server, project, image):
    order = {"projectId": project, "imageIds": [image], "forceResegment": True}
    batch = server.call("POST", "/api/queue/batch", order, status=201)
    assert batch["queuedCount"] == 1, batch
    return batch["batchId"], batch["queueEntries"][0]["id"]


def cancel(server, way, item, batch, project):
    ways = {
        "delete": ("DELETE", f"/api/queue/items/{item}"),
        "post": ("POST", f"/api/queue/items/{item}/cancel"),
        "batch": ("POST", f"/api/queue/batches/{batch}/cancel"),
        "project": ("POST", f"/api/queue/projects/{project}/cancel"),
        "all": ("POST", "/api/queue/cancel-all-user"),
    }
    answer = server.call(*ways[way], body={"reason": "wrong image"})
    if way in ("delete", "post"):
        assert answer["outcome"] == "cancelling", answer
    else:
        assert (answer["cancelling"], answer["total"]) == (1, 1), answer


scenario(work)
