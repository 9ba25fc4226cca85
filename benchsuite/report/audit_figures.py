"""Figures of an audit: its examples, and its attacks."""

from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from benchsuite.auditing.result import Audit
from benchsuite.report import canvas, svg
from benchsuite.report.drawing import Drawing
from benchsuite.report.wording import percent


def example_figure(audit: Audit, name: str) -> Drawing:
    """How often the attack finds each example, against how much it is memorized."""
    examples = audit.examples
    memorization, found = (examples[each].to_numpy(float) for each in ("memorization", "found"))
    exposed = examples["exposed"].to_numpy(bool)
    with svg.style():
        figure, axes = canvas.axes("Memorization", "Models in which the attack finds it", 3.7)
        for which, says, colour, marker in (
            (~exposed, "others", svg.QUIET, "o"),
            (exposed, "exposed", svg.SERIES[1], "D"),
        ):
            label = f"{says} ({np.count_nonzero(which):,})"
            axes.plot([], [], marker, ms=4, mew=0, color=colour, label=label)
            canvas.points(axes, memorization[which], found[which], colour, marker)
        if audit.target is not None:
            accused = examples["accused"].to_numpy(bool)
            label = f"accused in this model ({np.count_nonzero(accused):,})"
            ring: Any = {"ms": 8, "mfc": "none", "mec": svg.SERIES[0], "mew": 1.1}
            shown = _evenly(accused)
            axes.plot(memorization[shown], found[shown], "s", label=label, **ring)
        axes.set_xlim(min(-0.03, float(memorization.min()) - 0.03), 1.03)
        axes.set_ylim(-0.03, 1.03)
        canvas.percent_axis(axes.yaxis)
        axes.grid()
        canvas.legend(axes)
        alt = (
            f"Share of models in which the attack finds each of {len(examples):,} examples against "
            f"its memorization; {np.count_nonzero(exposed):,} are exposed"
        )
        drawn = svg.render(figure, name, alt)
    thinned = max(np.count_nonzero(exposed), np.count_nonzero(~exposed)) > canvas.MOST_POINTS
    return Drawing(
        (drawn,),
        f"Each mark is one example. To the right: how much more often models get it right when "
        f"they were trained on it. Up: the share of the models trained on it in which "
        f"{audit.deciding} finds it. What is exposed without being memorized, high on the left, "
        f"is found although models get it right without it."
        + (f" Of each kind {canvas.MOST_POINTS:,} are drawn." if thinned else ""),
    )


def attack_figure(audit: Audit, name: str) -> Drawing:
    """How many members each attack finds, the strongest on top, and how many guessing would."""
    attacks = audit.attacks.sort_values("tpr", ascending=False, kind="stable")
    found, low, high = (attacks[each].to_numpy(float) for each in ("tpr", "tpr_low", "tpr_high"))
    seen = np.concatenate([found[found > 0], [audit.fpr]])
    left, right = float(seen.min()) / 2, min(1.0, 1.3 * max(float(high.max()), audit.fpr))
    at = np.arange(len(found))
    with svg.style():
        figure, axes = canvas.axes("Members found (log scale)", "", 1.1 + 0.32 * len(found))
        axes.set_xscale("log")
        axes.axvline(audit.fpr, color=svg.QUIET, linestyle="--", linewidth=1.2, label="guessing")
        axes.hlines(at, np.clip(low, left, None), np.clip(high, left, None), color=svg.SERIES[0])
        some, none = found > 0, found <= 0
        axes.plot(found[some], at[some], "o", ms=5, color=svg.SERIES[0])
        axes.plot(
            np.full(none.sum(), left), at[none], "<", ms=6, color=svg.SERIES[0], clip_on=False
        )
        axes.set_yticks(at, [str(each) for each in attacks["attack"]])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlim(left, right)
        axes.xaxis.set_major_locator(FixedLocator(canvas.round_steps(left, right)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        axes.grid(axis="x")
        canvas.legend(axes)
        of_each = (
            f"{who} {percent(share)}" for who, share in zip(attacks["attack"], found, strict=True)
        )
        drawn = svg.render(figure, name, f"Members found by each attack: {', '.join(of_each)}")
    return Drawing(
        (drawn,),
        f"Share of the members that each attack finds while accusing {percent(audit.fpr)} of the "
        "others, on a logarithmic axis, with a 95 % interval over groups of shadow models: it "
        "covers other models, not other examples."
        + (" A triangle at the left edge: none." if none.any() else "")
        + (
            " An attack without any false alarm accuses nobody at this rate: too many examples "
            "have the same score."
            if (attacks["fpr"] == 0).any()
            else ""
        ),
    )


def _evenly(which: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Places of at most as many as are drawn, evenly chosen."""
    places = np.flatnonzero(which)
    take = np.linspace(0, len(places) - 1, min(len(places), canvas.MOST_POINTS))
    chosen: NDArray[np.intp] = places[take.round().astype(int)]
    return chosen
