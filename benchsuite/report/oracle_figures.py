"""Figures of oracles of memorization: whom they find, whom they tell apart, what it is worth."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.canvas import short_share
from benchsuite.report.drawing import LINES, Arrays, Drawing, numbers
from benchsuite.report.group_figures import OVER, UNDER
from benchsuite.report.wording import duration, number, percent

Numbers = NDArray[np.float64]

BINS = 25

# ---- oracle-precision ----------------------------------------------------------------------------

RATES = {
    "recall": "planted ones that are found",
    "precision": "found ones that fresh models confirm",
    "planted among them": "found ones that were planted",
}


def _oracle_precision(arrays: Arrays, name: str) -> Drawing:
    """Recall and precision of planted singletons against the oracle's models."""
    models = _rising(arrays, "models")
    recall = numbers(arrays, "recall")
    if recall.ndim != 2 or not len(recall):
        raise ValueError(f"recall has shape {recall.shape}, expected worlds and counts of models")
    shape = len(recall), len(models)
    rates = {says: _shares(arrays, each, shape) for each, says in RATES.items()}
    figure, axes = canvas.axes("Models of the oracle (log scale)", "Share", height=3.1)
    said = []
    for k, (says, values) in enumerate(rates.items()):
        look: Any = {"color": svg.SERIES[k], "linestyle": LINES[k], "marker": "os^"[k], "ms": 4.5}
        axes.plot(models, values.mean(axis=0), label=says, **look)
        axes.fill_between(
            models, values.min(axis=0), values.max(axis=0), color=svg.SERIES[k], alpha=0.18, lw=0
        )
        said.append(
            f"{says}: {percent(values[:, 0].mean())} with {models[0]:.0f} models, "
            f"{percent(values[:, -1].mean())} with {models[-1]:.0f}"
        )
    _count_axis(axes, models)
    axes.set_ylim(0, 1.02)
    canvas.percent_axis(axes.yaxis)
    axes.grid(axis="y")
    canvas.legend(axes)
    recalled, confirmed, planted = (values[:, -1].mean() for values in rates.values())
    return Drawing(
        (svg.render(figure, name, f"Shares against models of the oracle; {'; '.join(said)}"),),
        f"Singletons are planted by wrong labels, and an oracle that estimates memorization looks "
        f"for them with the models below. With {models[-1]:.0f} it finds {percent(recalled)} of "
        f"them, and other models, trained afresh, confirm {percent(confirmed)} of all whom it "
        f"calls singletons; with {models[0]:.0f}, {percent(rates[RATES['recall']][:, 0].mean())} "
        f"and {percent(rates[RATES['precision']][:, 0].mean())}. Of those found {percent(planted)} "
        "were planted. That others are found is no error by itself: data have singletons of their "
        f"own, and a planted example can make some of its neighbours. Bands: lowest to highest of "
        f"{len(recall)} worlds, in each of which others are planted.",
    )


# ---- oracle-scores -------------------------------------------------------------------------------

SCORES = {
    "memorization": "Memorization by",
    "trak": "TRAK's score by",
    "same models": "Memorization by the same",
}

WORDS = {
    "memorization": "memorization",
    "trak": "TRAK's score",
    "same models": "memorization by as few models as TRAK's",
}


