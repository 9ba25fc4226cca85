"""Figures of differential privacy: what it does to memorization, and the ceiling that it sets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from benchsuite.report import canvas, svg
from benchsuite.report.canvas import short_share
from benchsuite.report.drawing import LINES, Arrays, Drawing, numbers, texts
from benchsuite.report.wording import number, percent
from benchsuite.stats.privacy import advantage_ceiling

Numbers = NDArray[np.float64]

# ---- dp-memorization -----------------------------------------------------------------------------

PLAIN, STOPPED = "plain", "plain, stopped early"
CLIPPED, PRIVATE = "clipping alone", "DP-SGD"
FITTING, OWN = "fitting rate", "own rate"
BINS = 24
NEAR = 0.02
"""Between accuracies that the caption calls about the same."""


def _dp_memorization(arrays: Arrays, name: str) -> Drawing:
    """A histogram for each way to train, one below the other."""
    arms = texts(arrays, "arms")
    expected = [PLAIN, STOPPED]
    expected += [f"{way}, {rate}" for rate in (FITTING, OWN) for way in (CLIPPED, PRIVATE)]
    if sorted(arms) != sorted(expected):
        raise ValueError(f"arms is {arms}, expected {expected}")
    memorization = numbers(arrays, "memorization")
    if memorization.ndim != 2 or len(memorization) != len(arms) or not memorization.size:
        raise ValueError(f"memorization has shape {memorization.shape}, expected a row of each arm")
    accuracy = numbers(arrays, "accuracy", (len(arms),))
    stopped, epsilon, delta = (
        float(numbers(arrays, each, ())) for each in ("stopped", "epsilon", "delta")
    )
    mean = memorization.mean(axis=1)
    edges = np.linspace(min(0, memorization.min()), 1, BINS + 1)
    figure = Figure(figsize=(4.3, 0.6 + 0.95 * len(arms)), layout="constrained")
    rows = figure.subplots(len(arms), sharex=True, sharey=True)
    said = []
    for k, (axes, arm) in enumerate(zip(rows, arms, strict=True)):
        colour = svg.SERIES[(PLAIN, PRIVATE, CLIPPED).index(arm.partition(",")[0])]
        heights = np.histogram(memorization[k], edges)[0] / memorization.shape[1]
        axes.stairs(heights, edges, fill=True, alpha=0.3, lw=0, color=colour)
        axes.stairs(heights, edges, lw=1.4, color=colour)
        axes.axvline(mean[k], color=svg.INK, linestyle=(0, (1, 2)), linewidth=1.2)
        title = f"{arm}: mean {short_share(mean[k])}, held-out {percent(accuracy[k])}"
        axes.set_title(title, loc="left", fontsize=9.5)
        axes.grid(axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(2))
        canvas.percent_axis(axes.yaxis)
        said.append(title)
    rows[-1].set(xlabel="Memorization (0 none, 1 full)", xlim=(edges[0], 1.01))
    figure.supylabel("Share of the examples", fontsize=10.5)

    own, early = (accuracy[arms.index(arm)] for arm in (f"{PRIVATE}, {OWN}", STOPPED))
    near = "where it is about as accurate" if abs(own - early) <= NEAR else "the nearest to that"

    def of(arm: str) -> str:
        at = arms.index(arm)
        return f"{short_share(mean[at])} at {percent(accuracy[at])}"

    return Drawing(
        (svg.render(figure, name, f"Memorization by way to train; {'; '.join(said)}"),),
        f"Memorization of {memorization.shape[1]:,} examples under each way to train; they are "
        "those that other plain models memorize by more than one half. Dotted: the mean, "
        f"{of(PLAIN)} held-out accuracy in plain training. At the fitting rate, the least of the "
        "learning rates tried at which clipping alone fits the training set as plain training "
        f"does, clipping leaves {of(f'{CLIPPED}, {FITTING}')}, and noise beside it "
        f"{of(f'{PRIVATE}, {FITTING}')}. At the recipe's own rate clipping alone, which guarantees "
        f"nothing, leaves {of(f'{CLIPPED}, {OWN}')}, DP-SGD {of(f'{PRIVATE}, {OWN}')}, and plain "
        f"training stopped after epoch {np.ceil(stopped - 0.5):.0f}, {near}, {of(STOPPED)}. DP-SGD "
        f"guarantees epsilon {number(epsilon)} at delta {canvas.tick(delta)} for one training, by "
        f"{_accountant(arrays)}.",
    )


def _accountant(arrays: Arrays) -> str:
    return f"Opacus's {str(arrays['accountant']).upper()} accountant"


# ---- privacy-ceiling -----------------------------------------------------------------------------

WITHOUT = "no noise"
LEFT, RIGHT, BESIDE = 2.0, 1.6, 2.6
"""Times that the curve goes on to the left and to the right, and where the game without noise is,
as times the largest epsilon."""
APART = 1.08
"""Times that advantage is drawn left of its place, and memorization right of it."""
CLEARLY = 0.1
"""How far advantage must pass memorization for the caption to say why."""


class Games(NamedTuple):
    """Canary games, epsilon rising; the last advantage, memorization, accuracy is without noise."""

    epsilons: Numbers
    delta: float
    advantage: Numbers
    memorization: Numbers
    accuracy: Numbers

    @classmethod
    def of(cls, arrays: Arrays) -> "Games":
        """The games of an artifact; KeyError or ValueError where it holds none."""
        epsilons = numbers(arrays, "epsilons")
        if epsilons.ndim != 1 or not epsilons.size or not (epsilons > 0).all():
            raise ValueError(f"epsilons has shape {epsilons.shape} or holds others than above 0")
        if len(np.unique(epsilons)) < len(epsilons):
            raise ValueError(f"epsilons holds {epsilons.tolist()}, expected each once")
        delta = float(numbers(arrays, "delta", ()))
        ceilings = numbers(arrays, "ceilings", epsilons.shape)
        if not np.allclose(ceilings, _ceiling(epsilons, delta), rtol=0, atol=1e-9):
            raise ValueError(f"ceilings holds {ceilings.tolist()}, not those of its epsilons")
        without = arrays["without"].astype(float)
        if without.shape != (5,) or not np.isfinite(without[3:]).all():
            raise ValueError(f"without has shape {without.shape} or lacks a number, expected five")
        games = _with_ends("advantage", arrays["advantage"].astype(float), len(epsilons))
        order = np.append(np.argsort(epsilons), len(epsilons))
        return cls(
            epsilons[order[:-1]],
            delta,
            np.vstack([games, _with_ends("without", without[None, :3], 1)])[order],
            np.append(numbers(arrays, "memorization", epsilons.shape), without[3])[order],
            np.append(numbers(arrays, "accuracy", epsilons.shape), without[4])[order],
        )

    @property
    def places(self) -> Numbers:
        """Where the games are on the logarithmic axis of epsilon."""
        return np.append(self.epsilons, BESIDE * self.epsilons[-1])


def _privacy_ceiling(arrays: Arrays, name: str) -> Drawing:
    """Advantage and memorization below the ceiling, and accuracy, against epsilon."""
    games = Games.of(arrays)
    canaries = float(numbers(arrays, "canaries", ()))
    advantage, low, high = games.advantage.T
    memorization, accuracy = games.memorization, games.accuracy
    curve = np.geomspace(games.epsilons[0] / LEFT, RIGHT * games.epsilons[-1], 60)
    ceiling = _ceiling(curve, games.delta)
    figure, axes = canvas.axes("Epsilon (log scale)", "Advantage, memorization", height=3.5)
    axes.fill_between(curve, ceiling, 1, color=svg.QUIET, alpha=0.15, linewidth=0)
    axes.plot(curve, ceiling, color=svg.INK, linewidth=1.4, label="ceiling of any advantage")
    known = np.isfinite(low)
    left, right = games.places / APART, games.places * APART
    axes.vlines(left[known], low[known], high[known], color=svg.SERIES[0], linewidth=1.8)
    axes.plot(
        left,
        advantage,
        "o",
        ms=6,
        color=svg.SERIES[0],
        label="LiRA's advantage (TPR − FPR)",
    )
    hollow: Any = {"mfc": "none", "mec": svg.SERIES[1], "mew": 1.4}
    axes.plot(right, memorization, "s", ms=6, label="memorization", **hollow)
    lowest = min(0.0, float(np.nanmin(games.advantage)), float(memorization.min()))
    axes.set_ylim(lowest - 0.03, 1.02)
    _epsilon_axis(axes, games)
    canvas.legend(axes)
    names = [f"epsilon {each:g}" for each in games.epsilons] + [WITHOUT]
    said = [
        f"{who}: advantage {number(found)}, memorization {number(kept)}, accuracy {percent(right)}"
        for who, found, kept, right in zip(names, advantage, memorization, accuracy, strict=True)
    ]
    panels = [
        svg.render(figure, f"{name}-ceiling", f"Canary games below a ceiling; {'; '.join(said)}")
    ]

    figure, axes = canvas.axes("Epsilon (log scale)", "Held-out accuracy", height=2.3)
    axes.plot(games.places, accuracy, "D", ms=5.5, color=svg.SERIES[2])
    for place, right in zip(games.places, accuracy, strict=True):
        axes.annotate(
            percent(right),
            (place, right),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    axes.set_ylim(0, 1.15)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    canvas.percent_axis(axes.yaxis)
    _epsilon_axis(axes, games)
    panels.append(svg.render(figure, f"{name}-accuracy", f"Held-out accuracy; {'; '.join(said)}"))
    return Drawing(tuple(panels), _ceiling_caption(games, canaries, _accountant(arrays)))


def _ceiling_caption(games: Games, canaries: float, accountant: str) -> str:
    advantage, memorization = games.advantage[:, 0], games.memorization
    bounds = _ceiling(games.epsilons, games.delta)
    pairs = list(zip(advantage[:-1], bounds, games.epsilons, strict=True))
    reached = ", ".join(f"{number(a)} at epsilon {e:g} (ceiling {number(b)})" for a, b, e in pairs)
    above = [f"epsilon {e:g}" for a, b, e in pairs if a > b]
    verdict = f"above the curve at {' and '.join(above)}" if above else "nowhere above the curve"
    some = np.isfinite(games.advantage).all(axis=1)
    lines = "Lines at the dots are 95 % intervals over blocks of targets"
    why = "a canary can be told by confidences though the prediction stays"
    return (
        f"Models that differ in {canaries:,.0f} mislabelled canaries, each of which joins the "
        "training set or not, and an attack that has to tell which. The curve is the most that "
        "differential privacy allows the advantage of any attack, (e^ε − 1 + 2δ) / (e^ε + 1) with "
        f"δ = {canvas.tick(games.delta)}. LiRA's, the mean over the canaries, is {reached}: "
        f"{verdict}. Without noise, with the clipping alone, there is no ceiling, and it is "
        f"{number(advantage[-1])}. "
        + (lines if some.any() else "")
        + (", where there are several" if some.any() and not some.all() else "")
        + (". " if some.any() else "")
        + f"Memorization of the wrong labels is {number(memorization[-1])} without noise"
        + (f": {why}" if advantage[-1] > memorization[-1] + CLEARLY else "")
        + ". The other panel has the price in accuracy. Epsilon is of one training, by "
        f"{accountant}."
    )


def _ceiling(epsilons: Numbers, delta: float) -> Numbers:
    return np.array([advantage_ceiling(float(epsilon), delta) for epsilon in epsilons])


def _with_ends(name: str, values: Numbers, count: int) -> Numbers:
    """Estimates with their intervals, [count, 3]; NaN are the ends of what has a single block."""
    if values.shape != (count, 3):
        raise ValueError(f"{name} has shape {values.shape}, expected {(count, 3)}")
    estimate, low, high = values.T
    if not np.isfinite(estimate).all() or np.isinf(values).any():
        raise ValueError(f"{name} holds values that are not finite")
    if (np.isnan(low) != np.isnan(high)).any() or (low > estimate).any() or (estimate > high).any():
        raise ValueError(f"{name} holds values that do not lie within their intervals")
    return values


def _epsilon_axis(axes: Axes, games: Games) -> None:
    """Ticks at the games, and a line before the one without noise."""
    places = games.places
    axes.axvline(RIGHT * games.epsilons[-1], color=svg.QUIET, linestyle=LINES[3], linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(places[0] / LEFT, RIGHT * places[-1])
    axes.xaxis.set_major_locator(FixedLocator(places.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    says = [*(f"{each:g}" for each in games.epsilons), WITHOUT]
    axes.set_xticklabels(says)
    axes.grid(axis="y")


KINDS: dict[str, Callable[[Arrays, str], Drawing]] = {
    "dp-memorization": _dp_memorization,
    "privacy-ceiling": _privacy_ceiling,
}
"""Drawing functions by kind of artifact."""
