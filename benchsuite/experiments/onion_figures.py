"""Arrays behind the onion's curves: ROC before and after a removal, and how stable scores are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchsuite.experiments.membership_figures import BAND
from benchsuite.experiments.onion import OnionExperiment
from benchsuite.experiments.onion_worlds import OnionWorlds, most
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.twins import TwinsExperiment
from benchsuite.experiments.world import World
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.roc import roc_curve
from benchsuite.stats.verdict import CannotResolveError

Arrays = dict[str, Any]

CURVE_POINTS = 120
DECADE = 10
"""How far left of the FPR that counts a curve begins: a block that resolves that FPR has at least
two false positives there."""
BASE, IDEALISED, REAL = (
    "base (B): all examples",
    "idealised (I): the removed ones ignored",
    "real (R): trained without them",
)


def _roc(onion: OnionExperiment) -> Arrays:
    """Base on all examples, idealised and real on those that a peel keeps (Figure 1)."""
    idealised, real = _kept(onion, onion.layer)
    return _curves({BASE: onion.base, IDEALISED: idealised, REAL: real}, onion.size.fpr)


def _gap(onion: OnionExperiment) -> Arrays:
    """The same by the paper's statistic, the gap of the two highest logits."""
    removal, last = onion.layer, slice(onion.bank.models - onion.models, None)
    everything = np.arange(len(onion.subject.pool))
    base = World.of(onion.bank, everything, last, statistic="gap")
    bank = onion.workshop.bank(removal.without(onion.subject), onion.models)
    real = World.of(bank, removal.kept, statistic="gap")
    worlds = {BASE: base, IDEALISED: base.at(removal.kept), REAL: real}
    return _curves(worlds, onion.size.fpr)


def _deduplicated(twins: TwinsExperiment) -> Arrays:
    """With planted duplicates, and a peel of the pool without them (Figure 5)."""
    onion = twins.without_duplicates
    idealised, real = _kept(onion, onion.exposed)
    worlds = {
        "with duplicates: all examples": twins.with_twins,
        "deduplicated (B): all examples": onion.base,
        IDEALISED: idealised,
        REAL: real,
    }
    return _curves(worlds, onion.size.fpr)


def _size(onion: OnionExperiment) -> Arrays:
    """Base, and what removing random and the safest examples does (Figure 3)."""
    worlds = {BASE: onion.base}
    for which, removal in (("random ones", onion.random), ("the safest", onion.safest)):
        worlds[f"{which} ignored (I)"], worlds[f"{which} removed (R)"] = _kept(onion, removal)
    return _curves(worlds, onion.size.fpr)


def _capacity(onion: OnionExperiment) -> Arrays:
    """Idealised, real, and real with foreign outliers, on what a peel keeps (Figure 4)."""
    removal = onion.exposed
    idealised, real = _kept(onion, removal)
    instead = onion.with_outliers(removal).at(removal.kept)
    name = "foreign outliers in their place"
    return _curves({IDEALISED: idealised, REAL: real, name: instead}, onion.size.fpr)


def _peeling(onion: OnionExperiment) -> Arrays:
    """One shot and peeled, each on the examples that it keeps (Figure 7)."""
    worlds = {
        "one shot: the layer removed at once": onion.without(onion.exposed),
        f"peeled: as many removed in {onion.size.rounds} rounds": onion.without(onion.peeled),
    }
    return _curves(worlds, onion.size.fpr)


def _kept(onion: OnionWorlds, removal: Removal) -> tuple[World, World]:
    """Idealised and real, on the examples that a removal keeps."""
    return onion.ignoring(removal), onion.without(removal)


def _curves(worlds: Mapping[str, World], fpr: float) -> Arrays:
    """The ROC of each world, the mean over its blocks with a band, pointwise t intervals.

    `realised_fpr` is what a block's threshold at `fpr` accuses on average, of `non_members` in it.

    Raises:
        CannotResolveError: a single block, or one with too few non-members for `fpr`.
    """
    grid = np.union1d(np.geomspace(fpr / DECADE, 1, CURVE_POINTS), fpr)
    at = np.searchsorted(grid, fpr)
    bands, realised, non_members = [], [], []
    for world in worlds.values():
        tpr, accused, outside = [], [], []
        for block in world.blocks():
            block.tpr(fpr)  # raises where a block does not resolve it
            curve = roc_curve(block.scores, block.membership)
            last = np.searchsorted(curve.fpr, grid, side="right") - 1
            tpr.append(curve.tpr[last])
            accused.append(curve.fpr[last[at]])
            outside.append((~block.membership).sum())
        if len(tpr) < 2:
            raise CannotResolveError(f"a band is over blocks of models, and there is {len(tpr)}")
        bands.append([t_interval(each, BAND) for each in np.array(tpr).T])
        realised.append(np.mean(accused))
        non_members.append(np.mean(outside))
    estimate, low, high = np.moveaxis(np.array(bands), -1, 0)
    return {
        "names": np.array(list(worlds)),
        "fpr": grid,
        "tpr": estimate,
        "low": low,
        "high": high,
        "low_fpr": np.array(fpr),
        "realised_fpr": np.array(realised),
        "non_members": np.array(non_members),
        "blocks": np.array(len(tpr)),
        "level": np.array(1 - BAND),
    }


def _agreement(onion: OnionExperiment) -> Arrays:
    """Advantage by each half of the base bank, independent of the other, and its layer (Figure 2).

    Raises:
        CannotResolveError: a single block of models, which has no halves.
    """
    block = onion.bank.design.block
    size = onion.bank.models // 2 // block * block
    if not size:
        raise CannotResolveError(f"{onion.bank.models} models are no two blocks of {block}")
    one, other = (onion.whole(slice(first, first + size)).advantage for first in (0, size))
    layers = np.zeros((2, len(one)), dtype=np.bool_)
    for layer, advantage in zip(layers, (one, other), strict=True):
        layer[most(advantage, onion.layer_size())] = True
    return {
        "one": one,
        "other": other,
        "layers": layers,
        "r": np.array(np.corrcoef(one, other)[0, 1]),
        "models": np.array(size),
    }


ARRAYS: dict[str, Callable[[Any], Arrays | None]] = {
    "onion-roc": _roc,
    "onion-gap": _gap,
    "onion-deduplicated": _deduplicated,
    "onion-size": _size,
    "onion-capacity": _capacity,
    "onion-peeling": _peeling,
    "onion-agreement": _agreement,
}
"""The figure's arrays by its kind, of the experiment; None where this subject has none."""
