"""Figures of how well an attack finds members, with what stands behind a rate at a low FPR."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.drawing import LINES, Arrays, Drawing, numbers, texts
from benchsuite.report.wording import number, percent

LEAST = 1e-4  # where the log axes of a ROC start
MOST_STEPS = 300
COARSE = 50
"""False positives at the low FPR below which it is called coarse: 50,000 non-members at 0.1 %."""


def roc(arrays: Arrays, name: str) -> Drawing:
    """ROC curves by group, with the TPR at the low FPR as a dot and in words."""
    figure, axes = canvas.axes(
        "False positive rate (non-members accused)", "True positive rate", height=4.1
    )
    groups, low_fpr = texts(arrays, "names"), float(arrays["low_fpr"])
    steps = np.union1d(np.geomspace(LEAST, 1, MOST_STEPS), low_fpr)
    tpr, realised, non_members = (
        numbers(arrays, f"low_{each}", (len(groups),))
        for each in ("tpr", "realised_fpr", "non_members")
    )
    interval = numbers(arrays, "low_interval", (len(groups), 2))
    found = []
    for k, group in enumerate(groups):
        fpr, curve = numbers(arrays, f"fpr_{k}"), numbers(arrays, f"tpr_{k}")
        line: Any = {"color": svg.SERIES[k % 6], "linestyle": LINES[k % 6]}
        says = f"{group}: cannot be resolved\nwith {non_members[k]:,.0f} non-members"
        if _resolved(non_members[k], low_fpr):
            low, high = (100 * end for end in interval[k])
            says = (
                f"{group}:\n{percent(float(tpr[k]))} [{low:.3g}, {high:.3g}]"
                f"{_coarse(non_members[k], low_fpr)}\n"
                f"{round(realised[k] * non_members[k]):,} of {non_members[k]:,.0f} non-members "
                "accused"
            )
            axes.plot(
                [low_fpr], [max(tpr[k], LEAST)], "o", ms=6, color=line["color"], clip_on=False
            )
        axes.plot(steps, np.clip(_at(fpr, curve, steps), LEAST / 2, None), label=says, **line)
        found.append(says.replace(":\n", ": ").replace("\n", ", "))
    axes.plot([LEAST, 1], [LEAST, 1], color=svg.QUIET, linestyle=(0, (2, 2)), linewidth=1)
    axes.text(0.02, 0.0105, "chance", color=svg.QUIET, fontsize=9, va="top")
    axes.axvline(low_fpr, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    axes.set(xscale="log", yscale="log", xlim=(LEAST, 1), ylim=(LEAST, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([1e-4, 1e-3, 1e-2, 1e-1, 1]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    canvas.legend(axes, title=f"True positive rate at {percent(low_fpr)} false positives (dots):")
    alt = (
        f"ROC curves on log axes; true positive rate at {percent(low_fpr)} false positives: "
        f"{'; '.join(found)}"
    )
    return Drawing(
        (svg.render(figure, name, alt),),
        "How many members an attack finds (up) for the share of non-members it wrongly accuses "
        "(right): the further a curve lies above the dotted chance line at the left, the more "
        "exposed are the examples. Brackets hold the 95 % interval of the share of members found "
        "at the dot's threshold, as if all scores were independent; the threshold itself rests on "
        "the non-members it accuses, and is coarse where they are fewer than about 50.",
    )


def shadow_count(arrays: Arrays, name: str) -> Drawing:
    """AUROC, and TPR at the low FPR, against the number of shadow models, by group."""
    counts, groups = numbers(arrays, "counts"), texts(arrays, "names")
    low_fpr, non_members = float(arrays["low_fpr"]), numbers(arrays, "non_members", (len(groups),))
    auroc, low, high = (
        numbers(arrays, f"auroc{end}", (len(groups), len(counts))) for end in ("", "_low", "_high")
    )
    figure, axes = canvas.axes("Shadow models (log scale)", "AUROC", height=3.0)
    for k, group in enumerate(groups):
        _curve(axes, k, counts, auroc[k], group, np.array([low[k], high[k]]))
    _count_axis(axes, counts)
    alt = _in_words("AUROC", counts, dict(zip(groups, auroc, strict=True)))
    panels = [svg.render(figure, f"{name}-auroc", alt)]

    label = f"TPR at {percent(low_fpr)} FPR"
    height = 3.3 + 0.34 * max(0, len(groups) - 2)  # two legend lines for each group
    figure, axes = canvas.axes("Shadow models (log scale)", label, height=height)
    shown = {}
    for k, group in enumerate(groups):
        pooled = f"tpr_band_{k}" not in arrays
        behind = f"{non_members[k]:,.0f} non-members{'' if pooled else ' a unit'}"
        if not _resolved(non_members[k], low_fpr):
            axes.plot([], [], " ", label=f"{group}:\ncannot be resolved with {behind}")
            continue
        says = f"{group}:\n{behind}{_coarse(non_members[k], low_fpr)}"
        shown[says.replace("\n", " ")] = numbers(arrays, f"tpr_{k}", counts.shape)
        band = None if pooled else numbers(arrays, f"tpr_band_{k}", (2, len(counts)))
        _curve(axes, k, counts, shown[says.replace("\n", " ")], says, band)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    _count_axis(axes, counts)
    panels.append(svg.render(figure, f"{name}-tpr", _in_words(label, counts, shown)))
    return Drawing(
        tuple(panels),
        "How well the attack works for the number of shadow models it was given: a curve that is "
        "high from the left needs hardly any. This LiRA has one variance for all examples, as few "
        "models cannot give each its own; with many models, one that does can find more. Bands are "
        "over units; a true positive rate without one is of all units' scores together, as one "
        f"unit has too few non-members to resolve {percent(low_fpr)}.",
    )


def _curve(
    axes: Axes,
    k: int,
    counts: NDArray[Any],
    values: NDArray[Any],
    label: str,
    band: NDArray[Any] | None,
) -> None:
    line: Any = {"color": svg.SERIES[k % 6], "linestyle": LINES[k % 6]}
    axes.plot(counts, values, marker="o", ms=3.5, label=label, **line)
    if band is not None:
        low, high = np.clip(band, 0, 1)  # a t interval knows no such limits
        axes.fill_between(counts, low, high, color=line["color"], alpha=0.18, linewidth=0)


def _count_axis(axes: Axes, counts: NDArray[Any]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(canvas.spread(counts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y")
    canvas.legend(axes)


def _in_words(label: str, counts: NDArray[Any], curves: dict[str, NDArray[Any]]) -> str:
    ends = "; ".join(
        f"{group} from {number(row[0])} to {number(row[-1])}" for group, row in curves.items()
    )
    return f"{label} from {counts[0]:.0f} to {counts[-1]:.0f} shadow models: {ends}"


def _resolved(non_members: float, fpr: float) -> bool:
    """Whether that rate of them is one at least."""
    return bool(non_members * fpr >= 1 - 1e-9)


def _coarse(non_members: float, fpr: float) -> str:
    return ", coarse" if non_members * fpr < COARSE - 1e-9 else ""


def _at(fpr: NDArray[Any], tpr: NDArray[Any], limit: NDArray[Any]) -> NDArray[Any]:
    """`tpr` at the last point with fpr <= limit, 0 before the first."""
    last = np.searchsorted(fpr, limit, side="right") - 1
    return np.where(last >= 0, tpr[np.maximum(last, 0)], 0.0)
