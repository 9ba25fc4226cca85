"""Recipes that are said to prevent overfitting, or memorization, each a change of a subject."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from benchsuite.models import with_batch_norm, with_dropout
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Augmentation, Privacy, check_private, template

DROPOUT_RATE = 0.5
SHIFT = 2
PATIENCE, MOST_EPOCHS = 10, 500  # Hartley and Tsaftaris 2022, Section 3.4.3
WEIGHT_DECAY = 1e-3
LABEL_SMOOTHING = 0.1
NOISE, CLIP = 1.0, 1.0

DROPOUT, AUGMENTATION, BOTH, BATCH_NORM = "dropout", "augmentation", "both", "batch norm"
DECAY, SMOOTHING, EARLY = "weight decay", "label smoothing", "early stopping"
DP, CLIPPED = "DP-SGD", "clipping alone"

ORDINARY: Final = (DROPOUT, AUGMENTATION, BOTH, BATCH_NORM)
"""Those of the paper's Table 3."""


def regularised(subject: Subject, name: str) -> Subject:
    """The subject under a regulariser, one of `REGULARISERS`.

    Raises:
        CannotResolveError: the subject's model or data do not take it.
    """
    try:
        changed = REGULARISERS[name](subject)
        return replace(changed, name=f"{subject.name}-{name.replace(' ', '-').lower()}")
    except ValueError as error:
        raise CannotResolveError(f"{subject.name} takes no {name}: {error}") from error


def _dropout(subject: Subject) -> Subject:
    return replace(subject, model=partial(with_dropout, subject.model, DROPOUT_RATE))


def _augmentation(subject: Subject) -> Subject:
    return replace(subject, recipe=replace(subject.recipe, augmentation=Augmentation(SHIFT)))


def _batch_norm(subject: Subject) -> Subject:
    return replace(subject, model=partial(with_batch_norm, subject.model))


def _early(subject: Subject) -> Subject:
    recipe = replace(subject.recipe, epochs=MOST_EPOCHS, early_stopping=PATIENCE)
    return replace(subject, recipe=recipe)


def _private(noise: float, subject: Subject) -> Subject:
    check_private(template(subject.model))
    return replace(subject, recipe=replace(subject.recipe, privacy=Privacy(noise, CLIP)))


REGULARISERS: dict[str, Callable[[Subject], Subject]] = {
    DROPOUT: _dropout,
    AUGMENTATION: _augmentation,
    BOTH: lambda subject: _dropout(_augmentation(subject)),
    BATCH_NORM: _batch_norm,
    DECAY: lambda s: replace(s, recipe=replace(s.recipe, weight_decay=WEIGHT_DECAY)),
    SMOOTHING: lambda s: replace(s, recipe=replace(s.recipe, label_smoothing=LABEL_SMOOTHING)),
    EARLY: _early,
    DP: partial(_private, NOISE),
    CLIPPED: partial(_private, 0.0),
}
"""By name, in the order of the report's table."""
