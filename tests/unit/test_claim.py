import inspect
import math

import pytest

from benchsuite.claim import OBSERVED, REFUTED, Claim, Declared, Family, claim
from benchsuite.evidence import gather
from benchsuite.stats.verdict import CannotResolveError, all_of, greater, less

FAMILY = Family("T", "made up", claims=2)


class Experiment:
    """Yields these numbers, or others under a control; `None` where it cannot answer."""

    def __init__(self, observed, **controls):
        self.numbers, self.arms, self.asked = observed, controls, [OBSERVED]
        self.controls = {name: f"{name} is broken" for name in controls}

    def under(self, control):
        self.asked.append(control)
        return Experiment(self.arms[control])


def numbers(experiment):
    if experiment.numbers is None:
        raise CannotResolveError("3 examples are too few")
    yield from experiment.numbers


def declaration(**changes):
    return {
        "id": "made-up",
        "version": 1,
        "family": FAMILY,
        "says": "It is positive.",
        "measures": "a number",
        "source": "nowhere",
        "paper": "1",
        "rule": greater(than=0),
        "controls": {"broken": REFUTED},
        "units": {"smoke": 2, "cpu": 4, "lab/cpu": 6, "gpu": 8},
        "subjects": {"smoke": ("a",), "cpu": ("a",), "gpu": ("a",)},
        **changes,
    }


def made(**changes):
    return Claim(numbers=numbers, **declaration(**changes))


ABOVE, BELOW, ACROSS = [1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9, -1.0], [1.0, -1.0, 2.0, -2.0]


def verdict(observed, broken=BELOW, subject="a", tier="cpu", **changes):
    evidence = gather(made(**changes), Experiment(observed, broken=broken), subject, tier)
    return evidence.verdict, evidence.as_expected


# ---- gather --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (ABOVE, ("supported", True)),
        (BELOW, ("refuted", False)),
        (ACROSS, ("inconclusive", False)),
        (None, ("inconclusive", False)),
    ],
)
def test_the_observed_arm_decides_where_the_control_came_out(observed, expected):
    assert verdict(observed) == expected


@pytest.mark.parametrize("broken", [ABOVE, ACROSS, None, [1.0]])
@pytest.mark.parametrize("observed", [ABOVE, BELOW, ACROSS])
def test_a_control_that_did_not_come_out_voids_every_verdict(observed, broken):
    assert verdict(observed, broken) == ("void", False)
    for declared in ("refuted", "inconclusive"):
        of_all = {"*": Declared(declared, "why")}
        assert verdict(observed, broken, declared=of_all) == ("void", False)


def test_what_cannot_be_answered_is_inconclusive_whatever_its_control_says():
    assert verdict(None, ABOVE) == ("inconclusive", False)
    evidence = gather(made(), Experiment(None, broken=None), "a", "cpu")
    assert evidence.observed.unresolved == "3 examples are too few"
    assert (evidence.observed.decision, evidence.observed.units) == (None, None)


def test_one_of_several_controls_is_enough_to_void():
    of_two = made(controls={"broken": REFUTED, "other": less(than=-0.5)})
    for other, expected in ((BELOW, "supported"), (ABOVE, "void"), ([-0.1, -0.2] * 2, "void")):
        experiment = Experiment(ABOVE, broken=BELOW, other=other)
        evidence = gather(of_two, experiment, "a", "cpu")
        assert evidence.verdict == expected
        assert experiment.asked == [OBSERVED, "broken", "other"]
        assert [arm.name for arm in evidence.controls] == ["broken", "other"]
        assert [arm.required for arm in evidence.controls] == ["refuted", "supported"]


def test_a_control_is_held_against_its_own_rule_or_refutes_the_claims():
    evidence = gather(
        made(controls={"broken": less(than=-0.5)}), Experiment(ABOVE, broken=BELOW), "a", "cpu"
    )
    (control,) = evidence.controls
    assert (str(control.rule), control.verdict, control.came_out) == ("< -0.5", "supported", True)
    assert (evidence.observed.required, evidence.observed.came_out) == ("", True)


# ---- plumbing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("observed", [ABOVE, BELOW, ACROSS, None, [1.0], []])
@pytest.mark.parametrize("broken", [ABOVE, BELOW, None])
def test_the_smoke_tier_decides_nothing(observed, broken):
    assert verdict(observed, broken, tier="smoke") == ("plumbing", True)


@pytest.mark.parametrize("units", range(6))
def test_fewer_units_than_declared_decide_nothing(units):
    observed, few = [1.0, 1.1, 0.9, 1.0, 1.2][:units], units < 4
    assert verdict(observed, BELOW) == (("plumbing" if few else "supported"), True)
    assert verdict(observed, ABOVE) == (("plumbing", True) if few else ("void", False))


def test_units_are_declared_by_tier_or_by_subject_and_tier():
    assert [made().declared_units("a", tier) for tier in ("smoke", "cpu", "gpu")] == [2, 4, 8]
    assert made().declared_units("lab", "cpu") == 6
    assert verdict(ABOVE, subject="lab") == ("plumbing", True)
    assert verdict(ABOVE + ABOVE[:2], subject="lab") == ("supported", True)