def _oracle_scores(arrays: Arrays, name: str) -> Drawing:
    """Histograms of each score for both groups, one below the other."""
    memorization = numbers(arrays, "memorization")
    scores = {each: numbers(arrays, each, memorization.shape) for each in SCORES}
    under = numbers(arrays, "under", memorization.shape) > 0
    separation = _shares(arrays, "separation", (len(SCORES),))
    models = numbers(arrays, "models", (len(SCORES),))
    seconds = arrays["seconds"].astype(float)  # NaN where an earlier run trained the models
    if seconds.shape != ():
        raise ValueError(f"seconds has shape {seconds.shape}, expected ()")
    if memorization.ndim != 1 or not 0 < under.sum() < len(under):
        raise ValueError("under has no example of one of the groups, expected some of both")
    figure = Figure(figsize=(4.3, 6.4), layout="constrained")
    sides = {f"{OVER} ({(~under).sum():,})": ~under, f"{UNDER} ({under.sum():,})": under}
    lowest = 0.5 / len(under)
    said = []
    for k, (axes, (each, values)) in enumerate(
        zip(figure.subplots(len(scores)), scores.items(), strict=True)
    ):
        edges = np.linspace(min(0, values.min()), values.max() or 1, BINS + 1)
        for j, (says, side) in enumerate(sides.items()):
            counts, _ = np.histogram(values[side], edges)
            heights = np.clip(counts / counts.sum(), lowest, None)
            look: Any = {"baseline": lowest, "color": svg.SERIES[j]}
            axes.stairs(heights, edges, fill=True, alpha=0.15, lw=0, **look)
            axes.stairs(heights, edges, lw=1.6, ls=LINES[j], label=says, **look)
        title = f"{SCORES[each]} {models[k]:,.0f} models: AUROC {separation[k]:.2f}"
        axes.set_title(title, loc="left", fontsize=10)
        axes.set(yscale="log", ylim=(lowest, 1.3), xlim=(edges[0], edges[-1]))
        axes.yaxis.set_major_locator(FixedLocator([1e-3, 1e-2, 1e-1, 1]))
        axes.yaxis.set_minor_locator(NullLocator())
        canvas.percent_axis(axes.yaxis)
        said.append(title)
    figure.supylabel("Share of the group (log scale)", fontsize=10.5)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=1)
    order = [f"{WORDS[each]} ({separation[k]:.2f})" for k, each in enumerate(scores)]
    best, between, worst = (order[k] for k in np.argsort(-separation, kind="stable"))
    cost = float(seconds)
    return Drawing(
        (svg.render(figure, name, f"Histograms of both groups by score; {'; '.join(said)}"),),
        "How the scores of both groups are distributed. AUROC is how often an example of the "
        f"{UNDER} group has a higher score than one of the {OVER}, ties counting half: 0.5 is no "
        f"separation. Here the groups are told apart best by {best}, then by {between}, and least "
        f"by {worst}. Ties weigh: {percent(np.mean(memorization == 0))} of all examples have a "
        f"memorization of exactly 0, and {percent(np.mean(scores['trak'] == 0))} such a score of "
        "TRAK's. The paper sees the groups separated more clearly by memorization than by TRAK."
        + (f" TRAK's models and gradients took {duration(cost)}." if np.isfinite(cost) else ""),
    )


# ---- memorization-threshold ----------------------------------------------------------------------


def _memorization_threshold(arrays: Arrays, name: str) -> Drawing:
    """AUROC on, and references needed for, those memorized by more than a threshold."""
    thresholds = _rising(arrays, "thresholds")
    examples = numbers(arrays, "examples", thresholds.shape)
    references = float(numbers(arrays, "references", ()))
    auroc, needed = (numbers(arrays, each, (len(thresholds), 3)) for each in ("auroc", "needed"))
    for each, values in (("auroc", auroc), ("needed", needed)):
        if not ((values[:, 1] <= values[:, 0]) & (values[:, 0] <= values[:, 2])).all():
            raise ValueError(f"{each} holds values that do not lie within their intervals")
    if not (needed > 0).all():
        raise ValueError("needed holds counts of models that are not above 0")
    panels = []
    for k, (says, values) in enumerate((("AUROC", auroc), ("Models needed (log scale)", needed))):
        figure, axes = canvas.axes("Memorized by more than (examples)", says, height=2.9)
        axes.vlines(thresholds, values[:, 1], values[:, 2], color=svg.SERIES[k], linewidth=1.6)
        axes.plot(
            thresholds, values[:, 0], color=svg.SERIES[k], linestyle=LINES[k], marker="os"[k], ms=5
        )
        axes.set_xticks(
            thresholds,
            [
                f"{short_share(each)}\n({count:,.0f})"
                for each, count in zip(thresholds, examples, strict=True)
            ],
        )
        axes.grid(axis="y")
        if says.endswith("(log scale)"):
            axes.set_yscale("log")
            _round_ticks(axes)
        ends = f"from {number(values[0, 0])} to {number(values[-1, 0])}"
        panels.append(
            svg.render(
                figure,
                f"{name}-{k}",
                f"{says} for examples memorized by more than {thresholds[0]:g} to "
                f"{thresholds[-1]:g}: {ends}",
            )
        )
    return Drawing(
        tuple(panels),
        "What calling fewer examples singletons changes: those memorized by more than the value "
        "below, their number in brackets. First panel: how well LiRA tells members of them with "
        f"{references:,.0f} reference models, AUROC {number(auroc[0, 0])} above "
        f"{short_share(thresholds[0])} and {number(auroc[-1, 0])} above "
        f"{short_share(thresholds[-1])}. Second: reference models with which it has nearly all its "
        f"gain over chance, {number(needed[0, 0])} and {number(needed[-1, 0])}. Lines at the marks "
        "are 95 % intervals over blocks of targets; the groups lie within one another, so "
        "neighbouring marks are alike.",
    )


