import json
from copy import copy

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchsuite.stats.intervals import (
    cluster_bootstrap_interval,
    holm,
    t_half_width,
    t_interval,
    unit_interval,
)
from benchsuite.stats.verdict import all_of, decide, equivalent, greater, less

numbers = st.floats(-10, 10, allow_subnormal=False)
samples = st.lists(numbers, min_size=2, max_size=10)
margins = st.floats(0.01, 5)
AROUND_ONE = [0.9, 1.0, 1.1, 1.05, 0.95]  # mean 1, 95 % interval 0.902 to 1.098


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (greater(np.log(2)), "> 0.693"),
        (less(0.05), "< 0.05"),
        (greater(-0.02), "> -0.02"),
        (equivalent(np.log(1.25)), "within ±0.223 of 0"),
        (equivalent(0.1, to=1), "within ±0.1 of 1"),
        (all_of(greater(0)), "each > 0"),
        (all_of(a=greater(0), b=less(1)), "a > 0 and b < 1"),
    ],
)
def test_rules_read_as_in_a_sentence(rule, text):
    assert str(rule) == text
    assert len({rule, copy(rule)}) == 1  # equal, and usable as a key


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (greater(0.90), "supported"),
        (greater(0.91), "inconclusive"),
        (greater(1.09), "inconclusive"),
        (greater(1.10), "refuted"),
        (less(1.10), "supported"),
        (less(1.09), "inconclusive"),
        (less(0.91), "inconclusive"),
        (less(0.90), "refuted"),
        (equivalent(0.1, to=1), "supported"),
        (equivalent(0.09, to=1), "inconclusive"),
        (equivalent(0.2, to=0.8), "inconclusive"),
        (equivalent(0.2, to=0.6), "refuted"),
        (equivalent(0.2, to=1.4), "refuted"),
        (equivalent(0.01, to=1.0), "inconclusive"),
    ],
)
def test_the_interval_is_held_against_the_bound(rule, verdict):
    decision = decide(rule, AROUND_ONE, alpha=0.05)
    assert decision.verdict == verdict
    assert decision.estimate == pytest.approx(1)
    assert decision.interval == pytest.approx((0.9018, 1.0982), abs=1e-4)
    assert (decision.alpha, decision.rule) == (0.05, str(rule))
    assert decision.units == tuple(AROUND_ONE)


def test_a_smaller_alpha_asks_for_more():
    assert decide(greater(0.9), AROUND_ONE, alpha=0.05).verdict == "supported"
    assert decide(greater(0.9), AROUND_ONE, alpha=0.01).verdict == "inconclusive"


def test_touching_the_bound_is_not_enough():
    same = [0.5, 0.5, 0.5]
    for rule in (greater(0.5), less(0.5), equivalent(0.5, to=1), equivalent(0.5, to=0)):
        decision = decide(rule, same, alpha=0.05)
        assert decision.verdict == "inconclusive"
        assert decision.units_needed is None
    assert decide(greater(0.4), same, alpha=0.05).verdict == "supported"


@given(samples, numbers, st.floats(0.001, 0.3))
def test_less_mirrors_greater(units, bound, alpha):
    above = decide(greater(bound), units, alpha)
    below = decide(less(-bound), [-unit for unit in units], alpha)
    assert above.verdict == below.verdict
    assert above.units_needed == below.units_needed
    assert above.interval == pytest.approx((-below.interval[1], -below.interval[0]))


@given(samples, numbers, margins)
def test_equivalent_is_supported_when_both_one_sided_rules_are(units, to, within):
    both = {decide(greater(to - within), units, 0.05).verdict}
    both.add(decide(less(to + within), units, 0.05).verdict)
    verdict = decide(equivalent(within, to), units, 0.05).verdict
    assert (verdict == "supported") == (both == {"supported"})
    assert (verdict == "refuted") == ("refuted" in both)


@given(samples, numbers)
def test_the_units_named_are_the_fewest_that_decide(units, bound):
    decision = decide(greater(bound), units, 0.05)
    assume(decision.verdict == "inconclusive" and decision.units_needed is not None)
    deviation, distance = np.std(units, ddof=1), abs(np.mean(units) - bound)
    needed = decision.units_needed
    assert needed > len(units)
    assert t_half_width(deviation, needed, 0.05) < distance
    if needed > len(units) + 1:
        assert t_half_width(deviation, needed - 1, 0.05) >= distance


def test_the_units_named_do_decide():
    units = [0.2, -0.1, 0.3, 0.0]

    def alike(n):
        """n units of the same mean and standard deviation."""
        shape = np.resize([-1.0, 1.0], n)
        shape -= shape.mean()
        return np.mean(units) + shape * np.std(units, ddof=1) / shape.std(ddof=1)

    needed = decide(greater(0), units, 0.05).units_needed
    assert decide(greater(0), alike(needed - 1), 0.05).verdict == "inconclusive"
    assert decide(greater(0), alike(needed), 0.05).verdict == "supported"


