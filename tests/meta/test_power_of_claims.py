"""Family A1's claims on worlds whose truth is known: what they find, miss, refute and void.

20 draws of a world like the digits', each with as many models as the cpu tier trains. Asked for is
the expected verdict, controls included, in at least 18: a claim of power 0.98 passes with
probability 0.993, one of power 0.9 with 0.68, one of power 0.7 with 0.04. Seeds are fixed, and all
claims have been seen to come out in all 20.

Each world where a finding is false has the claim's own number on the wrong side of its bound by
design. Memorization is dealt 20 times a block instead of 50, and 3 times where shadow models are
counted, to save time: that only makes controls harder.
"""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchsuite.claim import TIERS
from benchsuite.evidence import gather
from benchsuite.experiments import target_block
from benchsuite.experiments.membership import MembershipExperiment
from benchsuite.experiments.membership_figures import ARRAYS
from benchsuite.experiments.sizes import membership_size
from benchsuite.report import figures
from benchsuite.shadows.design import Balanced
from benchsuite.subject import BUILT_IN, load_subject


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look it up
    spec.loader.exec_module(module)
    return module


synthetic = _load(Path(__file__).with_name("synthetic.py"))
CLAIMS = synthetic.load_claims("test_membership.py")
SETTINGS = [
    (claim, subject, tier)
    for claim in CLAIMS.values()
    for tier in TIERS
    for subject in claim.subjects[tier]
]
DRAWS, ENOUGH = 20, 18
DESIGN = Balanced(2)

every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)


@pytest.fixture(autouse=True)
def _few_deals(request, monkeypatch):
    counts = "shadow-count-reduction" in request.node.name
    monkeypatch.setattr(target_block, "DEALS", 3 if counts else 20)


@pytest.fixture(scope="module")
def draws():
    world = synthetic.like_the_digits()
    return [world.experiment(seed) for seed in range(DRAWS)]


@every_claim
def test_the_expected_verdict_is_found_with_power(claim, draws):
    found = [gather(claim, draw, "digits-mlp", "cpu") for draw in draws]
    expected = "refuted" if claim.id == "hellinger-below-memorization" else "supported"
    assert [evidence.verdict for evidence in found].count(expected) >= ENOUGH
    assert all(evidence.as_expected == (evidence.verdict == expected) for evidence in found)


# ---- worlds where the finding is false -----------------------------------------------------------


def _told_nothing_by_confidence():
    """Models are right because of what they saw, but no confidence shows it."""
    world = synthetic.like_the_digits()
    return replace(world, mean_in=world.mean_out, sd_in=world.sd_out)


def _rare_outliers():
    """One OUT model in 20 lies far off: no Gaussian, though it has the variance of a wide one."""

    def noise(rng, membership):
        z = rng.standard_normal(membership.shape)
        return np.where(~membership & (rng.random(membership.shape) < 0.05), z - 25, z)

    world = synthetic.like_the_digits()
    zero, one = np.zeros_like(world.p_in), np.ones_like(world.p_in)
    return replace(world, mean_in=zero, mean_out=zero, sd_in=one, sd_out=one, noise=noise)


def _separated_by(separation, deviation=1.0):
    """IN and OUT confidences equally wide and so many deviations apart, the OUT ones anywhere."""
    world = synthetic.like_the_digits()
    mean = np.random.default_rng(0).normal(0, 3, len(world.p_in))
    sd = np.full_like(mean, deviation)
    return replace(world, mean_in=mean + separation * deviation, mean_out=mean, sd_in=sd, sd_out=sd)


def _little_hellinger():
    """Half as much squared Hellinger distance as memorization."""
    mem = synthetic.memorization_like_the_digits()
    return _separated_by(np.sqrt(-8 * np.log(1 - mem / 2)))


def _symmetric():
    """Where memorization exceeds .3 IN models err as OUT ones do not: slope .61, not above 1.

    There (p_in, p_out) = (1 + mem, 1 - mem) / 2, which takes more models to tell apart.
    """
    mem = 0.7 * synthetic.memorization_like_the_digits()
    even = mem > 0.3
    return synthetic.like_the_digits(
        mem, p_in=np.where(even, (1 + mem) / 2, 1), p_out=np.where(even, (1 - mem) / 2, 1 - mem)
    )


