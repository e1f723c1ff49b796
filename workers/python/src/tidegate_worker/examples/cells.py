"""Images like a microscope's, of which it is known what is on them.

`python -m tidegate_worker.examples.cells cells.png` draws one, as PNG or TIFF.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from scipy import ndimage


@dataclass(frozen=True)
class Cell:
    x: float
    y: float
    radius: float
    hole: float = 0.0

    @property
    def area(self) -> float:
        return float(np.pi * (self.radius**2 - self.hole**2))


def scatter(count: int, width: int, height: int, *, seed: int) -> list[Cell]:
    """Cells that do not touch: `count`, or as many as there is room for."""
    random = np.random.default_rng(seed)
    cells: list[Cell] = []
    for _ in range(1000 * count):
        if len(cells) == count:
            break
        radius = random.uniform(8, 16)
        x, y = (random.uniform(radius + 4, side - radius - 4) for side in (width, height))
        if all(np.hypot(x - c.x, y - c.y) > radius + c.radius + 6 for c in cells):
            cells.append(Cell(x, y, radius))
    return cells


def photograph(
    cells: Sequence[Cell],
    width: int,
    height: int,
    *,
    seed: int,
    noise: float = 0.03,
    uneven: float = 0.1,
) -> npt.NDArray[np.uint16]:
    """Blurred cells on dark ground, with light that grows to the right by `uneven`."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] + 0.5
    scene = np.zeros((height, width))
    for cell in cells:
        distance = np.hypot(x - cell.x, y - cell.y)
        scene[(distance < cell.radius) & (distance >= cell.hole)] = 0.6
    scene = ndimage.gaussian_filter(scene, 1.0) + 0.1 + uneven * x / width
    scene += random.normal(0, noise, scene.shape)
    return np.asarray(np.clip(scene, 0, 1) * 65535, dtype=np.uint16)


def save(image: npt.NDArray[np.uint16], path: Path) -> None:
    """As TIFF or PNG, by the path's suffix, with 16 bits."""
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, image)
    else:
        Image.fromarray(image).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws an image of cells, as PNG or TIFF.")
    parser.add_argument("path", type=Path, metavar="FILE")
    parser.add_argument("--cells", type=int, default=40, metavar="N")
    parser.add_argument("--width", type=int, default=640, metavar="PIXELS")
    parser.add_argument("--height", type=int, default=480, metavar="PIXELS")
    parser.add_argument("--seed", type=int, default=1, help="the same one draws the same image")
    arguments = parser.parse_args()
    width, height = arguments.width, arguments.height
    cells = scatter(arguments.cells, width, height, seed=arguments.seed)
    save(photograph(cells, width, height, seed=arguments.seed), arguments.path)


if __name__ == "__main__":
    main()
