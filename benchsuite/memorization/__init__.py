"""Memorization estimated from shadow models: which examples a model gets right only when IN."""

from benchsuite.memorization.feature_audit import FeatureAudit, audit_feature
from benchsuite.memorization.influence import CrossInfluence, cross_influence
from benchsuite.memorization.label import LabelMemorization, label_memorization
from benchsuite.memorization.privacy_influence import (
    PrivacyInfluence,
    privacy_influence,
    top_influences,
)
from benchsuite.memorization.tracin import Checkpoints, checkpoints, self_influence
from benchsuite.memorization.trak import trak_self_influence
from benchsuite.memorization.unique_feature import (
    CalibratedScore,
    UniqueFeatureScore,
    calibrated_score,
    clean_p_value,
    glyph_effect,
    unique_feature_score,
)

__all__ = [
    "CalibratedScore",
    "Checkpoints",
    "CrossInfluence",
    "FeatureAudit",
    "LabelMemorization",
    "PrivacyInfluence",
    "UniqueFeatureScore",
    "audit_feature",
    "calibrated_score",
    "checkpoints",
    "clean_p_value",
    "cross_influence",
    "glyph_effect",
    "label_memorization",
    "privacy_influence",
    "self_influence",
    "top_influences",
    "trak_self_influence",
    "unique_feature_score",
]
