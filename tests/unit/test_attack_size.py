"""How many models attack, calibrate and are attacked, and which bank is trained for them."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.claim import TIERS
from benchsuite.experiments.attack_groups import AttackExperiment
from benchsuite.experiments.outliers import OutlierExperiment
from benchsuite.experiments.sizes import ATTACK_SIZES, MEMBERSHIP_SIZES, attack_size
from benchsuite.setting import Prepared, Setting, prepare, train_attacks
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced

ROOT = Path(__file__).parents[2]
attacked = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "attacked.py")))
HALVES, SEVEN_TENTHS = Balanced(100, 0.5), Balanced(100, 0.7)
BLOCKS = {"smoke": 8, "miniature": 5, "cpu": 32, "gpu": 25}


@pytest.mark.parametrize("tier", ATTACK_SIZES)
def test_the_declared_size_is_for_whoever_does_not_ask_or_asks_for_as_many(tier):
    declared = ATTACK_SIZES[tier]
    assert declared.blocks == BLOCKS[tier]
    assert declared.blocks == declared.references + declared.calibration + declared.targets
    for design in (HALVES, SEVEN_TENTHS):
        enough = declared.blocks * design.block
        for shadows in (None, enough, enough + 1, 10 * enough):
            assert attack_size(tier, design, shadows) == (declared, True)


@pytest.mark.parametrize("design", [HALVES, SEVEN_TENTHS])
@pytest.mark.parametrize("tier", [tier for tier in ATTACK_SIZES if BLOCKS[tier] > 4])
def test_fewer_shadows_are_split_as_the_declared_and_decide_nothing(tier, design):
    declared = ATTACK_SIZES[tier]
    for blocks in range(4, declared.blocks):
        for shadows in (blocks * design.block, (blocks + 1) * design.block - 1):
            size, enough = attack_size(tier, design, shadows)
            assert not enough
            assert size.blocks == blocks
            assert size.references >= 1
            assert 1 <= size.calibration <= declared.calibration
            assert 2 <= size.targets <= declared.targets
            part = blocks / declared.blocks
            assert abs(size.calibration - declared.calibration * part) <= 1
            assert abs(size.targets - declared.targets * part) <= 2
            assert (size.removal, size.planted) == (2, 2)
            assert size.fpr == declared.fpr


@pytest.mark.parametrize(("design", "least"), [(HALVES, 256), (SEVEN_TENTHS, 320)])
@pytest.mark.parametrize("tier", ATTACK_SIZES)
def test_too_few_shadows_are_refused(tier, design, least):
    assert attack_size(tier, design, least)[0].blocks == 4
    for shadows in (least - 1, 1, 0):
        with pytest.raises(ValueError) as caught:
            attack_size(tier, design, shadows)
        assert str(caught.value) == (
            f"--shadows={shadows} is too few: one block of references, one for thresholds and two "
            f"of targets are {least} models"
        )


def test_banks_are_as_large_as_those_of_the_membership_claims():
    for tier in ("smoke", "cpu", "gpu"):
        shared = MEMBERSHIP_SIZES[tier]
        assert ATTACK_SIZES[tier].blocks == shared.references + shared.targets


# ---- the setting's bank --------------------------------------------------------------------------


def prepared(tier="smoke", shadows=None, miniature=False, share=0.5):
    subject = attacked.subject(share=share)
    setting = Setting("lab:subject", tier)
    return Prepared(setting, subject, attacked.Workshop(), shadows, miniature)


@pytest.mark.parametrize(
    ("given", "size", "decides"),
    [
        ({"tier": "smoke"}, "smoke", True),
        ({"tier": "cpu"}, "cpu", True),
        ({"tier": "cpu", "share": 0.7}, "cpu", True),
        ({"tier": "cpu", "shadows": 5000}, "cpu", True),
        ({"tier": "gpu", "miniature": True}, "miniature", False),
    ],
)
def test_a_bank_of_the_declared_size_with_logits_is_asked_for(given, size, decides):
    ask = prepared(**given)
    trained = train_attacks(ask)
    block = Balanced(100, ask.subject.share).block
    ((subject, models, columns),) = ask.workshop.asked
    assert subject is ask.subject
    assert models == BLOCKS[size] * block
    assert columns == (*COLUMNS, "pool.logits")
    assert trained.size == ATTACK_SIZES[size]
    assert trained.bank is ask.workshop.given[0]
    assert trained.references == ATTACK_SIZES[size].references * block
    assert trained.decides is decides
    assert trained.miniature is ask.miniature
    assert trained.cache == {}
    assert (trained.setting, trained.workshop) == (ask.setting, ask.workshop)
    assert train_attacks(ask).cache is not trained.cache


def test_fewer_shadows_than_declared_decide_nothing():
    ask = prepared("cpu", shadows=16 * 64 + 5)
    trained = train_attacks(ask)
    assert trained.bank.models == 1024
    assert trained.size == replace(
        ATTACK_SIZES["cpu"], references=4, calibration=7, targets=5, removal=2, planted=2
    )
    assert not trained.decides
    with pytest.raises(ValueError, match="--shadows=255 is too few"):
        train_attacks(prepared(shadows=255))


def test_the_gpu_tier_on_a_cpu_attacks_a_miniature(monkeypatch):
    whole = attacked.subject(over=900, under=100, share=0.7)
    monkeypatch.setattr("benchsuite.setting.load_subject", lambda name: whole)
    ask = prepare(
        Setting("mnist-usps-cnn32", "gpu"), folder="", device="cpu", shadows=None, watch=None
    )
    assert ask.subject.name == "digits-planted-miniature"
    trained = train_attacks(replace(ask, workshop=attacked.Workshop()))
    assert trained.size == ATTACK_SIZES["miniature"]
    assert trained.bank.models == 5 * 80
    assert not trained.decides
    experiment = AttackExperiment(trained.subject, trained.bank, trained.size, trained.workshop)
    assert experiment.mixed
    assert experiment.threshold == 0


# ---- what the claims declare ---------------------------------------------------------------------

CLAIMS = [
    test.claim
    for name, test in runpy.run_path(str(ROOT / "claims" / "test_attacks.py")).items()
    if name.startswith("test_")
]
ON_THIS_BANK = [claim for claim in CLAIMS if claim.id != "beyond-vision"]
TIER_AND_SUBJECT = [
    (claim, tier, subject)
    for claim in ON_THIS_BANK
    for tier in TIERS
    for subject in claim.subjects[tier]
]


def test_the_family_has_as_many_claims_as_it_shares_its_error_among():
    assert len(CLAIMS) == CLAIMS[0].family.claims == len({claim.id for claim in CLAIMS})


@pytest.mark.parametrize("claim", ON_THIS_BANK, ids=lambda claim: claim.id)
def test_controls_of_the_claims_are_the_experiments(claim):
    known = {**AttackExperiment.controls, **OutlierExperiment.controls}
    assert set(claim.controls) <= set(known)


@pytest.mark.parametrize(
    ("claim", "tier", "subject"),
    TIER_AND_SUBJECT,
    ids=[f"{claim.id}-{subject}" for claim, _, subject in TIER_AND_SUBJECT],
)
def test_as_many_units_are_declared_as_the_size_gives(claim, tier, subject):
    """Fewer would be plumbing for ever."""
    design = SEVEN_TENTHS if subject.startswith(("mnist", "cifar10")) else HALVES
    size = ATTACK_SIZES[tier]
    bank = SimpleNamespace(design=design)
    both = [kind(None, bank, size, None) for kind in (AttackExperiment, OutlierExperiment)]
    attacks, outliers = both
    blocks = len(list(attacks.blocks(attacks.targets)))
    of_others = len(list(outliers.units(outliers.others)))
    given = {
        "memorized-beat-other-outliers": blocks,
        "outliers-are-more-exposed": blocks,
        "lira-beats-other-attacks": blocks,
        "not-all-outliers-are-exposed": len(list(outliers.units(slice(0, outliers.targets.stop)))),
        "memorization-predicts-exposure": of_others,
        "ood-is-not-memorization": of_others,
        "memorization-survives-removal": size.removal,
    }
    assert claim.declared_units(subject, tier) == given[claim.id]
    assert size.removal <= size.blocks
    assert len(list(outliers.units(slice(0, size.planted * design.block)))) >= 2


@pytest.mark.parametrize(("tier", "examples"), [("smoke", 10), ("gpu", 209)])
def test_the_declared_size_can_set_its_thresholds(tier, examples):
    """For the smallest group there may be, and the fewest singletons of the paper's Table 3."""
    size = ATTACK_SIZES[tier]
    for design in (HALVES, SEVEN_TENTHS):
        outside = size.calibration * np.count_nonzero(~design.rows(0, design.block)[:, 0])
        assert outside * examples * size.fpr >= 20
