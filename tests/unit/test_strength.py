import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.attacks.targets import parties
from benchsuite.auditing.strength import attacks_for, check_resolved, folds, strengths
from benchsuite.shadows.design import Balanced
from tests.audited import World, in_pairs, observed


def strength(observations, fpr=0.02, attack="LiRA"):
    (found,) = strengths(observations, [attack], fpr)
    return found


def mixed(pairs, singles, examples=200, seed=0):
    """Complementary pairs among models without a partner, in a random order."""
    rng = np.random.default_rng(seed)
    half = rng.random((pairs, examples)) < 0.5
    others = rng.random((singles, examples)) < 0.5
    return rng.permutation(np.concatenate([half, ~half, others]))


@given(st.integers(0, 40), st.integers(0, 70), st.sampled_from([4, 32]))
def test_folds_part_the_models_and_cut_no_pair(pairs, singles, count):
    membership = mixed(pairs, singles, seed=pairs + 100 * singles)
    parts = folds(membership, count)
    models = np.concatenate([*parts, np.empty(0, dtype=int)])
    assert sorted(models) == list(range(2 * pairs + singles))
    sizes = [len(part) for part in parts]
    assert len(parts) == min(count, pairs + singles)
    if pairs + singles >= 2 * count:
        assert max(sizes) - min(sizes) <= (2 if pairs else 1)
    for part in parts:
        inside = {membership[k].tobytes() for k in part}
        outside = {row.tobytes() for row in np.delete(membership, part, axis=0)}
        assert not {(~membership[k]).tobytes() for k in part} & outside
        assert len(inside) == len(part)


@pytest.mark.parametrize("models", [32, 33, 34, 35, 64, 67])
def test_every_number_of_models_makes_four_like_folds(models):
    sizes = [len(part) for part in folds(Balanced(50).rows(0, models))]
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 1


def copies(observations, targets, sign=1):
    """Cheats: looks for the target itself (its mirror image) among its references."""
    references, attacked = parties("copies", observations, targets)
    own = observations.confidence[references.rows]
    scores = np.random.default_rng(0).uniform(0, 0.5, attacked.shape)
    for score, row in zip(scores, attacked.rows, strict=True):
        same = np.flatnonzero((own == sign * observations.confidence[row]).all(axis=1))
        if len(same):
            known = references.membership()[same[0]]
            score[:] += known if sign == 1 else ~known
    return scores


def test_no_model_is_its_own_reference(monkeypatch):
    monkeypatch.setitem(ATTACKS, "copies", copies)
    world = World(examples=200)
    shadows = world.shadows()
    cheating = ATTACKS["copies"](
        observed(
            np.tile(shadows.observations.confidence, (2, 1)), np.tile(shadows.membership, (2, 1))
        ),
        np.arange(64),
    )
    assert (cheating > 0.5).mean() == pytest.approx(0.5, abs=0.02)  # it would work
    found = strength(shadows.observations, attack="copies")
    assert found.scores.max() < 0.5
    assert found.auroc == pytest.approx(0.5, abs=0.02)


def test_a_complementary_model_is_no_reference(monkeypatch):
    monkeypatch.setitem(ATTACKS, "mirrored", lambda *given: copies(*given, sign=-1))
    membership = in_pairs(64, 200)
    said = np.where(membership, 1.0, -1.0)  # so that a complement's is the negative
    assert (ATTACKS["mirrored"](observed(said, membership), np.arange(32)) > 0.5).any()
    assert strength(observed(said, membership), attack="mirrored").scores.max() < 0.5


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_thresholds_are_set_by_each_folds_own_non_members(share):
    shadows = World(share=share, shift=3).shadows(80)
    found = strength(shadows.observations)
    for part, tpr in zip(found.folds, found.tprs, strict=True):
        accused, inside = found.accused[part], shadows.membership[part]
        assert 0 <= 0.02 - accused[~inside].mean() < 1 / np.count_nonzero(~inside)
        assert tpr == pytest.approx(accused[inside].mean(), abs=1e-3)
    assert found.tpr.estimate == pytest.approx(found.tprs.mean())
    assert found.false_alarms.shape == (80,)
    alarms = [row[~mine].mean() for row, mine in zip(found.accused, found.membership, strict=True)]
    np.testing.assert_allclose(found.false_alarms, alarms)
    at_once = found.scores[~shadows.membership] > found.threshold
    assert 0 <= 0.02 - at_once.mean() < 1e-3


