"""How many models the experiments on privacy and on planting train, and which banks these are."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.claim import TIERS
from benchsuite.experiments.planting import PlantingExperiment
from benchsuite.experiments.privacy import PrivacyExperiment
from benchsuite.experiments.sizes import (
    ATTACK_SIZES,
    PLANTING_SIZES,
    PRIVACY_SIZES,
    planting_size,
    private_size,
)
from benchsuite.setting import Prepared, Setting, prepare, train_planting, train_private
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.training import Recipe

ROOT = Path(__file__).parents[2]
attacked = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "attacked.py")))
arrays = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "banks_of_arrays.py")))
BLOCKS = (64, 80)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("tier", TIERS)
def test_the_declared_sizes_are_for_whoever_does_not_ask_or_asks_for_as_many(tier, block):
    private, planting = PRIVACY_SIZES[tier], PLANTING_SIZES[tier]
    for more in (0, 1, 10_000):
        enough = private.blocks * block + more
        assert private_size(tier, enough, block) == (private, True)
        enough = planting.worlds * 2 * planting.blocks * block + more
        assert planting_size(tier, enough, block) == (planting, True)
    assert private_size(tier, None, block) == (private, True)
    assert planting_size(tier, None, block) == (planting, True)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("tier", ["cpu", "gpu"])
def test_fewer_shadows_make_smaller_arms_and_games_and_decide_nothing(tier, block):
    declared = PRIVACY_SIZES[tier]
    for blocks in range(2, declared.blocks):
        for shadows in (blocks * block, (blocks + 1) * block - 1):
            size, enough = private_size(tier, shadows, block)
            assert not enough
            assert size == replace(declared, blocks=blocks, targets=blocks)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("tier", ["cpu", "gpu"])
def test_fewer_shadows_make_fewer_worlds_and_decide_nothing(tier, block):
    declared = PLANTING_SIZES[tier]
    world = 2 * declared.blocks * block
    for worlds in range(2, declared.worlds):
        for shadows in (worlds * world, (worlds + 1) * world - 1):
            size, enough = planting_size(tier, shadows, block)
            assert not enough
            assert size == replace(declared, worlds=worlds)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("tier", TIERS)
def test_too_few_shadows_for_two_units_are_refused(tier, block):
    each = 2 * PLANTING_SIZES[tier].blocks * block
    for size, least in ((private_size, 2 * block), (planting_size, 2 * each)):
        assert size(tier, least, block)
        for shadows in (least - 1, 1, 0):
            with pytest.raises(ValueError) as caught:
                size(tier, shadows, block)
            assert str(caught.value) == (
                f"--shadows={shadows} is too few: two units are {least} models"
            )


# ---- the setting's banks -------------------------------------------------------------------------


def says(subject, design, inside, number):
    """Right about all that models were trained on, and about every test example."""
    moments = [f"@{epoch}" for epoch in range(1, subject.recipe.epochs + 1)]
    return {
        f"{of}.correct{moment}": inside if of == "pool" else np.ones((len(inside), 5), dtype=bool)
        for of in ("pool", "test")
        for moment in ("", *moments)
    }


def prepared(tier="smoke", shadows=None, miniature=False, share=0.5, recipe=None):
    subject = attacked.subject(share=share)
    subject = replace(subject, recipe=recipe or Recipe(3), validation=subject.test)
    setting = Setting("lab:subject", tier)
    return Prepared(setting, subject, arrays.Workshop(says), shadows, miniature)


@pytest.mark.parametrize(
    ("given", "tier", "decides"),
    [
        ({"tier": "smoke"}, "smoke", True),
        ({"tier": "cpu"}, "cpu", True),
        ({"tier": "cpu", "share": 0.7}, "cpu", True),
        ({"tier": "cpu", "shadows": 5000}, "cpu", True),
        ({"tier": "cpu", "shadows": 256 - 1}, "cpu", False),
        ({"tier": "gpu", "miniature": True}, "smoke", False),
    ],
)
def test_plain_models_to_choose_by_and_an_arm_are_trained_with_their_moments(given, tier, decides):
    ask = prepared(**given)
    trained = train_private(ask)
    declared = PRIVACY_SIZES[tier]
    blocks = declared.blocks if decides or given.get("miniature") else 3
    ((subject, models, design, columns),) = ask.workshop.asked
    assert models == (declared.selection + blocks) * design.block
    assert replace(subject, name=ask.subject.name) == ask.subject
    assert subject.name == f"{ask.subject.name}-by-epoch"
    moments = range(1, min(declared.epochs, 3) + 1)
    assert columns == (*COLUMNS, *(f"{of}.correct@{k}" for of in ("pool", "test") for k in moments))
    assert isinstance(trained.experiment, PrivacyExperiment)
    assert trained.experiment.size == replace(
        declared, blocks=blocks, targets=min(blocks, declared.targets)
    )
    assert trained.experiment.workshop is trained.workshop is ask.workshop
    assert trained.bank is trained.experiment.plain
    assert (trained.decides, trained.miniature) == (decides, ask.miniature)
    assert trained.references == 0


@pytest.mark.parametrize(
    ("given", "tier", "worlds", "decides"),
    [
        ({"tier": "smoke"}, "smoke", None, True),
        ({"tier": "cpu"}, "cpu", None, True),
        ({"tier": "cpu", "share": 0.7}, "cpu", None, True),
        ({"tier": "cpu", "shadows": 3 * 128 + 127}, "cpu", 3, False),
        ({"tier": "gpu", "miniature": True}, "smoke", None, False),
    ],
)
def test_one_world_is_trained_at_once_and_as_many_as_declared_by_whoever_asks(
    given, tier, worlds, decides
):
    ask = prepared(**given)
    whole = attacked.subject(over=160, share=ask.subject.share)
    ask = replace(ask, subject=whole)
    trained = train_planting(ask)
    size = PLANTING_SIZES[tier]
    worlds = worlds or size.worlds
    asked = ask.workshop.asked
    assert len(asked) == 1
    assert isinstance(trained.experiment, PlantingExperiment)
    assert trained.experiment.size == replace(size, worlds=worlds)
    assert list(trained.experiment.found())
    assert len(asked) == worlds == len(trained.experiment.worlds)
    assert trained.bank is trained.experiment.worlds[0].bank
    block = 80 if given.get("share") else 64
    assert [(models, design) for _, models, design, _ in asked] == [
        (2 * size.blocks * block, Balanced(200, whole.share, seed=draw)) for draw in range(worlds)
    ]
    assert (trained.decides, trained.miniature) == (decides, ask.miniature)


def test_private_training_is_compared_with_plain_training_to_its_last_epoch():
    """A recipe that stops early would have no models of the later epochs."""
    recipe = Recipe(3, learning_rate=0.2, early_stopping=1)
    ask = prepared("cpu", recipe=recipe)
    given = train_private(ask).experiment
    given.private(1.0, 1.0, 1)
    plain, private = (of.recipe for of, _, _, _ in ask.workshop.asked)
    whole = replace(recipe, early_stopping=None)
    assert plain == whole == given.subject.recipe
    assert replace(private, privacy=None) == whole
    assert list(given.epochs) == [1, 2, 3]
    assert ask.workshop.asked[0][3][-1] == "test.correct@3"
    assert replace(given.subject, recipe=recipe) == ask.subject


def test_too_few_models_or_examples_are_refused():
    for train, least in ((train_private, 128), (train_planting, 256)):
        with pytest.raises(ValueError, match=f"{least - 1} is too few: two units are {least}"):
            train(prepared(shadows=least - 1))
    with pytest.raises(CannotResolveError, match="60 examples are too few to mislabel 40 of"):
        train_planting(prepared("cpu"))


def test_the_gpu_tier_on_a_cpu_is_a_miniature_of_the_smoke_sizes(monkeypatch):
    whole = replace(attacked.subject(over=900, under=100), recipe=Recipe(30))
    monkeypatch.setattr("benchsuite.setting.load_subject", lambda name: whole)
    ask = prepare(Setting("lab", "gpu"), folder="", device="cpu", shadows=None, watch=None)
    for train, size in (
        (train_private, PRIVACY_SIZES["smoke"]),
        (train_planting, PLANTING_SIZES["smoke"]),
    ):
        trained = train(replace(ask, workshop=arrays.Workshop(says)))
        assert trained.experiment.size == size
        assert trained.subject.name == "digits-planted-miniature"
        assert not trained.decides
        assert trained.subject.recipe.epochs == 1
    private = train_private(replace(ask, workshop=arrays.Workshop(says))).experiment
    assert list(private.epochs) == [1]


# ---- what the claims declare ---------------------------------------------------------------------

CLAIMS = {
    test.claim.id: test.claim
    for name, test in runpy.run_path(str(ROOT / "claims" / "test_oracles.py")).items()
    if name.startswith("test_")
}


@pytest.mark.parametrize("tier", TIERS)
def test_as_many_units_are_declared_as_the_sizes_give(tier):
    given = {
        "trak-oracle-works": ATTACK_SIZES[tier].targets,
        "oracle-precision": PLANTING_SIZES[tier].worlds,
        "gaussian-assumption": ATTACK_SIZES[tier].targets,
        "dp-prevents-memorization": PRIVACY_SIZES[tier].blocks,
        "dp-bounds-memorization": PRIVACY_SIZES[tier].targets,
    }
    assert set(CLAIMS) == set(given)
    for name, claim in CLAIMS.items():
        for subject in claim.subjects[tier]:
            assert claim.declared_units(subject, tier) == given[name]
    assert len(CLAIMS) == claim.family.claims
