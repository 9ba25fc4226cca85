"""What one item of a claim runs on: a subject at a tier, and its bank of the declared size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchsuite.claim import Tier
from benchsuite.experiments.sizes import membership_size
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject, load_subject, miniature
from benchsuite.workshop import Watcher, Workshop

_MINIATURE_BLOCKS = 8


@dataclass(frozen=True)
class Setting:
    """A subject, built-in or "module:attribute", at a tier."""

    subject: str
    tier: Tier


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


def train_setting(
    setting: Setting,
    *,
    folder: str | Path,
    device: str | None,
    shadows: int | None,
    watch: Callable[[str], Watcher],
) -> Trained:
    """Load a setting's subject and train its bank to the declared size, or to `shadows` models.

    On `device`, or else where the tier belongs: CUDA for the gpu tier, the CPU for the others.
    The gpu tier on a CPU is run in miniature: it shows the path, and decides nothing.

    Raises:
        ValueError: an unknown subject, too few shadows, or as `train_shadows`.
        BankError: as `train_shadows`.
        DataUnavailable: the subject's data are neither here nor to be had.
    """
    subject = load_subject(setting.subject)
    in_miniature = setting.tier == "gpu" and device == "cpu"
    if in_miniature:
        subject = miniature(subject)
    design = Balanced(len(subject.pool), subject.share)
    if in_miniature and shadows is None:
        shadows = _MINIATURE_BLOCKS * design.block
    size = membership_size(setting.subject, setting.tier, design, shadows)
    declared = membership_size(setting.subject, setting.tier, design, None)
    workshop = Workshop(folder, device or ("cuda" if setting.tier == "gpu" else "cpu"), watch)
    bank = workshop.bank(subject, design.block * (size.references + size.targets))
    enough = size.references >= declared.references and size.targets >= declared.targets
    return Trained(
        setting,
        subject,
        bank,
        workshop,
        design.block * size.references,
        decides=enough and not in_miniature,
        miniature=in_miniature,
    )
