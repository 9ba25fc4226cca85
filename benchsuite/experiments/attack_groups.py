"""What the claims about attacks on groups are given: numbers of each block of targets."""

import math
from collections.abc import Iterable, Iterator, Mapping
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
    Groups,
    Indices,
)
from benchsuite.experiments.world import LEAST_FALSE_POSITIVES
from benchsuite.stats.verdict import CannotResolveError

WITHOUT_TPR = "Yeom"
"""The attack whose TPR at a low FPR is not compared: in the paper it is 0 on nearly all rows."""
LEAST_MISRANKED = 1e-3
"""A smaller share of misranked pairs counts as this one: ratios of smaller ones are noise."""


class AttackExperiment(AttackBank):
    """Attacks on the groups of one subject's examples."""

    controls: ClassVar[Mapping[str, str]] = {
        GROUPS_AT_RANDOM: "The outliers are random examples of the pool.",
        SINGLETONS_AT_RANDOM: "Singletons and subpopulation are random outliers.",
        PERMUTED: "LiRA is told a wrong membership.",
    }

    def singletons_against_others(self) -> Iterator[dict[str, float]]:
        """Of each block: how much better each attack does on singletons than on other groups.

        As logarithms of ratios: "misranked" of shares of (member, non-member) pairs in the wrong
        order, 1 - AUROC, of which `LEAST_MISRANKED` is the least; "found" of the TPR above each
        group's calibrated threshold, of which half a member is the least (not of `WITHOUT_TPR`). A
        subpopulation that is too small, or the whole group, is left out.

        Raises:
            CannotResolveError: there are too few singletons, see `members`, or too few of their
                non-members for a threshold at this FPR.
        """
        self._check_resolves(self.members(SINGLETONS))
        whole = len(self.groups[self.source])
        others = [self.source] + [
            name for name in (SUBPOPULATION,) if self._has(name) and len(self.groups[name]) < whole
        ]
        pairs = [(other, SINGLETONS) for other in others]
        for number, block in enumerate(self.blocks(self.targets)):
            yield _mean(
                {**self._misranked(block, groups, pairs), **self._found(block, groups)}
                for groups in self.deals(number)
            )

    def outliers_against_all(self) -> Iterator[dict[str, float]]:
        """Of each block: how much better each attack does on outliers than on all examples.

        "misranked" as in `singletons_against_others`.
        """
        self.members(OOD)
        for number, block in enumerate(self.blocks(self.targets)):
            yield _mean(
                self._misranked(block, groups, [(ALL, OOD)]) for groups in self.deals(number)
            )

    def _has(self, name: str) -> bool:
        return len(self.groups.get(name, ())) >= SMALLEST_GROUP

    def _misranked(
        self, block: slice, groups: Groups, pairs: list[tuple[str, str]]
    ) -> dict[str, float]:
        names = {name for pair in pairs for name in pair}
        contrasts = {}
        for attack in ATTACKS:
            log = {
                name: math.log(max(1 - self.auroc(attack, block, groups[name]), LEAST_MISRANKED))
                for name in names
            }
            for worse, better in pairs:
                contrasts[f"log ({worse} / {better} misranked): {attack}"] = (
                    log[worse] - log[better]
                )
        return contrasts

    def _found(self, block: slice, groups: Groups) -> dict[str, float]:
        return {
            f"log ({SINGLETONS} / {self.source} found): {attack}": (
                self._log_found(attack, block, groups[SINGLETONS])
                - self._log_found(attack, block, groups[self.source])
            )
            for attack in ATTACKS
            if attack != WITHOUT_TPR
        }

    def _log_found(self, attack: str, block: slice, examples: Indices) -> float:
        share, _ = self.rates(attack, block, examples, self.calibrated(attack, examples))
        return math.log(max(share, 0.5 / int(self.membership[block][:, examples].sum())))

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


def _mean(dealt: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over deals."""
    every = list(dealt)
    return {name: float(np.mean([each[name] for each in every])) for name in every[0]}
