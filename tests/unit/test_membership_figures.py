"""The arrays of the membership experiment's figures, against what its claims count."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

from benchsuite.experiments import membership_figures
from benchsuite.experiments.gaussians import HELLINGER_ERRORS, HELLINGER_MARGIN
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.target_block import TargetBlock, shadow_counts
from benchsuite.report import figures
from benchsuite.report.wording import percent
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.roc import tpr_at_fpr

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
    share = every.share_above_memorization(HELLINGER_MARGIN, HELLINGER_ERRORS)
    without_errors = every.share_above_memorization(HELLINGER_MARGIN, 0.0)
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
    assert asked == [(HELLINGER_MARGIN, HELLINGER_ERRORS)]


def test_the_roc_says_what_stands_behind_the_rate_at_a_low_fpr():
    given = experiment()
    arrays = given.figure("roc") or {}
    blocks = list(given.blocks())
    scores = np.concatenate([block.scores for block in blocks])
    inside = np.concatenate([block.membership for block in blocks])
    groups = {"all": slice(None), "mem > .5": given.memorization.estimate > 0.5}
    assert arrays["low_non_members"].tolist() == [
        (~inside[:, members]).sum() for members in groups.values()
    ]
    for k, members in enumerate(groups.values()):
        low = tpr_at_fpr(scores[:, members], inside[:, members], 1e-3)
        assert arrays["low_tpr"][k] == low.tpr
        assert arrays["low_interval"][k].tolist() == low.interval.tolist()
        assert arrays["low_realised_fpr"][k] == low.realised_fpr <= 1e-3
        at = np.searchsorted(arrays[f"fpr_{k}"], 1e-3)
        assert arrays[f"tpr_{k}"][at] == low.tpr  # the dot lies on the curve
    assert not [name for name in arrays if "band" in name]


def test_the_rate_by_shadow_count_pools_where_a_block_has_too_few_non_members(monkeypatch):
    given = experiment()
    blocks = list(given.blocks())
    memorized = np.flatnonzero(given.memorization.estimate > 0.5)
    outside = ~given.membership[given.references :]
    of_all, of_memorized = outside.sum() // 2, outside[:, memorized].sum() // 2
    assert of_memorized + 1 < outside[:, memorized].sum() < of_all
    monkeypatch.setattr(membership_figures, "RESOLVES", of_memorized + 1)
    arrays = given.figure("shadow-count") or {}
    assert arrays["non_members"].tolist() == [of_all, outside[:, memorized].sum()]
    assert "tpr_band_1" not in arrays
    for at, count in enumerate(shadow_counts(given.references)):
        scores = [block.scores_by_count[count] for block in blocks]
        each = [tpr_at_fpr(s, b.membership, 1e-3).tpr for s, b in zip(scores, blocks, strict=True)]
        interval = t_interval(each, 0.05)
        assert arrays["tpr_0"][at] == interval.estimate
        assert arrays["tpr_band_0"][:, at].tolist() == [interval.low, interval.high]
        together = np.concatenate(scores)[:, memorized]
        inside = np.concatenate([block.membership for block in blocks])[:, memorized]
        assert arrays["tpr_1"][at] == tpr_at_fpr(together, inside, 1e-3).tpr
    monkeypatch.setattr(membership_figures, "RESOLVES", of_memorized)
    assert "tpr_band_1" in (given.figure("shadow-count") or {})
