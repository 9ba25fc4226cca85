from dataclasses import replace

import numpy as np
import pytest

from benchsuite.attacks.lira import lira
from benchsuite.experiments import complexity
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.membership_figures import ARRAYS
from benchsuite.experiments.split_bank import CONTROLS, PERMUTED, SHUFFLED, SPLIT_OUT
from benchsuite.shadows.design import Balanced

EXAMPLES, BLOCK, REFERENCES, MODELS = 60, 64, 128, 448


def experiment(seed=0, signal=3.0, references=REFERENCES):
    rng = np.random.default_rng(seed)
    membership = Balanced(EXAMPLES, seed=seed).rows(0, MODELS)
    hard = np.arange(EXAMPLES) % 2 == 0
    confidence = rng.normal(2, 1, membership.shape) + signal * (membership & hard)
    correct = membership | (rng.random(membership.shape) < np.linspace(0, 1, EXAMPLES))
    return MembershipExperiment(confidence, correct, membership, references, BLOCK, seed=seed)


def test_blocks_are_disjoint_cover_the_targets_and_hold_no_reference():
    blocks = list(experiment().blocks())
    assert [block.number for block in blocks] == list(range(5))
    models = np.concatenate([block.models for block in blocks])
    np.testing.assert_array_equal(models, np.arange(REFERENCES, MODELS))
    for block in blocks:
        assert (block.membership.sum(0) == BLOCK // 2).all()


@pytest.mark.parametrize(("asked", "size"), [(1, 64), (64, 64), (65, 128), (128, 128), (129, 192)])
def test_larger_blocks_are_whole_design_blocks_and_the_rest_is_left_out(asked, size):
    blocks = list(experiment().blocks(asked))
    assert [len(block.models) for block in blocks] == [size] * ((MODELS - REFERENCES) // size)
    assert blocks[0].models[0] == REFERENCES
    everything = list(experiment().blocks_of_all_models(asked))
    assert [block.models[0] for block in everything] == list(range(0, MODELS - size + 1, size))


def test_halves_divide_the_references():
    one, other = experiment().halves()
    np.testing.assert_array_equal(np.concatenate([one, other]), np.arange(REFERENCES))
    assert len(one) == len(other)


@pytest.mark.parametrize("references", [0, 1, 100, MODELS, MODELS - 10])
def test_models_that_do_not_split_are_refused(references):
    with pytest.raises(ValueError, match=f"references={references} leaves"):
        experiment(references=references)


def test_an_unknown_control_is_refused_by_name():
    with pytest.raises(ValueError, match="control='shuffled' is unknown: use one of permuted"):
        experiment().under("shuffled")


# ---- what may see what ---------------------------------------------------------------------------


def scrambled(original, rows):
    """The same experiment with other confidences and answers in these models."""
    rng = np.random.default_rng(99)
    confidence, correct = original.confidence.copy(), original.correct.copy()
    confidence[rows] = rng.normal(0, 5, confidence[rows].shape)
    correct[rows] = rng.random(correct[rows].shape) < 0.5
    return replace(original, confidence=confidence, correct=correct)


def test_selection_never_uses_targets(monkeypatch):
    monkeypatch.setattr(complexity, "MOST_CENSORED", 1.0)  # scrambled targets show no gain
    original = experiment()
    other = scrambled(original, np.arange(REFERENCES, MODELS))
    np.testing.assert_array_equal(other.memorization.estimate, original.memorization.estimate)

    def chosen(bank):
        return [
            block.averaged(lambda groups: {n: m.sum() for n, m in groups.bins.items()})
            for block in bank.blocks()
        ]

    assert chosen(other) == chosen(original)
    for mine, theirs in zip(original.blocks(), other.blocks(), strict=True):
        np.testing.assert_array_equal(mine.complexity()[0], theirs.complexity()[0])


def test_a_block_sees_no_other_targets():
    original = experiment()
    second = np.arange(REFERENCES + BLOCK, REFERENCES + 2 * BLOCK)
    other = scrambled(original, np.setdiff1d(np.arange(REFERENCES, MODELS), second))
    mine, theirs = (list(bank.blocks())[1] for bank in (original, other))
    np.testing.assert_array_equal(mine.models, second)
    np.testing.assert_array_equal(mine.scores, theirs.scores)
    assert mine.soft_llr_excess(above=0.25) == theirs.soft_llr_excess(above=0.25)
    np.testing.assert_array_equal(mine.memorization, theirs.memorization)
    assert mine.rank_correlations() == theirs.rank_correlations()
    assert mine.shadows_needed(slice(None)) == theirs.shadows_needed(slice(None))
    assert mine.auroc_with_one_pair(np.arange(9)) == theirs.auroc_with_one_pair(np.arange(9))


def test_what_is_measured_on_targets_does_not_depend_on_references():
    original = experiment()
    other = scrambled(original, np.arange(REFERENCES))
    for mine, theirs in zip(original.blocks(), other.blocks(), strict=True):
        np.testing.assert_array_equal(mine.membership, theirs.membership)
        np.testing.assert_array_equal(mine.memorization, theirs.memorization)
        for one, two in zip(
            mine.hellinger_and_memorization(), theirs.hellinger_and_memorization(), strict=True
        ):
            np.testing.assert_array_equal(one, two)


def test_no_target_is_its_own_reference():
    bank = experiment(signal=0)
    block = next(bank.blocks())
    references = np.arange(REFERENCES)
    alone = lira(
        np.concatenate([bank.confidence[references], bank.confidence[block.models]]),
        np.concatenate([bank.membership[references], ~block.membership]),  # must not matter
        targets=np.arange(REFERENCES, REFERENCES + BLOCK),
    )
    np.testing.assert_array_equal(block.scores, alone)


# ---- controls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_leave_the_truth_and_the_experiment_as_they_are(control):
    original = experiment()
    _ = original.memorization
    broken = original.under(control)
    assert (original.control, broken.control) == ("", control)
    np.testing.assert_array_equal(broken.memorization.estimate, original.memorization.estimate)
    for mine, theirs in zip(original.blocks(), broken.blocks(), strict=True):
        np.testing.assert_array_equal(mine.membership, theirs.membership)
        np.testing.assert_array_equal(mine.memorization, theirs.memorization)
        same = control != PERMUTED
        assert (mine.scores == theirs.scores).all() == same


def test_permuted_membership_moves_memberships_within_each_example_of_references_alone():
    bank = experiment().under(PERMUTED)
    references = np.arange(REFERENCES)
    first, again, other = (bank.believed(references, draw) for draw in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    for told in (first, other):
        np.testing.assert_array_equal(told.sum(0), bank.membership[references].sum(0))
        assert abs((told == bank.membership[references]).mean() - 0.5) < 0.02
    assert abs((first == other).mean() - 0.5) < 0.02
    columns = (first == bank.membership[references]).mean(0)
    assert columns.std() > 0.02  # each example has its own permutation
    np.testing.assert_array_equal(experiment().believed(references, 0), bank.membership[references])


def test_deals_permute_values_and_differ_between_blocks_and_seeds():
    values = np.arange(40.0)
    blocks = list(experiment().under(SHUFFLED).blocks())
    elsewhere = replace(experiment().under(SHUFFLED), seed=1)
    dealt = [list(block.dealt(values)) for block in (*blocks[:2], next(elsewhere.blocks()))]
    assert [len(deals) for deals in dealt] == [50, 50, 50]
    everything = [tuple(deal) for deals in dealt for deal in deals]
    assert len(set(everything)) == 150
    assert all(sorted(deal) == list(values) for deal in everything)
    np.testing.assert_array_equal(dealt[0], list(blocks[0].dealt(values)))
    (as_they_are,) = next(experiment().blocks()).dealt(values)
    np.testing.assert_array_equal(as_they_are, values)


def test_split_out_uses_out_models_alone():
    original = experiment()
    inside_scrambled = replace(
        original,
        confidence=np.where(original.membership, -77.0, original.confidence),
        correct=original.correct & ~original.membership,
    )
    for mine, theirs in zip(
        original.under(SPLIT_OUT).blocks(), inside_scrambled.under(SPLIT_OUT).blocks(), strict=True
    ):
        for one, two in zip(
            mine.hellinger_and_memorization(), theirs.hellinger_and_memorization(), strict=True
        ):
            np.testing.assert_array_equal(one, two)
    observed = next(original.blocks()).hellinger_and_memorization()[0][::2]
    split = next(original.under(SPLIT_OUT).blocks()).hellinger_and_memorization()[0][::2]
    assert observed.mean() > 0.5
    assert abs(split.mean()) < 0.03


# ---- figures where there is nothing to draw ------------------------------------------------------


@pytest.mark.parametrize("kind", ARRAYS)
def test_one_block_of_targets_has_no_figure(kind):
    assert experiment(references=MODELS - BLOCK).figure(kind) is None


@pytest.mark.parametrize(
    "kind", ["memorization-privacy", "exposure-by-memorization", "sample-complexity"]
)
def test_a_subject_that_memorizes_nothing_has_no_figure_of_memorization(kind):
    bank = experiment()
    assert bank.figure(kind) is not None
    assert replace(bank, correct=np.ones_like(bank.correct)).figure(kind) is None


def test_an_unknown_figure_is_an_error():
    with pytest.raises(KeyError, match="pie"):
        experiment().figure("pie")
