"""What `benchsuite` offers at its top, and what it costs to import."""

import subprocess
import sys

import pytest

import benchsuite

PUBLIC = {
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
}


def in_a_new_process(code):
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_exactly_the_public_names_are_offered():
    assert sorted(benchsuite.__all__) == sorted(PUBLIC)  # a list: no name twice
    assert set(dir(benchsuite)) == PUBLIC | {"__version__"}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_what_it_says(name):
    offered = getattr(benchsuite, name)
    assert callable(offered)
    assert offered.__name__ == name
    assert offered.__module__.startswith("benchsuite.")


def test_a_star_import_brings_the_public_names_and_nothing_else():
    in_a_new_process(
        "before = {*dir(), 'before'}\n"
        "from benchsuite import *\n"
        f"assert set(dir()) - before == {PUBLIC!r}"
    )


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'benchsuite' has no attribute 'lyra'"):
        _ = benchsuite.lyra


@pytest.mark.parametrize(
    "code",
    [
        "import benchsuite",
        "from benchsuite import auroc, hellinger_squared, label_memorization, lira",
        "from benchsuite import advantage_ceiling",
        "from benchsuite import Observations, rmia, sablayrolles, shokri, song_mittal, yeom",
        "from benchsuite import Feature, audit_feature, unique_feature_score",
        "import benchsuite.report.build, benchsuite.report.terminal, benchsuite.code_digest",
    ],
)
def test_what_trains_nothing_does_not_import_torch(code):
    in_a_new_process(f"{code}\nimport sys\nassert 'torch' not in sys.modules")
