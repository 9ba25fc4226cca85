"""Family S's claims: verdicts, of claims and controls, with numbers as in the pilot on the digits.

What each part came to there, over 8 units (over 3 of the weights in bf16), is drawn anew, of each
unit N(mean, sd), and decided by the claim's own rule, at its alpha and number of units.
"""

import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from benchsuite.experiments.precision import PrecisionExperiment
from benchsuite.experiments.sizes import PRECISION_SIZES
from benchsuite.report import figures
from benchsuite.stats.verdict import Verdict, decide
from benchsuite.subject import BUILT_IN

HERE = Path(__file__).parent
synthetic = SimpleNamespace(**runpy.run_path(str(HERE / "synthetic.py")))
CLAIMS = synthetic.load_claims("test_precision.py")
DRAWS = 400
POWER = 0.95

MEMORIZATION, AUROC, TPR = "memorization", "AUROC", "log TPR at 0.1 % FPR"
RANK, RANK_OF_SCORES = "rank of memorization", "rank of LiRA's scores"
BF16 = {
    MEMORIZATION: (0.00003, 0.00009),
    AUROC: (0.00006, 0.00008),
    TPR: (0.003, 0.010),
    RANK: (0.0003, 0.0008),
    RANK_OF_SCORES: (0.0, 0.00013),
}
ANSWERS = {
    MEMORIZATION: (0.0, 0.0001),
    AUROC: (-0.0183, 0.0010),
    TPR: (-3.29, 0.24),
    RANK: (0.0, 0.0001),
    RANK_OF_SCORES: (-0.308, 0.0055),
}
WEIGHTS = {
    MEMORIZATION: (-0.00013, 0.00008),
    AUROC: (-0.0020, 0.0004),
    TPR: (-0.092, 0.032),
    RANK: (-0.0007, 0.0024),
    RANK_OF_SCORES: (-0.0284, 0.0015),
}
"""Of training whose weights were rounded to bf16 after every step: no control, see the claims."""
# As far from float32 of another seed as two of its seeds are from each other.
ANY_TRAINING = {
    MEMORIZATION: (0.0, 0.00024),
    AUROC: (-0.0001, 0.0015),
    TPR: (0.012, 0.048),
    RANK: (0.0, 0.008),
    RANK_OF_SCORES: (0.0, 0.0032),
}


def came(claim, parts, units=None):
    """Of draws with so many units, or those declared, the share with each verdict."""
    count = units or claim.units["cpu"]
    rng = np.random.default_rng(0)
    mean, deviation = np.array(list(parts.values())).T
    found = Counter()
    for values in rng.normal(mean, deviation, (DRAWS, count, len(parts))).tolist():
        drawn = [dict(zip(parts, unit, strict=True)) for unit in values]
        verdict = decide(claim.rule_at("cpu"), drawn, claim.family.alpha_of_each).verdict
        found[verdict] += 1
    return {verdict: found[verdict] / DRAWS for verdict in get_args(Verdict)}


@pytest.fixture(params=CLAIMS.values(), ids=CLAIMS)
def claim(request):
    return request.param


@pytest.mark.parametrize("parts", [BF16, ANY_TRAINING], ids=["bf16", "any training"])
def test_a_precision_that_is_one_more_seed_is_supported(claim, parts):
    assert came(claim, parts)["supported"] > POWER


@pytest.mark.parametrize("parts", [ANSWERS, WEIGHTS], ids=["answers", "weights"])
def test_what_is_spoiled_is_refuted(claim, parts):
    assert came(claim, parts)["refuted"] > POWER


@pytest.mark.parametrize("part", BF16)
def test_any_part_that_fails_refutes_the_claim(claim, part):
    """By three standard deviations that two seeds have in a unit, the others being as they must."""
    rule, (_, deviation) = dict(claim.rule_at("cpu").named)[part], ANY_TRAINING[part]
    for value in (rule.low - 3 * deviation, rule.high + 3 * deviation):
        if np.isfinite(value):
            found = came(claim, {**ANY_TRAINING, part: (value, deviation)})
            assert found["refuted"] > 0.9
            assert found["supported"] == 0


@pytest.mark.parametrize("part", BF16)
def test_a_shift_as_large_as_a_margin_is_not_called_kept(claim, part):
    rule = dict(claim.rule_at("cpu").named)[part]
    for bound in (rule.low, rule.high):
        if np.isfinite(bound):
            found = came(claim, {**ANY_TRAINING, part: (bound, ANY_TRAINING[part][1])})
            assert found["supported"] <= claim.family.alpha_of_each


def test_fewer_units_would_leave_a_precision_undecided_that_is_one_more_seed(claim):
    shares = [came(claim, ANY_TRAINING, units=count)["supported"] for count in (3, 4, 6)]
    assert shares[0] < shares[1] < POWER < shares[2]


# ---- what is declared ----------------------------------------------------------------------------


def test_controls_figures_and_subjects_are_known(claim):
    assert set(claim.controls) == set(PrecisionExperiment.controls)
    assert set(claim.figures) <= set(figures._KINDS)
    assert {subject for of in claim.subjects.values() for subject in of} <= set(BUILT_IN)


def test_units_are_those_that_are_trained(claim):
    assert claim.units == {key: size.units for key, size in PRECISION_SIZES.items()}


def test_the_family_counts_its_claims():
    (family,) = {claim.family for claim in CLAIMS.values()}
    assert family.claims == len(CLAIMS) == 2


def test_tf32_is_decided_on_cuda_alone():
    subjects = CLAIMS["tf32-keeps-scores"].subjects
    assert (subjects["smoke"], subjects["cpu"]) == ((), ())
    assert subjects["gpu"] == CLAIMS["bf16-keeps-scores"].subjects["gpu"]
