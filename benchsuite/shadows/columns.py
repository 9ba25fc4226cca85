"""Columns: what a bank writes down of its models, named "probe.what"."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.dataset import Dataset
from benchsuite.stats.confidence import scaled_confidence
from benchsuite.subject import Subject

COLUMNS = ("pool.confidence", "pool.correct", "pool.gap", "test.correct")
"""Written down unless others are asked for."""

SEMANTICS = 1
"""Raised whenever the same logits would give other values: older columns are then refused."""

WHAT = ("confidence", "correct", "gap", "logits")


def probes_of(
    subject: Subject, others: Mapping[str, Dataset], columns: Sequence[str]
) -> dict[str, Dataset]:
    """The data sets that the columns ask about, by name: the subject's own and others.

    Raises:
        ValueError: an unknown column, or a probe whose name is taken or no part of a file name, or
            whose inputs a model of this subject does not take.
    """
    for name, probe in others.items():
        if name in ("pool", "test") or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(
                f"probes: {name!r} cannot be the name of a probe: use letters, digits, '-', '_', "
                "and neither 'pool' nor 'test', which are the subject's own"
            )
        expected, got = subject.pool.inputs().shape[1:], probe.inputs().shape[1:]
        if got != expected:
            raise ValueError(
                f"probes: inputs of {name!r} have shape {got}, the pool's {expected}: they must "
                "be equal"
            )
    known = {"pool": subject.pool, "test": subject.test, **others}
    for column in columns:
        name, _, what = column.partition(".")
        if name not in known or what not in WHAT:
            raise ValueError(
                f"columns: {column!r} is unknown; expected PROBE.WHAT with PROBE one of "
                f"{', '.join(known)} and WHAT one of {', '.join(WHAT)}"
            )
    asked = {column.partition(".")[0] for column in columns}
    return {name: probe for name, probe in known.items() if name in asked}


def values_of(what: str, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[Any]:
    """A column's values [models, examples, ...] from logits [models, examples, classes]."""
    if what == "logits":
        return logits
    if what == "correct":
        correct: NDArray[np.bool_] = logits.argmax(axis=2) == labels
        return correct
    if what == "gap":
        second, first = np.moveaxis(np.partition(logits, -2, axis=2)[:, :, -2:], 2, 0)
        gap: NDArray[np.float32] = first - second
        return gap
    return scaled_confidence(logits, np.broadcast_to(labels, logits.shape[:2])).astype(np.float32)
