"""The onion in support vector machines: take support vectors away, and others become ones.

What a machine predicts depends on its support vectors alone; every other training example is inert.
So the layers that the paper sees in neural networks are explicit here, and the control is exact:
without some of its inert examples a machine has the same support vectors.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.experiments.controlled import Controlled
from benchsuite.stats.validation import as_finite
from benchsuite.stats.verdict import CannotResolveError

INERT_REMOVED = "inert-removed"
CONTROLS = {INERT_REMOVED: "As many examples are removed that are no support vectors."}
"""What the control breaks."""

OUTER_SHARE: Final = 0.1
"""Share of the support vectors that a peel removes, as the paper removes a tenth of its pool.

In parts of 188 digits 153 examples support a machine of ten classes and 34 are inert: a layer of a
fifth of the support vectors would leave the control of some parts with too few to remove.
"""
PEELS = 3
PENALTY, PENALTY_IN_PLANE = 10.0, 0.1
"""C of the measured machines, and of those drawn, whose softer margins make layers to be seen."""
DRAWN_OF_EACH_CLASS = 75
DRAWN_ACCURACY = 0.97

_TOLERANCE = 1e-6  # of the optimum: at scikit-learn's 1e-3 who is a support vector is not settled

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]


class Peel(NamedTuple):
    """One layer taken off: positions of examples, ascending.

    Attributes:
        support: the support vectors before.
        removed: what was taken away.
        support_after: the support vectors of the machine trained on the rest.
    """

    support: Indices
    removed: Indices
    support_after: Indices

    @property
    def exposed(self) -> Indices:
        """Support vectors now that were inert before."""
        return np.setdiff1d(self.support_after, self.support)

    @property
    def replaced(self) -> float:
        """How many were exposed for each one removed."""
        return len(self.exposed) / len(self.removed)


def peel(
    images: ArrayLike,
    labels: ArrayLike,
    share_removed: float = OUTER_SHARE,
    inert: np.random.Generator | None = None,
) -> Peel:
    """Train a machine, remove the outermost of its support vectors, train another on the rest.

    Both have an RBF kernel of the same width, scikit-learn's "scale" of all the examples, and
    C = 10. The outermost support vectors have the largest sum of absolute dual coefficients over
    the machine's pairs of classes: they lie deepest in, or beyond, the margin.

    Args:
        images: real [examples, ...], flattened.
        labels: integers [examples].
        share_removed: part of the support vectors that is removed, above 0 and at most 1; at least
            one is.
        inert: if given, as many examples that are no support vectors are drawn with it and removed
            instead: the control.

    Raises:
        ValueError: images that are not finite, labels of another length, a share out of range.
        CannotResolveError: no example is inert (or too few for the control), or removing the layer
            would empty a class.
    """
    flat = _flattened(images)
    classes = np.asarray(labels)
    _check_labels(classes, flat)
    if not 0 < share_removed <= 1:
        raise ValueError(
            f"share_removed is {share_removed}, expected a part of the support vectors above 0 and"
            " at most 1: pass 0.1 to remove a tenth of them"
        )
    width = 1 / (flat.shape[1] * (float(flat.var()) or 1.0))
    support, weight = _support(flat, classes, width)
    resting = np.setdiff1d(np.arange(len(flat)), support)
    count = max(1, round(share_removed * len(support)))
    needed = 1 if inert is None else count
    if len(resting) < needed:
        raise CannotResolveError(
            f"{len(resting)} of {len(flat)} examples are inert and {needed} are needed: nearly all"
            " are support vectors, and this finding needs more examples"
        )
    if inert is None:
        removed = np.sort(support[np.argsort(-weight, kind="stable")[:count]])
    else:
        removed = np.sort(inert.choice(resting, count, replace=False))
    left = np.delete(np.arange(len(flat)), removed)
    if lost := set(classes.tolist()) - set(classes[left].tolist()):
        raise CannotResolveError(
            f"removing {count} of {len(flat)} examples would lose class {min(lost)}: this finding"
            " needs more examples of it"
        )
    after, _ = _support(flat[left], classes[left], width)
    return Peel(support, removed, left[after])


@dataclass(frozen=True, eq=False)
class SvmOnion(Controlled):
    """Peels of machines trained on disjoint parts of the data, each a unit of replication.

    Args:
        images: real [examples, ...].
        labels: integers [examples].
        units: number of parts, each random with its share of every class.
        seed: of the parts and of the control's draws.
        control: one of `CONTROLS`, or "" for the experiment as it is.

    Raises:
        ValueError: images that are not finite, labels of another length, no units, an unknown
            control.
    """

    images: Floats
    labels: NDArray[np.integer[Any]]
    units: int
    seed: int
    control: str = ""

    controls: ClassVar[Mapping[str, str]] = CONTROLS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units < 1:
            raise ValueError(f"units is {self.units}, expected at least 1 part of the data")
        object.__setattr__(self, "images", _flattened(self.images))
        _check_labels(np.asarray(self.labels), self.images)

    def parts(self) -> list[Indices]:
        """Disjoint random parts, each with its share of every class: positions, ascending.

        Raises:
            CannotResolveError: a class has fewer examples than there are parts.
        """
        names, counts = np.unique(self.labels, return_counts=True)
        if counts.min() < self.units:
            raise CannotResolveError(
                f"class {names[counts.argmin()]} has {counts.min()} examples for {self.units}"
                " parts, so that a part would lose it: this finding needs more examples"
            )
        shuffled = np.random.default_rng([self.seed, 0]).permutation(len(self.labels))
        by_class = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        return [np.sort(by_class[first :: self.units]) for first in range(self.units)]

    def peels(self) -> Iterator[dict[str, float]]:
        """Of each part: examples exposed for each one removed, and support vectors each time.

        Raises:
            CannotResolveError: as `parts` and `peel`.
        """
        for number, part in enumerate(self.parts()):
            draw = np.random.default_rng([self.seed, 1, number])
            inert = draw if self.control == INERT_REMOVED else None
            peeled = peel(self.images[part], self.labels[part], inert=inert)
            yield {
                "exposed for each removed": peeled.replaced,
                "support vectors": len(peeled.support),
                "support vectors after": len(peeled.support_after),
            }

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where no two classes can be drawn.

        Of "svm-onion": two classes in the plane of their principal components, in units of their
        standard deviation, and three linear machines, each trained without all support vectors of
        those before it. The classes are those of the first ten that a straight line tells apart for
        nearest to 97 % of at most 75 examples each: they overlap a little (digits: 2 and 7).

        Returns:
            points: float64 [n, 2].
            labels: int64 [n], the data's own.
            support: bool [3, n], the support vectors of each machine.
            lines: float64 [3, 3], (w_1, w_2, b) of each: w . point + b = 0.
            counts: int64 [3], support vectors of each.

        Raises:
            KeyError: an unknown kind.
        """
        if kind != "svm-onion":
            raise KeyError(kind)
        drawn = [
            arrays
            for pair in combinations(np.unique(self.labels)[:10], 2)
            if (arrays := self._plane(*pair)) is not None
        ]
        return min(drawn, key=_distance_from_drawable, default=None)

    def _plane(self, first: int, second: int) -> dict[str, Any] | None:
        """Arrays of a pair of classes, or None where a machine's removal would empty one."""
        from sklearn.decomposition import PCA
        from sklearn.svm import SVC

        of_each = [np.flatnonzero(self.labels == c)[:DRAWN_OF_EACH_CLASS] for c in (first, second)]
        members = np.concatenate(of_each)
        if min(len(members) - 1, self.images.shape[1]) < 2:
            return None
        points = PCA(2, svd_solver="full").fit_transform(self.images[members].astype(np.float64))
        points /= points.std() or 1.0
        labels = self.labels[members]
        support, lines = np.zeros((PEELS, len(members)), np.bool_), np.empty((PEELS, 3))
        left = np.arange(len(members))
        for k in range(PEELS):
            if len(set(labels[left].tolist())) < 2:
                return None
            machine = SVC(C=PENALTY_IN_PLANE, kernel="linear", tol=_TOLERANCE)
            machine.fit(points[left], labels[left])
            support[k, left[machine.support_]] = True
            lines[k] = *machine.coef_[0], machine.intercept_[0]
            left = np.delete(left, machine.support_)
        return {
            "points": points,
            "labels": labels.astype(np.int64),
            "support": support,
            "lines": lines,
            "counts": support.sum(1),
        }


