"""The arrays behind the membership experiment's figures: numbers, nothing drawn."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchsuite.attacks.privacy import privacy_score
from benchsuite.experiments.gaussians import HELLINGER_ERRORS, HELLINGER_MARGIN
from benchsuite.experiments.groups import EDGES, SMALLEST_BIN, TOP, Groups
from benchsuite.experiments.pictures import pictures
from benchsuite.experiments.shadow_counts import shadow_counts
from benchsuite.experiments.split_bank import SplitBank
from benchsuite.experiments.target_block import TargetBlock
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.roc import TprAtFpr, roc_curve, tpr_at_fpr
from benchsuite.stats.verdict import CannotResolveError

Arrays = dict[str, Any]
Blocks = Iterable[TargetBlock]

BAND = 0.05
"""One minus the level of the pointwise bands, over blocks."""
GALLERY = 16
CURVE_POINTS = 200
LOW_FPR = 1e-3
RESOLVES = 50_000
"""Non-members of which `LOW_FPR` accuses 50: with fewer, blocks are pooled for a TPR there."""


def _groups(bank: SplitBank) -> dict[str, Any]:
    memorized = np.flatnonzero(bank.memorization.estimate > 0.5)
    groups: dict[str, Any] = {"all examples": slice(None)}
    if len(memorized) >= 2:
        groups[f"mem > .5 ({len(memorized)} examples)"] = memorized
    return groups


def _roc(bank: SplitBank, blocks: Blocks) -> Arrays:
    """ROC of LiRA, pooled over all targets, for all and for highly memorized examples.

    With the TPR at `LOW_FPR`: its Clopper-Pearson interval over the members, the realised FPR and
    the non-members behind both, each by group.
    """
    each = [(block.scores, block.membership) for block in blocks]
    scores, inside = (np.concatenate(arrays) for arrays in zip(*each, strict=True))
    arrays: Arrays = {"names": np.array(list(_groups(bank))), "low_fpr": np.array(LOW_FPR)}
    grid = np.union1d(np.geomspace(1e-5, 1, CURVE_POINTS), LOW_FPR)
    low = []
    for k, members in enumerate(_groups(bank).values()):
        curve = roc_curve(scores[:, members], inside[:, members])
        last = np.searchsorted(curve.fpr, grid, side="right") - 1
        arrays[f"fpr_{k}"], arrays[f"tpr_{k}"] = grid, curve.tpr[last]
        low.append(tpr_at_fpr(scores[:, members], inside[:, members], LOW_FPR))
    for name, values in zip(TprAtFpr._fields, zip(*low, strict=True), strict=True):
        arrays[f"low_{name}"] = np.array(values)
    return arrays


def _shadow_count(bank: SplitBank, blocks: Blocks) -> Arrays:
    return shadow_count(bank, blocks, _groups(bank))


def shadow_count(bank: SplitBank, blocks: Blocks, groups: Mapping[str, Any]) -> Arrays:
    """AUROC, and TPR at `LOW_FPR`, against the number of references, by group of examples.

    AUROC is the mean over blocks, with a band. So is the TPR of a group with `RESOLVES` non-members
    in a block; else the scores of all blocks are pooled, and there is no band. Only what
    is pooled is kept, which is fewer than 2 x `RESOLVES` scores for each block and count.
    """
    counts = shadow_counts(bank.references)
    auroc: list[list[list[float]]] = []
    tpr: list[list[list[float]]] = [[] for _ in groups]
    kept: list[list[tuple[Any, ...]]] = [[] for _ in groups]
    outside = ~bank.membership[bank.references :]
    units = len(outside) // bank.block
    non_members = np.array([outside[:, members].sum() for members in groups.values()])
    averaged = non_members >= RESOLVES * units
    for block in blocks:
        scores = block.scores_by_count.values()
        auroc.append([[block.auroc(members, s) for s in scores] for members in groups.values()])
        for k, members in enumerate(groups.values()):
            inside = block.membership[:, members]
            selected = [s[:, members] for s in scores]
            if averaged[k]:
                tpr[k].append([float(tpr_at_fpr(s, inside, LOW_FPR).tpr) for s in selected])
            else:
                kept[k].append((inside, *selected))
    bands = np.apply_along_axis(_band, 0, np.array(auroc))
    arrays: Arrays = {
        "counts": np.array(counts),
        "names": np.array(list(groups)),
        "low_fpr": np.array(LOW_FPR),
        "non_members": np.where(averaged, non_members // units, non_members),
        **dict(zip(("auroc", "auroc_low", "auroc_high"), bands, strict=True)),
    }
    for k in range(len(groups)):
        if averaged[k]:
            arrays[f"tpr_{k}"], *band = np.apply_along_axis(_band, 0, np.array(tpr[k]))
            arrays[f"tpr_band_{k}"] = np.array(band)
        else:
            inside, *pooled = (np.concatenate(each) for each in zip(*kept[k], strict=True))
            arrays[f"tpr_{k}"] = np.array([tpr_at_fpr(s, inside, LOW_FPR).tpr for s in pooled])
    return arrays


def _memorization_privacy(bank: SplitBank, blocks: Blocks) -> Arrays:
    rows = np.arange(bank.references)
    memorization = bank.memorization.estimate
    privacy = privacy_score(bank.confidence[rows], bank.membership[rows])
    memorized = memorization > 0
    if memorized.sum() < SMALLEST_BIN:
        raise CannotResolveError(f"{int(memorized.sum())} examples have memorization above 0")
    correlation = spearmanr(memorization[memorized], privacy[memorized]).statistic
    return {
        "memorization": memorization,
        "privacy": privacy,
        "spearman": np.array(np.nan_to_num(correlation)),
    }


def _exposure_by_memorization(bank: SplitBank, blocks: Blocks) -> Arrays:
    """LiRA's advantage and memorization in each bin, with bands over blocks."""
    bins = Groups(bank.memorization.estimate).bins
    by_block = [
        [[values[members].mean() for members in bins.values()] for values in both]
        for both in ((block.advantage, block.memorization) for block in blocks)
    ]
    arrays: Arrays = {
        "bins": np.array([name.replace(TOP, f"{TOP} (> {_lowest(bins, bank)})") for name in bins]),
        "counts": np.array([len(members) for members in bins.values()]),
    }
    bands = np.apply_along_axis(_band, 0, np.array(by_block))
    for suffix, (advantage, memorization) in zip(("", "_low", "_high"), bands, strict=True):
        arrays["advantage" + suffix], arrays["memorization" + suffix] = advantage, memorization
    return arrays


