"""What one deployed model said, read from a file and matched to the examples asked about."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchsuite.attacks.observations import Observations
from benchsuite.auditing.columns import Names
from benchsuite.auditing.files import Answers, read_answers
from benchsuite.auditing.matrix import distinct_ids
from benchsuite.auditing.outputs import STEMS, observations_of
from benchsuite.stats.validation import Bools


def read_outputs(
    path: str | Path, labels: NDArray[Any], outputs: str | None, ids: Names | None
) -> tuple[Observations, Bools | None, int]:
    """Return what the model said, what it was trained on if the file says so, and `raised`.

    Args:
        path: as `ask` describes it.
        labels: of the examples, [examples].
        outputs: the kind of output expected; None accepts what the file holds.
        ids: of the examples, each once; None matches by position.

    Raises:
        ValueError: as `ask`.
    """
    answers = read_answers(path, whole=False)
    name, kind, values = answers.source.name, answers.kind, answers.values
    if outputs not in (None, kind):
        raise ValueError(
            f"outputs={outputs!r} but {name} holds {kind}, expected outputs=None for a file: leave "
            "it out, the file says what it holds"
        )
    if answers.models is not None and len(answers.models.distinct) > 1:
        raise ValueError(
            f"{name} holds {len(answers.models.distinct)} models, expected the outputs of one: "
            "keep the rows of the deployed model, or read all with read_matrix"
        )
    axes = ["examples", "classes"] if kind in STEMS else ["examples"]
    if values.ndim != len(axes):
        raise ValueError(
            f"{answers.source.part(kind)}: shape {list(values.shape)}, expected "
            f"[{', '.join(axes)}] of one model: save the deployed model's alone"
        )
    for part, array in (("labels", answers.labels), ("membership", answers.member)):
        if array is not None and array.shape != values.shape[:1]:
            raise ValueError(
                f"{answers.source.part(kind)}: {len(values)} examples, but {part} has shape "
                f"{list(array.shape)}, expected one value for each: save both in one order"
            )
    rows = _rows(answers, len(labels), ids)
    taken = answers.labels[rows] if answers.labels is not None else labels
    if not np.array_equal(taken, labels):
        first = int((taken != labels).argmax())
        which = first if ids is None else ids.distinct[ids.index[first]]
        raise ValueError(
            f"{name}: {int((taken != labels).sum())} of {len(labels)} labels differ from those "
            f"given (first example {which}: {taken[first]} and {labels[first]}), expected the same "
            "examples: put both in one order, or give ids to both"
        )
    observations, raised = observations_of(
        answers.source,
        kind,
        values[rows][None],
        labels=labels,
        ids=None if ids is None else ids.distinct[ids.index],
    )
    return observations, None if answers.member is None else answers.member[rows], raised


def _rows(answers: Answers, examples: int, ids: Names | None) -> NDArray[np.intp]:
    """Which row of the file each example is."""
    held, name = len(answers.values), answers.source.name
    stored = None if answers.ids is None else distinct_ids(answers, held)
    if stored is None or ids is None:
        if held != examples:
            raise ValueError(
                f"{name} holds {held} examples and {examples} are asked about, expected as many, "
                "in the same order: write all of them, or give ids to both"
            )
        return np.arange(examples)
    wanted = ids.distinct[ids.index]
    if (wanted.dtype.kind == "U") != (stored.dtype.kind == "U"):
        wanted, stored = wanted.astype(str), stored.astype(str)
    where = pd.Index(stored).get_indexer(pd.Index(wanted))
    absent = where < 0
    if absent.any():
        raise ValueError(
            f"{name} has no example {wanted[absent.argmax()]}, the first of {int(absent.sum())} of "
            f"{examples} that are not among its {held} ids, expected all of them: write these too, "
            "or check that both sides name examples alike"
        )
    rows: NDArray[np.intp] = where
    return rows
