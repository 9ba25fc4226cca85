"""Arrays behind the onion's pictures: exposed examples, duplicates, targets and what masked them.

Each takes its experiment and gives arrays by name, or None for a pool that holds no pictures.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.locality import LocalityExperiment
from benchsuite.experiments.onion import EXPOSED, SAFE, WORST, OnionExperiment
from benchsuite.experiments.onion_worlds import RANDOM, most
from benchsuite.experiments.pictures import pictures
from benchsuite.experiments.twins import TwinsExperiment

Arrays = dict[str, Any]

OF_EACH_CLASS = 3
MOST_CLASSES = 10
MOST_CLUSTERS = 8
MOST_MEMBERS = 4
MOST_NEIGHBOURS = 10


def _gallery(onion: OnionExperiment) -> Arrays | None:
    """The most and the least exposed examples of each class (Figure 8).

    Chosen by `selection`; their advantage is that in `base`, which chance does not raise.

    Of more than ten classes as many are shown, evenly chosen; none of fewer than six examples.

    Returns:
        labels: int64 [classes], of `classes` in the pool, a number.
        most, least: images [3, classes, ...], the extreme first.
        most_advantage, least_advantage: float64 [3, classes], in `base`.
    """
    pool = onion.subject.pool
    images = pictures(pool.images)
    classes, counts = np.unique(pool.labels, return_counts=True)
    large = classes[counts >= 2 * OF_EACH_CLASS]
    if images is None or not len(large):
        return None
    shown = large[_evenly(len(large), MOST_CLASSES)]
    advantage, shown_advantage = onion.selection.advantage, onion.base.advantage
    arrays: Arrays = {"labels": shown, "classes": np.array(len(classes))}
    for name, sign in (("most", 1), ("least", -1)):
        of_class = [np.flatnonzero(pool.labels == each) for each in shown]
        top = [each[most(sign * advantage[each], OF_EACH_CLASS)] for each in of_class]
        chosen = np.stack(top, axis=1)
        arrays[name], arrays[f"{name}_advantage"] = images[chosen], shown_advantage[chosen]
    return arrays


def _duplicate_clusters(experiment: TwinsExperiment) -> Arrays | None:
    """Clusters found in the doubled pool (Figure 9), the largest and others evenly chosen.

    Only those of which deduplication leaves the first alone. Of a large cluster its first members
    and its last are shown.

    Returns:
        images: [shown, ...] of all clusters one after another, each cluster's original first.
        cluster: int64 [shown], whose each image is, counted from 0.
        planted: bool [shown].
        size: int64 [clusters], members of each.
        before, after: float64 [clusters], advantage on the original among its copies and without.
        found: how many clusters there are in all, a number.
        planted_found, planted_in_all: how many of the planted copies are removed, numbers.
    """
    images = pictures(experiment.doubled.pool.images)
    if images is None:
        return None
    removed = experiment.found.examples
    whole = [cluster for cluster in experiment.clusters if set(cluster[1:]) <= set(removed)]
    if not whole:
        return None
    whole.sort(key=len, reverse=True)
    clusters = [whole[k] for k in _evenly(len(whole), MOST_CLUSTERS)]
    shown = [
        each if len(each) <= MOST_MEMBERS else (*each[: MOST_MEMBERS - 1], each[-1])
        for each in clusters
    ]
    positions = np.concatenate(shown)
    originals = [cluster[0] for cluster in clusters]
    return {
        "images": images[positions],
        "cluster": np.repeat(np.arange(len(shown)), [len(each) for each in shown]),
        "planted": positions >= len(experiment.subject.pool),
        "size": np.array([len(cluster) for cluster in clusters]),
        "before": experiment.with_twins.at(originals).advantage,
        "after": experiment.deduplicated.at(originals).advantage,
        "found": np.array(len(experiment.clusters)),
        "planted_found": np.array(np.isin(experiment.twins, removed).sum()),
        "planted_in_all": np.array(len(experiment.twins)),
    }


def _unlearning(onion: OnionExperiment) -> Arrays:
    """Rise of the advantage on each kept example, over all models, by what is unlearned.

    Returns:
        names: of what is unlearned [2].
        rise_0, rise_1: float32 [kept].
        mean, worst: float64 [2], as the claim has them, see `OnionExperiment.unlearning`.
        share: of the examples that are called the worst, a number.
        removed: how many examples are unlearned, a number.
    """
    arms = {"the most exposed": onion, "as many random ones": onion.under(RANDOM)}
    arrays: Arrays = {
        "names": np.array(list(arms)),
        "removed": np.array(onion.layer_size()),
        "share": np.array(WORST),
    }
    numbers = []
    for k, arm in enumerate(arms.values()):
        removal = arm.layer
        rise = arm.without(removal).advantage - arm.ignoring(removal).advantage
        arrays[f"rise_{k}"] = rise.astype(np.float32)
        numbers.append([(unit["mean"], unit["worst"]) for unit in arm.unlearning()])
    arrays["mean"], arrays["worst"] = np.mean(numbers, axis=1).T
    return arrays


def _locality(experiment: LocalityExperiment) -> Arrays:
    """Advantage on each target before and after what masks it is removed (Section 5.1).

    Returns:
        names: of the groups [groups].
        group: int64 [targets], whose each target is, counted from 0.
        before, after: float64 [targets].
        removed: int64 [groups], examples removed of each target.
        whole_layer: mean advantage on the second layer without all of the first, a number.
        layer: how many examples that removes, a number.
    """
    groups = experiment.groups()
    second = groups["second layer"].after
    sizes = [len(group.after) for group in groups.values()]
    pairs = [group.advantages() for group in groups.values()]
    return {
        "names": np.array(list(groups)),
        "group": np.repeat(np.arange(len(groups)), sizes),
        "before": np.concatenate([before for before, _ in pairs]),
        "after": np.concatenate([after for _, after in pairs]),
        "removed": np.array([group.removed for group in groups.values()]),
        "whole_layer": experiment.without_layer.at(second).advantage.mean(),
        "layer": np.array(experiment.layer_size()),
    }


def _unlearning_example(experiment: LocalityExperiment) -> Arrays | None:
    """The target of the second layer that rises most, and what masked it (Figure 6).

    It is chosen by one half of the models, and its advantage is that in the other.

    Returns:
        image: the target.
        label: of it, a number.
        before, after: advantage on it, numbers.
        neighbours: images [shown, ...], those that mask most first.
        neighbour_labels: int64 [shown].
        removed: how many are, a number.
        targets: among how many it is the one that rises most, a number.
        safe, exposed: advantage up to which an example is called safe, from which exposed, numbers.
    """
    pool = experiment.subject.pool
    images = pictures(pool.images)
    if images is None:
        return None
    chosen_on, shown_by = experiment.groups()["second layer"].halves()
    before, after = chosen_on.advantages()
    risen = int(np.argmax(after - before))
    before, after = shown_by.advantages()
    target = list(shown_by.after)[risen]
    neighbours = experiment.neighbours[target]
    shown = neighbours[:MOST_NEIGHBOURS]
    return {
        "image": images[target],
        "label": pool.labels[target],
        "before": before[risen],
        "after": after[risen],
        "neighbours": images[shown],
        "neighbour_labels": pool.labels[shown],
        "removed": np.array(shown_by.removed),
        "targets": np.array(len(before)),
        "safe": np.array(SAFE),
        "exposed": np.array(EXPOSED),
    }


def _evenly(count: int, at_most: int) -> NDArray[np.intp]:
    """Positions of at most so many of `count`, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, at_most)).round().astype(np.intp)


ARRAYS: dict[str, Callable[[Any], Arrays | None]] = {
    "onion-gallery": _gallery,
    "duplicate-clusters": _duplicate_clusters,
    "unlearning": _unlearning,
    "locality": _locality,
    "unlearning-example": _unlearning_example,
}
"""The figure's arrays by its kind, of the experiment; None where this subject has none."""
