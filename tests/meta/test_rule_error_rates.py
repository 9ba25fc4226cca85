"""How often is a verdict wrong? The truth is put on the bound, where every rule errs most.

Repetitions are stated with each check. A check fails where its count would occur by chance less
than once in a million, and rules that are wrong on purpose are shown to fail it.
"""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from benchsuite.stats.verdict import all_of, decide, equivalent, greater, less

BY_CHANCE = 1e-6
ALPHA = 0.05

# Each rule with a truth on its bound. The spread of units is 0.3.
ON_THE_BOUND = {
    "greater": (greater(0.5), 0.5),
    "less": (less(0.5), 0.5),
    "equivalent, upper": (equivalent(1.0), 1.0),
    "equivalent, lower": (equivalent(1.0, to=2.0), 1.0),
}
# A truth that each rule should support, and one that it should refute, five spreads away.
TRUE_AND_FALSE = {
    "greater": (greater(0.5), 2.0, -1.0),
    "less": (less(0.5), -1.0, 2.0),
    "equivalent": (equivalent(1.5), 0.0, 3.0),
}


def verdicts(rule, samples, alpha=ALPHA):
    return Counter(decide(rule, units, alpha).verdict for units in samples)


def normal_units(mean, n, repetitions, seed=0):
    return np.random.default_rng(seed).normal(mean, 0.3, size=(repetitions, n))


def assert_at_most(count, repetitions, rate):
    allowed = stats.binom.isf(BY_CHANCE, repetitions, rate)
    assert count <= allowed, f"{count} of {repetitions}, where a rate of {rate:.3g} is allowed"


def assert_about(count, repetitions, rate):
    assert_at_most(count, repetitions, rate)
    assert count >= stats.binom.ppf(BY_CHANCE, repetitions, rate), f"only {count} of {repetitions}"


@pytest.mark.parametrize("n", [4, 8])
@pytest.mark.parametrize(("rule", "truth"), ON_THE_BOUND.values(), ids=ON_THE_BOUND.keys())
def test_each_rule_errs_half_of_alpha_on_either_side_of_its_bound(rule, truth, n):
    repetitions = 2_500
    counts = verdicts(rule, normal_units(truth, n, repetitions))
    assert_about(counts["supported"], repetitions, ALPHA / 2)
    assert_about(counts["refuted"], repetitions, ALPHA / 2)


@pytest.mark.parametrize("alpha", [0.2, 0.00625])
def test_the_level_is_the_one_declared(alpha):
    repetitions = 6_000
    counts = verdicts(greater(0.5), normal_units(0.5, 6, repetitions), alpha)
    assert_about(counts["supported"], repetitions, alpha / 2)
    assert_about(counts["refuted"], repetitions, alpha / 2)


def test_equivalence_with_a_margin_below_the_noise_is_not_supported_by_it():
    repetitions = 4_000
    counts = verdicts(equivalent(0.1), normal_units(0.1, 4, repetitions))
    assert_at_most(counts["supported"], repetitions, ALPHA / 2)
    assert_at_most(counts["refuted"], repetitions, ALPHA)  # it can fall off either side
    assert counts["inconclusive"] > 0.9 * repetitions


@pytest.mark.parametrize(("rule", "true", "false"), TRUE_AND_FALSE.values(), ids=TRUE_AND_FALSE)
def test_each_rule_decides_where_the_truth_is_clear(rule, true, false):
    # Otherwise a rule that always answers inconclusive would pass every check of this file.
    repetitions = 500
    assert verdicts(rule, normal_units(true, 4, repetitions))["supported"] > 0.99 * repetitions
    assert verdicts(rule, normal_units(false, 4, repetitions))["refuted"] > 0.99 * repetitions


def test_the_bootstrap_decides_skewed_units_within_alpha():
    repetitions = 400
    samples = np.random.default_rng(0).gamma(4.0, size=(repetitions, 32)) / 4
    counts = verdicts(greater(1.0), samples)
    assert_at_most(counts["supported"], repetitions, ALPHA / 2)
    assert_at_most(counts["refuted"], repetitions, ALPHA)


# Several parts


