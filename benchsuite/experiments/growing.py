"""The membership experiment on a bank that grows: as many blocks of targets as a look asks for."""

from dataclasses import dataclass, field, replace
from math import ceil
from typing import Self

from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.sizes import MembershipSize
from benchsuite.shadows import ShadowBank
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject
from benchsuite.workshop import Workshop


@dataclass(frozen=True, eq=False)
class GrowingMembership(MembershipExperiment):
    """The first blocks of targets, with all the references: units are as in the whole experiment.

    Args:
        subject: whose models are attacked.
        workshop: trains what lacks.
        bank: the references, and the targets so far.
        size: that is declared.
    """

    subject: Subject = field(kw_only=True)
    workshop: Workshop = field(kw_only=True)
    bank: ShadowBank = field(kw_only=True)
    size: MembershipSize = field(kw_only=True)

    @classmethod
    def of(
        cls, subject: Subject, workshop: Workshop, size: MembershipSize, share: float
    ) -> "GrowingMembership":
        """The experiment on all references and this share of the declared blocks of targets."""
        block = Balanced(len(subject.pool), subject.share).block
        targets = ceil(share * size.targets)
        bank = workshop.bank(subject, block * (size.references + targets))
        return cls(
            bank.column("pool", "confidence"),
            bank.column("pool", "correct"),
            bank.membership,
            block * size.references,
            block,
            pool=subject.pool,
            subject=subject,
            workshop=workshop,
            bank=bank,
            size=size,
        )

    def upto(self, share: float) -> Self:
        """The same experiment with this share of the declared blocks of targets."""
        grown = self.of(self.subject, self.workshop, self.size, share)
        return replace(
            self,
            bank=grown.bank,
            confidence=grown.confidence,
            correct=grown.correct,
            membership=grown.membership,
        )

    @property
    def models_saved(self) -> int:
        """Declared models that it has not asked for."""
        return self.block * (self.size.references + self.size.targets) - self.bank.models
