"""What an audit knows: shadow models' answers, of whichever framework, and what they cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.attacks.observations import Observations
from benchsuite.auditing.deployed import ask
from benchsuite.auditing.matrix import read_matrix
from benchsuite.shadows import Progress, train_shadows
from benchsuite.shadows.design import Balanced
from benchsuite.stats.validation import Bools
from benchsuite.subject import Subject

Predict = Callable[[NDArray[Any]], Any]


@dataclass(frozen=True, eq=False)
class Shadows:
    """Shadow models' answers about the examples that are audited.

    Attributes:
        name: of the subject or file, shown to people.
        observations: of the examples, with the membership of every model.
        ids: of the examples, [examples].
        inputs: the examples, for a target to be asked about; None where answers are all there is.
        held_out: of examples that no model was trained on; None where there are none.
        held_out_inputs: these, likewise.
        subject: what was trained; None for answers from elsewhere.
        accuracy: held-out, [models]; None where there are no held-out examples.
        raised: probabilities that were moved away from 0, so that logarithms are finite.
        seconds: spent on training.
        trained: models trained for this, beside those that a bank already held.
    """

    name: str
    observations: Observations
    ids: NDArray[Any]
    inputs: NDArray[Any] | None = None
    held_out: Observations | None = None
    held_out_inputs: NDArray[Any] | None = None
    subject: Subject | None = None
    accuracy: NDArray[np.float64] | None = None
    raised: int = 0
    seconds: float = 0.0
    trained: int = 0

    def __repr__(self) -> str:
        return f"Shadows({self.name}, {self.observations!r})"

    @property
    def membership(self) -> Bools:
        """Who was IN, [models, examples]."""
        assert self.observations.membership is not None  # `shadows_of` made sure
        return self.observations.membership


Source = Subject | Shadows | Observations | str | Path
"""Whose shadow models an audit takes."""


def shadows_of(
    source: Source,
    models: int,
    *,
    folder: str | Path,
    device: str | None = None,
    progress: Progress | None = None,
) -> Shadows:
    """The shadow models of a subject, trained as far as a bank lacks them, or those of a matrix.

    Args:
        source: a `Subject`; what `observe_shadows` returns; `Observations` with their membership;
            or a file, see `read_matrix`.
        models: to train for a subject; a matrix has the models that it has.
        folder: where banks lie.
        device: to train on, as `train_shadows`.
        progress: told how far the training is.

    Raises:
        ValueError: a source of another kind or without membership, or as `train_shadows` and
            `read_matrix`.
        BankError: as `train_shadows`.
    """
    if isinstance(source, Shadows):
        return source
    if isinstance(source, Subject):
        return _trained(source, models, folder, device, progress)
    if isinstance(source, str | Path):
        matrix = read_matrix(source)
        return Shadows(Path(source).stem, matrix.observations, matrix.ids, raised=matrix.raised)
    if not isinstance(source, Observations):
        raise ValueError(
            f"shadows is a {type(source).__name__}, expected a Subject to train, what "
            "observe_shadows returns, Observations, or the path of a .npz, .csv or .parquet file: "
            "pass one of these"
        )
    if source.membership is None:
        raise ValueError(
            "shadows has no membership, expected that of every shadow model: pass "
            "Observations(membership=...), bool [models, examples]"
        )
    return Shadows("matrix", source, np.arange(source.shape[1]))


def _trained(
    subject: Subject,
    models: int,
    folder: str | Path,
    device: str | None,
    progress: Progress | None,
) -> Shadows:
    columns = ("pool.logits", "test.logits")
    bank = train_shadows(
        subject, models, folder=folder, columns=columns, device=device, progress=progress
    )
    assert bank.fill is not None
    said = bank.column("test", "logits")
    return Shadows(
        subject.name,
        Observations(
            labels=subject.pool.labels,
            logits=bank.column("pool", "logits"),
            membership=bank.membership,
        ),
        np.arange(len(subject.pool)),
        subject.pool.inputs(),
        Observations(labels=subject.test.labels, logits=said),
        subject.test.inputs(),
        subject,
        np.mean(said.argmax(axis=2) == subject.test.labels, axis=1),
        seconds=bank.fill.seconds,
        trained=bank.fill.models_trained,
    )


def observe_shadows(
    fit: Callable[[NDArray[Any], NDArray[Any], int], Predict],
    inputs: ArrayLike,
    labels: ArrayLike,
    models: int = 64,
    *,
    held_out: tuple[ArrayLike, ArrayLike] | None = None,
    name: str = "shadows",
    share: float = 0.5,
    seed: int = 0,
) -> Shadows:
    """Train shadow models with any library, one after another, and ask each about all examples.

    Args:
        fit: called with the inputs and labels of one training subset and a seed, it returns a
            callable from inputs to probabilities [examples, classes], such as a fitted scikit-learn
            model's `predict_proba`.
        inputs: of the examples, [examples, ...].
        labels: class indices, [examples].
        models: how many.
        held_out: inputs and labels of further examples, which no model is trained on: an audited
            model is compared with the shadow models there.
        name: shown to people.
        share: of the examples that each is trained on; the number of examples times it is whole.
        seed: of the subsets, and the first of the seeds that `fit` gets.

    Raises:
        ValueError: a design that cannot be balanced (see `Balanced`), a model that answers
            something else than probabilities of every class.
    """
    given, classes = np.asarray(inputs), np.asarray(labels)
    if len(given) != len(classes):
        raise ValueError(
            f"inputs has {len(given)} examples and labels has {len(classes)}, expected one label "
            "for each: pass both in one order"
        )
    if held_out is not None and (not isinstance(held_out, tuple) or len(held_out) != 2):
        raise ValueError(
            f"held_out is a {type(held_out).__name__}, expected (inputs, labels) of examples that "
            "no model is trained on: pass both, or None"
        )
    rows = Balanced(len(classes), share, seed).rows(0, models)
    others = None if held_out is None else (np.asarray(held_out[0]), np.asarray(held_out[1]))
    started = time.perf_counter()
    said: list[NDArray[Any]] = []
    of_others: list[NDArray[Any]] = []
    raised = 0
    for number, inside in enumerate(rows):
        predict = fit(given[inside], classes[inside], seed + number)
        try:
            answer = ask(predict, given, classes)
            said.append(_of_as_many_classes(answer.observations, said))
            if others is not None:
                asked = ask(predict, *others).observations
                of_others.append(_of_as_many_classes(asked, said))
        except ValueError as error:
            raise ValueError(
                f"shadow model {number}, of {len(np.unique(classes[inside]))} of "
                f"{len(np.unique(classes))} classes: {error}"
            ) from error
        raised += answer.raised
    return Shadows(
        name,
        Observations(labels=classes, logits=np.concatenate(said), membership=rows),
        np.arange(len(classes)),
        given,
        None
        if others is None
        else Observations(labels=others[1], logits=np.concatenate(of_others)),
        None if others is None else others[0],
        raised=raised,
        seconds=time.perf_counter() - started,
        trained=models,
    )


def _of_as_many_classes(one: Observations, before: list[NDArray[Any]]) -> NDArray[Any]:
    """Logits of one model, of as many classes as those before it."""
    assert one.logits is not None
    if before and one.logits.shape[2] != before[0].shape[2]:
        raise ValueError(
            f"it gives probabilities of {one.logits.shape[2]} classes and the first one of "
            f"{before[0].shape[2]}, expected one for each class: have fit return a column for "
            "every class, also for one that its examples lack"
        )
    return one.logits