def test_too_few_units_for_an_interval_say_so():
    evidence = gather(made(), Experiment([1.0], broken=BELOW), "a", "cpu")
    assert evidence.observed.units == 1
    assert evidence.observed.decision is None
    assert evidence.observed.unresolved.startswith("1 of at least 2 units")


def test_evidence_can_be_taken_as_plumbing():
    evidence = gather(made(), Experiment(BELOW, broken=ABOVE), "a", "cpu")
    assert not evidence.as_expected
    assert evidence.as_plumbing().as_expected
    assert evidence.as_plumbing().observed is evidence.observed


# ---- what is expected ----------------------------------------------------------------------------


@pytest.mark.parametrize("observed", [ABOVE, BELOW, ACROSS])
@pytest.mark.parametrize("declared", ["refuted", "inconclusive"])
def test_a_declared_verdict_is_strict(observed, declared):
    found, as_expected = verdict(observed, declared={"*": Declared(declared, "why")})
    assert as_expected == (found == declared)


def test_the_first_pattern_that_fits_is_expected():
    several = made(
        declared={
            "lab-*/gpu": Declared("inconclusive", "one"),
            "*/gpu": Declared("refuted", "two"),
        }
    )
    assert several.expected("lab-7", "gpu") == ("inconclusive", "one")
    assert several.expected("other", "gpu") == ("refuted", "two")
    assert several.expected("lab-7", "cpu") == ("supported", "")
    evidence = gather(several, Experiment(ABOVE * 2, broken=BELOW), "other", "gpu")
    assert (evidence.expected, evidence.reason, evidence.as_expected) == ("refuted", "two", False)


def test_alpha_is_the_familys_over_its_number_of_claims():
    assert FAMILY.alpha_of_each == 0.025
    assert Family("T", "t", claims=8, alpha=0.04).alpha_of_each == pytest.approx(0.005)
    evidence = gather(made(), Experiment(ABOVE, broken=BELOW), "a", "cpu")
    assert {arm.decision.alpha for arm in (evidence.observed, *evidence.controls)} == {0.025}


def test_rules_by_tier():
    strict = made(rule={"smoke": greater(0), "cpu": greater(0), "gpu": greater(10)})
    assert [str(strict.rule_at(tier)) for tier in ("smoke", "cpu", "gpu")] == ["> 0", "> 0", "> 10"]
    twice = Experiment(ABOVE * 2, broken=BELOW * 2)
    assert gather(strict, twice, "a", "cpu").verdict == "supported"
    assert gather(strict, twice, "a", "gpu").verdict == "refuted"


@pytest.mark.parametrize("bad", [[1.0, math.nan, 1.0, 1.0], [1.0, math.inf, 1.0, 1.0]])
def test_numbers_that_are_none_are_errors_not_verdicts(bad):
    with pytest.raises(ValueError, match=r"units\[1\] is"):
        gather(made(), Experiment(bad, broken=BELOW), "a", "cpu")
    with pytest.raises(ValueError, match=r"units\[1\] is"):
        gather(made(), Experiment(ABOVE, broken=bad), "a", "cpu")


def test_several_numbers_by_name():
    named = made(rule=all_of(a=greater(0), b=greater(0)))
    for b, expected in ((1.0, "supported"), (-1.0, "refuted")):
        units = [{"a": 1 + noise, "b": b + noise} for noise in (0.0, 0.1, -0.1, 0.05)]
        flipped = [{"a": -1 + noise, "b": 1 + noise} for noise in (0.0, 0.1, -0.1, 0.05)]
        evidence = gather(named, Experiment(units, broken=flipped), "a", "cpu")
        assert evidence.verdict == expected


# ---- the declaration -----------------------------------------------------------------------------


def test_the_decorator_makes_a_plain_test_of_a_generator():
    @claim(**declaration())
    def test_it(membership):
        """What it is."""
        yield membership

    assert not inspect.isgeneratorfunction(test_it)
    assert list(inspect.signature(test_it).parameters) == ["decide_claim", "membership"]
    assert (test_it.__name__, test_it.__doc__) == ("test_it", "What it is.")
    assert test_it.__module__ == __name__
    assert test_it.claim == Claim(numbers=test_it.claim.numbers, **declaration())
    assert list(test_it.claim.numbers(7)) == [7]

    decided = []
    test_it(decide_claim=lambda *given: decided.append(given), membership="the fixture")
    assert decided == [(test_it.claim, "the fixture")]


def test_a_generator_takes_one_experiment():
    def of_two(membership, onion):
        yield membership, onion

    with pytest.raises(TypeError, match="of_two takes 2 parameters; a claim's generator takes one"):
        claim(**declaration())(of_two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": {}}, "'made-up' has no controls: nothing shows that it can fail"),
        ({"controls": {"broken": "supported"}}, "control 'broken' must be a rule or REFUTED"),
        ({"units": {"smoke": 2, "cpu": 4}}, "declares no units for tier 'gpu'"),
    ],
)
def test_bad_declarations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
