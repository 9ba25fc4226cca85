"""What the nearest remedies would change: retrained with them, and attacked in the same way.

- DP-SGD at an epsilon, with the subject's recipe otherwise as it is: nothing is tuned.
- Removing the most exposed tenth of the examples (or what is nearest to it and leaves a pool of
  which the share is whole). Half of the models choose it, and the others show what the attack finds
  among the rest when the removed are merely ignored, and when models are trained without them:
  those who stay can become more exposed (the privacy onion effect).
"""

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchsuite.attacks.observations import Observations
from benchsuite.attacks.privacy import advantage
from benchsuite.auditing.listed import mean_memorization
from benchsuite.auditing.shadows import Shadows, shadows_of
from benchsuite.auditing.strength import (
    LEAST_FALSE_POSITIVES,
    LEAST_MODELS,
    Strength,
    check_models,
    fewest_non_members,
    instead,
    strengths,
)
from benchsuite.experiments.onion_worlds import LAYER, most
from benchsuite.experiments.removal import Removal
from benchsuite.shadows import Balanced, Progress
from benchsuite.subject import Subject
from benchsuite.training import Privacy, Recipe, check_private, template
from benchsuite.training.accounting import noise_for, privacy_spent

CLIP = 1.0
DELTA = 1e-5
_TO_SPARE = 0.95  # which examples are removed decides how many of a fold's non-members are left


class Workplace(NamedTuple):
    """Where remedies are trained: as `shadows_of`."""

    models: int
    folder: str | Path
    device: str | None
    progress: Progress | None


def private(subject: Subject, epsilon: float) -> Subject:
    """The subject with DP-SGD at this epsilon.

    Raises:
        ValueError: an epsilon that no noise reaches, or a model whose layer mixes examples.
        ImportError: without Opacus.
    """
    examples = round(subject.share * len(subject.pool))
    check_private(template(subject.model))
    clipped = replace(subject.recipe, privacy=Privacy(0.0, CLIP))
    noise = _noise(epsilon, clipped, examples)
    recipe = replace(subject.recipe, privacy=Privacy(noise, CLIP))
    return replace(subject, name=f"{subject.name}-dp", recipe=recipe)


@cache  # a second of counting, before the training and after it
def _noise(epsilon: float, recipe: Recipe, examples: int) -> float:
    return noise_for(epsilon, recipe, examples, DELTA)


def check_remedies(subject: Subject, models: int, fpr: float, epsilon: float) -> None:
    """Raise before anything is trained what `try_remedies` would raise afterwards.

    Raises:
        ValueError: as `private`; too few models, of which half choose what is removed; a half as
            `check_models` refuses it; an FPR that the non-members of a half cannot resolve.
        ImportError: without Opacus.
    """
    private(subject, epsilon)
    half = models // 2
    if half < LEAST_MODELS:
        raise ValueError(
            f"models={models} and epsilon={epsilon}: remedies are held against one half of the "
            f"models, expected at least {LEAST_MODELS} in it: train more, or pass epsilon=None"
        )
    kept = len(subject.pool) - _layer_size(subject)
    rows = Balanced(len(subject.pool), subject.share).rows(0, models)
    check_models(rows[:half])
    check_models(rows[half:])
    fewest = int(_TO_SPARE * fewest_non_members(rows[half:, :kept]))
    if fewest * fpr < LEAST_FALSE_POSITIVES:
        raise ValueError(
            f"fpr={fpr:g} and epsilon={epsilon}: remedies are held against one half of the models "
            f"and nine tenths of the examples, whose {fewest:,} non-members set a threshold with "
            f"{fewest * fpr:.1f} false alarms, expected at least {LEAST_FALSE_POSITIVES}: "
            f"{instead(fewest)}train more shadow models"
        )


class Remedies(NamedTuple):
    """What remedies change, and what it took to know.

    Attributes:
        table: one row for the recipe as it is and one for each remedy, or None where none was
            asked for. Columns: remedy; examples, of which the others speak; found, the attack's TPR
            with its interval low and high; memorization, its mean; accuracy, held-out.
        seconds: spent on training.
        trained: models trained.
    """

    table: pd.DataFrame | None
    seconds: float
    trained: int


def try_remedies(
    shadows: Shadows, attack: Strength, fpr: float, epsilon: float, workplace: Workplace
) -> Remedies:
    """Train with DP-SGD, and without the most exposed examples, and attack both.

    Raises:
        ValueError: as `check_remedies`; `CannotResolveError` where the removal would take out all
            examples of a class.
    """
    subject = shadows.subject
    assert subject is not None  # the caller asked for remedies of a recipe
    with_dp = private(subject, epsilon)
    spent = privacy_spent(with_dp.recipe, round(subject.share * len(subject.pool)), DELTA)
    half = len(shadows.membership) // 2
    removal = _layer(shadows, attack, half)
    ignored = _ignoring(shadows, removal, slice(half, None))

    def trained(of: Subject) -> Shadows:
        return shadows_of(
            of,
            workplace.models,
            folder=workplace.folder,
            device=workplace.device,
            progress=workplace.progress,
        )

    without, noisy = trained(removal.without(subject)), trained(with_dp)
    rows = {
        "as it is": shadows,
        f"DP-SGD, {spent}": noisy,
        f"the {len(removal)} most exposed ignored": ignored,
        f"trained without these {len(removal)}": _first(without, len(ignored.membership)),
    }
    table = pd.DataFrame([_row(name, each, attack.attack, fpr) for name, each in rows.items()])
    return Remedies(table, without.seconds + noisy.seconds, without.trained + noisy.trained)


def _layer(shadows: Shadows, attack: Strength, models: int) -> Removal:
    """The tenth of the examples that the first models give away most."""
    assert shadows.subject is not None
    exposed = advantage(attack.scores[:models], shadows.membership[:models])
    size = _layer_size(shadows.subject)
    return Removal(shadows.subject.pool, "exposed", most(exposed, size))


def _layer_size(subject: Subject) -> int:
    """So many examples that a design of the same share can be balanced without them."""
    parts = Fraction(subject.share).limit_denominator(100).denominator
    return parts * max(1, round(len(subject.pool) * LAYER / parts))


def _ignoring(shadows: Shadows, removal: Removal, rows: slice) -> Shadows:
    """Some models, asked only about the examples that are kept."""
    observations = shadows.observations
    assert observations.logits is not None
    kept = removal.kept
    accuracy = shadows.accuracy
    return replace(
        shadows,
        observations=Observations(
            labels=observations.labels[kept],
            logits=observations.logits[rows][:, kept],
            membership=shadows.membership[rows][:, kept],
        ),
        ids=shadows.ids[kept],
        accuracy=None if accuracy is None else accuracy[rows],
    )


def _first(shadows: Shadows, models: int) -> Shadows:
    """As many models as the ones that it is compared with: no attacker knows more."""
    observations = shadows.observations
    assert observations.logits is not None
    return replace(
        shadows,
        observations=Observations(
            labels=observations.labels,
            logits=observations.logits[:models],
            membership=shadows.membership[:models],
        ),
        accuracy=None if shadows.accuracy is None else shadows.accuracy[:models],
    )


def _row(name: str, shadows: Shadows, attack: str, fpr: float) -> dict[str, object]:
    (strength,) = strengths(shadows.observations, [attack], fpr)
    found = strength.tpr
    return {
        "remedy": name,
        "examples": len(shadows.ids),
        "found": found.estimate,
        "found_low": found.low,
        "found_high": found.high,
        "memorization": mean_memorization(shadows).estimate,
        "accuracy": np.nan if shadows.accuracy is None else float(shadows.accuracy.mean()),
    }
