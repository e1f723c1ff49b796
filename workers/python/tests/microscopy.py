"""Images like a microscope's, of which it is known what is on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
    """Cells that do not touch, some of them cut by nothing but the noise."""
    random = np.random.default_rng(seed)
    cells: list[Cell] = []
    while len(cells) < count:
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
