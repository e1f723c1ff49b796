"""Images as PNG and TIFF, by both models: what is served is what a direct call finds."""

from dataclasses import asdict

from scene import scenario, worker
from tidegate_worker.examples.cells import Cell, photograph, save, scatter
from tidegate_worker.examples.segment import load, segment


def work(server, folder):
    cells = [*scatter(30, 500, 400, seed=7), Cell(40, 360, 24, hole=9)]
    drawn = photograph(cells, 500, 400, seed=7)
    seen = {}
    with worker(server, "--slots", "2"):
        for name in ("cells.png", "cells.tif"):
            path = folder / name
            save(drawn, path)
            image, project = server.upload(path)
            assert server.status(image) == "no_segmentation"
            for model, threshold in (("otsu", 0.5), ("local", 0.45)):
                with server.feed(project) as feed:
                    item = server.enqueue(image, model=model, threshold=threshold)
                    done = feed.until("queue.item.completed", item)
                assert done["imageStatus"] == "segmented", done
                assert server.status(image) == "segmented"
                result = server.result(image)
                expect(result, segment(load(path), model, threshold), model)
                seen[f"{name} {model}"] = len(result["polygons"])
    assert seen["cells.png otsu"] >= 31, seen
    return seen


def expect(served, direct, model):
    assert served["model"] == model
    size = served["imageSize"]
    assert (size["width"], size["height"]) == (direct.width, direct.height)
    assert served["polygons"] == [as_served(polygon) for polygon in direct.polygons]


def as_served(polygon):
    members = asdict(polygon)
    members["class"] = members.pop("class_")
    members["points"] = [{"x": x, "y": y} for x, y in polygon.points]
    return {name: value for name, value in members.items() if value is not None}


scenario(work)
