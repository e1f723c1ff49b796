"""What a function returns, in the shape that the server stores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Polygon:
    """An outline in pixels: x to the right, y down, (0, 0) the image's upper left corner.

    It is closed by itself, so the first point is not repeated. A hole is a polygon of its own, of
    type `internal`.
    """

    points: Sequence[tuple[float, float]]
    type: Literal["external", "internal"] = "external"
    area: float | None = None
    perimeter: float | None = None
    confidence: float | None = None
    class_: str | None = None

    def to_json(self) -> dict[str, object]:
        members: dict[str, object] = {
            "points": [{"x": x, "y": y} for x, y in self.points],
            "type": self.type,
            "area": self.area,
            "perimeter": self.perimeter,
            "confidence": self.confidence,
            "class": self.class_,
        }
        return {name: value for name, value in members.items() if value is not None}


@dataclass(frozen=True)
class Result:
    """The polygons found in an image of `width` times `height` pixels.

    `processing_time_ms` is how long the function took, unless it says so itself.
    """

    polygons: Sequence[Polygon]
    width: int
    height: int
    processing_time_ms: float | None = None

    def to_json(self) -> dict[str, object]:
        members: dict[str, object] = {
            "polygons": [polygon.to_json() for polygon in self.polygons],
            "imageSize": {"width": self.width, "height": self.height},
        }
        if self.processing_time_ms is not None:
            members["processingTimeMs"] = self.processing_time_ms
        return members


def encode(result: Result | Mapping[str, object], elapsed_s: float) -> bytes:
    """The result as JSON. What is in it is judged by the server alone.

    # Errors
    `TypeError` or `ValueError` for what JSON cannot express, NaN and infinity included.
    """
    members = result.to_json() if isinstance(result, Result) else dict(result)
    members.setdefault("processingTimeMs", round(elapsed_s * 1000, 3))
    text = json.dumps(members, allow_nan=False, separators=(",", ":"), default=_plain)
    return text.encode()


def _plain(value: object) -> object:
    # NumPy's numbers and arrays, without importing NumPy.
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be part of a result")
