import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from benchsuite.experiments.groups import Groups
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.shadow_counts import shadow_counts
from benchsuite.experiments.split_bank import PERMUTED, SHUFFLED, SPLIT_OUT
from benchsuite.experiments.target_block import TargetBlock
from benchsuite.shadows.design import Balanced
from benchsuite.stats.verdict import CannotResolveError

EXAMPLES, BLOCK, REFERENCES, MODELS = 120, 64, 128, 320


def experiment(seed=0, share=0.5):
    """IN models are always right; the last examples are the most memorized and the most exposed."""
    rng = np.random.default_rng(seed)
    design = Balanced(EXAMPLES, share, seed)
    block = design.block
    membership = design.rows(0, MODELS // BLOCK * block)
    mem = np.linspace(0, 1, EXAMPLES) ** 1.5
    spread = 1 + rng.random(EXAMPLES)
    confidence = np.where(
        membership,
        rng.normal(4, 1, membership.shape),
        rng.normal(4 - 4 * mem, spread, (len(membership), EXAMPLES)),
    )
    correct = membership | (rng.random(membership.shape) > mem)
    references = REFERENCES // BLOCK * block
    return MembershipExperiment(confidence, correct, membership, references, block, seed=seed)


@pytest.fixture(scope="module", params=[0.5, 0.7])
def bank(request):
    return experiment(share=request.param)


@pytest.fixture
def block(bank):
    return list(bank.blocks())[1]


# ---- oracles: loops over models and examples -----------------------------------------------------


def sides(bank, rows, example):
    inside = [r for r in rows if bank.membership[r, example]]
    return inside, [r for r in rows if not bank.membership[r, example]]


def moments(values):
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / len(values)


def gaussians(bank, rows, example):
    return [moments([bank.confidence[r, example] for r in s]) for s in sides(bank, rows, example)]


def naive_scores(bank, references, targets):
    scores = np.empty((len(targets), EXAMPLES))
    for e in range(EXAMPLES):
        (m1, v1), (m0, v0) = gaussians(bank, references, e)
        for t, target in enumerate(targets):
            phi = bank.confidence[target, e]
            scores[t, e] = norm.logpdf(phi, m1, v1**0.5) - norm.logpdf(phi, m0, v0**0.5)
    return scores


def naive_gain(bank, targets, answers):
    """Mean answer on IN targets less that on OUT targets, for each example."""
    gain = np.empty(EXAMPLES)
    for e in range(EXAMPLES):
        by_row = dict(zip(targets, answers[:, e], strict=True))
        inside, outside = sides(bank, targets, e)
        gain[e] = np.mean([by_row[r] for r in inside]) - np.mean([by_row[r] for r in outside])
    return gain


def naive_memorization(bank, rows):
    return np.array(
        [
            np.mean(bank.correct[i, e]) - np.mean(bank.correct[o, e])
            for e in range(EXAMPLES)
            for i, o in [sides(bank, rows, e)]
        ]
    )


def naive_hellinger(bank, rows, example):
    (m1, v1), (m0, v0) = gaussians(bank, rows, example)
    overlap = math.sqrt(2 * math.sqrt(v1 * v0) / (v1 + v0))
    return 1 - overlap * math.exp(-((m1 - m0) ** 2) / (4 * (v1 + v0)))


def naive_auroc(scores, membership):
    inside, outside = scores[membership][:, None], scores[~membership]
    return np.mean((inside > outside) + (inside == outside) / 2)


# ---- LiRA ----------------------------------------------------------------------------------------


def test_scores_advantage_memorization_and_auroc(bank, block):
    scores = naive_scores(bank, range(bank.references), block.models)
    np.testing.assert_allclose(block.scores, scores, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(block.advantage, naive_gain(bank, block.models, scores > 0))
    np.testing.assert_allclose(block.memorization, naive_memorization(bank, block.models))
    some = np.arange(30, 40)
    expected = naive_auroc(scores[:, some], block.membership[:, some])
    assert block.auroc(some) == pytest.approx(expected)


def test_exposure_steps_are_differences_of_the_bins_mean_advantages(bank, block):
    bins = list(Groups(bank.memorization.estimate).bins.values())
    means = [np.mean([block.advantage[e] for e in members]) for members in bins]
    steps = block.averaged(block.exposure_steps)
    assert list(steps.values()) == pytest.approx([b - a for a, b in pairwise(means)])
    assert len(steps) >= 2
    assert list(steps)[-1].endswith("to top")


def test_one_bin_has_no_step(block):
    with pytest.raises(CannotResolveError, match="only one bin of memorization, top"):
        block.exposure_steps(Groups(np.repeat([0.0, 0.9], EXAMPLES // 2)))


def test_rank_correlation_is_spearmans_over_examples_with_memorization(bank, block):
    one, other = bank.halves()
    gain = naive_gain(bank, block.models, naive_scores(bank, one, block.models) > 0)
    mem = naive_memorization(bank, other)
    ranks = [rankdata(values[mem > 0]) for values in (gain, mem)]
    assert block.rank_correlations()["memorization"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert (mem <= 0).any()


@pytest.mark.parametrize("correct", [0, 1])
def test_nothing_memorized_cannot_be_ranked(correct):
    bank = experiment()
    flat = MembershipExperiment(
        bank.confidence, np.full_like(bank.correct, correct), bank.membership, REFERENCES, BLOCK
    )
    with pytest.raises(CannotResolveError, match="0 examples have memorization above 0, of 15"):
        next(flat.blocks()).rank_correlations()


# ---- Theorem 1 and Equation 7 --------------------------------------------------------------------


def test_soft_llr_excess_is_the_mean_of_both_ways_round(bank, block):
    expected = []
    for fitted_on, measured_on in (bank.halves(), bank.halves()[::-1]):
        odds = np.exp(naive_scores(bank, fitted_on, block.models) / 2)
        gain = naive_gain(bank, block.models, odds / (1 + odds))
        chosen = np.flatnonzero(naive_memorization(bank, fitted_on) > 0.25)
        excess = [gain[e] - naive_hellinger(bank, measured_on, e) for e in chosen]
        expected.append(sum(excess) / len(excess))
    assert block.soft_llr_excess(above=0.25) == pytest.approx(sum(expected) / 2)


def test_hellinger_less_its_bias_and_memorization_with_its_error(bank, block):
    hellinger, mem, stderr = block.hellinger_and_memorization()
    for e in range(EXAMPLES):
        inside, outside = sides(bank, block.models, e)
        bias = 1 / 4 * (1 / len(inside) + 1 / len(outside))
        assert hellinger[e] == pytest.approx(naive_hellinger(bank, block.models, e) - bias)
    np.testing.assert_allclose(mem, naive_memorization(bank, block.models))
    np.testing.assert_allclose(stderr, bank.memorization_of(block.models).stderr)


def test_hellinger_of_equal_gaussians_is_unbiased_by_that_correction():
    rng = np.random.default_rng(0)
    membership = Balanced(4000).rows(0, 64)
    confidence = rng.normal(1, 3, membership.shape)
    twice = np.concatenate([membership, membership])
    null = MembershipExperiment(np.concatenate([confidence] * 2), twice, twice, 64, 64)
    hellinger, _, _ = next(null.blocks()).hellinger_and_memorization()
    uncorrected = 1 / 4 * 2 / 32
    assert abs(hellinger.mean()) < uncorrected / 10


@pytest.mark.parametrize(("margin", "errors"), [(0.01, 2.33), (0.0, 0.0), (0.05, 1.0)])
def test_share_above_memorization_counts_examples(bank, block, margin, errors):
    above = 0
    for hellinger, mem, stderr in zip(*block.hellinger_and_memorization(), strict=True):
        above += hellinger > mem + margin + errors * stderr
    assert 0 < above < EXAMPLES
    assert block.share_above_memorization(margin, errors) == above / EXAMPLES


# ---- Corollary 1 ---------------------------------------------------------------------------------


def test_complexity_of_models_that_fit_is_the_closed_form_in_mem_cut_at_half_an_error(bank, block):
    chosen_on, measured_on = bank.halves()
    half = bank.memorization_of(chosen_on)
    chosen = np.flatnonzero(half.estimate > 3 * half.stderr)
    mem, needed = block.complexity()
    least = 1 / len(measured_on)
    np.testing.assert_allclose(
        mem, np.maximum(naive_memorization(bank, measured_on)[chosen], least)
    )
    in_block = naive_memorization(bank, block.models)[chosen]
    cut = math.log(0.1) / math.log(1 - 1 / len(block.models))
    with np.errstate(divide="ignore"):
        closed = np.where(in_block > 0, np.log(0.1) / np.log(1 - in_block), np.inf)
    expected = np.minimum(np.maximum(np.ceil(closed - 1e-9), 1), cut)
    np.testing.assert_allclose(needed["prediction"], expected)
    assert expected.max() > 4 * expected.min()  # a range worth a slope


def test_complexity_cannot_be_resolved_where_the_block_shows_no_gain():
    bank = experiment()
    block = next(bank.blocks())
    correct = bank.correct.copy()
    for right in (True, ~bank.membership[block.models]):  # all right; IN worse than OUT
        correct[block.models] = right
        sure = MembershipExperiment(bank.confidence, correct, bank.membership, REFERENCES, BLOCK)
        with pytest.raises(CannotResolveError, match="100% of the surely memorized examples"):
            next(sure.blocks()).complexity()


def test_confidences_need_as_many_models_as_a_simulated_test_of_them():
    block = next(experiment().blocks())
    _, needed = block.complexity()
    half = block.experiment.memorization_of(np.arange(64))
    chosen = np.flatnonzero(half.estimate > 3 * half.stderr)
    rng = np.random.default_rng(0)
    for e in chosen[[0, len(chosen) // 2]]:
        (m1, v1), (m0, v0) = gaussians(block.experiment, block.models, e)
        n = int(needed["confidence"][np.flatnonzero(chosen == e)[0]])
        assert 1 < n < 147
        gained = []
        for count in (n, max(1, n - 2)):
            answers = []
            for mean, variance in ((m1, v1), (m0, v0)):
                phi = rng.normal(mean, math.sqrt(variance), (20_000, count))
                ratio = norm.logpdf(phi, m1, v1**0.5) - norm.logpdf(phi, m0, v0**0.5)
                answers.append((ratio.sum(1) > 0).mean())
            gained.append(answers[0] - answers[1])
        assert gained[0] > 0.9 - 0.01
        assert n == 1 or gained[1] < gained[0] < 0.9 + 0.1


def test_slopes_are_least_squares_on_logarithms(block):
    mem, needed = block.complexity()
    needed["prediction at .5"] = block.complexity(0.5)[1]["prediction"]
    numbers = block.complexity_slopes()
    assert numbers.pop("least n x mem") == min(needed["prediction"] * mem)
    assert numbers["prediction"] > 0.8
    x = -np.log(mem)
    for channel, slope in numbers.items():
        y = np.log(needed[channel])
        covariance = sum((x - x.mean()) * (y - y.mean()))
        assert slope == pytest.approx(covariance / sum((x - x.mean()) ** 2))


# ---- number of shadow models ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("references", "counts"),
    [(2, [2]), (3, [2, 3]), (64, [2, 4, 8, 16, 32, 64]), (80, [2, 4, 8, 16, 32, 64, 80])],
)
def test_counts_double_up_to_all_references(references, counts):
    assert shadow_counts(references) == counts


@pytest.mark.parametrize(
    ("aurocs", "needed"),
    [
        ([0.5, 0.6, 0.9, 1.0], 8 * 2**0.75),  # .975 is three quarters from .9 to 1
        ([0.98, 0.99, 0.99, 1.0], 2),
        ([0.5, 0.5, 0.5, 0.5], 16),
        ([0.6, 0.5, 0.4, 0.3], 16),  # no better than chance: all references
        ([0.98, 0.5, 0.68, 1.0], 8 * 2 ** (0.255 / 0.28)),  # an early peak is averaged: .72, not 2
        ([0.5, 1.0, 1.0, 1.0], 2 * 2**0.95),
    ],
)
def test_shadows_needed_on_a_made_up_curve(block, monkeypatch, aurocs, needed):
    curve = dict(zip([2, 4, 8, 16], aurocs, strict=True))
    vars(block)["scores_by_count"] = curve  # what is cached under that name
    monkeypatch.setattr(TargetBlock, "auroc", lambda self, members, scores: scores)
    assert block.shadows_needed(slice(None)) == pytest.approx(needed)


def test_few_references_are_others_in_every_block(bank):
    seen = []

    class Watched(MembershipExperiment):
        def attack(self, references, targets, draw, variant="paper/online"):
            seen.append((len(references), tuple(references)))
            return super().attack(references, targets, draw, variant)

    watched = Watched(bank.confidence, bank.correct, bank.membership, bank.references, bank.block)
    two = [next(iter(block.scores_by_count)) and set(seen[-1][1]) for block in watched.blocks()]
    assert all(sorted(models) == list(range(bank.references)) for models in two)
    smallest = [models for count, models in seen if count == 2]
    assert smallest[0] == (0, 1)
    assert smallest[1] == (bank.block, bank.block + 1)
    assert max(max(models) for _, models in seen) < bank.references


def test_one_pair_is_the_blocks_own_and_scores_by_its_midpoint(bank):
    some = np.arange(40, EXAMPLES)
    for block in bank.blocks():
        scores = np.empty((len(block.models), EXAMPLES))
        for e in range(EXAMPLES):
            seen = [s[block.number] for s in sides(bank, range(bank.references), e)]
            high, low = (bank.confidence[row, e] for row in seen)
            phi = bank.confidence[block.models, e]
            scores[:, e] = (phi - (high + low) / 2) * (
                high - low
            )  # one variance for all: no matter
        expected = naive_auroc(scores[:, some], block.membership[:, some])
        assert block.auroc_with_one_pair(some) == pytest.approx(expected, abs=1e-12)


# ---- controls and chance -------------------------------------------------------------------------


def test_under_shuffled_memorization_numbers_are_means_over_the_deals():
    block = list(experiment().under(SHUFFLED).blocks())[1]
    mem = block.experiment.memorization.estimate
    sizes = {name: len(members) for name, members in Groups(mem).bins.items()}
    by_hand = [Groups(dealt).bins["top"].sum() for dealt in block.dealt(mem)]
    assert block.averaged(lambda groups: groups.bins["top"].sum()) == np.mean(by_hand)
    kept = block.averaged(lambda groups: {n: len(m) for n, m in groups.bins.items()})
    assert kept == sizes
    assert abs(block.complexity_slopes()["prediction"]) < 0.15
    assert abs(block.rank_correlations()["memorization"]) < 0.1


NULL_EXAMPLES = 400


@pytest.fixture(scope="module")
def null():
    """Membership that changes nothing, in models that are right now and then."""
    rng = np.random.default_rng(5)
    membership = Balanced(NULL_EXAMPLES, seed=5).rows(0, 10 * BLOCK)
    confidence = rng.normal(
        rng.normal(0, 3, NULL_EXAMPLES), 1 + rng.random(NULL_EXAMPLES), membership.shape
    )
    correct = rng.random(membership.shape) < rng.random(NULL_EXAMPLES)
    return MembershipExperiment(confidence, correct, membership, 2 * BLOCK, BLOCK)


@pytest.mark.parametrize("control", ["", PERMUTED, SHUFFLED, SPLIT_OUT])
def test_where_membership_changes_nothing_every_attack_is_at_chance(null, control):
    blocks = list(null.under(control).blocks())
    everything = np.arange(NULL_EXAMPLES)

    def mean(number):
        return np.mean([np.mean(number(block)) for block in blocks])

    # 3,200 (example, block) pairs, each with a deviation of about 0.25 in advantage: 0.0044.
    assert abs(mean(lambda block: block.advantage)) < 0.014
    assert abs(mean(lambda block: block.memorization)) < 0.014
    assert abs(mean(lambda block: block.auroc(everything)) - 0.5) < 0.008
    assert abs(mean(lambda block: block.auroc_with_one_pair(everything)) - 0.5) < 0.008
    assert abs(mean(lambda block: block.rank_correlations()["memorization"])) < 0.08
    # Of 32 models a side (16 where OUT models are split) the correction leaves terms in 1/n².
    left = 0.005 if control == SPLIT_OUT else 0.002
    assert abs(mean(lambda block: block.hellinger_and_memorization()[0])) < left
    assert mean(lambda block: block.share_above_memorization(0.01, 2.33)) < 0.02
    for count in (2, 16, 128):
        scores = [block.auroc(everything, block.scores_by_count[count]) for block in blocks]
        assert abs(np.mean(scores) - 0.5) < 0.008
    # What the soft test lacks is the H² of noise in 64 references: 1/4 (1/32 + 1/32).
    assert mean(lambda block: block.soft_llr_excess(above=-1)) == pytest.approx(-0.0156, abs=0.006)


def test_a_target_among_the_references_would_show(null):
    first = np.arange(2 * BLOCK, 3 * BLOCK)
    rows = np.concatenate(
        [first, np.arange(BLOCK, 10 * BLOCK)]
    )  # references hold the first targets
    leaking = MembershipExperiment(
        null.confidence[rows], null.correct[rows], null.membership[rows], 2 * BLOCK, BLOCK
    )
    assert next(leaking.blocks()).advantage.mean() > 0.05
