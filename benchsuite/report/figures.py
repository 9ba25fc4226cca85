"""One function per kind of artifact: saved arrays in, inline SVG with its caption out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.wording import number, percent

Arrays = Mapping[str, NDArray[Any]]

LOW_FPR = 1e-3
LEAST = 1e-4  # where the log axes of a ROC start
MOST_STEPS = 300
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))


@dataclass(frozen=True)
class Drawing:
    """One figure: its panels as markup, and one sentence that says what to see in it."""

    panels: tuple[Markup, ...]
    caption: str


def draw(kind: str, arrays: Arrays, name: str) -> Drawing:
    """The figure of `kind`; ValueError for an unknown kind or arrays that do not fit it.

    `name` is unique on the page: the ids inside the SVG start with it.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}; this version draws {', '.join(_KINDS)}")
    with svg.style():
        return _KINDS[kind](arrays, name)


def _roc(arrays: Arrays, name: str) -> Drawing:
    figure, axes = canvas.axes(
        "False positive rate (non-members accused)", "True positive rate", height=3.8
    )
    fpr = np.geomspace(LEAST, 1, MOST_STEPS)
    found = []
    for k, group in enumerate(_texts(arrays, "names")):
        curve = (_numbers(arrays, f"fpr_{k}"), _numbers(arrays, f"tpr_{k}"))
        at_low = float(_at(*curve, LOW_FPR))
        found.append(f"{group}: {percent(at_low)}")
        line: Any = {"color": svg.SERIES[k % 6], "linestyle": LINES[k % 6]}
        axes.plot(fpr, np.clip(_at(*curve, fpr), LEAST / 2, None), label=found[-1], **line)
        axes.plot([LOW_FPR], [max(at_low, LEAST)], "o", ms=6, color=line["color"], clip_on=False)
        if f"band_low_{k}" in arrays:
            band = [
                np.clip(_at(curve[0], _numbers(arrays, f"band_{side}_{k}"), fpr), LEAST / 2, None)
                for side in ("low", "high")
            ]
            axes.fill_between(fpr, *band, color=line["color"], alpha=0.18, linewidth=0)
    axes.plot([LEAST, 1], [LEAST, 1], color=svg.QUIET, linestyle=(0, (2, 2)), linewidth=1)
    axes.text(0.02, 0.0105, "chance", color=svg.QUIET, fontsize=9, va="top")
    axes.axvline(LOW_FPR, color=svg.QUIET, linewidth=0.8, alpha=0.6)
    axes.set(xscale="log", yscale="log", xlim=(LEAST, 1), ylim=(LEAST, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([1e-4, 1e-3, 1e-2, 1e-1, 1]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    canvas.legend(axes, title="True positive rate at 0.1 % false positives (dots):")
    alt = f"ROC curves on log axes; true positive rate at 0.1 % false positives: {'; '.join(found)}"
    return Drawing(
        (svg.render(figure, name, alt),),
        "How many members an attack finds (up) for the share of non-members it wrongly accuses "
        "(right): the further a curve lies above the dotted chance line at the left, the more "
        "exposed are the examples.",
    )


def _shadow_count(arrays: Arrays, name: str) -> Drawing:
    counts, groups = _numbers(arrays, "counts"), _texts(arrays, "names")
    panels = []
    for measure, label in (("auroc", "AUROC"), ("tpr", "TPR at 0.1 % FPR")):
        figure, axes = canvas.axes("Shadow models (log scale)", label, height=3.0)
        values = _numbers(arrays, measure, (len(groups), len(counts)))
        for k, group in enumerate(groups):
            line: Any = {"color": svg.SERIES[k % 6], "linestyle": LINES[k % 6]}
            axes.plot(counts, values[k], marker="o", ms=3.5, label=group, **line)
            if f"{measure}_low" in arrays:
                low, high = (
                    _numbers(arrays, f"{measure}_{end}", values.shape)[k] for end in ("low", "high")
                )
                high = np.minimum(high, 1)  # a t interval knows no such limit
                axes.fill_between(counts, low, high, color=line["color"], alpha=0.18, linewidth=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(canvas.spread(counts)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if measure == "tpr":
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        axes.grid(axis="y")
        canvas.legend(axes)
        last = "; ".join(
            f"{group} from {number(row[0])} to {number(row[-1])}"
            for group, row in zip(groups, values, strict=True)
        )
        panels.append(
            svg.render(
                figure,
                f"{name}-{measure}",
                f"{label} from {counts[0]:.0f} to {counts[-1]:.0f} shadow models: {last}",
            )
        )
    return Drawing(
        tuple(panels),
        "How well the attack works for the number of shadow models it was given: a curve that is "
        "high from the left needs hardly any. This LiRA has one variance for all examples, as few "
        "models cannot give each its own; with many models, one that does can find more.",
    )


def _memorization_privacy(arrays: Arrays, name: str) -> Drawing:
    memorization = _numbers(arrays, "memorization")
    privacy = _numbers(arrays, "privacy", memorization.shape)
    figure, axes = canvas.axes(MEMORIZATION, "Privacy score (in standard deviations)")
    canvas.points(axes, memorization, privacy, svg.SERIES[0])
    axes.set_ylim(bottom=0)
    note = f"Spearman correlation where memorization > 0: {number(float(arrays['spearman']))}"
    axes.set_title(note, loc="left", fontsize=10)
    return Drawing(
        (svg.render(figure, name, f"Privacy score against memorization; {note}"),),
        "Each dot is one training example: the more it is memorized (right), the further apart lie "
        "its confidences in models that were trained on it and in models that were not (up): its "
        "privacy score, by the attacker's shadow models. The finding ranks examples by LiRA's "
        "advantage on target models instead.",
    )


def _gallery(arrays: Arrays, name: str) -> Drawing:
    images, labels = arrays["images"], arrays["labels"]
    memorization = _numbers(arrays, "memorization", (len(images),))
    if len(labels) != len(images) or images.ndim not in (3, 4):
        raise ValueError(f"images {images.shape} and labels {labels.shape} do not belong together")
    split = int(arrays["split"])
    panels = []
    for title, members in (
        ("Most memorized", range(split)),
        ("Least memorized", range(split, len(images))),
    ):
        items = Markup().join(
            Markup(
                '<figure><img src="data:image/png;base64,{0}" alt="image labelled {1}, '
                'memorization {2}"><figcaption>label {1}<br>mem {2}</figcaption></figure>'
            ).format(canvas.png(images[i]), labels[i], canvas.short_share(float(memorization[i])))
            for i in members
        )
        panels.append(
            Markup('<div class="gallery"><h4>{}</h4><div>{}</div></div>').format(title, items)
        )
    return Drawing(
        tuple(panels),
        "The training images that the models memorize most and least: the first are got right by "
        "few models that were not trained on them, the others by nearly all.",
    )


def _exposure(arrays: Arrays, name: str) -> Drawing:
    bins, counts = _texts(arrays, "bins"), arrays["counts"]
    figure, axes = canvas.axes(
        "Memorization bin (examples in it)", "Advantage, memorization", height=3.1
    )
    at = np.arange(len(bins))
    found = []
    for k, (measure, label) in enumerate(
        (("advantage", "attack advantage (TPR − FPR)"), ("memorization", "memorization"))
    ):
        values = _numbers(arrays, measure, at.shape)
        axes.plot(
            at, values, color=svg.SERIES[k], linestyle=LINES[k], marker="os"[k], ms=5, label=label
        )
        if f"{measure}_low" in arrays:
            low, high = (_numbers(arrays, f"{measure}_{end}", at.shape) for end in ("low", "high"))
            axes.vlines(at, low, high, color=svg.SERIES[k], linewidth=1.6)
        found.append(f"{label}: {', '.join(number(float(value)) for value in values)}")
    axes.set_xticks(at, [f"{group}\n({count})" for group, count in zip(bins, counts, strict=True)])
    axes.set_ylim(min(0, axes.get_ylim()[0]), 1.02)
    axes.grid(axis="y")
    canvas.legend(axes)
    return Drawing(
        (svg.render(figure, name, f"By bin {', '.join(bins)}: {'; '.join(found)}"),),
        "Examples are grouped by how much they are memorized: the attack's advantage rises with "
        "memorization and, if that bounds it, lies nowhere below.",
    )


def _sample_complexity(arrays: Arrays, name: str) -> Drawing:
    memorization = _numbers(arrays, "memorization")
    if not (memorization > 0).all():
        raise ValueError("memorization holds values that are not above 0")
    figure, axes = canvas.axes(
        "1 / memorization (log scale)", "Models the attacker needs (log scale)"
    )
    axes.set(xscale="log", yscale="log")
    rarity, found = 1 / memorization, []
    for k, channel in enumerate(("prediction", "confidence")):
        needed = arrays[f"needed_{channel}"].astype(float)
        if needed.shape != rarity.shape or np.isnan(needed).any():
            raise ValueError(f"needed_{channel} is not one number for each memorization")
        slope, reached = float(arrays[f"slope_{channel}"]), np.isfinite(needed) & (needed > 0)
        if not reached.any():
            raise ValueError(f"needed_{channel} holds no count of models")
        found.append(f"seeing the {channel}: slope {number(slope)}")
        x, y = np.log(rarity[reached]), np.log(needed[reached])
        canvas.points(axes, rarity[reached], needed[reached], svg.SERIES[k], marker="os"[k])
        ends = np.array([x.min(), x.max()])
        axes.plot(
            np.exp(ends),
            np.exp(y.mean() + slope * (ends - x.mean())),
            color=svg.SERIES[k],
            linestyle=LINES[k],
            label=found[-1],
        )
    plain = FuncFormatter(lambda value, _: f"{value:,.4g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
        axis.set_minor_locator(NullLocator())
        axis.set_major_locator(FixedLocator(canvas.round_steps(*axis.get_view_interval())))
    canvas.legend(axes)
    return Drawing(
        (svg.render(figure, name, f"Models needed against 1 / memorization; {'; '.join(found)}"),),
        "How many independent models an attacker must observe to reach a given advantage on an "
        "example: a line of slope 1 means half the memorization costs twice the models. Over all "
        "target models together; the finding is the mean of the slopes in its units.",
    )


def _hellinger(arrays: Arrays, name: str) -> Drawing:
    memorization = _numbers(arrays, "memorization")
    hellinger = _numbers(arrays, "hellinger", memorization.shape)
    stderr = _numbers(arrays, "stderr", memorization.shape)
    margin, errors = float(arrays["margin"]), float(arrays["errors"])
    above = float(np.mean(hellinger > memorization + margin + errors * stderr))
    figure, axes = canvas.axes(MEMORIZATION, "Squared Hellinger distance H²")
    canvas.points(axes, memorization, hellinger, svg.SERIES[0])
    axes.plot([0, 1], [0, 1], color=svg.SERIES[1], linewidth=1.4, label="bound: H² = memorization")
    axes.set_ylim(min(0, float(hellinger.min())) - 0.02, 1.02)
    note = f"{percent(above)} of the examples lie surely above the bound"
    canvas.legend(axes, title=note)
    return Drawing(
        (svg.render(figure, name, f"Squared Hellinger distance against memorization; {note}"),),
        "Each dot is one training example, by how much it is memorized and how far apart its "
        "confidences with and without training on it are, over all models together: the assumption "
        f"puts every dot below the line. Surely above means by more than {margin:g} and {errors:g} "
        "standard errors of the memorization. The finding is the mean share over units of fewer "
        "models, where the errors are larger and fewer dots are surely above.",
    )


MEMORIZATION = "Memorization (0 none, 1 full)"

_KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "roc": _roc,
    "shadow-count": _shadow_count,
    "memorization-privacy": _memorization_privacy,
    "gallery": _gallery,
    "exposure-by-memorization": _exposure,
    "sample-complexity": _sample_complexity,
    "hellinger-memorization": _hellinger,
}


def _at(fpr: NDArray[Any], tpr: NDArray[Any], limit: Any) -> NDArray[Any]:
    """`tpr` at the last point with fpr <= limit, 0 before the first."""
    last = np.searchsorted(fpr, limit, side="right") - 1
    return np.where(last >= 0, tpr[np.maximum(last, 0)], 0.0)


def _numbers(arrays: Arrays, name: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    values = arrays[name].astype(float)
    if shape is not None and values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite")
    return values


def _texts(arrays: Arrays, name: str) -> list[str]:
    return [str(text) for text in arrays[name]]