def _separated_at_random():
    mem = synthetic.memorization_like_the_digits()
    return _separated_by(np.random.default_rng(1).uniform(0, 4, len(mem)))


def _memorized_are_hidden():
    mem = synthetic.memorization_like_the_digits()
    return _separated_by(4 - 3.5 * mem)


FALSE = {
    "advantage-bounds-memorization": (_told_nothing_by_confidence, "refuted"),
    "advantage-bounds-hellinger": (_rare_outliers, "refuted"),
    "hellinger-below-memorization": (_little_hellinger, "supported"),
    "sample-complexity-inverse": (_symmetric, "refuted"),
    "shadow-count-reduction": (lambda: _separated_by(0.5), "refuted"),
    "one-pair-suffices": (lambda: _separated_by(1.0), "refuted"),
    "lira-estimates-memorization": (_separated_at_random, "refuted"),
    "memorized-are-more-exposed": (_memorized_are_hidden, "refuted"),
}


@every_claim
def test_a_false_finding_is_told_so(claim):
    world, verdict = FALSE[claim.id]
    for seed in range(2):
        evidence = gather(claim, world().experiment(seed), "digits-mlp", "cpu")
        assert evidence.observed.verdict == verdict
        assert evidence.verdict in (verdict, "void")
        assert not evidence.as_expected


@pytest.mark.parametrize("p_in", [0.97, 0.95, 0.9, 0.8])
def test_sample_complexity_is_never_refuted_of_models_that_fit_badly(p_in):
    """The true slope is above 1; but many examples show no gain in a block, and may not decide."""
    mem = p_in * synthetic.memorization_like_the_digits()
    world = synthetic.like_the_digits(mem, p_in=np.full_like(mem, p_in), p_out=p_in - mem)
    claim = CLAIMS["sample-complexity-inverse"]
    for seed in range(3):
        evidence = gather(claim, world.experiment(seed), "digits-mlp", "cpu")
        assert evidence.observed.verdict in ("supported", "inconclusive")


@every_claim
def test_a_control_that_breaks_nothing_makes_the_claim_void(claim, draws):
    untouched = "permuted-membership" if claim.id == "hellinger-below-memorization" else "split-out"
    (required,) = claim.controls.values()
    evidence = gather(replace(claim, controls={untouched: required}), draws[0], "digits-mlp", "cpu")
    assert evidence.observed.decision is not None
    assert evidence.verdict == "void"
    assert not evidence.as_expected


# ---- what is declared ----------------------------------------------------------------------------

HALVES_OF_DATA = (
    "mnist-mlp-small",
    "mnist-mlp",
    "mnist-cnn1",
    "fashion-mnist-mlp",
    "fashion-mnist-cnn1",
    "cifar10-cnn2",
    "cifar10-densenet",
    "cifar10-resnet9",
    "cifar100-resnet9",
)
SEVENTY_PERCENT = (
    "mnist-cnn32",
    "mnist-augmnist-cnn32",
    "mnist-svhn-cnn32",
    "mnist-usps-cnn32",
    "mnist-cifar10-cnn64",
    "cifar10-resnet9-70",
    "cifar10-augcifar10-resnet18",
    "cifar10-cifar100-resnet9",
)
NEEDS_DATA = {**dict.fromkeys(SEVENTY_PERCENT, 0.7), **dict.fromkeys(HALVES_OF_DATA, 0.5)}
SHIPPED = (
    "digits-tiny",
    "digits-mlp",
    "digits-cnn",
    "digits28-tiny",
    "digits28-mlp",
    "digits-pixmix",
    "digits-photos",
    "digits-mix-tiny",
    "breast-cancer-mlp",
    "docstrings-mlp",
)
SHARES = {**dict.fromkeys(SHIPPED, 0.5), **NEEDS_DATA}


