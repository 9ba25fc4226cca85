"""The picture of layers of support vectors: three machines, each without those before it."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.drawing import Arrays, Drawing, numbers


def machines(arrays: Arrays, name: str) -> Drawing:
    """One panel a machine: its line, its support vectors ringed, those removed before crossed."""
    labels, lines = arrays["labels"], numbers(arrays, "lines")
    points = numbers(arrays, "points", (len(labels), 2))
    support: NDArray[np.bool_] = arrays["support"].astype(bool)
    counts = numbers(arrays, "counts", (len(support),))
    if support.shape != (len(lines), len(labels)) or lines.shape[1:] != (3,):
        raise ValueError(
            f"support {support.shape}, lines {lines.shape} and labels {labels.shape} do not fit"
        )
    if not np.hypot(lines[:, 0], lines[:, 1]).all():
        raise ValueError("lines holds one without a direction")
    classes = np.unique(labels)
    panels = []
    for k, line in enumerate(lines):
        gone = np.logical_or.reduce(support[:k])
        figure, axes = _plane(points)
        for number, label in enumerate(classes):
            drawn: Any = {"marker": "os"[number % 2], "color": svg.SERIES[number % 6]}
            here = points[(labels == label) & ~gone]
            axes.plot(*here.T, ls="", ms=4.6, mew=0, label=f"class {label}", **drawn)
        ring: Any = {"mfc": "none", "mec": svg.INK}
        axes.plot(*points[support[k]].T, "o", ms=9, mew=1.3, label="support vector", **ring)
        if gone.any():
            axes.plot(*points[gone].T, "x", ms=4.2, mew=0.9, color=svg.QUIET, label="removed")
        _line(axes, line, points)
        left = f"All {len(labels)} examples" if k == 0 else f"Without the {gone.sum()} of before"
        title = f"{k + 1}. {left}:\n{counts[k]:.0f} support vectors"
        _legend(axes, title)
        alt = f"{title.replace(chr(10), ' ')}, of classes {' and '.join(map(str, classes))}"
        plot = svg.render(figure, f"{name}-{k}", alt)
        panels.append(Markup('<div class="third">{}</div>').format(plot))
    return Drawing(
        tuple(panels),
        "A support vector machine draws the line between two classes of images, here in the plane "
        "of their two main directions, by its support vectors alone: all other examples could be "
        "left out and nothing would change. Once the support vectors are removed, others that did "
        "not matter before take their place, layer by layer.",
    )


def _plane(points: NDArray[Any]) -> tuple[Any, Axes]:
    figure, axes = canvas.axes("", "")
    figure.set_size_inches(3.3, 3.5)  # three in a row
    axes.spines[:].set_visible(True)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.07 * float((high - low).max()) or 1.0
    axes.set(
        xlim=(low[0] - margin, high[0] + margin),
        ylim=(low[1] - margin, high[1] + margin),
        xticks=[],
        yticks=[],
    )
    return figure, axes


def _line(axes: Axes, line: NDArray[Any], points: NDArray[Any]) -> None:
    """The points where w . point + b = 0, across the whole plane."""
    normal, centre = line[:2], points.mean(axis=0)
    foot = centre - (normal @ centre + line[2]) / (normal @ normal) * normal
    along = np.array([-normal[1], normal[0]]) / np.linalg.norm(normal)
    reach = 2 * np.ptp(points) + np.linalg.norm(foot - centre) + 1
    axes.plot(*np.array([foot - reach * along, foot + reach * along]).T, color=svg.INK, lw=1.4)


def _legend(axes: Axes, title: str) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        title=title,
        title_fontsize=11,
        alignment="left",
        borderaxespad=0.2,
        handletextpad=0.3,
        columnspacing=1.2,
    )
