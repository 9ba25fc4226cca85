"""Memorization estimated from shadow models: which examples a model gets right only when IN."""

from benchsuite.memorization.influence import CrossInfluence, cross_influence
from benchsuite.memorization.label import LabelMemorization, label_memorization
from benchsuite.memorization.privacy_influence import (
    PrivacyInfluence,
    privacy_influence,
    top_influences,
)

__all__ = [
    "CrossInfluence",
    "LabelMemorization",
    "PrivacyInfluence",
    "cross_influence",
    "label_memorization",
    "privacy_influence",
    "top_influences",
]
