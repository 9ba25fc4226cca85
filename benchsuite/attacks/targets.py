"""Which models are attacked and which are their references: no target is ever a reference."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.attacks.observations import Labels, Observations
from benchsuite.stats.validation import Bools, Floats

Rows = NDArray[np.intp]
Targets = ArrayLike | Observations
"""Rows of the observations (integers or a bool mask), or other models' observations."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """Models under attack: some rows of observations, whose membership is out of reach here."""

    observations: Observations
    rows: Rows

    @property
    def labels(self) -> Labels:
        """Class of each example [examples]."""
        return self.observations.labels

    @property
    def shape(self) -> tuple[int, int]:
        """(models, examples)."""
        return len(self.rows), len(self.labels)

    @property
    def logits(self) -> Floats:
        """All of the observations' logits, of which `rows` are the models in question."""
        logits = self.observations.logits
        assert logits is not None  # `parties` was asked for logits
        return logits

    def loss(self, examples: slice = slice(None)) -> Floats:
        """Cross-entropy in nats [models, examples], a copy."""
        return self.observations.loss[self.rows, examples]


@dataclass(frozen=True, eq=False)
class References(Attacked):
    """Models of which it is known what they were trained on."""

    @property
    def all_membership(self) -> Bools:
        """That of all the observations, of which `rows` are the models in question."""
        membership = self.observations.membership
        assert membership is not None  # `parties` made sure
        return membership

    def membership(self, examples: slice = slice(None)) -> Bools:
        """Who was IN, bool [models, examples], a copy."""
        return self.all_membership[self.rows, examples]


def parties(
    attack: str, observations: Observations, targets: Targets, *, logits: bool = False
) -> tuple[References, Attacked]:
    """Tell references from targets, and require what the attack reads.

    Args:
        attack: its name, which the messages repeat.
        observations: the references, and the targets where these are given as rows.
        targets: rows, a bool mask over the models, or other models' observations of the same
            examples; then ALL rows of ``observations`` are references.
        logits: whether the attack reads output vectors.

    Raises:
        ValueError: no membership of the references, observations of other examples, of other
            classes or the references' own, missing logits, or targets as for `split`.
    """
    if observations.membership is None:
        raise ValueError(
            f"{attack}: observations has no membership, expected that of the reference models: pass"
            " Observations(membership=...), bool [models, examples]"
        )
    _require_logits(attack, "observations", observations, logits)
    if not isinstance(targets, Observations):
        rows, references = split(targets, models=observations.shape[0])
        return References(observations, references), Attacked(observations, rows)
    if targets is observations:
        raise ValueError(
            f"{attack}: targets is observations itself, expected other models: pass rows such as"
            " [0, 1], so that no target is among its own references"
        )
    _require_logits(attack, "targets", targets, logits)
    if not np.array_equal(targets.labels, observations.labels):
        raise ValueError(
            f"{attack}: targets has {len(targets.labels)} examples whose labels are not those of"
            f" the {len(observations.labels)} of observations, expected the same examples in the"
            " same order: observe the targets on the examples of the references"
        )
    if logits:
        theirs, ours = targets.classes, observations.classes
        if theirs != ours:
            raise ValueError(
                f"{attack}: targets has logits of {theirs} classes and observations of {ours},"
                " expected the same classes: attack models of the references' task"
            )
    return (
        References(observations, np.arange(observations.shape[0])),
        Attacked(targets, np.arange(targets.shape[0])),
    )


def by_class(attack: str, references: References) -> Iterator[tuple[Rows, Bools]]:
    """Yield, for each class that there is, its examples and who was IN, [models, these examples].

    Raises:
        ValueError: a class of which no reference has a member, or none a non-member.
    """
    membership = references.membership()
    for label in np.unique(references.labels):
        columns = np.flatnonzero(references.labels == label)
        inside = membership[:, columns]
        members = int(np.count_nonzero(inside))
        if members in (0, inside.size):
            raise ValueError(
                f"{attack} needs at least 1 member and 1 non-member of every class, but the"
                f" {len(inside)} references have {members} members among {inside.size} outputs on"
                f" class {label}: keep more models as references, or leave the class out"
            )
        yield columns, inside


def require_both_sides(attack: str, references: References) -> None:
    """Require that each example is IN for one reference and OUT of another, at least.

    Raises:
        ValueError: names the attack, the first example that falls short, and its count.
    """
    inside = references.membership()
    n_in = np.count_nonzero(inside, axis=0)
    for side, count in (("IN", n_in), ("OUT", len(inside) - n_in)):
        short = count == 0
        if short.any():
            raise ValueError(
                f"{attack} needs at least 1 IN and 1 OUT reference of every example, but example"
                f" {int(short.argmax())} has 0 {side} of {len(inside)} ({int(short.sum())} such"
                " examples): keep more models as references, or leave these examples out"
            )


def _require_logits(attack: str, name: str, given: Observations, needed: bool) -> None:
    if needed and given.logits is None:
        raise ValueError(
            f"{attack} reads output vectors, but {name} holds confidence alone: pass"
            " Observations(logits=...), or choose an attack that needs confidence only"
        )


def split(targets: ArrayLike, models: int) -> tuple[Rows, Rows]:
    """Return the target rows as integers in the caller's order, and all other rows, ascending.

    Args:
        targets: rows as distinct integers, or a bool mask [models].
        models: how many rows there are.

    Raises:
        ValueError: targets that are repeated, out of range, none, or all, or of another dtype.
    """
    given = np.asarray(targets)
    if given.ndim != 1 or given.size == 0:
        raise ValueError(
            f"targets has shape {list(given.shape)}, expected one axis with at least one row: pass"
            " row indices such as [0, 1], or a bool mask over the models"
        )
    if given.dtype == np.bool_:
        if len(given) != models or not given.any():
            raise ValueError(
                f"targets is a mask of {len(given)} values with {int(given.sum())} True, expected"
                f" one value for each of the {models} models and at least one True"
            )
        rows = np.flatnonzero(given)
    elif given.dtype.kind in "iu":
        outside = (given < 0) | (given >= models)
        if outside.any():
            raise ValueError(
                f"targets holds row {given[outside][0]}, expected rows from 0 to {models - 1} of"
                f" the {models} models"
            )
        unique, times = np.unique(given, return_counts=True)
        if times.max() > 1:
            raise ValueError(
                f"targets holds row {unique[times.argmax()]} {times.max()} times, expected each"
                " row once: remove the repeats"
            )
        rows = given.astype(np.intp)
    else:
        raise ValueError(
            f"targets has dtype {given.dtype}, expected integers (rows) or bool (a mask over the"
            " models)"
        )
    references = np.setdiff1d(np.arange(models), rows)
    if references.size == 0:
        raise ValueError(
            f"targets holds all {models} models, expected some to be left as references: attack"
            " fewer models or train more"
        )
    return rows, references
