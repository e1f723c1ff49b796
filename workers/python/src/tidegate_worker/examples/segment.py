"""Finds cells: bright, roundish things on darker ground, in PNG and TIFF images.

Threshold, distance transform, watershed, outlines. There are two models:

* `otsu`: one level for the whole image, by Otsu's method.
* `local`: a level for each place, by Otsu's method above its surroundings, for uneven light.

A job's `threshold` moves the level: 0.5 leaves it where the model puts it; below, it goes
linearly towards the darkest of the image, which finds more; above, towards the brightest.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.feature import peak_local_max
from skimage.filters import threshold_local, threshold_otsu
from skimage.measure import approximate_polygon, find_contours
from skimage.segmentation import watershed

from tidegate_worker import Failed, Job, Polygon, Result, Worker

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

# Pixels. Less is noise.
CELL_AREA_MIN = 30
HOLE_AREA_MIN = 12
SMOOTHING_SIGMA = 1.5
# Of the image's shorter side: the surroundings of the local level.
SURROUNDINGS = 0.2
# Pixels that an outline may deviate from the boundary of its cell.
OUTLINE_TOLERANCE = 0.5
# Either order of bytes, with 32 and 64 bits.
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def segment(
    image: Pixels,
    model: str = "otsu",
    threshold: float = 0.5,
    detect_holes: bool = True,
    *,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[float], None] = lambda percent: None,
) -> Result:
    """The outlines of the cells of a grey image, and of the holes in them. The same image has the
    same result, always."""
    height, width = image.shape
    smooth = ndimage.gaussian_filter(image.astype(np.float64), SMOOTHING_SIGMA)
    progress(10)
    mask = _without_small(smooth > _level(smooth, model, threshold), CELL_AREA_MIN)
    progress(25)
    solid = _without_holes(mask)
    distance = ndimage.distance_transform_edt(solid)
    progress(35)
    labels = watershed(-distance, _seeds(distance, solid), mask=solid)
    progress(50)
    polygons: list[Polygon] = []
    boxes = ndimage.find_objects(labels)
    for number, box in enumerate(boxes, start=1):
        check()
        cell = labels[box] == number
        if np.count_nonzero(cell) >= CELL_AREA_MIN:
            corner = (box[1].start, box[0].start)
            polygons += _outlines(cell & mask[box] if detect_holes else cell, corner)
        progress(50 + 50 * number / len(boxes))
    progress(100)
    return Result(polygons, width, height)


def _level(smooth: Pixels, model: str, threshold: float) -> Pixels | float:
    """What is above is cell."""
    darkest, brightest = np.percentile(smooth, [0.5, 99.5])
    if brightest <= darkest:
        return float(smooth.max())
    level: Pixels | float
    if model == "local":
        # Odd, as the filter wants it.
        side = int(min(smooth.shape) * SURROUNDINGS) // 2 * 2 + 3
        surroundings = threshold_local(smooth, side, method="gaussian")
        # As bright as its surroundings is all of the ground. How much brighter a cell is, is
        # Otsu's question again.
        level = surroundings + threshold_otsu(smooth - surroundings)
    else:
        level = float(threshold_otsu(smooth))
    shift = 2 * (threshold - 0.5)
    moved: Pixels | float = level + shift * (brightest - level if shift > 0 else level - darkest)
    return moved


def _without_small(mask: Mask, area_min: int) -> Mask:
    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) >= area_min
    keep[0] = False
    return np.asarray(keep[labels])


def _without_holes(mask: Mask) -> Mask:
    """Fills what is inside a cell, and leaves open what a ring of cells encloses: that is larger
    than a cell usually is."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    cell_area = float(np.median(np.bincount(labels.ravel())[1:]))
    holes = ndimage.binary_fill_holes(mask) & ~mask
    return np.asarray(mask | (holes & ~_without_small(holes, max(HOLE_AREA_MIN, int(cell_area)))))


def _seeds(distance: Pixels, solid: Mask) -> Pixels:
    """One number for each cell's middle: the points farthest from the ground around them."""
    clusters, count = ndimage.label(solid)
    if count == 0:
        return np.zeros(distance.shape, dtype=np.int32)
    # What lies alone tells how large a cell is.
    radius = float(np.median(ndimage.maximum(distance, clusters, np.arange(1, count + 1))))
    middles = peak_local_max(
        ndimage.gaussian_filter(distance, 1.0),
        min_distance=max(3, round(0.7 * radius)),
        labels=clusters,
        exclude_border=False,
    )
    seeds = np.zeros(distance.shape, dtype=np.int32)
    seeds[tuple(middles.T)] = np.arange(1, len(middles) + 1)
    return seeds


