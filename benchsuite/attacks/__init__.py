"""Membership inference attacks on what models say; larger scores mean likelier members."""

from benchsuite.attacks.calibrated_loss import sablayrolles
from benchsuite.attacks.catalogue import ATTACKS, NEED_LOGITS
from benchsuite.attacks.entropy import modified_entropy, song_mittal
from benchsuite.attacks.lira import LIRA_VARIANTS, lira, reference_counts
from benchsuite.attacks.loss_threshold import yeom
from benchsuite.attacks.observations import Observations
from benchsuite.attacks.privacy import advantage, attack_success_rate, privacy_score
from benchsuite.attacks.rmia import rmia
from benchsuite.attacks.shadow_classifier import shokri

__all__ = [
    "ATTACKS",
    "LIRA_VARIANTS",
    "NEED_LOGITS",
    "Observations",
    "advantage",
    "attack_success_rate",
    "lira",
    "modified_entropy",
    "privacy_score",
    "reference_counts",
    "rmia",
    "sablayrolles",
    "shokri",
    "song_mittal",
    "yeom",
]
