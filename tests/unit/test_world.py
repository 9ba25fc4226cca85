import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from benchsuite.attacks.lira import lira
from benchsuite.experiments.world import (
    LEAST_FALSE_POSITIVES,
    World,
    cross_attack,
    pooled_advantage,
    rightness,
)
from benchsuite.shadows.design import Balanced
from benchsuite.stats.verdict import CannotResolveError

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "planted.py")))
EXAMPLES, BLOCK = 40, 64


def world(separation=1.0, blocks=4, examples=EXAMPLES, seed=0):
    subject = planted.subject(examples)
    truth = planted.apart(np.broadcast_to(separation, examples))
    bank = planted.Workshop(truth, seed).bank(subject, blocks * BLOCK)
    return World.of(bank, np.arange(examples))


# ---- the attack ----------------------------------------------------------------------------------


@pytest.mark.parametrize("models", [64, 128, 131])
def test_each_model_is_attacked_with_the_other_half_alone(models):
    rng = np.random.default_rng(models)
    membership = Balanced(10).rows(0, models)
    confidence = rng.normal(0, 1, membership.shape) + 2 * membership
    scores = cross_attack(confidence, membership)
    half = models // 2
    for target in (0, half - 1, half, models - 1):
        references = np.arange(half, models) if target < half else np.arange(half)
        rows = [*references, target]
        (naive,) = lira(confidence[rows], membership[rows], targets=[len(references)])
        np.testing.assert_allclose(scores[target], naive, rtol=1e-12)


def test_what_a_model_says_moves_its_own_score_and_those_of_the_other_half():
    membership = Balanced(10).rows(0, 64)
    confidence = np.random.default_rng(0).normal(0, 1, membership.shape)
    changed = confidence.copy()
    changed[3] += 1
    moved = (cross_attack(changed, membership) != cross_attack(confidence, membership)).any(axis=1)
    assert set(np.flatnonzero(moved)) == {3, *range(32, 64)}


def test_a_world_is_made_of_the_rows_of_a_bank():
    subject = planted.subject(EXAMPLES)
    bank = planted.Workshop(planted.apart(np.full(EXAMPLES, 2.0))).bank(subject, 256)
    part = World.of(bank, np.arange(EXAMPLES), slice(64, 192))
    assert (len(part), part.block) == (128, 64)
    confidence = bank.column("pool", "confidence")[64:192]
    np.testing.assert_array_equal(part.confidence, confidence)
    np.testing.assert_array_equal(part.correct, bank.column("pool", "correct")[64:192])
    np.testing.assert_array_equal(part.membership, bank.membership[64:192])
    np.testing.assert_array_equal(part.scores, cross_attack(confidence, part.membership))
    held_out = bank.column("test", "correct")[64:192]
    np.testing.assert_allclose(part.accuracy, held_out.mean(axis=1))
    np.testing.assert_allclose(part.part(slice(0, 64)).accuracy, held_out[:64].mean(axis=1))


# ---- parts of it ---------------------------------------------------------------------------------


def test_examples_are_found_by_where_they_lay_first():
    kept = replace(world(), examples=np.arange(EXAMPLES) * 2 + 1)
    some = kept.at([7, 1, 3])
    np.testing.assert_array_equal(some.examples, [7, 1, 3])
    for name in ("confidence", "correct", "membership", "scores"):
        np.testing.assert_array_equal(getattr(some, name), getattr(kept, name)[:, [3, 0, 1]])
    np.testing.assert_array_equal(kept.take(np.array([3, 0, 1])).scores, some.scores)
    with pytest.raises(KeyError):
        kept.at([2])


@pytest.mark.parametrize(
    ("models", "starts"), [(None, [0, 64, 128]), (64, [0, 64, 128]), (96, [0, 96]), (200, [])]
)
def test_blocks_are_disjoint_and_a_rest_is_left_out(models, starts):
    whole = world(blocks=3)
    blocks = list(whole.blocks(models))
    assert len(blocks) == len(starts)
    for block, start in zip(blocks, starts, strict=True):
        rows = slice(start, start + (models or 64))
        for name in ("confidence", "correct", "membership", "scores", "accuracy"):
            np.testing.assert_array_equal(getattr(block, name), getattr(whole, name)[rows])


def test_advantage_is_that_of_the_decision_at_zero():
    whole = world(separation=3.0, blocks=8)
    said = whole.scores > 0
    for example in (0, 7):
        inside = whole.membership[:, example]
        naive = said[inside, example].mean() - said[~inside, example].mean()
        assert whole.advantage[example] == pytest.approx(naive)
    assert whole.advantage.mean() == pytest.approx(2 * norm.cdf(1.5) - 1, abs=0.02)


# ---- choosing and measuring apart ----------------------------------------------------------------


def test_halves_know_nothing_of_each_other():
    whole = world(blocks=4)
    first, second = whole.halves()
    assert (len(first), len(second)) == (128, 128)
    np.testing.assert_array_equal(second.membership, whole.membership[128:])
    np.testing.assert_array_equal(
        second.scores, cross_attack(whole.confidence[128:], whole.membership[128:])
    )
    np.testing.assert_array_equal(second.accuracy, whole.accuracy[128:])


def test_where_nothing_is_to_be_found_halves_do_not_agree():
    """Scored as one, they do: each half's references say which way chance lies in the other."""
    whole = world(separation=0.0, blocks=4, examples=400)
    parts = whole.part(slice(0, 128)), whole.part(slice(128, 256))
    assert np.corrcoef([each.advantage for each in parts])[0, 1] > 0.3
    assert abs(np.corrcoef([each.advantage for each in whole.halves()])[0, 1]) < 0.15


