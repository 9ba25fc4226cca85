"""The arrays of the membership experiment's figures, against what its claims count."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.membership_figures import ERRORS, MARGIN
from benchsuite.experiments.target_block import TargetBlock
from benchsuite.report import figures
from benchsuite.report.wording import percent

CLAIMS = Path(__file__).parents[2] / "claims" / "test_membership.py"


def experiment(models=96, examples=60, block=32):
    """Examples whose label, and whose confidence, tell more or less of who was IN."""
    random = np.random.default_rng(0)
    order = np.array([random.permuted(np.arange(models) % 2) for _ in range(examples)])
    membership = order.T.astype(bool)
    shift = np.linspace(0, 3, examples)
    confidence = random.normal(0, 1, (models, examples)) + membership * shift
    correct = random.random((models, examples)) < np.where(membership, 0.95, 0.95 - shift / 6)
    return MembershipExperiment(confidence, correct, membership, block, block)


def test_the_hellinger_figure_prints_the_share_that_the_claim_counts():
    given = experiment()
    every = TargetBlock(given, np.arange(len(given.membership)), 0)
    share = every.share_above_memorization(MARGIN, ERRORS)
    without_errors = every.share_above_memorization(MARGIN, 0.0)
    assert 0 < share < without_errors < 1
    drawing = figures.draw(
        "hellinger-memorization", given.figure("hellinger-memorization") or {}, "f"
    )
    assert f"{percent(share)} of the examples lie surely above" in drawing.panels[0]


def test_the_hellinger_figure_has_the_margin_and_the_errors_of_the_claim():
    spec = spec_from_file_location("claims_of_membership", CLAIMS)
    assert spec is not None
    assert spec.loader is not None
    claims = module_from_spec(spec)
    spec.loader.exec_module(claims)
    asked = []

    class Block:
        def share_above_memorization(self, margin, errors):
            asked.append((margin, errors))
            return 0.0

    class Experiment:
        def blocks_of_all_models(self, models):
            return [Block()]

    list(claims.test_hellinger_stays_below_memorization.claim.numbers(Experiment()))
    assert asked == [(MARGIN, ERRORS)]
