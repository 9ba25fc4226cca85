"""The audit of a data set and a training recipe, or of one model that somebody else trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from benchsuite.attacks.observations import Observations
from benchsuite.auditing.deployed import Deployed, Target, ask
from benchsuite.auditing.listed import example_table, mean_memorization
from benchsuite.auditing.remedies import Remedies, Workplace, check_remedies, try_remedies
from benchsuite.auditing.result import Audit
from benchsuite.auditing.shadows import Shadows, Source, shadows_of
from benchsuite.auditing.strength import (
    Strength,
    attacks_for,
    check_models,
    check_resolved,
    strengths,
)
from benchsuite.auditing.target import TargetFindings, check_trained_on, findings_on
from benchsuite.auditing.told import told_at_the_prompt
from benchsuite.experiments.pictures import pictures
from benchsuite.shadows import Balanced, Progress
from benchsuite.stats.intervals import unit_interval
from benchsuite.subject import Subject

DECIDING = "LiRA"
"""The attack that lists and targets are about: fixed, so that none is chosen for its result."""
FEW_COLUMNS = 12
"""Of a table whose rows are shown."""
MANY = 0.1
"""Share of rounded probabilities from which on more is said of it."""
_FEW = 8
"""Examples that a target is asked about before anything is trained."""
CONFOUNDED = 0.2
"""Correlation of an example's membership and the number of training examples that is remarked on;
where each example is drawn by a coin of its own it is 1 / sqrt(examples)."""


def audit(
    shadows: Source,
    target: Target | None = None,
    *,
    models: int = 256,
    fpr: float = 1e-3,
    outputs: str | None = None,
    trained_on: ArrayLike | None = None,
    epsilon: float | None = None,
    folder: str | Path = ".banks",
    device: str | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Say which examples are memorized and exposed, and how strong attacks are.

    Of a recipe: what a model trained by it gives away. Of one model: whom that model gives away.

    Args:
        shadows: a `Subject`, whose shadow models are trained; or the answers of shadow models that
            another framework trained, by `observe_shadows`, as `Observations` with their membership
            or as a file (see `benchsuite.auditing.read_matrix`).
        target: one trained model to be audited, of the subject's inputs: an `nn.Module`, another
            callable from inputs to outputs [examples, classes], or a file of its outputs.
        models: shadow models to train of a subject, a multiple of its design's block, 64.
        fpr: false positive rate to read attacks at.
        outputs: what a target that is called returns, "logits" or "probabilities"; None takes a
            module's for logits and another callable's for probabilities.
        trained_on: bool [examples], which ones the target was trained on, where that is known.
        epsilon: of differential privacy: asks what DP-SGD there and a removal of the most exposed
            examples would change, which trains twice as many models more.
        folder: where banks of shadow models lie.
        device: to train on, as `train_shadows`.
        progress: told how far the training is; None tells a terminal or a notebook.

    Raises:
        ValueError: as `shadows_of`, `ask`, `strengths` and `try_remedies`; a target that was
            trained on none of the examples; remedies of anything but a Subject.
        BankError: as `train_shadows`.
        ImportError: remedies without Opacus.
    """
    trainable = isinstance(shadows, Subject) or (
        isinstance(shadows, Shadows) and shadows.subject is not None
    )
    if epsilon is not None and not trainable:
        raise ValueError(
            f"epsilon={epsilon} asks what remedies would change, for which models are trained, but "
            f"shadows is a {type(shadows).__name__}: pass a Subject, or epsilon=None"
        )
    if trained_on is not None and target is None:
        raise ValueError(
            "trained_on says what a target was trained on, but there is no target: pass one, or "
            "trained_on=None"
        )
    if isinstance(shadows, Subject):
        _check_before_training(shadows, models, fpr, trained_on, epsilon)
        if target is not None:
            check_target(shadows, target, outputs)
        progress = progress or told_at_the_prompt(shadows.name)
    known = shadows_of(shadows, models, folder=folder, device=device, progress=progress)
    said = None if target is None else _asked(known, target, outputs)
    members = _members(said, trained_on, len(known.ids))
    names, lacking = attacks_for(known.observations)
    attacks = {each.attack: each for each in strengths(known.observations, names, fpr)}
    deciding = attacks[DECIDING]
    examples, found = example_table(known, deciding), None
    if said is not None:
        held_out = _of_held_out(known, target, outputs)
        found = findings_on(
            known, deciding, said.observations, held_out, members, raised=said.raised
        )
        examples = pd.concat([examples, found.table()], axis=1)
        if members is not None:
            examples["trained_on"] = members
    table = _attack_table(attacks)
    remedies = Remedies(None, 0.0, 0)
    if epsilon is not None:
        place = Workplace(len(known.membership), folder, device, progress)
        remedies = try_remedies(known, deciding, fpr, epsilon, place)
    images, rows = _shown(known)
    return Audit(
        name=known.name,
        fpr=fpr,
        epsilon=epsilon,
        models=len(known.membership),
        memorization=mean_memorization(known),
        examples=examples,
        attacks=table,
        best=str(table["attack"].iloc[int(table["tpr"].argmax())]),
        deciding=DECIDING,
        lacking=tuple(lacking),
        target=found,
        remedies=remedies.table,
        notes=tuple(_notes(known, found)),
        limits=tuple(_limits(known, found)),
        images=images,
        rows=rows,
        seconds=known.seconds + remedies.seconds,
        trained=known.trained + remedies.trained,
    )


