"""What one item of a claim runs on: a subject at a tier, and its bank of the declared size."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchsuite.claim import Tier
from benchsuite.experiments.canaries import CanaryExperiment
from benchsuite.experiments.growing import GrowingMembership
from benchsuite.experiments.planting import PlantingExperiment
from benchsuite.experiments.precision import PrecisionExperiment
from benchsuite.experiments.privacy import PrivacyExperiment
from benchsuite.experiments.sizes import (
    AttackSize,
    attack_size,
    canary_size,
    membership_size,
    planting_size,
    precision_size,
    private_size,
)
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject, load_subject, miniature
from benchsuite.training import Precision, Strategy
from benchsuite.workshop import Watcher, Workshop

_MINIATURE_BLOCKS = 8

AnyExperiment = TypeVar("AnyExperiment")


@dataclass(frozen=True)
class Setting:
    """A subject, built-in or "module:attribute", at a tier."""

    subject: str
    tier: Tier


@dataclass(frozen=True)
class Prepared:
    """A setting's subject, loaded, and where its banks are trained.

    Attributes:
        setting: that was asked for.
        subject: to train, cut down if it is only to show the path.
        workshop: trains banks.
        shadows: how many models a bank shall have, or None for the declared number.
        miniature: whether the subject was cut down.
    """

    setting: Setting
    subject: Subject
    workshop: Workshop
    shadows: int | None
    miniature: bool


@dataclass(frozen=True)
class Trained:
    """A setting's subject, the bank that this run trained, or found, for it, and where to get more.

    Attributes:
        setting: that was asked for.
        subject: that was trained.
        bank: its models, references first.
        workshop: trains the banks that an experiment needs beside this one.
        references: the first so many models are the attacker's, the rest its targets.
        decides: whether that is the declared size, at the declared scale.
        miniature: whether the subject was cut down to show the path.
    """

    setting: Setting
    subject: Subject
    bank: ShadowBank
    workshop: Workshop
    references: int
    decides: bool
    miniature: bool = False


@dataclass(frozen=True)
class TrainedFor(Trained, Generic[AnyExperiment]):
    """The same of models that serve one experiment, in which none is a reference of another.

    Attributes:
        experiment: on them.
    """

    experiment: AnyExperiment = field(kw_only=True)


@dataclass(frozen=True)
class TrainedAttacks(Trained):
    """The same of models that are attacked in every way.

    Attributes:
        size: how many blocks of its models do what.
        cache: what experiments on it have computed, for all of them.
    """

    size: AttackSize = field(kw_only=True)
    cache: dict[Any, Any] = field(kw_only=True, default_factory=dict)


def prepare(
    setting: Setting,
    *,
    folder: str | Path,
    device: str | None,
    shadows: int | None,
    watch: Callable[[str], Watcher],
    executor: Executor | None = None,
    strategy: Strategy | None = None,
    precision: Precision | None = None,
) -> Prepared:
    """Load a setting's subject.

    Its banks are trained on `device`, or else where the tier belongs: CUDA for the gpu tier, the
    CPU for the others. The gpu tier on a CPU is run in miniature: it shows the path, and decides
    nothing.

    Raises:
        ValueError: an unknown subject.
        DataUnavailable: the subject's data are neither here nor to be had.
    """
    subject = load_subject(setting.subject)
    in_miniature = setting.tier == "gpu" and device == "cpu"
    if in_miniature:
        subject = miniature(subject)
    chosen = device or ("cuda" if setting.tier == "gpu" else "cpu")
    workshop = Workshop(folder, chosen, watch, executor, strategy, precision)
    return Prepared(setting, subject, workshop, shadows, in_miniature)


def train_setting(prepared: Prepared) -> Trained:
    """Train a setting's bank of random halves to the declared size, or to `shadows` models.

    Raises:
        ValueError: too few shadows, or as `train_shadows`.
        BankError: as `train_shadows`.
    """
    subject, setting, shadows = prepared.subject, prepared.setting, prepared.shadows
    design = Balanced(len(subject.pool), subject.share)
    if prepared.miniature and shadows is None:
        shadows = _MINIATURE_BLOCKS * design.block
    size = membership_size(setting.subject, setting.tier, design, shadows)
    declared = membership_size(setting.subject, setting.tier, design, None)
    bank = prepared.workshop.bank(subject, design.block * (size.references + size.targets))
    enough = size.references >= declared.references and size.targets >= declared.targets
    return Trained(
        setting,
        subject,
        bank,
        prepared.workshop,
        design.block * size.references,
        decides=enough and not prepared.miniature,
        miniature=prepared.miniature,
    )


def train_growing(prepared: Prepared, share: float) -> TrainedFor[GrowingMembership]:
    """Train a setting's references and this share of the declared targets; more when asked for.

    Raises:
        ValueError: as `train_shadows`.
        BankError: as `train_shadows`.
    """
    subject, setting = prepared.subject, prepared.setting
    design = Balanced(len(subject.pool), subject.share)
    size = membership_size(setting.subject, setting.tier, design, None)
    experiment = GrowingMembership.of(subject, prepared.workshop, size, share)
    return TrainedFor(
        setting,
        subject,
        experiment.bank,
        prepared.workshop,
        experiment.references,
        decides=True,
        experiment=experiment,
    )


def train_attacks(prepared: Prepared) -> TrainedAttacks:
    """Train a setting's bank of random subsets, with the outputs that every attack reads.

    Raises:
        ValueError: too few shadows, or as `train_shadows`.
        BankError: as `train_shadows`.
    """
    setting, subject, shadows = prepared.setting, prepared.subject, prepared.shadows
    design = Balanced(len(subject.pool), subject.share)
    tier = "miniature" if prepared.miniature else setting.tier
    size, enough = attack_size(tier, design, shadows)
    columns = (*COLUMNS, "pool.logits")
    bank = prepared.workshop.bank(subject, design.block * size.blocks, columns=columns)
    return TrainedAttacks(
        setting,
        subject,
        bank,
        prepared.workshop,
        design.block * size.references,
        decides=enough and not prepared.miniature,
        miniature=prepared.miniature,
        size=size,
    )


def train_canaries(prepared: Prepared) -> TrainedFor[CanaryExperiment]:
    """Train a setting's models with canaries, to the declared size or to `shadows` models.

    Raises:
        ValueError: images too small for a feature, or as `train_shadows`.
        BankError: as `train_shadows`.
        DataUnavailable: images of another origin are neither here nor to be had.
    """
    tier: Tier = "smoke" if prepared.miniature else prepared.setting.tier
    size, enough = canary_size(tier, prepared.shadows)
    experiment = CanaryExperiment(prepared.subject, size, prepared.workshop)
    return _trained_for(prepared, experiment, experiment.bank, enough)


def train_private(prepared: Prepared) -> TrainedFor[PrivacyExperiment]:
    """Train a setting's plain models, which those with differential privacy are compared with.

    Raises:
        ValueError: too few shadows, or as `train_shadows`.
        BankError: as `train_shadows`.
    """
    tier: Tier = "smoke" if prepared.miniature else prepared.setting.tier
    size, enough = private_size(tier, prepared.shadows, _block(prepared.subject))
    # To its last epoch, for plain training is compared at every one.
    recipe = replace(prepared.subject.recipe, early_stopping=None)
    subject = replace(prepared.subject, recipe=recipe)
    experiment = PrivacyExperiment(subject, size, prepared.workshop)
    return _trained_for(prepared, experiment, experiment.plain, enough)


def train_planting(prepared: Prepared) -> TrainedFor[PlantingExperiment]:
    """Train a setting's worlds with planted singletons.

    Raises:
        ValueError: too few shadows, or as `train_shadows`.
        BankError: as `train_shadows`.
        CannotResolveError: too few examples to plant any.
    """
    tier: Tier = "smoke" if prepared.miniature else prepared.setting.tier
    size, enough = planting_size(tier, prepared.shadows, _block(prepared.subject))
    experiment = PlantingExperiment(prepared.subject, size, prepared.workshop)
    return _trained_for(prepared, experiment, experiment.world(0).bank, enough)


def train_precision(prepared: Prepared) -> TrainedFor[PrecisionExperiment]:
    """Train a setting's models in float32, beside which others are trained in bf16 and TF32.

    Raises:
        ValueError: too few shadows, or as `train_shadows`.
        BankError: as `train_shadows`.
    """
    subject, setting = prepared.subject, prepared.setting
    tier: Tier = "smoke" if prepared.miniature else setting.tier
    size, enough = precision_size(setting.subject, tier, prepared.shadows, _block(subject))
    experiment = PrecisionExperiment(subject, size, prepared.workshop, "bf16")
    return _trained_for(prepared, experiment, experiment.bank, enough)


def _block(subject: Subject) -> int:
    return Balanced(len(subject.pool), subject.share).block


def _trained_for(
    prepared: Prepared, experiment: AnyExperiment, bank: ShadowBank, enough: bool
) -> TrainedFor[AnyExperiment]:
    return TrainedFor(
        prepared.setting,
        prepared.subject,
        bank,
        prepared.workshop,
        references=0,
        decides=enough and not prepared.miniature,
        miniature=prepared.miniature,
        experiment=experiment,
    )