@pytest.mark.parametrize(("blocks", "sizes"), [(2, (64, 64)), (3, (64, 128)), (5, (128, 192))])
def test_halves_are_whole_blocks(blocks, sizes):
    assert tuple(map(len, world(blocks=blocks).halves())) == sizes


def test_one_block_has_no_halves():
    with pytest.raises(CannotResolveError, match="64 models are no two blocks of 64"):
        world(blocks=1).halves()


def test_among_is_the_attack_of_who_knows_fewer_models():
    whole = world(blocks=5)
    fewer = whole.among(128)
    assert len(fewer) == 256
    np.testing.assert_array_equal(fewer.confidence, whole.confidence[:256])
    for rows in (slice(0, 128), slice(128, 256)):
        scores = cross_attack(whole.confidence[rows], whole.membership[rows])
        np.testing.assert_array_equal(fewer.scores[rows], scores)
    np.testing.assert_array_equal(whole.among(320).scores, whole.scores)


# ---- numbers -------------------------------------------------------------------------------------


def naive_tpr(whole, fpr):
    inside, outside = whole.scores[whole.membership], whole.scores[~whole.membership]
    best = 0.0
    for threshold in outside:
        if (outside >= threshold).mean() <= fpr:
            best = max(best, (inside >= threshold).mean())
    return best


def test_tpr_equals_the_best_threshold_of_all():
    whole = world(separation=2.0, blocks=1)  # 1,280 non-members
    fpr = 20.5 / 1280
    outside = np.sort(whole.scores[~whole.membership])[::-1]
    between = (whole.scores[whole.membership] > outside[20]).mean()
    assert naive_tpr(whole, fpr) <= whole.tpr(fpr) == pytest.approx(between)
    assert whole.tpr(fpr) > 5 * fpr
    assert whole.log_tpr(fpr) == pytest.approx(np.log(whole.tpr(fpr)))


def test_an_fpr_that_the_sample_cannot_resolve_is_no_number():
    whole = world(blocks=1)
    assert LEAST_FALSE_POSITIVES == 20
    assert whole.tpr(20 / 1280) >= 0
    with pytest.raises(
        CannotResolveError, match=r"1,280 non-members allow 19.2 false positives at an FPR of 0.015"
    ):
        whole.tpr(0.015)
    with pytest.raises(CannotResolveError):
        whole.log_tpr(0.015)


def test_no_member_found_counts_as_half_a_member():
    whole = world(blocks=1)
    nobody = replace(whole, scores=np.where(whole.membership, -1.0, 1.0))
    assert nobody.tpr(0.1) == 0
    assert nobody.log_tpr(0.1) == pytest.approx(np.log(0.5 / 1280))


def test_pooled_advantage_equals_a_loop():
    worlds = {3: world(2.0, seed=1), 17: world(1.0, seed=2), 5: world(0.5, blocks=2, seed=3)}
    for unit in range(4):
        hits, members, accused, others = 0, 0, 0, 0
        for target, each in worlds.items():
            size = len(each) // 4
            for model in range(unit * size, (unit + 1) * size):
                said = each.scores[model, target] > 0
                if each.membership[model, target]:
                    hits, members = hits + said, members + 1
                else:
                    accused, others = accused + said, others + 1
        assert pooled_advantage(worlds, unit, 4) == pytest.approx(hits / members - accused / others)


def test_pooled_advantage_finds_targets_by_where_they_lay_first():
    whole = world(np.where(np.arange(EXAMPLES) == 11, 5.0, 0.0))
    moved = replace(whole, examples=np.roll(np.arange(EXAMPLES), 1))  # 11 is now called 10
    assert pooled_advantage({10: moved}, 0, 1) > 0.9
    assert pooled_advantage({11: moved}, 0, 1) < 0.4


def test_a_part_without_members_gives_no_number():
    whole = world()
    always = replace(whole, membership=np.ones_like(whole.membership))
    with pytest.raises(CannotResolveError, match=r"64 models and targets.*all members or all not"):
        pooled_advantage({0: always}, 0, 4)


def test_rightness_is_above_a_half_where_the_decision_is_right():
    whole = world(separation=3.0)
    right = rightness(whole)
    assert right.dtype == np.float32
    assert right.min() >= 0
    assert right.max() <= 1
    clear = np.abs(whole.scores) > 1e-6
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(
        (right > 0.5)[clear], ((whole.scores > 0) == whole.membership)[clear]
    )
    np.testing.assert_allclose(
        right[0, :5],
        1 / (1 + np.exp(np.where(whole.membership[0, :5], -1, 1) * whole.scores[0, :5])),
        rtol=1e-5,
    )


def test_rightness_of_extreme_scores_is_a_number():
    whole = world()
    extreme = replace(whole, scores=np.where(whole.membership, 1e4, -1e4))
    assert (rightness(extreme) == 1).all()


def test_a_threshold_is_where_the_roc_reads_its_rate():
    whole, fpr = world(), 0.05
    threshold = whole.threshold(fpr)
    outside = whole.scores[~whole.membership]
    assert np.mean(outside >= threshold) <= fpr
    assert whole.log_share_found(threshold) == pytest.approx(whole.log_tpr(fpr))
    lower = np.sort(outside[outside < threshold])[-1]
    assert np.mean(outside >= lower) > fpr
    assert whole.log_share_found(np.inf) == pytest.approx(np.log(0.5 / whole.membership.sum()))