# ---- normality -----------------------------------------------------------------------------------


def _normality(arrays: Arrays, name: str) -> Drawing:
    """Share of examples whose confidences are told from Gaussian ones, by how many there are."""
    counts = _rising(arrays, "counts")
    rejected = _shares(arrays, "rejected", (2, len(counts)))
    level, examples = (float(numbers(arrays, each, ())) for each in ("level", "examples"))
    figure, axes = canvas.axes("Confidences tested (log scale)", "Examples rejected", height=2.9)
    sides = "IN: trained on the example", "OUT: not trained on it"
    for k, says in enumerate(sides):
        look: Any = {"color": svg.SERIES[k], "linestyle": LINES[k], "marker": "os"[k], "ms": 5}
        axes.plot(counts, rejected[k], label=says, **look)
    axes.axhline(
        level, color=svg.INK, linestyle=(0, (1, 2)), linewidth=1.2, label="were they Gaussian"
    )
    _count_axis(axes, counts)
    axes.set_ylim(0, 1.1 * max(float(rejected.max()), level))
    canvas.percent_axis(axes.yaxis)
    axes.grid(axis="y")
    canvas.legend(axes)
    few, many = (
        f"{percent(rejected[0, at])} (IN) and {percent(rejected[1, at])} (OUT)" for at in (0, -1)
    )
    return Drawing(
        (
            svg.render(
                figure,
                name,
                f"Share of examples on which normality is rejected: {few} with {counts[0]:.0f} "
                f"confidences, {many} with {counts[-1]:.0f}; {percent(level)} were they Gaussian",
            ),
        ),
        f"Of how many of the {examples:,.0f} examples a test (Shapiro-Wilk at {percent(level)}) "
        "rejects that reference models' confidences are Gaussian, as LiRA takes them to be: "
        f"{few} with {counts[0]:.0f} confidences, {many} with {counts[-1]:.0f}. More confidences "
        "show smaller departures, so a rising curve does not say that the attack suffers: whether "
        "it does is the finding.",
    )


# ---- shared --------------------------------------------------------------------------------------


def _rising(arrays: Arrays, name: str) -> Numbers:
    """Positive numbers that rise, one at least."""
    values: Numbers = numbers(arrays, name)
    if values.ndim != 1 or not values.size or values[0] <= 0 or not (np.diff(values) > 0).all():
        raise ValueError(f"{name} has shape {values.shape} or does not rise from above 0")
    return values


def _shares(arrays: Arrays, name: str, shape: tuple[int, ...]) -> Numbers:
    values: Numbers = numbers(arrays, name, shape)
    if (values < 0).any() or (values > 1).any():
        raise ValueError(f"{name} holds values that are not shares between 0 and 1")
    return values


def _count_axis(axes: Axes, counts: Numbers) -> None:
    """A logarithmic axis with ticks at some of the counts."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(canvas.spread(counts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _round_ticks(axes: Axes) -> None:
    """Round ticks of a logarithmic axis, two at least."""
    low, high = axes.get_ylim()
    steps = canvas.round_steps(low, high)
    if len(steps) < 2:
        low, high = low / 2, high * 2
        axes.set_ylim(low, high)
        steps = canvas.round_steps(low, high)
    axes.yaxis.set_major_locator(FixedLocator(steps))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: canvas.tick(value)))


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "oracle-precision": _oracle_precision,
    "oracle-scores": _oracle_scores,
    "memorization-threshold": _memorization_threshold,
    "normality": _normality,
}
"""Drawing functions by kind of artifact."""