def _outlines(cell: Mask, corner: tuple[int, int]) -> list[Polygon]:
    """The cell's outline, then those of its holes. Its box begins at `corner` of the image."""
    contours = find_contours(np.pad(cell, 1).astype(np.float64), 0.5)
    if not contours:
        return []
    areas = [_signed_area(contour) for contour in contours]
    largest = max(range(len(areas)), key=lambda at: abs(areas[at]))
    polygons = [_polygon(contours[largest], corner, "external")]
    for contour, area in zip(contours, areas, strict=True):
        # A hole is walked around the other way.
        if area * areas[largest] < 0 and abs(area) >= HOLE_AREA_MIN:
            polygons.append(_polygon(contour, corner, "internal"))
    return polygons


def _polygon(
    contour: Pixels, corner: tuple[int, int], kind: Literal["external", "internal"]
) -> Polygon:
    # From pixels of the padded box to the image, where a pixel's middle is at its half.
    outline = approximate_polygon(contour, OUTLINE_TOLERANCE)[:-1, ::-1] - 0.5 + corner
    sides = np.hypot(*(outline - np.roll(outline, 1, axis=0)).T)
    return Polygon(
        points=[(float(x), float(y)) for x, y in outline],
        type=kind,
        area=round(abs(_signed_area(outline)), 2),
        perimeter=round(float(sides.sum()), 2),
        class_="cell" if kind == "external" else None,
    )


def _signed_area(outline: Pixels) -> float:
    x, y = outline[:, 0], outline[:, 1]
    return float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def load(path: Path) -> Pixels:
    """The image as one plane of grey.

    Colours count by their luminance, alpha does not. Of a TIFF with several pages, whether these
    are channels, slices or times, it is the first.

    # Errors
    `Failed`, for good, if the file is none of an image that is known here.
    """
    try:
        with path.open("rb") as file:
            is_tiff = file.read(4) in TIFF_MAGIC
        return _grey(_tiff(path) if is_tiff else _picture(path))
    except Exception as error:
        raise Failed(f"no image that can be read: {error}", retryable=False) from error


def _tiff(path: Path) -> Pixels:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        pixels: Pixels = page.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
        elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = pixels.max() - pixels
        elif page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        return pixels


def _picture(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB") if picture.mode in ("P", "PA") else picture)


def _grey(pixels: Pixels) -> Pixels:
    if pixels.ndim == 3:
        # Grey with alpha, or colours with or without it.
        pixels = pixels[..., 0] if pixels.shape[-1] < 3 else rgb2gray(pixels[..., :3])
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise ValueError(f"its shape is {pixels.shape}")
    return np.nan_to_num(pixels)


def work(job: Job, slow_s: float = 0.0) -> Result:
    """`slow_s` spreads so many seconds over the stages, to have time to cancel it."""
    image = load(job.fetch())
    done = 0.0

    def progress(percent: float) -> None:
        nonlocal done
        job.progress(percent)
        job.wait(slow_s * (percent - done) / 100)
        done = percent

    return segment(
        image,
        job.model,
        job.threshold,
        job.detect_holes,
        check=job.check,
        progress=progress,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A Tidegate worker that outlines cells.")
    parser.add_argument("--server", metavar="URL", help="default: TIDEGATE_SERVER or loopback")
    parser.add_argument("--token-file", metavar="FILE", help="default: TIDEGATE_TOKEN_FILE")
    parser.add_argument("--name", help="default: host and process")
    parser.add_argument("--slots", type=int, default=1, metavar="N", help="jobs at once")
    parser.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="idle per job")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # It tells of every request, and there is one every few seconds.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    worker = Worker(
        arguments.server,
        token_file=arguments.token_file,
        name=arguments.name,
        slots=arguments.slots,
    )
    for model in ("otsu", "local"):
        worker.model(model)(partial(work, slow_s=arguments.slow))
    worker.run()


if __name__ == "__main__":
    main()
