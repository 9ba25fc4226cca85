"""What every figure is made from, saved arrays, and what it becomes, a drawing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))


@dataclass(frozen=True)
class Drawing:
    """One figure: its panels as markup, and one sentence that says what to see in it."""

    panels: tuple[Markup, ...]
    caption: str


def numbers(arrays: Arrays, name: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The finite numbers called `name`; ValueError for others or for another shape."""
    values = arrays[name].astype(float)
    if shape is not None and values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite")
    return values


def texts(arrays: Arrays, name: str) -> list[str]:
    """The texts called `name`."""
    return [str(text) for text in arrays[name]]
