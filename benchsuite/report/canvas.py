"""What the figures share: axes, a legend above them, points, ticks, pictures."""

import base64
import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from benchsuite.report.wording import minus

MOST_POINTS = 2000


def short_share(value: float) -> str:
    """A memorization as captions have it: .97, 1.0, −.03."""
    value = round(value, 2) + 0.0  # + 0.0: no "−.00"
    return minus(f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.1f}")


def axes(xlabel: str, ylabel: str, height: float = 3.2) -> tuple[Figure, Axes]:
    """A figure of one column's width (readable on a phone) and its axes; `height` in inches."""
    figure = Figure(figsize=(4.3, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def legend(axes: Axes, title: str | None = None) -> None:
    """A legend above the axes: inside them curves go everywhere."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        title=title,
        title_fontsize=10,
        alignment="left",
        borderaxespad=0.2,
        handlelength=2.6,
    )


def points(axes: Axes, x: NDArray[Any], y: NDArray[Any], colour: str, marker: str = "o") -> None:
    """A scatter of at most 2,000 of the points, evenly chosen; each dot weighs in the page."""
    shown = np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int)
    axes.plot(x[shown], y[shown], marker, ms=3.2, mew=0, color=colour, alpha=0.45)


def spread(counts: NDArray[Any]) -> list[float]:
    """At most six of `counts`, evenly chosen, the last included: places for ticks."""
    every = -(-(len(counts) - 1) // 5) or 1
    return [float(count) for count in counts[::-1][::every]]


def round_steps(low: float, high: float) -> list[float]:
    """Tick places 1, 2, 5, 10, … within [low, high], or powers of ten where those are many."""
    steps = [m * 10.0**e for e in range(-6, 10) for m in (1, 2, 5)]
    inside = [step for step in steps if low <= step <= high]
    return inside if len(inside) <= 6 else [step for step in inside if f"{step:e}".startswith("1")]


def png(image: NDArray[Any]) -> str:
    """`image`, [H, W] or [H, W, C], uint8 or float in 0..1, as base64 PNG."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    buffer = io.BytesIO()
    top = 255 if image.dtype == np.uint8 else 1
    unsigned: Any = {"Software": None}  # keeps matplotlib's version out of the bytes
    imsave(buffer, image, cmap="gray", vmin=0, vmax=top, format="png", metadata=unsigned)
    return base64.b64encode(buffer.getvalue()).decode()
