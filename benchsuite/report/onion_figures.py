"""Figures of the onion: ROC curves before and after a removal, and how stable scores are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.drawing import LINES, Arrays, Drawing, numbers, texts
from benchsuite.report.wording import measured, minus, percent

AXES_HEIGHT, LINE_HEIGHT = 3.1, 0.17
"""Inches: of the curves with their labels, and of a line of the legend above them."""
MOST_POINTS, MOST_IN_LAYERS = 1600, 400

Style = tuple[int, int]
"""Which colour and which line a curve has: what it shows has the same on every figure."""
BASE, IDEALISED, REAL = (0, 0), (1, 1), (2, 2)


def _curves(arrays: Arrays, name: str, *, styles: tuple[Style, ...], look: str) -> Drawing:
    """ROC curves with bands, one for each style; `look` says what to see in them."""
    names, fpr = texts(arrays, "names"), numbers(arrays, "fpr")
    low_fpr, level, blocks = (
        float(numbers(arrays, each, ())) for each in ("low_fpr", "level", "blocks")
    )
    if len(names) != len(styles):
        raise ValueError(f"names holds {len(names)} curves, expected {len(styles)}")
    if fpr.ndim != 1 or not (fpr > 0).all() or not (np.diff(fpr) > 0).all():
        raise ValueError("fpr does not rise from above 0, as a logarithmic axis needs")
    if low_fpr not in fpr:
        raise ValueError(f"fpr does not hold low_fpr, {low_fpr:g}, where the rates are read")
    at = int(np.searchsorted(fpr, low_fpr))
    tpr, low, high = (
        np.clip(numbers(arrays, each, (len(names), len(fpr))), 0, 1)  # a t interval has no limits
        for each in ("tpr", "low", "high")
    )
    realised, non_members = (
        numbers(arrays, each, (len(names),)) for each in ("realised_fpr", "non_members")
    )
    figure, axes = canvas.axes(
        "False positive rate (non-members accused)",
        "True positive rate",
        height=AXES_HEIGHT + LINE_HEIGHT * (2 * len(names) + 2),
    )
    floor, found = fpr[0], []
    for k, (colour, line) in enumerate(styles):
        drawn: Any = {"color": svg.SERIES[colour]}
        rate = (
            f"{measured(tpr[k, at], (low[k, at], high[k, at]), share=True)}, "
            f"{realised[k] * non_members[k]:,.0f} of {non_members[k]:,.0f}"
        )
        axes.plot(
            fpr, _above(tpr[k], floor), linestyle=LINES[line], label=f"{names[k]}\n{rate}", **drawn
        )
        axes.fill_between(
            fpr, _above(low[k], floor), _above(high[k], floor), alpha=0.18, linewidth=0, **drawn
        )
        axes.plot([low_fpr], [max(tpr[k, at], floor)], "o", ms=6, clip_on=False, **drawn)
        found.append(f"{names[k]}: {rate}")
    axes.plot([floor, 1], [floor, 1], color=svg.QUIET, linestyle=(0, (2, 2)), linewidth=1)
    axes.text(0.12, 0.095, "chance", color=svg.QUIET, fontsize=9, va="top")
    axes.axvline(low_fpr, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    _log_axes(axes, floor)
    canvas.legend(
        axes,
        title=f"At {percent(low_fpr)} false positives (dots): true positive\n"
        "rate, and non-members accused in a block:",
    )
    alt = (
        f"ROC curves on log axes; true positive rate at {percent(low_fpr)} false positives, and "
        f"non-members accused in a block: {'; '.join(found)}"
    )
    return Drawing(
        (svg.render(figure, name, alt),),
        "How many members an attack finds (up) for the share of non-members that it wrongly "
        f"accuses (right), both on logarithmic axes. {look} Bands and brackets hold the "
        f"{percent(level)} interval over {blocks:.0f} blocks of models, each with a threshold of "
        "its own.",
    )


def _log_axes(axes: Axes, floor: float) -> None:
    axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1))
    decades = [10.0**power for power in range(-9, 1) if 10.0**power >= floor * (1 - 1e-9)]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(decades))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))


def _above(values: NDArray[Any], floor: float) -> NDArray[Any]:
    """`values` for a logarithmic axis from `floor` on, which smaller ones just leave."""
    return np.asarray(np.clip(values, floor / 2, None))


def _agreement(arrays: Arrays, name: str) -> Drawing:
    """Each example's advantage by one half of the models against that by the other half."""
    one = numbers(arrays, "one")
    other = numbers(arrays, "other", one.shape)
    layers = numbers(arrays, "layers", (2, *one.shape)) > 0
    r, models = (float(numbers(arrays, each, ())) for each in ("r", "models"))
    count, count_of_other = layers.sum(axis=1).tolist()
    if count != count_of_other or not count:
        raise ValueError(f"layers hold {count} and {count_of_other} examples, expected as many")
    both, either = layers[0] & layers[1], layers[0] | layers[1]
    groups = {"in neither half's layer": ~either, "in both": both, "in one alone": either & ~both}
    words = minus(f"r = {r:.3f}")
    panels: list[Markup] = []
    for title, shown, most, size in (
        (f"All examples: {words}", np.ones_like(either), MOST_POINTS, 3.2),
        (
            f"The layers: {both.sum():,} of {count:,} are in both",
            _around(one, other, either),
            MOST_IN_LAYERS,
            4.6,
        ),
    ):
        figure, axes = canvas.axes(
            f"Advantage, by {models:,.0f} models", f"Advantage, by {models:,.0f} others", 4.4
        )
        ends = np.minimum(one, other)[shown].min(), np.maximum(one, other)[shown].max()
        axes.plot(ends, ends, color=svg.QUIET, linestyle=(0, (2, 2)), linewidth=1)
        drawn = _some(shown, most)
        for k, (label, members) in enumerate(groups.items()):
            dots: Any = {"marker": "os^"[k], "ls": "", "mew": 0, "color": svg.SERIES[k]}
            these = drawn[members[drawn]]
            axes.plot(one[these], other[these], ms=size, alpha=0.45 if k == 0 else 0.7, **dots)
            axes.plot([], [], ms=5, label=label, **dots)
        canvas.legend(axes, title=title)
        alt = (
            f"Advantage of each example by one half of the models against that by the other, "
            f"{models:,.0f} models each. {title}"
        )
        panels.append(svg.render(figure, f"{name}-{len(panels)}", alt))
    return Drawing(
        tuple(panels),
        "Each dot is one training example: how exposed it is by one half of the models (right) and "
        "by the other half (up), which were trained independently. The nearer the dots lie to the "
        "dotted line, the less of an example's exposure is chance. Each half has its own layer, "
        f"the {count:,} examples that it finds most exposed; which are in one alone is a matter of "
        "chance.",
    )


