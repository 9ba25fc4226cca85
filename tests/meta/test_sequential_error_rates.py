"""How often is a verdict wrong that may be reached at any of several looks, and what does it save?

Simulated units go through `gather_until_decided` itself, at the looks and levels that claims have.
The truth is put on the bound, where deciding errs most. A check fails where its count would occur
by chance less than once in a million; looks at full alpha are shown to fail it.
"""

import runpy
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

from benchsuite import sequential
from benchsuite.claim import REFUTED, Claim, Family
from benchsuite.evidence import gather
from benchsuite.experiments import target_block
from benchsuite.sequential import gather_until_decided
from benchsuite.stats.verdict import all_of, equivalent, greater, less

synthetic = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("synthetic.py"))))

BY_CHANCE = 1e-6
ALPHA = 0.05

# Of mean 0 and spread 1.
SPREADS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "uniform": lambda rng, size: rng.uniform(-np.sqrt(3), np.sqrt(3), size),
    "heavy-tailed": lambda rng, size: rng.standard_t(5, size) / np.sqrt(5 / 3),
    "skewed by 1/2": lambda rng, size: (rng.gamma(16.0, size=size) - 16) / 4,
}


@dataclass(frozen=True)
class Simulated:
    """Shows the first of its units; its control is far on the other side, or as given."""

    units: np.ndarray
    broken: np.ndarray
    share: float = 1.0

    controls: ClassVar = {"broken": "Its units are others."}

    @property
    def models_saved(self):
        return len(self.units) - round(self.share * len(self.units))

    def upto(self, share):
        return replace(self, share=share)

    def under(self, control):
        return replace(self, units=self.broken)

    def shown(self):
        return self.units[: round(self.share * len(self.units))].tolist()


def claim_of(rule, n, control=REFUTED, alpha=ALPHA):
    return Claim(
        id="simulated",
        version=1,
        family=Family("T", "simulated", claims=1, alpha=alpha),
        says="",
        measures="",
        source="",
        paper="",
        rule=rule,
        controls={"broken": control},
        units=dict.fromkeys(("smoke", "cpu", "gpu"), n),
        subjects=dict.fromkeys(("smoke", "cpu", "gpu"), ("simulated",)),
        numbers=lambda experiment: iter(experiment.shown()),
    )


def looked_at(rule, samples, broken=None, **claim):
    """Verdicts by their count, and the mean share of the units that was used."""
    repetitions, n = samples.shape[:2]
    declared = claim_of(rule, n, **claim)
    far = np.linspace(-1001, -1000, n)
    verdicts, used = Counter(), 0.0
    for index, units in enumerate(samples):
        other = far if broken is None else broken[index]
        evidence, _ = gather_until_decided(declared, Simulated(units, other), "simulated", "cpu")
        verdicts[evidence.verdict] += 1
        used += (evidence.observed.units or 0) / n
    return verdicts, used / repetitions


def drawn(spread, mean, n, repetitions, seed=0):
    rng = np.random.default_rng([seed, n, sorted(SPREADS).index(spread)])
    return mean + SPREADS[spread](rng, (repetitions, n))


def assert_at_most(count, repetitions, rate):
    allowed = stats.binom.isf(BY_CHANCE, repetitions, rate)
    assert count <= allowed, f"{count} of {repetitions}, where a rate of {rate:.3g} is allowed"


# ---- error rates -----------------------------------------------------------------------------


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("n", [8, 16])
def test_all_looks_together_err_at_most_half_of_alpha_on_either_side(n, spread):
    repetitions = 3_000
    verdicts, _ = looked_at(greater(0), drawn(spread, 0, n, repetitions))
    assert_at_most(verdicts["supported"], repetitions, ALPHA / 2)
    assert_at_most(verdicts["refuted"], repetitions, ALPHA / 2)
    assert verdicts["inconclusive"] > 0.9 * repetitions


def test_so_they_do_where_the_last_look_is_a_bootstrap():
    repetitions = 400
    verdicts, _ = looked_at(greater(0), drawn("normal", 0, 32, repetitions))
    assert_at_most(verdicts["supported"], repetitions, ALPHA / 2)
    assert_at_most(verdicts["refuted"], repetitions, ALPHA / 2)


@pytest.mark.parametrize("alpha", [0.2, 0.00625])
def test_the_level_is_the_one_declared_and_little_of_it_is_left_unused(alpha):
    repetitions = 4_000
    verdicts, _ = looked_at(greater(0), drawn("normal", 0, 16, repetitions), alpha=alpha)
    for verdict in ("supported", "refuted"):
        assert_at_most(verdicts[verdict], repetitions, alpha / 2)
        # The union bound is conservative, but not by much.
        assert verdicts[verdict] >= stats.binom.ppf(BY_CHANCE, repetitions, 0.7 * alpha / 2)