def several(truths, n, repetitions, correlation, seed=0):
    """Samples of n units, each a mapping; parts share a share of their variance within a unit."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(repetitions, n, 1)) * np.sqrt(correlation)
    own = rng.normal(size=(repetitions, n, len(truths))) * np.sqrt(1 - correlation)
    values = np.array(truths) + 0.3 * (shared + own)
    names = [f"part {i}" for i in range(len(truths))]
    return [[dict(zip(names, unit, strict=True)) for unit in sample] for sample in values.tolist()]


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_supporting_all_parts_needs_no_correction(correlation):
    # The worst case: one part on the bound, all others clearly true, so that it alone decides.
    repetitions = 1_500
    samples = several([0.0, 3.0, 3.0, 3.0, 3.0], 6, repetitions, correlation)
    counts = verdicts(all_of(greater(0)), samples)
    assert_about(counts["supported"], repetitions, ALPHA / 2)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize("parts", [2, 6])
def test_refuting_by_any_part_stays_within_alpha(parts, correlation):
    repetitions = 1_500
    samples = several([0.0] * parts, 6, repetitions, correlation)
    counts = verdicts(all_of(greater(0)), samples)
    assert_at_most(counts["refuted"], repetitions, ALPHA / 2)
    assert_at_most(counts["supported"], repetitions, ALPHA / 2)


def test_parts_with_rules_of_their_own_stay_within_alpha():
    repetitions = 1_500
    rule = all_of(**{"part 0": greater(0), "part 1": less(1), "part 2": equivalent(1)})
    samples = several([0.0, 1.0, 1.0, -9.0], 6, repetitions, correlation=0.3)
    counts = verdicts(rule, samples)  # part 3 has no rule, and its -9 must not matter
    assert_at_most(counts["refuted"], repetitions, ALPHA / 2)
    assert_at_most(counts["supported"], repetitions, ALPHA / 2)


def test_holm_still_finds_the_parts_that_are_false():
    repetitions = 500
    decisions = [
        decide(all_of(greater(0)), sample, ALPHA)
        for sample in several([-2.0, -2.0, 2.0, 2.0], 6, repetitions, correlation=0.3)
    ]
    expected = ["refuted", "refuted", "supported", "supported"]
    right = sum([part.verdict for part in d.parts] == expected for d in decisions)
    assert right > 0.99 * repetitions


# Rules that are wrong on purpose


def test_refuting_without_holm_fails_the_check():
    repetitions = 1_000
    samples = several([0.0] * 6, 6, repetitions, correlation=0.0)
    refuted = 0
    for sample in samples:
        each = [[unit[name] for unit in sample] for name in sample[0]]
        refuted += any(decide(greater(0), units, ALPHA).verdict == "refuted" for units in each)
    with pytest.raises(AssertionError, match=r"where a rate of 0\.05 is allowed"):
        assert_at_most(refuted, repetitions, ALPHA)


def test_an_interval_over_examples_rather_than_blocks_fails_the_check():
    # 4 blocks of 7 examples; a block's models give all of its examples the same luck.
    repetitions = 1_500
    rng = np.random.default_rng(0)
    luck = rng.normal(size=(repetitions, 4, 1))
    examples = luck + rng.normal(size=(repetitions, 4, 7))
    over_blocks = verdicts(greater(0), examples.mean(axis=2))
    assert_about(over_blocks["supported"], repetitions, ALPHA / 2)
    over_examples = verdicts(greater(0), examples.reshape(repetitions, -1))
    with pytest.raises(AssertionError, match=r"where a rate of 0\.05 is allowed"):
        assert_at_most(over_examples["supported"], repetitions, ALPHA)


def test_rerunning_until_supported_fails_the_check():
    repetitions = 500
    tries = normal_units(0.5, 4, repetitions * 8).reshape(repetitions, 8, 4)
    supported = sum(verdicts(greater(0.5), ballots)["supported"] > 0 for ballots in tries)
    with pytest.raises(AssertionError, match=r"where a rate of 0\.05 is allowed"):
        assert_at_most(supported, repetitions, ALPHA)


def test_deciding_by_the_estimate_alone_fails_the_check():
    repetitions = 500
    supported = np.count_nonzero(normal_units(0.5, 4, repetitions).mean(axis=1) > 0.5)
    with pytest.raises(AssertionError, match=r"where a rate of 0\.05 is allowed"):
        assert_at_most(supported, repetitions, ALPHA)
