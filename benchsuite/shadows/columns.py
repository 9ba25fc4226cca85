"""Columns: what a bank writes down of its models, named "probe.what" or "probe.what@epoch"."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchsuite.data.dataset import Dataset
from benchsuite.stats.confidence import scaled_confidence
from benchsuite.subject import Subject
from benchsuite.training import Engine, Recipe, Weights, logits, squared_gradient_norms
from benchsuite.training.leverage import leverage_scores

COLUMNS = ("pool.confidence", "pool.correct", "pool.gap", "test.correct")
"""Written down unless others are asked for."""

SEMANTICS = 1
"""Raised whenever the same models would give other values: older columns are then refused."""

WHAT = (
    "confidence",
    "correct",
    "gap",
    "logits",
    "loss",
    "divergence",
    "squared_gradient",
    "leverage",
)

_OF_GRADIENTS = {
    "squared_gradient": ("squared gradients", squared_gradient_norms),
    "leverage": ("leverages", leverage_scores),
}
"""What is asked of gradients rather than of logits: its name in errors, and what computes it."""

_OWN = ("pool", "test", "validation")


class Column(NamedTuple):
    """A column's name in its parts, which `str` puts together.

    Attributes:
        probe: the examples asked about.
        what: is written down of each.
        epoch: at whose end, from 1; None of the trained models.
    """

    probe: str
    what: str
    epoch: int | None = None

    @classmethod
    def parse(cls, name: str) -> "Column":
        """The parts of a name; of one that is no column's, parts that give another name."""
        probe, _, rest = name.partition(".")
        what, at, epoch = rest.partition("@")
        return cls(probe, what, int(epoch) if at and epoch.isdecimal() else None)

    def __str__(self) -> str:
        """Return the name, as in `train_shadows` and in the names of files."""
        moment = "" if self.epoch is None else f"@{self.epoch}"
        return f"{self.probe}.{self.what}{moment}"


def probes_of(
    subject: Subject, others: Mapping[str, Dataset], columns: Sequence[str]
) -> dict[str, Dataset]:
    """The data sets that the columns ask about, by name: the subject's own and others.

    Raises:
        ValueError: an unknown column, an epoch that the recipe lacks, a probe that a column cannot
            be asked of, or one whose name is taken or no part of a file name, or whose inputs a
            model of this subject does not take.
    """
    for name, probe in others.items():
        if name in _OWN or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(
                f"probes: {name!r} cannot be the name of a probe: use letters, digits, '-', '_', "
                f"and none of {', '.join(_OWN)}, which are the subject's own"
            )
        expected, got = subject.pool.inputs().shape[1:], probe.inputs().shape[1:]
        if got != expected:
            raise ValueError(
                f"probes: inputs of {name!r} have shape {got}, the pool's {expected}: they must "
                "be equal"
            )
    own = {name: getattr(subject, name) for name in _OWN}
    known = {name: probe for name, probe in own.items() if probe is not None} | dict(others)
    asked = [Column.parse(name) for name in columns]
    for name, column in zip(columns, asked, strict=True):
        if column.probe not in known or column.what not in WHAT or str(column) != name:
            raise ValueError(
                f"columns: {name!r} is unknown; expected PROBE.WHAT or PROBE.WHAT@EPOCH with PROBE "
                f"one of {', '.join(known)} and WHAT one of {', '.join(WHAT)}"
            )
        _check_moment(column, subject.recipe)
        _check_probe(column, known[column.probe], subject.pool.classes)
    return {name: known[name] for name in known if name in {column.probe for column in asked}}


def _check_moment(column: Column, recipe: Recipe) -> None:
    if column.epoch is None:
        return
    if not 1 <= column.epoch <= recipe.epochs:
        raise ValueError(
            f"columns: {str(column)!r} asks for epoch {column.epoch}, but the recipe's run from 1 "
            f"to {recipe.epochs}: name one of those, or leave @{column.epoch} out for the trained "
            "models"
        )
    if column.what == "correct" and recipe.early_stopping is not None:
        raise ValueError(
            f"columns: {str(column)!r} is yes or no, and of models that early_stopping ended "
            f"before it is neither: ask for {column.probe}.confidence@{column.epoch}, which is NaN "
            "there"
        )


def _check_probe(column: Column, probe: Dataset, classes: int) -> None:
    if column.what == "divergence":
        by_group(column.probe, probe)
    if column.what in ("loss", *_OF_GRADIENTS) and probe.classes > classes:
        raise ValueError(
            f"columns: {str(column)!r} needs labels below {classes}, the pool's number of classes, "
            f"but those of {column.probe!r} reach {probe.classes - 1}: leave those examples out"
        )


