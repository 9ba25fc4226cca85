"""Family A3's claims: verdicts, of claims and controls, with numbers as in a pilot on the digits.

What each part that decides came to there is drawn anew, of each unit N(mean, sd), and decided by
the claim's own rule, at its alpha and number of units. Parts are drawn independently.
"""

import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.experiments import oracle_figures, privacy_figures
from benchsuite.experiments.oracles import OracleExperiment
from benchsuite.experiments.planting import PlantingExperiment
from benchsuite.experiments.privacy import PrivacyExperiment
from benchsuite.report import figures
from benchsuite.stats.verdict import Verdict, decide
from benchsuite.subject import BUILT_IN

HERE = Path(__file__).parent
synthetic = SimpleNamespace(**runpy.run_path(str(HERE / "synthetic.py")))
CLAIMS = synthetic.load_claims("test_oracles.py")
KINDS = {
    "trak-oracle-works": (OracleExperiment, oracle_figures.ARRAYS),
    "gaussian-assumption": (OracleExperiment, oracle_figures.ARRAYS),
    "oracle-precision": (PlantingExperiment, {"oracle-precision": None}),
    "dp-prevents-memorization": (PrivacyExperiment, privacy_figures.ARRAYS),
    "dp-bounds-memorization": (PrivacyExperiment, privacy_figures.ARRAYS),
}
DRAWS = 150
POWER = 0.95

TRAK = "log (random OOD / singletons by TRAK misranked): {}".format
BOTH = "log (singletons by TRAK / singletons misranked): {}".format
# From the weakest to the strongest attack, all with the largest deviation.
OF_TRAK = dict(zip(ATTACKS, np.linspace(2.2, 3.7, len(ATTACKS)), strict=True))
MEASURED = {
    "trak-oracle-works": {
        "observed": {
            **{TRAK(attack): (mean, 0.13) for attack, mean in OF_TRAK.items()},
            BOTH("LiRA"): (0.44, 0.10),
            BOTH("Shokri"): (0.285, 0.04),
            BOTH("Sablayrolles"): (0.55, 0.19),
        },
        "singletons-at-random": {
            **{TRAK(attack): (0.0, 0.02) for attack in ATTACKS},
            **{BOTH(attack): (0.0, 0.02) for attack in ("LiRA", "Shokri", "Sablayrolles")},
        },
    },
    "oracle-precision": {
        "observed": {
            "recall": (1.0, 0.0),
            "precision": (1.0, 0.0),
            "recall, an eighth of the models": (0.995, 0.011),
            "precision, an eighth of the models": (0.965, 0.020),
        },
        "none-planted": {"recall": (0.029, 0.027)},
        "permuted-membership": {"recall": (0.0, 0.0)},
    },
    "gaussian-assumption": {
        "observed": {"log (Gaussian / kernel found)": (-0.004, 0.006)},
        "bimodal": {"log (Gaussian / kernel found)": (-3.19, 0.06)},
    },
    "dp-prevents-memorization": {
        "observed": {"noise": (-0.6, 0.02), "DP less early-stopped": (0.003, 0.019)},
        "without-noise": {"noise": (-0.002, 0.007), "DP less early-stopped": (0.131, 0.007)},
    },
    "dp-bounds-memorization": {
        "observed": {
            "all canaries": (-0.443, 0.028),
            "most exposed": (-0.45, 0.061),
            "held-out accuracy": (0.666, 0.003),
        },
        "without-noise": {"all canaries": (0.205, 0.025), "most exposed": (0.286, 0.030)},
    },
}
"""By claim and arm: mean and standard deviation, over units, of each part that decides."""

ARMS = [(name, arm) for name, arms in MEASURED.items() for arm in arms]


def came(name, arm, count=None):
    """Of draws with so many units, or those declared, the share with each verdict."""
    claim, parts = CLAIMS[name], MEASURED[name][arm]
    (subject,) = claim.subjects["cpu"]
    count = count or claim.declared_units(subject, "cpu")
    rule = claim.rule_at("cpu") if arm == "observed" else claim.controls[arm]
    rng = np.random.default_rng(0)
    mean, deviation = np.array(list(parts.values())).T
    found = Counter()
    for values in rng.normal(mean, deviation, (DRAWS, count, len(parts))).tolist():
        units = [dict(zip(parts, unit, strict=True)) for unit in values]
        found[decide(rule, units, claim.family.alpha_of_each).verdict] += 1
    return {verdict: found[verdict] / DRAWS for verdict in get_args(Verdict)}


NEEDED = {("dp-prevents-memorization", "observed"): 5}
"""Fewest units, where fewer were tried: a t interval of four units at 99 % is 5.8 standard errors
to each side, and one of five 4.6."""


