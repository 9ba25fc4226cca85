"""What the claims about attacks on groups are given: numbers of each block of targets."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.experiments import attack_figures
from benchsuite.experiments.attack_bank import (
    ALL,
    GROUPS_AT_RANDOM,
    LIRA,
    OOD,
    PERMUTED,
    SINGLETONS,
    SINGLETONS_AT_RANDOM,
    SMALLEST_GROUP,
    SUBPOPULATION,
    AttackBank,
    Indices,
)
from benchsuite.experiments.world import LEAST_FALSE_POSITIVES
from benchsuite.stats.verdict import CannotResolveError

LEAST_MISRANKED = 1e-3
"""A smaller share of misranked pairs counts as this one: ratios of smaller ones are noise."""
ADDED = 10
"""Times the FPR, which chance finds: added to a TPR whose logarithm is taken, so that the ratio of
two that are hardly better than chance is near 1 and not noise."""


class AttackExperiment(AttackBank):
    """Attacks on the groups of one subject's examples."""

    controls: ClassVar[Mapping[str, str]] = {
        GROUPS_AT_RANDOM: "Both groups are random examples of the pool.",
        SINGLETONS_AT_RANDOM: "Both groups are random examples of that which singletons are from.",
        PERMUTED: "LiRA is told a wrong membership.",
    }

    def singletons_against_others(self) -> Iterator[dict[str, float]]:
        """Of each block: how much better each attack does on singletons than on other groups.

        See `_contrast`. A subpopulation that is too small, or the whole group, is left out.

        Raises:
            CannotResolveError: there are too few singletons, see `members`, or too few of their
                non-members for a threshold at this FPR.
        """
        self._check_resolves(self.members(SINGLETONS))
        for number, block in enumerate(self.blocks(self.targets)):
            contrasts: dict[str, float] = {}
            for other in self._with_subpopulation(self.source):
                found = other == self.source
                contrasts |= self._contrast(block, number, (other, SINGLETONS), self.source, found)
            yield contrasts

    def outliers_against_all(self) -> Iterator[dict[str, float]]:
        """Of each block: how much better each attack does on outliers than on all examples.

        See `_contrast`; "found" of all outliers alone, for a subpopulation is too small for a
        threshold, and not under a control: of parts so large the worst examples decide so much that
        far more than can be computed would have to be dealt.

        Raises:
            CannotResolveError: as `singletons_against_others`, of outliers.
        """
        self._check_resolves(self.members(OOD))
        for number, block in enumerate(self.blocks(self.targets)):
            contrasts: dict[str, float] = {}
            for part in self._with_subpopulation(OOD):
                found = part == OOD and not self.control
                contrasts |= self._contrast(block, number, (ALL, part), ALL, found)
            yield contrasts

    def _with_subpopulation(self, source: str) -> list[str]:
        """The group that singletons are from, and the subpopulation where it is a part of it."""
        small = len(self.groups.get(SUBPOPULATION, ()))
        is_part = SMALLEST_GROUP <= small < len(self.groups[source])
        return [source, SUBPOPULATION] if is_part else [source]

    def _contrast(
        self, block: slice, number: int, pair: tuple[str, str], within: str, found: bool
    ) -> dict[str, float]:
        """How much better each attack does on the second group than on the first, as logarithms.

        "misranked" is the ratio of shares of (member, non-member) pairs in the wrong order,
        1 - AUROC, of which `LEAST_MISRANKED` is the least; "found" that of the TPR above calibrated
        thresholds, each with `ADDED` times the FPR added. Both groups in parts as large as the
        smaller one, the mean over parts: at a low FPR a few bad examples decide, and the larger
        group has more of them.

        Args:
            block: target models.
            number: of the block.
            pair: the groups; the logarithms are above 0 where the attack does better on the second.
            within: the group that both are dealt from under a control.
            found: whether to compare the TPR too.
        """
        worse, better = (self.groups[name] for name in pair)
        if self.control in (GROUPS_AT_RANDOM, SINGLETONS_AT_RANDOM):
            worse = better = self.groups[within]
        size = min(len(self.groups[name]) for name in pair)
        sides = [
            self.parts(worse, size, purpose=0, block=number),
            self.parts(better, size, purpose=1, block=number),
        ]
        contrasts = {}
        for attack in ATTACKS:
            first, second = (
                np.mean([self._log_misranked(attack, block, part) for part in parts])
                for parts in sides
            )
            contrasts[f"log ({pair[0]} / {pair[1]} misranked): {attack}"] = float(first - second)
        for attack in ATTACKS if found else ():
            first, second = (
                np.mean([self._log_found(attack, block, part) for part in parts]) for parts in sides
            )
            contrasts[f"log ({pair[1]} / {pair[0]} found): {attack}"] = float(second - first)
        return contrasts

    def _log_misranked(self, attack: str, block: slice, examples: Indices) -> float:
        return math.log(max(1 - self.auroc(attack, block, examples), LEAST_MISRANKED))

    def _log_found(self, attack: str, block: slice, examples: Indices) -> float:
        share, _ = self.rates(attack, block, examples, self.calibrated(attack, examples))
        return math.log(share + ADDED * self.size.fpr)

    def lira_against_others(self) -> Iterator[dict[str, float]]:
        """Of each block: LiRA's TPR less each other attack's, each above its own threshold.

        By attack's name on the paper's column "Under-represented", random outliers; "on singletons"
        the same there.
        """
        groups = {"": self.members(self.source), " on singletons": self.members(SINGLETONS)}
        for examples in groups.values():
            self._check_resolves(examples)
        others = [attack for attack in ATTACKS if attack != LIRA]
        thresholds = {
            (attack, where): self.calibrated(attack, examples)
            for attack in ATTACKS
            for where, examples in groups.items()
        }
        for block in self.blocks(self.targets):
            found = {
                (attack, where): self.rates(attack, block, groups[where], threshold)[0]
                for (attack, where), threshold in thresholds.items()
            }
            yield {
                f"{attack}{where}": found[LIRA, where] - found[attack, where]
                for where in groups
                for attack in others
            }

    def _check_resolves(self, examples: Indices) -> None:
        allowed = self.allowed_false_positives(examples)
        if allowed < LEAST_FALSE_POSITIVES:
            raise CannotResolveError(
                f"{len(examples)} examples give {allowed / self.size.fpr:,.0f} non-members to the "
                f"calibration models, which allow {allowed:.1f} false positives at an FPR of "
                f"{self.size.fpr:g}, and {LEAST_FALSE_POSITIVES} are the least: this needs more "
                "models or a larger group"
            )

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where this subject has none."""
        try:
            return attack_figures.ARRAYS[kind](self)
        except CannotResolveError:
            return None