def _around(
    one: NDArray[Any], other: NDArray[Any], examples: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Who lies in the smallest box around those examples."""
    inside = np.ones_like(examples)
    for values in (one, other):
        inside &= (values >= values[examples].min()) & (values <= values[examples].max())
    return inside


def _some(among: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """At most so many positions of those, evenly chosen."""
    positions = np.flatnonzero(among)
    spread = np.linspace(0, len(positions) - 1, min(len(positions), most))
    return np.asarray(positions[spread.round().astype(int)])


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "onion-roc": partial(
        _curves,
        styles=(BASE, IDEALISED, REAL),
        look="If exposure were a matter of each example alone, taking out the most exposed layer "
        "would bring the base curve down to the idealised one, where those examples are merely "
        "ignored. The real curve is of models trained without them, on the same examples: as far "
        "as it lies above the idealised one at the left, others have become more exposed.",
    ),
    "onion-gap": partial(
        _curves,
        styles=(BASE, IDEALISED, REAL),
        look="The same by the statistic that the paper attacks, the gap between the two highest "
        "logits; the verdict is by the confidence of the true label.",
    ),
    "onion-deduplicated": partial(
        _curves,
        styles=((3, 3), BASE, IDEALISED, REAL),
        look="Duplicates hide each other, so that their removal raises the base curve. The layers "
        "are those of the pool without duplicates: if these were the cause, the real curve would "
        "come down to the idealised one.",
    ),
    "onion-size": partial(
        _curves,
        styles=(BASE, (3, 1), (3, 2), (4, 1), (4, 2)),
        look="As many random examples, or the safest, are taken out instead of the most exposed. "
        "If a smaller pool alone exposed examples, each real curve (R) would lie above the "
        "idealised one (I) of its colour; where the two coincide, size is not the cause.",
    ),
    "onion-capacity": partial(
        _curves,
        styles=(IDEALISED, REAL, (5, 3)),
        look="All on the examples that are kept. If the others were exposed because models have "
        "room to memorize them, images of another origin with random labels would fill that room "
        "and bring the real curve down to the idealised one.",
    ),
    "onion-peeling": partial(
        _curves,
        styles=(REAL, (3, 3)),
        look="As many examples are taken out at once or over several rounds, each chosen by an "
        "attack on models retrained after the one before, and each curve is on what was kept. "
        "Where the curves coincide, the rest is left as exposed either way.",
    ),
    "onion-agreement": _agreement,
}
"""Drawing functions by kind of artifact."""