def by_group(name: str, probe: Dataset) -> NDArray[np.int64]:
    """Positions of a probe's examples, [groups, images]: each column one image in every group.

    Raises:
        ValueError: the groups are not 0 to g - 1 with g of at least 2, or differ in size, or in
            the labels of their images.
    """
    groups = probe.groups
    if groups.dtype.kind not in "iu" or len(np.unique(groups)) < 2:
        raise ValueError(
            f"probes: groups of {name!r} must be integers, 0 for the clean images and from 1 on "
            f"for each other version of them, for a divergence; there are {np.unique(groups)[:4]}: "
            "give the probe's Dataset such groups"
        )
    numbers, sizes = np.unique(groups, return_counts=True)
    if not np.array_equal(numbers, np.arange(len(numbers))) or len(set(sizes.tolist())) > 1:
        raise ValueError(
            f"probes: groups of {name!r} must be 0 to g - 1, of equal size, each of the same "
            f"images, for a divergence; there are {numbers[:4].tolist()} with {sizes[:4].tolist()} "
            "examples: give every image in every group"
        )
    positions = np.argsort(groups, kind="stable").reshape(len(numbers), -1).astype(np.int64)
    different = (probe.labels[positions] != probe.labels[positions[0]]).any(axis=1)
    if different.any():
        raise ValueError(
            f"probes: group {int(different.argmax())} of {name!r} has other labels than group 0, "
            "and a divergence needs the same images in the same order in each: sort them alike"
        )
    return positions


def blank(column: Column, models: int, probe: Dataset, classes: int) -> NDArray[Any]:
    """A column of models that have said nothing: NaN, or False for "correct"."""
    shape: tuple[int, ...] = (len(probe),)
    if column.what == "logits":
        shape = (len(probe), classes)
    elif column.what == "divergence":
        groups, images = by_group(column.probe, probe).shape
        shape = (groups - 1, images)
    if column.what == "correct":
        return np.zeros((models, *shape), dtype=np.bool_)
    return np.full((models, *shape), np.nan, dtype=np.float32)


def answers(
    columns: Sequence[Column],
    subject: Subject,
    models: Sequence[int],
    weights: Weights,
    probes: Mapping[str, tuple[Dataset, Tensor]],
    engine: Engine,
) -> dict[Column, NDArray[Any]]:
    """Values [models, examples, ...] of columns of one moment; a probe's logits come but once.

    Args:
        columns: to fill.
        subject: whose models they are.
        models: their ids, which errors name.
        weights: of those models at that moment, [models, ...] by name.
        probes: examples by name, and their inputs on the models' device.
        engine: that computes the models.

    Raises:
        ValueError: a model whose outputs or gradients are not finite.
    """
    values: dict[Column, NDArray[Any]] = {}
    said: dict[str, NDArray[np.float32]] = {}
    for column in columns:
        probe, inputs = probes[column.probe]
        if column.what in _OF_GRADIENTS:
            name, compute = _OF_GRADIENTS[column.what]
            labels = torch.tensor(probe.labels, device=inputs.device)
            computed = compute(subject.model, weights, inputs, labels)
            values[column] = _finite(name, computed, column, subject, models)
            continue
        if column.probe not in said:
            given = logits(subject.model, weights, inputs, engine)
            said[column.probe] = _finite("logits", given, column, subject, models)
        if column.what == "divergence":
            values[column] = divergences(said[column.probe], by_group(column.probe, probe))
        else:
            values[column] = values_of(column.what, said[column.probe], probe.labels)
    return values


def _finite(
    name: str, given: Tensor, column: Column, subject: Subject, models: Sequence[int]
) -> NDArray[np.float32]:
    values: NDArray[np.float32] = given.float().cpu().numpy()
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        when = "" if column.epoch is None else f" at the end of epoch {column.epoch}"
        raise ValueError(
            f"model {models[int(np.argmin(finite))]} of {subject.name} gives {name} that are not "
            f"finite{when}: its training diverged; lower the recipe's learning_rate"
        )
    return values


def values_of(what: str, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[Any]:
    """A column's values [models, examples, ...] from logits [models, examples, classes]."""
    if what == "logits":
        return logits
    if what == "correct":
        correct: NDArray[np.bool_] = logits.argmax(axis=2) == labels
        return correct
    # Model by model: what is computed on the way would be several times as large as the logits.
    return np.stack([_OF_MODEL[what](each, labels) for each in logits])


def _gap(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    second, first = np.partition(logits, -2, axis=1)[:, -2:].T
    gap: NDArray[np.float32] = first - second
    return gap


def _loss(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    return (-_log_softmax(logits)[np.arange(len(labels)), labels]).astype(np.float32)


def _confidence(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    return scaled_confidence(logits, labels).astype(np.float32)


_OF_MODEL = {"gap": _gap, "loss": _loss, "confidence": _confidence}
"""Values [examples] of a column, from one model's logits [examples, classes] and the labels."""


def divergences(logits: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """KL(outputs of the clean image || of each other version), nats, [models, groups - 1, images].

    Args:
        logits: [models, examples, classes].
        positions: of the examples, [groups, images], see `by_group`.
    """
    groups, images = positions.shape
    values = np.empty((len(logits), groups - 1, images), dtype=np.float32)
    for of_model, each in zip(values, logits, strict=True):
        log_p = _log_softmax(each)[positions]
        clean = log_p[0]
        # Of two outputs that are almost equal, rounding may give a sum below 0.
        np.maximum((np.exp(clean) * (clean - log_p[1:])).sum(axis=2), 0, out=of_model)
    return values


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
