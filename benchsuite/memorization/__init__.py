"""Memorization estimated from shadow models: which examples a model gets right only when IN."""

from benchsuite.memorization.influence import CrossInfluence, cross_influence
from benchsuite.memorization.label import LabelMemorization, label_memorization

__all__ = ["CrossInfluence", "LabelMemorization", "cross_influence", "label_memorization"]