def _yielded(claim, subject, tier, share, shadows=None):
    """How many units a claim yields of an experiment of the declared size (or of `shadows`)."""
    design = Balanced(60, share)
    size = membership_size(subject, tier, design, shadows)
    membership = design.rows(0, design.block * (size.references + size.targets))
    nothing = np.zeros_like(membership)
    experiment = MembershipExperiment(
        nothing, nothing, membership, design.block * size.references, design.block
    )
    return sum(1 for _ in claim.numbers(experiment))


@pytest.fixture
def _numbers_are_zero(monkeypatch):
    """Units are counted, their numbers not computed."""
    block = target_block.TargetBlock
    for name in (
        "averaged",
        "complexity_slopes",
        "rank_correlations",
        "share_above_memorization",
        "soft_llr_excess",
    ):
        monkeypatch.setattr(block, name, lambda self, *args, **kwargs: 0.0)
    monkeypatch.setattr(block, "shadows_needed", lambda self, members: 1.0)
    for name in ("advantage", "memorization"):
        monkeypatch.setattr(block, name, 0.0)


@pytest.mark.usefixtures("_numbers_are_zero")
@pytest.mark.parametrize(
    ("claim", "subject", "tier"), SETTINGS, ids=[f"{c.id}-{s}-{t}" for c, s, t in SETTINGS]
)
def test_as_many_units_are_declared_as_the_models_give(claim, subject, tier):
    declared = claim.declared_units(subject, tier)
    assert _yielded(claim, subject, tier, SHARES[subject]) == declared
    assert declared >= (2 if tier == "smoke" else 8)


@pytest.mark.usefixtures("_numbers_are_zero")
@every_claim
@pytest.mark.parametrize("tier", ["cpu", "gpu"])
@pytest.mark.parametrize("share", [0.25, 1 / 3, 0.5, 0.7, 0.9])
def test_a_subject_of_any_share_yields_at_least_the_declared_units(claim, tier, share):
    assert _yielded(claim, "lab:subject", tier, share) >= claim.declared_units("lab:subject", tier)


@pytest.mark.usefixtures("_numbers_are_zero")
@every_claim
def test_fewer_models_than_declared_give_fewer_units_and_more_do_not(claim):
    declared = claim.declared_units("digits-mlp", "cpu")
    units = {
        blocks: _yielded(claim, "digits-mlp", "cpu", 0.5, 64 * blocks) for blocks in range(2, 50)
    }
    assert all(units[blocks] >= declared for blocks in range(32, 50))
    assert all(units[blocks] < declared for blocks in range(2, 30))


@pytest.mark.parametrize("tier", TIERS)
def test_models_asked_for_never_leave_fewer_references_unnoticed(tier):
    declared = membership_size("lab:subject", tier, DESIGN, None)
    total = declared.references + declared.targets
    for blocks in range(2, 3 * total):
        size = membership_size("lab:subject", tier, DESIGN, blocks * DESIGN.block)
        assert size.references + size.targets == blocks
        assert min(size.references, size.targets) >= 1
        enough = blocks >= total
        assert (size.targets >= declared.targets) == enough
        assert not enough or size.references >= declared.references
    with pytest.raises(ValueError, match="shadows=127 is too few"):
        membership_size("lab:subject", tier, DESIGN, 127)


def test_the_family_counts_its_claims():
    families = {claim.family for claim in CLAIMS.values()}
    assert [family.claims for family in families] == [len(CLAIMS)] == [8]


def test_every_figure_has_arrays_and_a_drawing():
    kinds = {kind for claim in CLAIMS.values() for kind in claim.figures}
    assert kinds == set(ARRAYS)
    assert kinds <= set(figures._KINDS)


def test_every_built_in_subject_is_loaded_with_the_share_assumed_here():
    shipped = {name: share for name, share in SHARES.items() if name not in NEEDS_DATA}
    assert {name: load_subject(name).share for name in shipped} == shipped
    used = {
        subject for claim in CLAIMS.values() for tier in TIERS for subject in claim.subjects[tier]
    }
    assert used <= set(BUILT_IN) == set(SHARES)