def test_the_units_named_exceed_those_at_hand_where_the_bootstrap_is_undecided():
    units = np.random.default_rng(0).exponential(size=40)
    bound = (t_interval(units).high + cluster_bootstrap_interval(units).high) / 2
    decision = decide(less(bound), units, 0.05)
    assert decision.verdict == "inconclusive"
    assert decision.units_needed == 41  # t would be satisfied with the 40


def test_heading_for_supported_pays_nothing_for_other_parts():
    alone = decide(greater(0), WIDE, 0.05).units_needed
    parts = decide(all_of(greater(0)), columns(a=WIDE, b=HIGH, c=HIGH), 0.05).parts
    assert parts[0].units_needed == alone


def test_no_units_are_named_beyond_a_million():
    hopeless = [1.0, -1.0 + 1e-6]
    assert decide(greater(0), hopeless, 0.05).units_needed is None
    decided = decide(greater(0), [1.0, 1.1, 1.2], 0.05)
    assert decided.verdict == "supported"
    assert decided.parts[0].units_needed is None


# Several numbers


def columns(**named):
    return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]


HIGH, LOW, WIDE = [0.9, 1.0, 1.1], [-0.9, -1.0, -1.1], [1.0, -0.5, 0.4]


def test_supported_needs_every_part():
    decision = decide(all_of(greater(0)), columns(a=HIGH, b=HIGH), 0.05)
    assert decision.verdict == "supported"
    assert [(p.name, p.verdict) for p in decision.parts] == [("a", "supported"), ("b", "supported")]


def test_one_open_part_leaves_the_whole_open():
    decision = decide(all_of(greater(0)), columns(a=HIGH, b=WIDE), 0.05)
    assert decision.verdict == "inconclusive"
    assert decision.estimate == pytest.approx(np.mean(WIDE))
    assert decision.units_needed == decision.parts[1].units_needed > 3
    assert decision.parts[0].units_needed is None
    wider = [3 * unit - 1 for unit in WIDE]
    both = decide(all_of(greater(0)), columns(a=WIDE, b=wider, c=HIGH), 0.05)
    needs = [part.units_needed for part in both.parts[:2]]
    assert both.units_needed == max(needs) > min(needs)


def test_one_refuted_part_refutes_the_whole():
    decision = decide(all_of(greater(0)), columns(a=HIGH, b=WIDE, c=LOW), 0.05)
    assert decision.verdict == "refuted"
    assert decision.estimate == pytest.approx(-1)
    assert decision.units_needed is None


def test_every_part_may_have_its_own_rule_and_others_are_reported():
    rule = all_of(a=greater(0), b=less(0))
    decision = decide(rule, columns(c=WIDE, a=HIGH, b=LOW), 0.05)
    assert decision.verdict == "supported"
    reported = decision.parts[0]
    assert (reported.name, reported.rule, reported.verdict) == ("c", "", None)
    assert reported.interval == pytest.approx(unit_interval(WIDE, 0.05)[1:])
    assert [p.rule for p in decision.parts[1:]] == ["> 0", "< 0"]


def test_the_deciding_part_is_the_closest_to_failing_in_standard_errors():
    near_but_sharp, far_but_blunt = [0.50, 0.51, 0.52], [1.0, 2.0, 1.5]
    decision = decide(all_of(greater(0)), columns(a=near_but_sharp, b=far_but_blunt), 0.05)
    assert decision.verdict == "supported"
    assert decision.estimate == pytest.approx(1.5)


def test_refuting_a_part_pays_for_the_number_of_parts():
    # p = 0.031 two-sided: refuted alone, not as one of two.
    units = [-0.15, -0.5, -0.6, -0.3]
    assert 0.025 < stats.ttest_1samp(units, 0).pvalue < 0.05
    assert decide(all_of(greater(0)), columns(a=units), 0.05).verdict == "refuted"
    good = [1.0, 1.1, 0.9, 1.0]
    shared = decide(all_of(greater(0)), columns(a=units, b=good, c=good, d=good), 0.05)
    assert shared.verdict == "inconclusive"
    assert shared.parts[0].verdict == "inconclusive"
    assert shared.parts[0].interval[1] < 0  # the interval shown is at 1 - alpha
    assert shared.parts[0].units_needed == 6  # at alpha / 4; at alpha 5 would do


def test_once_a_part_has_fallen_the_next_pays_less():
    units = [-0.15, -0.5, -0.6, -0.3]  # as above: not refuted as one of two
    decision = decide(all_of(greater(0)), columns(a=units, b=[-1.0, -1.1, -0.9, -1.0]), 0.05)
    assert [part.verdict for part in decision.parts] == ["refuted", "refuted"]


