"""Findings about memorization and membership inference as decided pytest claims.

The public names are imported on first use (PEP 562), so that what needs no PyTorch, such as the
report or the statistics, does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchsuite.attacks import (
        Observations,
        attack_success_rate,
        lira,
        privacy_score,
        rmia,
        sablayrolles,
        shokri,
        song_mittal,
        yeom,
    )
    from benchsuite.auditing import Audit, audit, observe_shadows, read_matrix
    from benchsuite.data import Dataset, Feature
    from benchsuite.experiments.feature_audit import FeatureCase
    from benchsuite.memorization import (
        audit_feature,
        cross_influence,
        label_memorization,
        trak_self_influence,
        unique_feature_score,
    )
    from benchsuite.shadows import ShadowBank, train_shadows
    from benchsuite.stats.confidence import scaled_confidence
    from benchsuite.stats.divergence import (
        gaussian_hellinger_squared,
        hellinger_squared,
        kl_divergence,
        total_variation,
    )
    from benchsuite.stats.likelihood import (
        log_likelihood_ratio,
        sample_complexity,
        soft_llr_advantage,
    )
    from benchsuite.stats.privacy import advantage_ceiling
    from benchsuite.stats.roc import auroc, roc_curve, tpr_at_fpr
    from benchsuite.subject import Subject, load_subject
    from benchsuite.training import Augmentation, Privacy, Recipe
    from benchsuite.training.accounting import noise_for, privacy_spent

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "Augmentation",
    "Dataset",
    "Feature",
    "FeatureCase",
    "Observations",
    "Privacy",
    "Recipe",
    "ShadowBank",
    "Subject",
    "advantage_ceiling",
    "attack_success_rate",
    "audit",
    "audit_feature",
    "auroc",
    "cross_influence",
    "gaussian_hellinger_squared",
    "hellinger_squared",
    "kl_divergence",
    "label_memorization",
    "lira",
    "load_subject",
    "log_likelihood_ratio",
    "noise_for",
    "observe_shadows",
    "privacy_score",
    "privacy_spent",
    "read_matrix",
    "rmia",
    "roc_curve",
    "sablayrolles",
    "sample_complexity",
    "scaled_confidence",
    "shokri",
    "soft_llr_advantage",
    "song_mittal",
    "total_variation",
    "tpr_at_fpr",
    "train_shadows",
    "trak_self_influence",
    "unique_feature_score",
    "yeom",
]

_HOMES = {
    "attacks": (
        "Observations",
        "attack_success_rate",
        "lira",
        "privacy_score",
        "rmia",
        "sablayrolles",
        "shokri",
        "song_mittal",
        "yeom",
    ),
    "auditing": ("Audit", "audit", "observe_shadows", "read_matrix"),
    "data": ("Dataset", "Feature"),
    "experiments.feature_audit": ("FeatureCase",),
    "memorization": (
        "audit_feature",
        "cross_influence",
        "label_memorization",
        "trak_self_influence",
        "unique_feature_score",
    ),
    "shadows": ("ShadowBank", "train_shadows"),
    "stats.confidence": ("scaled_confidence",),
    "stats.divergence": (
        "gaussian_hellinger_squared",
        "hellinger_squared",
        "kl_divergence",
        "total_variation",
    ),
    "stats.likelihood": ("log_likelihood_ratio", "sample_complexity", "soft_llr_advantage"),
    "stats.privacy": ("advantage_ceiling",),
    "stats.roc": ("auroc", "roc_curve", "tpr_at_fpr"),
    "subject": ("Subject", "load_subject"),
    "training": ("Augmentation", "Privacy", "Recipe"),
    "training.accounting": ("noise_for", "privacy_spent"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module, once."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'benchsuite' has no attribute {name!r}")
    value = getattr(import_module(f"benchsuite.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
