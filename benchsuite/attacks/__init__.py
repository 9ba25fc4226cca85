"""Membership inference attacks on matrices of confidences; larger scores mean likelier members."""

from benchsuite.attacks.lira import LIRA_VARIANTS, lira, reference_counts
from benchsuite.attacks.privacy import advantage, attack_success_rate, privacy_score

__all__ = [
    "LIRA_VARIANTS",
    "advantage",
    "attack_success_rate",
    "lira",
    "privacy_score",
    "reference_counts",
]