def check_target(subject: Subject, target: Target, outputs: str | None) -> None:
    """Raise, before any model is trained, what asking a target would raise afterwards.

    Raises:
        ValueError: as `ask`; a callable is asked about a few examples.
    """
    labels = subject.pool.labels
    if isinstance(target, str | Path):
        ask(target, None, labels, outputs=outputs, ids=np.arange(len(labels)))
    else:
        ask(target, subject.pool.inputs()[:_FEW], labels[:_FEW], outputs=outputs)


def _check_before_training(
    subject: Subject, models: int, fpr: float, trained_on: ArrayLike | None, epsilon: float | None
) -> None:
    """Raise what would be raised after training; of `models` itself `train_shadows` does."""
    if trained_on is not None:
        check_trained_on(trained_on, len(subject.pool))
    design = Balanced(len(subject.pool), subject.share)
    if not isinstance(models, int) or models < 1 or models % design.block:
        return
    membership = design.rows(0, models)
    check_models(membership)
    check_resolved(membership, fpr)
    if epsilon is not None:
        check_remedies(subject, models, fpr, epsilon)


def _asked(shadows: Shadows, target: Target, outputs: str | None) -> Deployed:
    labels = shadows.observations.labels
    return ask(target, shadows.inputs, labels, outputs=outputs, ids=shadows.ids)


def _of_held_out(
    shadows: Shadows, target: Target | None, outputs: str | None
) -> Observations | None:
    """What a callable says of the held-out examples; None of a file, or where there are none."""
    if shadows.held_out is None or target is None or isinstance(target, str | Path):
        return None
    labels = shadows.held_out.labels
    return ask(target, shadows.held_out_inputs, labels, outputs=outputs).observations


def _members(
    said: Deployed | None, trained_on: ArrayLike | None, examples: int
) -> NDArray[np.bool_] | None:
    if said is None:
        return None
    given = said.trained_on if trained_on is None else trained_on
    return None if given is None else check_trained_on(given, examples)


def _attack_table(attacks: dict[str, Strength]) -> pd.DataFrame:
    rows = []
    for name, each in attacks.items():
        found = each.tpr
        rows.append(
            {
                "attack": name,
                "auroc": each.auroc,
                "tpr": found.estimate,
                "tpr_low": found.low,
                "tpr_high": found.high,
                "fpr": float(each.false_alarms.mean()),
            }
        )
    return pd.DataFrame(rows)


def _notes(shadows: Shadows, target: TargetFindings | None) -> list[str]:
    notes = []
    raised = shadows.raised + (0 if target is None else target.raised)
    if raised:
        said = shadows.observations.logits
        share = raised / (shadows.observations.confidence.size if said is None else said.size)
        notes.append(
            f"{raised:,} probabilities ({share:.2g} of all) were raised to 1e-12, so that "
            "logarithms are finite: where they were rounded, attacks see less than the model says"
            + (", and here that is many: LiRA's Gaussians fit them badly." if share > MANY else ".")
        )
    inside, confidence = shadows.membership, shadows.observations.confidence
    gaps = np.mean(confidence, axis=1, where=inside) - np.mean(confidence, axis=1, where=~inside)
    if unit_interval(np.asarray(gaps, dtype=np.float64)).high < 0:
        notes.append(
            "Models are less confident of what they were trained on than of the rest: membership "
            "may be the wrong way round, or the classes in another order."
        )
    shares = inside.mean(axis=1)
    if shares.std() > CONFOUNDED * np.sqrt(shares.mean() * (1 - shares.mean())):
        sizes = inside.sum(axis=1)
        notes.append(
            f"Models were trained on {sizes.min():,} to {sizes.max():,} of the examples: what "
            "comes from more of them looks like the effect of each one, so that the lists may "
            "hold too many."
        )
    return notes


def _limits(shadows: Shadows, target: TargetFindings | None) -> list[str]:
    """What the audit cannot show."""
    limits = [
        "A false alarm rate is an average over examples, for models trained as the shadow models "
        "were and on as many examples: each example's own is in the table, to within its interval.",
        "An example that is on no list is not shown to be safe: other attacks, and other data "
        "around it, can expose it.",
        "The lists hold for this data set. Where the examples on them are removed and the model is "
        "trained again, others can become exposed.",
        "What is asked is whether somebody was in the training data, not what the model says of "
        "them: reconstruction and attribute inference are other questions.",
    ]
    if shadows.subject is None:
        limits.append(
            "How the shadow models were trained is not known here; nor were remedies tried, which "
            "needs a training recipe."
        )
    if target is not None:
        limits.append(
            "One model was audited: another one of the same recipe would give away others of those "
            "that the recipe exposes."
        )
    return limits


def _shown(shadows: Shadows) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The examples as images, or as rows of a small table; neither of answers alone."""
    given = shadows.inputs if shadows.subject is None else shadows.subject.pool.images
    if given is None or given.dtype.kind not in "fiub":
        return None, None
    images = pictures(given)
    return images, given if images is None and _is_table(given) else None


def _is_table(given: NDArray[Any]) -> bool:
    return given.ndim == 2 and given.shape[1] <= FEW_COLUMNS
