"""Memorization estimated from shadow models: which examples a model gets right only when IN."""

from benchsuite.memorization.influence import CrossInfluence, cross_influence
from benchsuite.memorization.label import LabelMemorization, label_memorization
from benchsuite.memorization.privacy_influence import (
    PrivacyInfluence,
    privacy_influence,
    top_influences,
)
from benchsuite.memorization.unique_feature import (
    CalibratedScore,
    UniqueFeatureScore,
    calibrated_score,
    score_feature,
    unique_feature_score,
)

__all__ = [
    "CalibratedScore",
    "CrossInfluence",
    "LabelMemorization",
    "PrivacyInfluence",
    "UniqueFeatureScore",
    "calibrated_score",
    "cross_influence",
    "label_memorization",
    "privacy_influence",
    "score_feature",
    "top_influences",
    "unique_feature_score",
]
