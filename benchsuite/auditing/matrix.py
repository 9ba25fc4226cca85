"""Bring your own matrix: what shadow models of any framework said, read from a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchsuite.attacks.observations import Observations
from benchsuite.auditing.columns import Names
from benchsuite.auditing.files import Answers, read_answers
from benchsuite.auditing.outputs import STEMS, observations_of
from benchsuite.stats.validation import Bools


@dataclass(frozen=True)
class Matrix:
    """What shadow models said of examples.

    Attributes:
        observations: labels, membership, and logits or confidences.
        ids: of the examples, integers or text, in the order of the columns of `observations`.
        raised: how many probabilities lay below 1e-12, or above 1 - 1e-12 where only the label's
            was given, and were moved there so that logarithms are finite.
        kind: "logits", "probabilities", "probability" or "confidence": what the file gave.
    """

    observations: Observations
    ids: NDArray[Any]
    raised: int
    kind: str


def read_matrix(path: str | Path) -> Matrix:
    """Read what shadow models said from an .npz, .csv or .parquet file.

    An .npz holds `labels` int [examples], `membership` bool [models, examples], perhaps `ids`
    [examples], and one of `logits` [models, examples, classes], `probabilities` of the same shape,
    `probability` of the label [models, examples], and `confidence`, log p_y - log of the others'
    sum, [models, examples]. Its order is kept; `ids` are 0, 1, ... where it has none.

    A .csv or .parquet holds a row per model and example, in any order: columns `model`, `example`,
    `label`, `member` (0 and 1, or false and true) and one of `logit_0` to `logit_{k-1}`,
    `probability_0` to `probability_{k-1}`, `probability`, and `confidence`. Models and examples
    are sorted by id: as numbers where all ids are plain integers, else as text. Other columns are
    left alone.

    Probabilities become logits log(max(p, 1e-12)), one of the label log p - log(1 - p) with both
    held above 1e-12.

    Raises:
        ValueError: names file, column, value and what to do: no such file, nothing or two kinds of
            output in it, missing, repeated or contradictory rows, values that are of another kind
            than their name says, an example that is IN for all models or for none.
    """
    answers = read_answers(path, whole=True)
    if answers.models is None:
        labels, membership, values, ids = _of_arrays(answers)
        models = None
    else:
        labels, membership, values, ids = _of_rows(answers, answers.models)
        models = answers.models.distinct
    observations, raised = observations_of(
        answers.source,
        answers.kind,
        values,
        labels=labels,
        membership=membership,
        ids=ids,
        models=models,
    )
    _both_sides(answers.source.name, membership, ids)
    return Matrix(observations, ids, raised, answers.kind)


_Parts = tuple[NDArray[np.int64], Bools, NDArray[Any], NDArray[Any]]


def _of_arrays(answers: Answers) -> _Parts:
    """Arrays of an .npz whose shapes fit together."""
    labels, membership, values = answers.labels, answers.member, answers.values
    assert labels is not None
    assert membership is not None  # both are needed of a whole file
    part = answers.source.part(answers.kind)
    axes = ["models", "examples", "classes"] if answers.kind in STEMS else ["models", "examples"]
    if values.ndim != len(axes):
        raise ValueError(
            f"{part}: shape {list(values.shape)}, expected [{', '.join(axes)}]: for the outputs of "
            "one model use a target instead"
        )
    if membership.shape != values.shape[:2]:
        raise ValueError(
            f"{part}: {values.shape[0]} models and {values.shape[1]} examples, but membership has "
            f"shape {list(membership.shape)}, expected one value for each: save both in one order"
        )
    if len(labels) != values.shape[1]:
        raise ValueError(
            f"{part}: {values.shape[1]} examples, but labels has {len(labels)}, expected one label "
            "for each: save both in one order"
        )
    if answers.ids is None:
        return labels, membership, values, np.arange(len(labels))
    return labels, membership, values, distinct_ids(answers, len(labels))


def distinct_ids(answers: Answers, examples: int) -> NDArray[Any]:
    """Return the ids of a file of one row per example, in its order, each there once."""
    assert answers.ids is not None
    ids = answers.ids.distinct[answers.ids.index]
    name = "ids" if answers.source.form == "arrays" else "example"
    if len(ids) != examples:
        raise ValueError(
            f"{answers.source.part(answers.kind)}: {examples} examples, but {name} has {len(ids)}, "
            "expected one id for each: save both in one order"
        )
    if len(answers.ids.distinct) < len(ids):
        twice = answers.ids.distinct[np.bincount(answers.ids.index).argmax()]
        raise ValueError(
            f"{answers.source.name}: the id {twice} occurs more than once in {name}, expected "
            "distinct ids: give each example its own"
        )
    return ids


def _of_rows(answers: Answers, models: Names) -> _Parts:
    """Rows of a table, put in their places."""
    examples, label, member = answers.ids, answers.labels, answers.member
    assert examples is not None
    assert label is not None
    assert member is not None  # all are needed of a whole table
    m, n = len(models.distinct), len(examples.distinct)
    place = models.index * n + examples.index
    _each_once(answers.source.name, place, models, examples)
    labels = np.empty((m, n), dtype=np.int64)
    labels.flat[place] = label
    differ = (labels != labels[0]).any(axis=0)
    if differ.any():
        column = int(differ.argmax())
        raise ValueError(
            f"{answers.source.name}, column label: example {examples.distinct[column]} has labels "
            f"{' and '.join(map(str, np.unique(labels[:, column])[:2]))}, expected one label in "
            "all of its rows: write the label it was trained with"
        )
    membership = np.empty((m, n), dtype=np.bool_)
    membership.flat[place] = member
    values = np.empty_like(answers.values)
    values[place] = answers.values
    values = values.reshape(m, n, *values.shape[1:])
    return labels[0], membership, values, examples.distinct


def _each_once(name: str, place: NDArray[np.intp], models: Names, examples: Names) -> None:
    """Every model has every example, once."""
    m, n = len(models.distinct), len(examples.distinct)
    again = pd.Series(place).duplicated().to_numpy()
    if again.any():
        first = int(again.argmax())
        raise ValueError(
            f"{name}: example {examples.distinct[examples.index[first]]} occurs more than once for "
            f"model {models.distinct[models.index[first]]} ({int(again.sum())} rows too many in "
            "all), expected one row for each model and example: leave the others out"
        )
    if len(place) == m * n:
        return
    counts = np.bincount(models.index, minlength=m)
    model = int((counts < n).argmax())
    absent = np.setdiff1d(np.arange(n), examples.index[models.index == model])[0]
    raise ValueError(
        f"{name}: model {models.distinct[model]} has {counts[model]} of {n} examples, for one no "
        f"{examples.distinct[absent]}, expected all of them for every model: ask each model about "
        "each example, also those it was not trained on"
    )


def _both_sides(name: str, membership: Bools, ids: NDArray[Any]) -> None:
    """Every example is IN for some models and OUT for others."""
    models = len(membership)
    n_in = np.count_nonzero(membership, axis=0)
    one_sided = (n_in == 0) | (n_in == models)
    if one_sided.any():
        first = int(one_sided.argmax())
        side = "OUT" if n_in[first] == 0 else "IN"
        raise ValueError(
            f"{name}: example {ids[first]} is {side} for all {models} models, the first of "
            f"{int(one_sided.sum())} that are on one side only, expected IN for some and OUT for "
            "others: train more models, each on a random half, or leave such examples out"
        )