def _lowest(bins: dict[str, NDArray[np.intp]], bank: SplitBank) -> str:
    """Lower edge of the top bin, which is lower where small bins were merged into it."""
    least = bank.memorization.estimate[bins[TOP]].min()
    return f"{max(edge for edge in EDGES if edge < least):g}".removeprefix("0")


def _sample_complexity(bank: SplitBank, blocks: Blocks) -> Arrays:
    rows = np.concatenate([block.models for block in blocks])
    whole = TargetBlock(bank, rows, 0)
    memorization, needed = whole.complexity()
    slopes = whole.complexity_slopes()
    return {
        "memorization": memorization,
        "needed_prediction": needed["prediction"],
        "needed_confidence": needed["confidence"],
        "slope_prediction": np.array(slopes["prediction"]),
        "slope_confidence": np.array(slopes["confidence"]),
    }


def _hellinger_memorization(bank: SplitBank, blocks: Blocks) -> Arrays:
    every = TargetBlock(bank, np.arange(len(bank.membership)), 0)
    hellinger, memorization, stderr = every.hellinger_and_memorization()
    return {
        "memorization": memorization,
        "hellinger": hellinger,
        "stderr": stderr,
        "margin": np.array(HELLINGER_MARGIN),
        "errors": np.array(HELLINGER_ERRORS),
    }


def _gallery(bank: SplitBank, blocks: Blocks) -> Arrays | None:
    """The most memorized images, then as many drawn evenly from the least memorized."""
    images = None if bank.pool is None else pictures(bank.pool.images)
    if bank.pool is None or images is None:
        return None
    order = np.argsort(-bank.memorization.estimate, kind="stable")
    shown = np.concatenate([order[:GALLERY], order[-GALLERY:]])
    return {
        "images": images[shown],
        "labels": bank.pool.labels[shown],
        "memorization": bank.memorization.estimate[shown],
        "split": np.array(GALLERY),
    }


def _band(values: NDArray[np.float64]) -> tuple[float, float, float]:
    interval = t_interval(values, BAND)
    return interval.estimate, interval.low, interval.high


ARRAYS: dict[str, Callable[[SplitBank, Blocks], Arrays | None]] = {
    "roc": _roc,
    "shadow-count": _shadow_count,
    "memorization-privacy": _memorization_privacy,
    "exposure-by-memorization": _exposure_by_memorization,
    "sample-complexity": _sample_complexity,
    "hellinger-memorization": _hellinger_memorization,
    "gallery": _gallery,
}
"""The figure's arrays by its kind; None where the subject has none."""
