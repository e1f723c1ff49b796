"""The example finds what is on an image, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from stub import DEADLINE_S, TOKEN, Stub

from tidegate_worker import Cancelled, Failed, Result
from tidegate_worker.examples.cells import Cell, photograph, scatter
from tidegate_worker.examples.segment import load, segment

WIDTH, HEIGHT = 400, 300
PixelArray = npt.NDArray[np.generic]


@pytest.mark.parametrize("model", ["otsu", "local"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_cell_is_found(model: str, seed: int) -> None:
    cells = scatter(25, WIDTH, HEIGHT, seed=seed)
    result = segment(photograph(cells, WIDTH, HEIGHT, seed=seed), model)
    assert found_areas(result) == pytest.approx(areas(cells), rel=0.2)
    assert sum(found_areas(result)) == pytest.approx(sum(areas(cells)), rel=0.06)
    assert (result.width, result.height) == (WIDTH, HEIGHT)


def test_the_local_model_sees_through_uneven_light() -> None:
    cells = scatter(25, WIDTH, HEIGHT, seed=4)
    image = photograph(cells, WIDTH, HEIGHT, seed=4, uneven=0.7)
    assert len(found_areas(segment(image, "local"))) == len(cells)
    assert len(found_areas(segment(image, "otsu"))) != len(cells)


def test_cells_that_touch_are_two() -> None:
    cells = [Cell(60, 60, 20), Cell(92, 60, 20), Cell(60, 150, 15)]
    assert len(found_areas(segment(photograph(cells, 160, 200, seed=5)))) == 3


def test_holes_are_polygons_of_their_own() -> None:
    cells = [Cell(60, 60, 25, hole=9), Cell(150, 60, 20)]
    image = photograph(cells, 200, 120, seed=6)
    with_holes = segment(image).polygons
    assert [polygon.type for polygon in with_holes] == ["external", "internal", "external"]
    assert with_holes[1].area == pytest.approx(np.pi * 9**2, rel=0.2)
    assert [polygon.type for polygon in segment(image, detect_holes=False).polygons] == [
        "external",
        "external",
    ]


def test_a_higher_threshold_finds_less() -> None:
    image = photograph(scatter(25, WIDTH, HEIGHT, seed=7), WIDTH, HEIGHT, seed=7)
    sums = [sum(found_areas(segment(image, threshold=at))) for at in (0.3, 0.5, 0.7, 0.9)]
    assert sums == sorted(sums, reverse=True)
    assert len(set(sums)) == 4


def test_points_are_on_the_image() -> None:
    corners = [(0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)]
    cells = [Cell(x, y, 30) for x, y in corners]
    result = segment(photograph(cells, WIDTH, HEIGHT, seed=8))
    points = [point for polygon in result.polygons for point in polygon.points]
    assert len(result.polygons) == 4
    assert {min(x for x, _ in points), min(y for _, y in points)} == {0.0}
    assert (max(x for x, _ in points), max(y for _, y in points)) == (WIDTH, HEIGHT)
    assert all(len(polygon.points) >= 3 for polygon in result.polygons)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (60, 50)])
@pytest.mark.parametrize("model", ["otsu", "local"])
def test_an_empty_image_has_no_cells(shape: tuple[int, int], model: str) -> None:
    assert segment(np.zeros(shape, dtype=np.uint8), model).polygons == []


def test_the_same_image_has_the_same_result() -> None:
    image = photograph(scatter(25, WIDTH, HEIGHT, seed=9), WIDTH, HEIGHT, seed=9)
    assert segment(image) == segment(image.copy())


def test_it_can_be_cancelled_at_every_step() -> None:
    image = photograph(scatter(5, WIDTH, HEIGHT, seed=10), WIDTH, HEIGHT, seed=10)
    told: list[float] = []
    segment(image, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 100
    for step in range(len(told)):
        left = iter(range(step))

        def progress(_percent: float, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Cancelled

        with pytest.raises(Cancelled):
            segment(image, progress=progress)


def test_files_of_the_same_image_are_the_same(tmp_path: Path) -> None:
    image = photograph(scatter(25, WIDTH, HEIGHT, seed=11), WIDTH, HEIGHT, seed=11)
    low = (image >> 8).astype(np.uint8)
    inverted = {"photometric": "miniswhite"}
    for pixels in (image, low):
        Image.fromarray(pixels).save(tmp_path / "image.png")
        tifffile.imwrite(tmp_path / "image.tif", pixels)
        tifffile.imwrite(tmp_path / "big.tif", pixels, bigtiff=True, compression="zlib")
        tifffile.imwrite(tmp_path / "pages.tif", np.stack([pixels, pixels[::-1]]))
        tifffile.imwrite(tmp_path / "white.tif", pixels.max() - pixels, **inverted)  # type: ignore[arg-type]
        for name in ("image.png", "image.tif", "big.tif", "pages.tif"):
            np.testing.assert_array_equal(load(tmp_path / name), pixels, name)
        expected = segment(pixels)
        assert segment(load(tmp_path / "image.png")) == expected
        assert segment(load(tmp_path / "image.tif")) == expected
        assert len(segment(load(tmp_path / "white.tif")).polygons) == len(expected.polygons)


def test_colours_count_by_their_luminance(tmp_path: Path) -> None:
    grey = photograph(scatter(9, 200, 150, seed=12), 200, 150, seed=12)
    low = (grey >> 8).astype(np.uint8)
    opaque = np.full_like(low, 255)
    Image.fromarray(np.dstack([low, low, low])).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([low, low, low, opaque])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([low, opaque])).save(tmp_path / "la.png")
    Image.fromarray(low).convert("P").save(tmp_path / "palette.png")
    tifffile.imwrite(tmp_path / "rgb.tif", np.dstack([grey] * 3), photometric="rgb")
    tifffile.imwrite(
        tmp_path / "planes.tif", np.stack([grey] * 3), photometric="rgb", planarconfig="separate"
    )
    for name in ("rgb.png", "rgba.png", "la.png", "palette.png", "rgb.tif", "planes.tif"):
        assert load(tmp_path / name).shape == (150, 200)
        assert len(found_areas(segment(load(tmp_path / name)))) == 9, name


@pytest.mark.parametrize("content", [b"", b"no image", b"II*\0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_fails_for_good(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(Failed) as failed:
        load(tmp_path / "image")
    assert failed.value.retryable is False


def test_the_program_works_and_can_be_cancelled(stub: Stub, tmp_path: Path) -> None:
    cells = scatter(25, WIDTH, HEIGHT, seed=13)
    tifffile.imwrite(tmp_path / "image.tif", photograph(cells, WIDTH, HEIGHT, seed=13))
    image = (tmp_path / "image.tif").read_bytes()
    (tmp_path / "token").write_text(TOKEN)
    with running(stub, "--token-file", str(tmp_path / "token"), "--slots", "2", "--slow", "2"):
        entries = [stub.enqueue(image, model, "a.tif") for model in ("otsu", "local")]
        stub.wait_until(lambda: all(entry.finishes for entry in entries), "both are reported")
        slow = stub.enqueue(image, "otsu", "a.tif")
        stub.wait_until(lambda: slow.state == "processing", "it is claimed")
        stub.cancel(slow, 60_000)
        stub.wait_until(lambda: slow.finishes, "reported")
    for entry in entries:
        polygons = entry.finishes[0]["result"]["polygons"]
        assert len(polygons) == len(cells)
        assert {polygon["class"] for polygon in polygons} == {"cell"}
        assert entry.progress
    assert slow.outcomes == ["cancelled"]


@contextmanager
def running(stub: Stub, *options: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tidegate_worker.examples.segment", "--server", stub.url]
    process = subprocess.Popen([*command, *options])
    try:
        yield
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


def areas(cells: list[Cell]) -> list[float]:
    return sorted(cell.area for cell in cells)


def found_areas(result: Result) -> list[float]:
    external = [polygon for polygon in result.polygons if polygon.type == "external"]
    return sorted(polygon.area or 0.0 for polygon in external)
