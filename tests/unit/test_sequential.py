"""Deciding at looks, on experiments that are nothing but numbers, and on a bank that grows."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from benchsuite import sequential
from benchsuite.claim import REFUTED, Claim, Declared, Family
from benchsuite.evidence import gather
from benchsuite.experiments.growing import GrowingMembership
from benchsuite.experiments.sizes import MembershipSize
from benchsuite.recording import _fills_of
from benchsuite.sequential import LOOKS, Growing, gather_until_decided
from benchsuite.shadows import Fill
from benchsuite.stats.verdict import CannotResolveError, greater
from benchsuite.workshop import Workshop
from tests.silent import Silent

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "planted.py")))

FAMILY = Family("T", "made up", claims=1)
UNITS = 16
NOISE = [0.01 * (-1) ** k * (1 + k % 3) for k in range(UNITS)]
ABOVE, BELOW = [1 + noise for noise in NOISE], [-1 + noise for noise in NOISE]
ACROSS = [(-1.0) ** k for k in range(UNITS)]
LATE = [0.3 * (-1) ** k * (k < 4) + 1 for k in range(UNITS)]  # too wide in four units


class Numbers:
    """Yields as many of its numbers as it has trained models for, one model a unit."""

    controls: ClassVar = {"broken": "It is broken."}

    def __init__(self, observed, broken=BELOW, trained=None, share=1.0):
        self.arms, self.share = (observed, broken), share
        self.trained = [] if trained is None else trained

    def upto(self, share):
        self.trained.append(int(share * UNITS))
        return Numbers(*self.arms, self.trained, share)

    @property
    def models_saved(self):
        return UNITS - int(self.share * UNITS)

    def under(self, control):
        return Numbers(self.arms[1], self.arms[1], self.trained, self.share)

    def units(self):
        numbers = self.arms[0]
        if numbers is None:
            raise CannotResolveError("nothing can be said")
        return numbers[: int(self.share * UNITS)]


class AtOnce:
    controls = Numbers.controls

    def __init__(self, numbers):
        self.numbers = numbers

    def under(self, control):
        return AtOnce(BELOW)

    def units(self):
        return self.numbers


def made(**changes):
    given = {
        "id": "made-up",
        "version": 1,
        "family": FAMILY,
        "says": "It is positive.",
        "measures": "a number",
        "source": "nowhere",
        "paper": "-",
        "rule": greater(than=0),
        "controls": {"broken": REFUTED},
        "units": dict.fromkeys(("smoke", "cpu", "gpu"), UNITS),
        "subjects": dict.fromkeys(("smoke", "cpu", "gpu"), ("a",)),
        "numbers": lambda experiment: iter(experiment.units()),
    }
    return Claim(**(given | changes))


def decided(experiment, **changes):
    evidence, seen = gather_until_decided(made(**changes), experiment, "a", "cpu")
    return evidence, seen


def test_what_is_clear_is_decided_at_the_first_look_and_nothing_more_is_trained():
    experiment = Numbers(ABOVE)
    evidence, seen = decided(experiment)
    assert (evidence.verdict, evidence.as_expected) == ("supported", True)
    assert experiment.trained == [4]
    assert (evidence.look.number, evidence.look.of) == (1, len(LOOKS))
    assert (evidence.look.models_saved, seen.share) == (12, 0.25)
    assert evidence.observed.units == 4
    assert evidence.alpha == evidence.observed.decision.alpha == pytest.approx(0.05 / 16)


def test_a_refutation_ends_it_too():
    experiment = Numbers(BELOW)
    evidence, _ = decided(experiment)
    assert (evidence.verdict, experiment.trained) == ("refuted", [4])


def test_a_verdict_other_than_the_declared_one_is_still_a_surprise():
    evidence, _ = decided(Numbers(ABOVE), declared={"*": Declared("refuted", "why")})
    assert (evidence.verdict, evidence.as_expected) == ("supported", False)


def test_what_is_undecided_goes_on_to_the_declared_maximum_and_no_further():
    experiment = Numbers(ACROSS)
    evidence, seen = decided(experiment)
    assert evidence.verdict == "inconclusive"
    assert experiment.trained == [4, 8, 16]
    assert (evidence.look.number, evidence.look.models_saved, seen.share) == (3, 0, 1.0)
    assert evidence.alpha == pytest.approx(0.05 * 12 / 16)


def test_a_look_in_between_may_decide():
    experiment = Numbers(LATE)
    evidence, _ = decided(experiment)
    assert (evidence.verdict, experiment.trained) == ("supported", [4, 8])
    assert (evidence.observed.units, evidence.look.models_saved) == (8, 8)
    assert evidence.alpha == pytest.approx(0.05 * 3 / 16)


@pytest.mark.parametrize("broken", [ACROSS, None])
def test_a_control_that_does_not_come_out_keeps_it_going_and_voids_it_at_the_end(broken):
    experiment = Numbers(ABOVE, broken)
    evidence, _ = decided(experiment)
    assert (evidence.verdict, experiment.trained) == ("void", [4, 8, 16])


def test_a_control_that_comes_out_later_lets_it_end_then():
    experiment = Numbers(ABOVE, [-x for x in LATE])
    evidence, _ = decided(experiment)
    assert (evidence.verdict, experiment.trained) == ("supported", [4, 8])


def test_what_cannot_be_answered_is_asked_until_the_end():
    experiment = Numbers(None)
    evidence, _ = decided(experiment)
    assert (evidence.verdict, experiment.trained) == ("inconclusive", [4, 8, 16])
    assert evidence.observed.unresolved == "nothing can be said"


def test_fewer_units_than_a_look_should_have_decide_nothing():
    experiment = Numbers(ABOVE)
    evidence, _ = decided(experiment, units=dict.fromkeys(("smoke", "cpu", "gpu"), 2 * UNITS))
    assert (evidence.verdict, experiment.trained) == ("plumbing", [4, 8, 16])


def test_an_experiment_that_takes_all_its_models_is_decided_once_at_full_alpha():
    evidence, seen = decided(AtOnce(ABOVE))
    whole = gather(made(), seen, "a", "cpu")
    assert not isinstance(seen, Growing)
    assert (evidence.look.number, evidence.look.of, evidence.look.models_saved) == (1, 1, 0)
    assert evidence.observed.decision == whole.observed.decision
    assert evidence.alpha == 0.05


def test_seconds_are_those_of_all_looks(monkeypatch):
    def each_takes_a_second(*arguments, **more):
        evidence = gather(*arguments, **more)
        arms = (evidence.observed, *evidence.controls)
        for arm in arms:
            object.__setattr__(arm, "seconds", 1.0)
        return evidence

    monkeypatch.setattr(sequential, "gather", each_takes_a_second)
    evidence, _ = decided(Numbers(ACROSS))
    assert [arm.seconds for arm in (evidence.observed, *evidence.controls)] == [3.0, 3.0]


# ---- a bank that grows ---------------------------------------------------------------------------


def test_the_bank_of_targets_grows_and_its_first_units_stay(tmp_path):
    subject, size = planted.subject(20), MembershipSize(1, 4)
    workshop = Workshop(tmp_path, "cpu", Silent)
    with workshop.noting() as banks:
        first = GrowingMembership.of(subject, workshop, size, 0.25)
        block = first.block
        assert (first.bank.models, first.bank.fill.models_trained) == (2 * block, 2 * block)
        assert first.models_saved == 3 * block
        half, whole = first.upto(0.5), first.upto(0.5).upto(1.0)
    assert (half.bank.models, half.bank.fill.models_trained) == (3 * block, block)
    assert (whole.bank.models, whole.models_saved) == (5 * block, 0)
    assert isinstance(first, Growing)
    for part in (first, half):
        blocks = list(part.blocks())
        assert len(blocks) == part.bank.models // block - 1
        for one, same in zip(blocks, whole.blocks(), strict=False):
            np.testing.assert_array_equal(one.scores, same.scores)
    # Its cost is that of all parts, each counted once however often it was asked for.
    fills = _fills_of([first.bank, *banks])
    assert list(fills) == [whole.bank.key]
    cost = fills[whole.bank.key]
    assert (cost.models_trained, cost.models_reused) == (5 * block, 0)
    assert cost.seconds == pytest.approx(sum({id(b): b.fill.seconds for b in banks}.values()))


OTHER = {"key": "other", "fill": None, "execution": SimpleNamespace(precision="float32")}


def filled(models, trained, precision="float32"):
    """A bank's key, cost and precision."""
    fill = Fill(trained, models - trained, 1.0)
    return SimpleNamespace(key="k", fill=fill, execution=SimpleNamespace(precision=precision))


def test_what_a_grown_bank_found_is_not_counted_as_trained():
    fills = _fills_of([filled(128, 64), filled(256, 128), SimpleNamespace(**OTHER)])
    assert fills == {"k": Fill(192, 64, 2.0)}


def test_banks_of_another_precision_cost_for_themselves():
    fills = _fills_of([filled(128, 128), filled(64, 64, "bf16"), filled(128, 32, "tf32")])
    assert fills == {
        "k": Fill(128, 0, 1.0),
        "k-bf16": Fill(64, 0, 1.0),
        "k-tf32": Fill(32, 96, 1.0),
    }


def test_a_control_of_a_grown_experiment_stays_one(tmp_path):
    workshop = Workshop(tmp_path, "cpu", Silent)
    first = GrowingMembership.of(planted.subject(20), workshop, MembershipSize(1, 2), 0.5)
    grown = first.under("permuted-membership").upto(1.0)
    assert (grown.control, grown.models_saved) == ("permuted-membership", 0)
