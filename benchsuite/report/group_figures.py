"""Figures of two groups and of their singletons: how exposed they are, and what foretells it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.drawing import Arrays, Drawing, numbers, texts
from benchsuite.report.wording import minus, percent

OVER, UNDER, SINGLETONS = "over-represented", "under-represented", "singletons"
MARKERS = "os^"
MOST_DOTS = (300, 200, 150)
"""Of each group in a scatter: a dot weighs 60 bytes in the page, and there are five panels."""
CUTS = (1, 2)
"""Privacy scores that shares of the outliers lie below: ours, and the paper's."""
WEAK, STRONG = 0.4, 0.6
SIGNIFICANT = 1e-3
"""The paper's words for correlations, and its level (Appendix A.1)."""


def _privacy_by_group(arrays: Arrays, name: str) -> Drawing:
    """Histograms of the privacy score, one below the other."""
    edges = numbers(arrays, "edges")
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges has shape {edges.shape} or does not rise")
    groups = {
        says: numbers(arrays, each, (len(edges) - 1,))
        for each, says in (("over", OVER), ("under", UNDER), ("singletons", SINGLETONS))
    }
    for each in (OVER, UNDER):
        if not groups[each].sum() > 0:
            raise ValueError(f"there is no {each} example in the histogram")
    shown = {says: counts for says, counts in groups.items() if counts.sum()}
    below = [float(numbers(arrays, each, ())) for each in ("below_one", "below")]
    if not 0 <= below[0] <= below[1] <= 1:
        raise ValueError(f"below_one {below[0]:g} and below {below[1]:g} are no rising shares")
    figure = Figure(figsize=(4.3, 0.9 + 1.3 * len(shown)), layout="constrained")
    columns = np.atleast_1d(np.asarray(figure.subplots(len(shown), sharex=True)))
    said = []
    for k, (axes, (says, counts)) in enumerate(zip(columns, shown.items(), strict=True)):
        title = f"{says} ({counts.sum():,.0f})"
        if says == UNDER:
            shares = (
                f"{percent(share)} below {cut}" for share, cut in zip(below, CUTS, strict=True)
            )
            title += f":\n{', '.join(shares)}"
        elif says == SINGLETONS:
            title += ", a part of these"
        heights = counts / counts.sum()
        axes.stairs(heights, edges, fill=True, alpha=0.25, lw=0, color=svg.SERIES[k])
        axes.stairs(heights, edges, lw=1.6, color=svg.SERIES[k])
        for cut in CUTS:
            axes.axvline(cut, color=svg.INK, linestyle=(0, (1, 2)), linewidth=1.2)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(2))
        canvas.percent_axis(axes.yaxis)
        said.append(f"{title.replace(chr(10), ' ')}, median {_median(counts, edges):.2f}")
    columns[-1].set(
        xlabel="Privacy score (in standard deviations)", xlim=(0, max(edges[-1], CUTS[-1] + 0.1))
    )
    figure.supylabel("Share of the group", fontsize=10.5)
    return Drawing(
        (svg.render(figure, name, f"Histograms of the privacy score; {'; '.join(said)}"),),
        "How exposed the examples of each group are: the privacy score is the distance between the "
        "mean confidences of models with and without an example, over the sum of their standard "
        "deviations, by all models. If every outlier were exposed, all of the second histogram "
        "would lie right of the dotted lines, at 1 (where the finding is decided) and at 2 (where "
        "the paper looks). Each histogram has a scale of its own.",
    )


def _median(counts: NDArray[Any], edges: NDArray[Any]) -> float:
    """The middle of the bin that the median is in."""
    at = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(edges[at : at + 2].mean())


# ---- scatter -------------------------------------------------------------------------------------

AXES = {
    "memorization": "Memorization (0 none, 1 full)",
    "MSP": "Outlier score by MSP (right: stranger)",
    "energy": "Outlier score by energy (right: stranger)",
}
ABOVE = {
    "privacy": "Privacy score (standard deviations)",
    "memorization": "Memorization, by other models",
}
COLUMNS = {"privacy": "privacy", "memorization": "memorization_of_others"}


