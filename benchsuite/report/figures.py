"""One function per kind of artifact: saved arrays in, inline SVG with its caption out."""

from collections.abc import Callable

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchsuite.report import (
    attack_figures,
    canvas,
    feature_figures,
    feature_pictures,
    group_figures,
    group_tables,
    onion_figures,
    onion_pictures,
    oracle_figures,
    precision_figures,
    privacy_figures,
    svg,
)
from benchsuite.report.drawing import LINES, Arrays, Drawing, numbers, texts
from benchsuite.report.wording import number, percent

MEMORIZATION = "Memorization (0 none, 1 full)"


def draw(kind: str, arrays: Arrays, name: str) -> Drawing:
    """The figure of `kind`; ValueError for an unknown kind or arrays that do not fit it.

    `name` is unique on the page: the ids inside the SVG start with it.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}; this version draws {', '.join(_KINDS)}")
    with svg.style():
        return _KINDS[kind](arrays, name)


def _memorization_privacy(arrays: Arrays, name: str) -> Drawing:
    memorization = numbers(arrays, "memorization")
    privacy = numbers(arrays, "privacy", memorization.shape)
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
    memorization = numbers(arrays, "memorization", (len(images),))
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
    bins, counts = texts(arrays, "bins"), arrays["counts"]
    figure, axes = canvas.axes(
        "Memorization bin (examples in it)", "Advantage, memorization", height=3.1
    )
    at = np.arange(len(bins))
    found = []
    for k, (measure, label) in enumerate(
        (("advantage", "attack advantage (TPR − FPR)"), ("memorization", "memorization"))
    ):
        values = numbers(arrays, measure, at.shape)
        axes.plot(
            at, values, color=svg.SERIES[k], linestyle=LINES[k], marker="os"[k], ms=5, label=label
        )
        if f"{measure}_low" in arrays:
            low, high = (numbers(arrays, f"{measure}_{end}", at.shape) for end in ("low", "high"))
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
    memorization = numbers(arrays, "memorization")
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
    memorization = numbers(arrays, "memorization")
    hellinger = numbers(arrays, "hellinger", memorization.shape)
    stderr = numbers(arrays, "stderr", memorization.shape)
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


_KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "roc": attack_figures.roc,
    "shadow-count": attack_figures.shadow_count,
    "memorization-privacy": _memorization_privacy,
    "gallery": _gallery,
    "exposure-by-memorization": _exposure,
    "sample-complexity": _sample_complexity,
    "hellinger-memorization": _hellinger,
    **onion_figures.KINDS,
    **onion_pictures.KINDS,
    **feature_figures.KINDS,
    **feature_pictures.KINDS,
    **group_figures.KINDS,
    **group_tables.KINDS,
    **oracle_figures.KINDS,
    **precision_figures.KINDS,
    **privacy_figures.KINDS,
}