@given(
    st.lists(st.tuples(*[numbers] * 5), min_size=4, max_size=4),
    st.sampled_from([0.02, 0.05, 0.2]),
)
def test_parts_are_refuted_exactly_as_holm_on_their_p_values(parts, alpha):
    names = "abcd"
    assume(all(np.std(part) > 1e-3 for part in parts))
    decision = decide(all_of(greater(0)), columns(**dict(zip(names, parts, strict=True))), alpha)
    tests = [stats.ttest_1samp(part, 0) for part in parts]
    # The interval at 1 - alpha is below 0 where the one-sided p-value is below alpha / 2.
    one_sided = [t.pvalue / 2 if t.statistic < 0 else 1 - t.pvalue / 2 for t in tests]
    expected = holm(one_sided) < alpha / 2
    assume(not np.isclose(holm(one_sided), alpha / 2).any())
    assert [part.verdict == "refuted" for part in decision.parts] == expected.tolist()
    assert (decision.verdict == "refuted") == expected.any()


@given(samples, numbers)
def test_one_named_number_is_judged_like_a_plain_one(units, bound):
    plain = decide(greater(bound), units, 0.05)
    named = decide(all_of(greater(bound)), [{"a": unit} for unit in units], 0.05)
    assert (plain.verdict, plain.interval) == (named.verdict, named.interval)
    assert plain.units_needed == named.units_needed
    assert (plain.parts[0].name, named.parts[0].name) == ("", "a")


def test_many_units_are_decided_by_the_bootstrap():
    units = np.random.default_rng(0).exponential(size=40)
    decision = decide(greater(0.5), units, 0.05)
    assert decision.interval == unit_interval(units, 0.05)[1:]
    assert decision.verdict == "supported"


def test_a_decision_holds_plain_numbers():
    units = [{"a": np.float32(0.5), "b": np.int64(2)}, {"a": np.float64(0.25), "b": 1}]
    decision = decide(all_of(greater(0)), units, 0.05)
    assert json.loads(json.dumps(decision.units, allow_nan=False)) == [
        {"a": 0.5, "b": 2.0},
        {"a": 0.25, "b": 1.0},
    ]
    json.dumps([decision.estimate, decision.interval], allow_nan=False)


# What is refused


@pytest.mark.parametrize(
    ("rule", "units", "message"),
    [
        (greater(0), [], "units is empty"),
        (greater(0), [1.0], "units holds 1 number, expected at least 2"),
        (greater(0), [1.0, np.nan], r"units\[1\] is nan, expected a finite number"),
        (greater(0), [-np.inf, 1.0], r"units\[0\] is -inf"),
        (greater(0), ["a", 1.0], r"units\[0\] is 'a'"),
        (greater(0), [None, 1.0], r"units\[0\] is None"),
        (all_of(greater(0)), [{"a": 1.0}, {"a": np.nan}], r"units\[1\]\['a'\] is nan"),
        (all_of(greater(0)), [{"a": 1.0}, {"b": 1.0}], r"units\[1\] names the numbers \['b'\]"),
        (all_of(greater(0)), [{"a": 1.0}, 1.0], r"units\[1\] names the numbers"),
        (all_of(greater(0)), [{}, {}], r"units\[0\] names the numbers \[\]"),
        (all_of(greater(0)), [1.0, 2.0], "units are plain numbers but the rule 'each > 0'"),
        (greater(0), [{"a": 1.0}, {"a": 2.0}], r"units name the numbers \['a'\] but the rule"),
        (all_of(b=less(1)), [{"a": 1.0}, {"a": 2.0}], r"units lack \['b'\]"),
    ],
)
def test_wrong_units_are_named(rule, units, message):
    with pytest.raises(ValueError, match=message):
        decide(rule, units, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0, np.nan])
def test_a_level_outside_its_range_is_named(alpha):
    with pytest.raises(ValueError, match="alpha is"):
        decide(greater(0), [1.0, 2.0], alpha)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: greater(np.nan), "than is nan"),
        (lambda: less(np.inf), "than is inf"),
        (lambda: equivalent(0.0), "within is 0.0, expected a positive margin"),
        (lambda: equivalent(-1.0), "within is -1.0"),
        (lambda: equivalent(1.0, to=np.nan), "to is nan"),
        (lambda: all_of(), "all_of takes either one rule"),
        (lambda: all_of(greater(0), a=less(1)), "one rule for every number"),
    ],
)
def test_wrong_rules_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_pattern_holds_every_number_that_it_fits_to_its_rule():
    units = [{"a found": 1.0 + k, "b found": -1.0 - k, "c": 0.0} for k in (0.0, 0.01, 0.02)]
    decision = decide(all_of(**{"* found": greater(0)}), units, 0.05)
    assert [part.verdict for part in decision.parts] == ["supported", "refuted", None]
    assert decide(all_of(**{"a*": greater(0)}), units, 0.05).verdict == "supported"
    with pytest.raises(ValueError, match=r"units lack \['\* lost'\]"):
        decide(all_of(**{"* lost": greater(0)}), units, 0.05)