@pytest.mark.parametrize(("name", "arm"), ARMS, ids=["-".join(arm) for arm in ARMS])
def test_claims_come_out_as_declared_and_controls_as_they_must(name, arm):
    claim = CLAIMS[name]
    (subject,) = claim.subjects["cpu"]
    expected = claim.expected(subject, "cpu")[0] if arm == "observed" else "supported"
    assert came(name, arm)[expected] > POWER


@pytest.mark.parametrize(("name", "arm"), NEEDED)
def test_these_need_so_many_units_and_have_them(name, arm):
    (subject,) = CLAIMS[name].subjects["cpu"]
    assert CLAIMS[name].declared_units(subject, "cpu") == NEEDED[name, arm]
    expected = CLAIMS[name].expected(subject, "cpu")[0]
    shares = [came(name, arm, count)[expected] for count in (3, 4, NEEDED[name, arm])]
    assert shares[0] < shares[1] < POWER < shares[2]


@pytest.mark.parametrize(
    ("name", "part", "value"),
    [
        ("trak-oracle-works", TRAK("RMIA"), 0.15),
        ("trak-oracle-works", BOTH("Sablayrolles"), 0.05),
        ("oracle-precision", "recall", 0.85),
        ("oracle-precision", "precision", 0.85),
        ("oracle-precision", "precision, an eighth of the models", 0.75),
        ("gaussian-assumption", "log (Gaussian / kernel found)", -0.3),
        ("gaussian-assumption", "log (Gaussian / kernel found)", 0.3),
        ("dp-bounds-memorization", "all canaries", 0.1),
        ("dp-bounds-memorization", "most exposed", 0.5),
        ("dp-bounds-memorization", "held-out accuracy", 0.4),
    ],
)
def test_any_part_that_fails_refutes_the_claim(name, part, value, monkeypatch):
    """Also one of several, the others being as they were."""
    parts = MEASURED[name]["observed"]
    monkeypatch.setitem(parts, part, (value, min(parts[part][1], 0.02)))
    found = came(name, "observed", 10)
    assert found["refuted"] > POWER
    assert found["supported"] == 0


@pytest.mark.parametrize(("noise", "verdict"), [(-0.625, "supported"), (-0.1, "refuted")])
def test_dp_that_beats_stopping_early_is_supported_if_its_noise_does_it(
    noise, verdict, monkeypatch
):
    """The declared refutation is of the digits, and not of the rule."""
    parts = {"noise": (noise, 0.023), "DP less early-stopped": (-0.2, 0.012)}
    monkeypatch.setitem(MEASURED["dp-prevents-memorization"], "observed", parts)
    assert came("dp-prevents-memorization", "observed")[verdict] > POWER


@pytest.mark.parametrize(
    ("name", "control"), [(name, arm) for name, arm in ARMS if arm != "observed"]
)
def test_what_is_observed_does_not_pass_for_a_control(name, control):
    claim, observed = CLAIMS[name], MEASURED[name]["observed"]
    means = {part: mean for part, (mean, _) in observed.items()}
    assert decide(claim.controls[control], [means] * 2, 0.01).verdict == "refuted"


def test_every_claim_control_and_part_that_decides_is_among_them():
    assert {(c.id, arm) for c in CLAIMS.values() for arm in ("observed", *c.controls)} == set(ARMS)
    for name, arms in MEASURED.items():
        for arm, parts in arms.items():
            rule = CLAIMS[name].rule_at("cpu") if arm == "observed" else CLAIMS[name].controls[arm]
            assert len(rule.named) <= len(parts)
            units = [dict.fromkeys(parts, 0.0)] * 2
            judged = decide(rule, units, 0.01).parts
            assert all(part.verdict is not None for part in judged)


# ---- what is declared ----------------------------------------------------------------------------


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_controls_figures_and_subjects_are_known(claim):
    kind, arrays = KINDS[claim.id]
    assert set(claim.controls) <= set(kind.controls)
    assert set(claim.figures) <= set(arrays) & set(figures._KINDS)
    assert {subject for of in claim.subjects.values() for subject in of} <= set(BUILT_IN)


def test_every_figure_is_some_claims():
    shown = {figure for claim in CLAIMS.values() for figure in claim.figures}
    assert {*oracle_figures.ARRAYS, *privacy_figures.ARRAYS, "oracle-precision"} == shown


def test_the_family_counts_its_claims():
    (family,) = {claim.family for claim in CLAIMS.values()}
    assert family.claims == len(CLAIMS)
    assert family.alpha_of_each == pytest.approx(0.05 / 5)