def _outlier_scatter(arrays: Arrays, name: str) -> Drawing:
    """One panel for each pair of scores, and a table of their rank correlations."""
    group = numbers(arrays, "group")
    if group.ndim != 1 or not np.isin(group, (0, 1, 2)).all() or not group.size:
        raise ValueError(f"group has shape {group.shape} or holds others than 0, 1 and 2")
    pairs, sets = texts(arrays, "pairs"), texts(arrays, "sets")
    if not pairs or not sets:
        raise ValueError(f"pairs holds {len(pairs)} texts and sets {len(sets)}, expected some")
    rho, p = (numbers(arrays, each, (len(pairs), len(sets))) for each in ("spearman", "p"))
    examples = numbers(arrays, "examples", (len(sets),))
    names = (OVER, UNDER, SINGLETONS) if (group == 1).any() else ("others", "", SINGLETONS)
    places = {says: np.flatnonzero(group == k) for k, says in enumerate(names)}
    places = {says: members for says, members in places.items() if len(members)}
    panels = []
    for k, pair in enumerate(pairs):
        one, _, other = pair.partition(" - ")
        if one not in AXES or other not in ABOVE:
            raise ValueError(f"pairs holds {pair!r}, expected {list(AXES)} - {list(ABOVE)}")
        x, y = (
            numbers(arrays, one.lower(), group.shape),
            numbers(arrays, COLUMNS[other], group.shape),
        )
        figure, axes = canvas.axes(AXES[one], ABOVE[other], height=3.6)
        for says, members in places.items():
            style = names.index(says)
            _dots(axes, x[members], y[members], style, f"{says} ({len(members):,})")
        title = "Spearman " + ", ".join(
            f"{_rho(r)} ({each})" for r, each in zip(rho[k][:2], sets[:2], strict=True)
        )
        axes.margins(0.03)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        canvas.legend(axes, title=title.replace(", ", ",\n", 1))
        counted = ", ".join(f"{len(members):,} {says}" for says, members in places.items())
        panels.append(
            svg.render(
                figure, f"{name}-{k}", f"{ABOVE[other]} against {AXES[one]}: {counted}. {title}"
            )
        )
    columns = {
        f"{each[:1].upper()}{each[1:]} ({count:,.0f})": [
            _rho(r) + ("" if q < SIGNIFICANT else f" (p = {q:.1g})")
            for r, q in zip(rho[:, k], p[:, k], strict=True)
        ]
        for k, (each, count) in enumerate(zip(sets, examples, strict=True))
    }
    columns[f"The paper's word, {sets[0]}"] = [
        _word(float(r), float(q)) for r, q in zip(rho[:, 0], p[:, 0], strict=True)
    ]
    rows = [pair.replace(" - ", " and ") for pair in pairs]
    panels.append(canvas.table("Spearman's rank correlation", "Of", rows, columns))
    return Drawing(
        tuple(panels),
        "Each dot is one training example. The more evenly the dots rise to the right, the better "
        "does the score below foretell the one at the left: memorization in the first panel, and "
        "in the others two scores of how strange an example is to models that were not trained on "
        "it. All three come from the references; the privacy score, and memorization where it is "
        "at the left, from the other models. Where most examples have a memorization of 0, a "
        "correlation over all of them says little but who has any: findings are decided on those "
        "above 0. p is below .001 where none is given; the paper calls a correlation below "
        f"{WEAK:g} weak, and one from {STRONG:g} on strong." + _some_of(places, names),
    )


def _dots(axes: Any, x: NDArray[Any], y: NDArray[Any], style: int, label: str) -> None:
    """Some of these examples, evenly chosen, and their line of the legend."""
    shown = np.linspace(0, len(x) - 1, min(len(x), MOST_DOTS[style])).round().astype(int)
    look: Any = {"marker": MARKERS[style], "ls": "", "mew": 0, "color": svg.SERIES[style]}
    axes.plot(x[shown], y[shown], ms=(3.2, 3.6, 5)[style], alpha=(0.45, 0.6, 0.85)[style], **look)
    axes.plot([], [], ms=5.5, label=label, **look)


def _some_of(places: dict[str, NDArray[Any]], names: tuple[str, ...]) -> str:
    """What is said where not all examples are drawn."""
    drawn = {
        says: MOST_DOTS[names.index(says)]
        for says, members in places.items()
        if len(members) > MOST_DOTS[names.index(says)]
    }
    if not drawn:
        return ""
    return f" Drawn are {' and '.join(f'{count} of the {says}' for says, count in drawn.items())}."


def _rho(value: float) -> str:
    return minus(f"{value:.2f}") if abs(value) >= 0.005 else "0.00"


def _word(rho: float, p: float) -> str:
    if p >= SIGNIFICANT:
        return "not significant"
    size = abs(rho)
    return "weak" if size < WEAK else "moderate" if size < STRONG else "strong"


# ---- pictures ------------------------------------------------------------------------------------


def _memorization_levels(arrays: Arrays, name: str) -> Drawing:
    """A row of images for each level of memorization."""
    images, levels = arrays["images"], texts(arrays, "levels")
    memorization, group, level = (
        numbers(arrays, each, (len(images),)) for each in ("memorization", "group", "level")
    )
    labels, counts = numbers(arrays, "labels", (len(images),)), arrays["counts"]
    if images.ndim not in (3, 4) or counts.shape != (len(levels), 2):
        raise ValueError(f"images {images.shape} or counts {counts.shape} do not fit {levels}")
    if not np.isin(level, range(len(levels))).all() or not np.isin(group, (0, 1, 2)).all():
        raise ValueError("level or group holds others than the levels and 0, 1 and 2")
    mixed = bool(counts[:, 1].any())
    of_group = ("over", "under", "singleton") if mixed else ("", "", "singleton")
    panels = []
    for k, says in enumerate(levels):
        parts = [f"{counts[k, 0]:,} {OVER if mixed else 'examples'}"]
        parts += [f"{counts[k, 1]:,} {UNDER}"] if mixed else []
        items = Markup().join(
            canvas.picture(
                images[i],
                f"label {labels[i]:.0f}, memorization {canvas.short_share(memorization[i])}, "
                f"{of_group[int(group[i])]}".removesuffix(", "),
                Markup("label {:.0f}<br>mem {}<br>{}").format(
                    labels[i], canvas.short_share(memorization[i]), of_group[int(group[i])]
                ),
            )
            for i in np.flatnonzero(level == k)
        )
        panels.append(
            Markup('<div class="gallery"><h4>Memorization {}: {}</h4><div>{}</div></div>').format(
                says, ", ".join(parts), items
            )
        )
    return Drawing(
        tuple(panels),
        "Training images by how much they are memorized, at most ten of a level, evenly chosen "
        "from the least to the most memorized there"
        + (
            " and from both groups where it has both. The paper sees the over-represented group at "
            "the lowest level, its odd examples in between, and the under-represented group at the "
            "highest."
            if mixed
            else "."
        ),
    )


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "privacy-by-group": _privacy_by_group,
    "outlier-scatter": _outlier_scatter,
    "memorization-levels": _memorization_levels,
}
"""Drawing functions by kind of artifact."""