@pytest.mark.parametrize(
    ("rule", "truth"), [(less(1.0), 1.0), (equivalent(3.0), 3.0), (equivalent(3.0), -3.0)]
)
def test_other_rules_err_as_little(rule, truth):
    repetitions = 2_000
    verdicts, _ = looked_at(rule, drawn("normal", truth, 8, repetitions), control=less(-5))
    assert_at_most(verdicts["supported"], repetitions, ALPHA / 2)
    assert_at_most(verdicts["refuted"], repetitions, ALPHA / 2)


def test_several_parts_err_as_little():
    repetitions, n = 700, 8
    rng = np.random.default_rng(3)
    values = rng.normal(size=(repetitions, n, 3)) + np.sqrt(0.5) * rng.normal(
        size=(repetitions, n, 1)
    )
    names = ("a", "b", "c")
    named = np.array(
        [[dict(zip(names, unit, strict=True)) for unit in sample] for sample in values.tolist()]
    )
    far = [dict.fromkeys(names, -1000.0 - k) for k in range(n)]
    verdicts, _ = looked_at(all_of(greater(0)), named, broken=[np.array(far)] * repetitions)
    assert_at_most(verdicts["supported"], repetitions, ALPHA / 2)
    assert_at_most(verdicts["refuted"], repetitions, ALPHA / 2)


def test_a_control_that_chance_lets_come_out_does_not_add_to_it():
    """A control on its bound comes out now and then: only then may the finding end it."""
    repetitions = 2_000
    controls = drawn("normal", 0, 8, repetitions, seed=7)
    verdicts, _ = looked_at(greater(0), drawn("normal", 0, 8, repetitions), broken=controls)
    assert_at_most(verdicts["supported"] + verdicts["refuted"], repetitions, ALPHA * ALPHA)


# ---- looks that are wrong on purpose ---------------------------------------------------------


def test_looks_at_full_alpha_fail_the_check(monkeypatch):
    monkeypatch.setattr(sequential, "levels", lambda shares, alpha: (alpha,) * len(shares))
    repetitions = 4_000
    verdicts, _ = looked_at(greater(0), drawn("normal", 0, 16, repetitions))
    for verdict in ("supported", "refuted"):
        with pytest.raises(AssertionError, match=r"where a rate of 0\.025 is allowed"):
            assert_at_most(verdicts[verdict], repetitions, ALPHA / 2)


# ---- what it saves, and what it costs --------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "distance", "used"), [(8, 12, 0.55), (16, 3, 0.55), (16, 12, 0.35), (32, 3, 0.35)]
)
def test_units_are_saved_where_the_truth_is_clear(n, distance, used):
    """At the alpha of one of 8 claims; distances from the bound are in spreads of a unit."""
    samples = drawn("normal", distance, n, 300)
    verdicts, share = looked_at(greater(0), samples, alpha=ALPHA / 8)
    assert verdicts["supported"] == len(samples)
    assert share < used


@pytest.mark.parametrize(("n", "distance"), [(8, 1.5), (16, 1.0)])
def test_power_is_nearly_that_of_one_look(n, distance):
    """Where the truth is near the bound: at most a tenth less often decided than at once."""
    samples = drawn("normal", distance, n, 1_000)
    verdicts, _ = looked_at(greater(0), samples, alpha=ALPHA / 8)
    declared = claim_of(greater(0), n, alpha=ALPHA / 8)
    far = np.linspace(-1001, -1000, n)
    once = sum(
        gather(declared, Simulated(units, far), "simulated", "cpu").verdict == "supported"
        for units in samples
    )
    assert 0.3 * len(samples) < once < 0.9 * len(samples)
    assert once - 0.1 * len(samples) < verdicts["supported"] <= once + 0.01 * len(samples)


# ---- claims ----------------------------------------------------------------------------------


CLAIMS = synthetic.load_claims("test_membership.py")


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_units_of_a_claim_do_not_depend_on_how_many_follow(claim, monkeypatch):
    """Else a look would not be one at the first units of the whole."""
    monkeypatch.setattr(target_block, "DEALS", 2)
    whole = synthetic.like_the_digits().experiment(0)
    rows = slice(0, whole.references + 4 * whole.block)
    part = replace(
        whole,
        confidence=whole.confidence[rows],
        correct=whole.correct[rows],
        membership=whole.membership[rows],
    )
    for control in ("", *claim.controls):
        both = (part, whole) if not control else (part.under(control), whole.under(control))
        few, many = (list(claim.numbers(each)) for each in both)
        assert claim.declared_units("digits-mlp", "cpu") / 4 <= len(few) < len(many)
        assert few == many[: len(few)]