def test_intervals_of_the_tpr_hold_the_mean_over_repeated_banks():
    world = World(examples=200, shift=3)
    found = [strength(world.shadows(seed=seed).observations, 0.05).tpr for seed in range(60)]
    truth = np.mean([each.estimate for each in found])
    assert truth > 0.12  # beside the 5 % that chance finds
    covered = [each.low <= truth <= each.high for each in found]
    assert np.mean(covered) >= 0.9
    assert np.mean([each.high - each.low for each in found]) < 0.06  # not by being endless


def test_where_membership_changes_nothing_attacks_are_chance():
    found = [
        strength(World(examples=200).shadows(seed=seed).observations, 0.05) for seed in range(30)
    ]
    assert np.mean([each.auroc for each in found]) == pytest.approx(0.5, abs=0.005)
    assert np.mean([each.tpr.estimate for each in found]) == pytest.approx(0.05, abs=0.003)


def test_confidences_alone_leave_attacks_on_outputs_out():
    confidence = World(examples=100).shadows().observations
    assert attacks_for(confidence) == (
        ["Yeom", "Sablayrolles", "RMIA", "LiRA"],
        ["Shokri", "Song & Mittal"],
    )
    rng = np.random.default_rng(0)
    logits = type(confidence)(labels=confidence.labels, logits=rng.normal(size=(64, 100, 3)))
    assert attacks_for(logits) == (list(ATTACKS), [])


def refused(membership, message, fpr=0.05):
    with pytest.raises(ValueError, match=message) as caught:
        strength(observed(np.random.default_rng(0).normal(size=membership.shape), membership), fpr)
    assert "\n" not in str(caught.value)


def test_too_few_models_are_refused():
    refused(Balanced(200).rows(0, 31), "there are 31 shadow models, expected at least 32")
    strength(World(examples=200).shadows(32).observations, 0.05)


@pytest.mark.parametrize(("value", "what"), [(True, "all"), (False, "none")])
def test_a_model_of_all_or_of_no_examples_is_refused(value, what):
    membership = Balanced(200).rows(0, 64)
    membership[7] = value
    refused(membership, f"membership of model 7 says that it was trained on {what}")


def test_models_on_the_same_examples_are_refused():
    membership = Balanced(200).rows(0, 64)
    membership[40] = membership[3]
    refused(membership, "membership of model 40 is that of an earlier one too")


@pytest.mark.parametrize("fpr", [0, 1, -0.1, 2])
def test_rates_that_are_none_are_refused(fpr):
    with pytest.raises(ValueError, match="expected a rate between 0 and 1"):
        check_resolved(Balanced(200).rows(0, 64), fpr)


@pytest.mark.parametrize("examples", [26, 50, 100, 126, 250, 300, 1000, 2500])
@pytest.mark.parametrize("models", [32, 64, 192])
def test_the_rate_that_is_named_is_the_smallest_that_works(models, examples):
    membership = Balanced(examples).rows(0, models)
    with pytest.raises(ValueError, match=r"pass fpr=") as caught:
        check_resolved(membership, 1e-7)
    named = re.search(r"fpr=([\d.e-]+), or train", str(caught.value))[1]
    check_resolved(membership, float(named))
    digit, place = f"{float(named):.0e}".split("e")
    smaller = float(f"{int(digit) - 1}e{place}") if digit != "1" else float(f"9e{int(place) - 1}")
    with pytest.raises(ValueError, match=f"pass fpr={named}"):
        check_resolved(membership, smaller)


def test_where_no_rate_works_none_is_named():
    with pytest.raises(ValueError, match="at least 20: train more shadow models"):
        check_resolved(Balanced(2).rows(0, 64)[:32], 0.5)