def _distance_from_drawable(arrays: dict[str, Any]) -> float:
    """How far the first line's accuracy is from that of a pair that overlaps a little."""
    above = arrays["points"] @ arrays["lines"][0, :2] + arrays["lines"][0, 2] > 0
    right = np.mean(above == (arrays["labels"] == arrays["labels"].max()))
    return abs(float(right) - DRAWN_ACCURACY)


def _support(images: Floats, labels: NDArray[Any], width: float) -> tuple[Indices, Floats]:
    """Positions of the support vectors, ascending, and the sum of each one's |coefficients|."""
    from sklearn.svm import SVC  # a second to import: only for who trains

    machine = SVC(C=PENALTY, kernel="rbf", gamma=width, tol=_TOLERANCE).fit(images, labels)
    order = np.argsort(machine.support_)  # libsvm lists them class by class
    weight: Floats = np.abs(machine.dual_coef_).sum(axis=0)
    return machine.support_[order].astype(np.intp), weight[order]


def _flattened(images: ArrayLike) -> Floats:
    checked = as_finite("images", images)
    if checked.ndim < 2:
        raise ValueError(
            f"images has shape {list(checked.shape)}, expected [examples, ...]: pass one row of"
            " pixels for each example"
        )
    return checked.reshape(len(checked), -1)


def _check_labels(labels: NDArray[Any], images: Floats) -> None:
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels has dtype {labels.dtype} and shape {list(labels.shape)}, expected integers"
            f" [{len(images)}]: pass one for each of the images"
        )
    if labels.min() == labels.max():
        raise ValueError(f"labels holds the single class {labels[0]}, expected at least two")
