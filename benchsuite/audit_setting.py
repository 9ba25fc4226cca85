"""What pytest audits: a subject's recipe or a matrix, and with it one model."""

import importlib
import inspect
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchsuite.auditing.auditor import audit, check_target
from benchsuite.auditing.deployed import Target
from benchsuite.auditing.experiment import AuditExperiment
from benchsuite.auditing.remedies import check_remedies
from benchsuite.auditing.shadows import shadows_of
from benchsuite.auditing.strength import FOLDS, LEAST_FALSE_POSITIVES
from benchsuite.setting import Prepared
from benchsuite.shadows import train_again
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject
from benchsuite.training import template

FPR = 1e-3
"""At which attacks are read, where that many non-members resolve it."""
MODELS = {"smoke": 64, "cpu": 256, "gpu": 256}
"""Shadow models, by tier."""
ONE_MORE = 2
"""Seed of the model that stands for a deployed one where none is given."""
COLUMNS = ("pool.logits", "test.logits", "test.correct")


def load_target(name: str) -> Target:
    """The target of a path or of "module:attribute"; a function without arguments makes it.

    Raises:
        ValueError: a module or attribute that is not there.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        return Path(name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"target {name!r}: cannot import {error.name!r}; run pytest where `import "
            f"{module_name}` works, for example from the folder that holds it"
        ) from error
    if not hasattr(module, attribute):
        raise ValueError(f"target {name!r}: module {module_name!r} has no {attribute!r}")
    found: Any = getattr(module, attribute)
    makes_it = inspect.isfunction(found) and not inspect.signature(found).parameters
    target: Target | None = found() if makes_it else found
    if target is None:
        raise ValueError(f"target {name!r} is None, expected a model: return it from {attribute}")
    return target


def audit_matrix(
    path: str, target: Target | None, epsilon: float | None = None, outputs: str | None = None
) -> AuditExperiment:
    """The audit of shadow models of another framework.

    Raises:
        ValueError: as `benchsuite.audit`.
    """
    shadows = shadows_of(path, 0, folder="")
    fpr = _resolved(shadows.membership)
    return AuditExperiment(
        shadows, audit(shadows, target, fpr=fpr, epsilon=epsilon, outputs=outputs)
    )


def audit_recipe(
    prepared: Prepared,
    target: Target | None,
    epsilon: float | None = None,
    outputs: str | None = None,
) -> AuditExperiment:
    """The audit of a subject, trained in a workshop; without a target, of one more model of it.

    With an epsilon the page is of an audit at a coarser FPR, for remedies have fewer non-members to
    set a threshold by; what is decided is not.

    Raises:
        ValueError, BankError, ImportError: as `benchsuite.audit`.
    """
    subject, workshop = prepared.subject, prepared.workshop
    block = Balanced(len(subject.pool), subject.share).block
    tier = "smoke" if prepared.miniature else prepared.setting.tier
    models = prepared.shadows or block * -(-MODELS[tier] // block)
    membership = Balanced(len(subject.pool), subject.share).rows(0, models)
    coarse = _resolved(membership, remedies=True)
    if epsilon is not None:
        check_remedies(subject, models, coarse, epsilon)
    if target is not None:
        check_target(subject, target, outputs)
    bank = workshop.bank(subject, models, columns=COLUMNS)
    assert bank.fill is not None
    shadows = replace(
        shadows_of(subject, models, folder=workshop.folder, device=workshop.device),
        seconds=bank.fill.seconds,
        trained=bank.fill.models_trained,
    )
    trained_on = None
    if target is None:
        target, trained_on = one_more(prepared)
    asked = partial(
        audit,
        shadows,
        target,
        outputs=outputs,
        trained_on=trained_on,
        folder=workshop.folder,
        device=workshop.device,
        progress=workshop.watch(f"{subject.name}, remedies"),
    )
    found = asked(fpr=_resolved(membership))
    if epsilon is None:
        return AuditExperiment(shadows, found)
    return AuditExperiment(shadows, found, page=asked(fpr=coarse, epsilon=epsilon))


def one_more(prepared: Prepared) -> tuple[nn.Module, NDArray[np.bool_]]:
    """A model of the subject's recipe that is no shadow model, and what it was trained on."""
    subject, workshop = prepared.subject, prepared.workshop
    design = Balanced(len(subject.pool), subject.share, ONE_MORE)
    named: Subject = replace(subject, name=f"{subject.name}-one-more")
    bank = workshop.bank(named, design.block, columns=("test.correct",), design=design)
    weights = train_again(bank, named, [0])[0]
    with torch.no_grad():
        model = template(subject.model)
        model.load_state_dict(weights)
    return model, bank.membership[0]


def _resolved(membership: NDArray[np.bool_], remedies: bool = False) -> float:
    """The FPR at which claims are decided, or the least that so few non-members resolve."""
    fewest = int((~membership).sum()) // FOLDS
    if remedies:  # which are held against half of the models and nine tenths of the examples
        fewest = int(0.4 * fewest)
    return max(FPR, float(np.ceil(1e4 * 1.25 * LEAST_FALSE_POSITIVES / fewest) / 1e4))
