"""Planted singletons, against counts by hand."""

import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import OVER, UNDER
from benchsuite.evidence import gather
from benchsuite.experiments.planting import (
    NONE_PLANTED,
    PERMUTED,
    PlantedWorld,
    PlantingExperiment,
)
from benchsuite.experiments.sizes import PlantingSize
from benchsuite.models import mlp
from benchsuite.report import figures
from benchsuite.report.artifacts import load_artifact, save_artifact
from benchsuite.shadows.design import Balanced
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Recipe

arrays = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "banks_of_arrays.py")))
SIZE = PlantingSize(worlds=3, blocks=1, planted=8)
EXAMPLES, CLASSES = 100, 4
# None of these is ever planted: they are of the group that is left out of it.
NATURAL, FALSE, LATE = [90, 91, 92], [93, 94], [95]


def subject(share=0.5):
    images = np.random.default_rng(0).random((EXAMPLES, 1, 4, 4), dtype=np.float32)
    groups = np.array([OVER] * 90 + [UNDER] * 10)
    pool = Dataset(images, np.arange(EXAMPLES) % CLASSES, groups)
    recipe = Recipe(5, learning_rate=0.2)
    test = pool.subset(range(10))
    return Subject("lab", pool, test, partial(mlp, 16, 2, CLASSES), recipe, share=share)


WHOLE = subject()


def planted_of(of):
    return np.flatnonzero(of.pool.labels != WHOLE.pool.labels)


def says(of, design, inside, number, missed=0, wrong_in=0, also=()):
    """Models learn what is planted by heart; the first so many of the planted everyone knows.

    NATURAL are memorized like them, FALSE by the first block alone and LATE by the second; `also`
    are memorized in every world.
    """
    planted = planted_of(of)
    wrong_out = np.zeros(EXAMPLES)
    wrong_out[[*NATURAL, *also, *planted[missed:]]] = np.inf
    wrong_out[FALSE if number == 0 else LATE] = np.inf
    of_planted = np.zeros(EXAMPLES)
    of_planted[planted] = wrong_in
    return {"pool.correct": arrays.right(inside, of_planted, wrong_out)}


def experiment(size=SIZE, given=WHOLE, **changes):
    return PlantingExperiment(given, size, arrays.Workshop(partial(says, **changes)))


# ---- worlds --------------------------------------------------------------------------------------


def test_each_world_has_other_wrong_labels_and_models_that_are_trained_longer():
    some = experiment()
    worlds = some.worlds
    assert some.worlds is worlds
    assert len(some.workshop.asked) == len(worlds) == 3
    everyone = []
    asked = zip(some.workshop.asked, worlds, strict=True)
    for draw, ((of, models, design, _), world) in enumerate(asked):
        assert of.recipe.learning_rate == pytest.approx(0.6)
        assert replace(of.recipe, learning_rate=0.2) == replace(WHOLE.recipe, epochs=10)
        assert models == 2 * 64 == world.bank.models
        assert design == Balanced(EXAMPLES, 0.5, seed=draw)
        np.testing.assert_array_equal(world.bank.membership, design.rows(0, 128))
        np.testing.assert_array_equal(planted_of(of), world.planted)
        assert len(world.planted) == 8
        assert world.planted.max() < 90
        np.testing.assert_array_equal(of.pool.images, WHOLE.pool.images)
        everyone.append(tuple(world.planted))
    assert len(set(everyone)) == 3
    assert len({world.bank.membership.tobytes() for world in worlds}) == 3
    assert some.under(PERMUTED).worlds is worlds


def test_a_single_world_is_trained_without_the_others():
    some = experiment()
    alone = some.world(1)
    ((of, models, design, _),) = some.workshop.asked
    assert (models, design) == (128, Balanced(EXAMPLES, seed=1))
    np.testing.assert_array_equal(planted_of(of), alone.planted)
    np.testing.assert_array_equal(some.worlds[1].planted, alone.planted)
    assert some.worlds[1].bank is alone.bank
    assert len(some.workshop.asked) == 3


def test_half_of_a_worlds_models_are_the_oracle():
    for blocks, models in ((1, 64), (2, 128)):
        world = experiment(replace(SIZE, blocks=blocks)).worlds[0]
        assert world.half == models
        assert world.bank.models == 2 * models
    world = experiment(given=subject(share=0.7)).worlds[0]
    assert (world.half, world.bank.design.share) == (80, 0.7)


def test_memorization_is_of_the_rows_asked_for_and_0_of_what_is_always_in_or_out():
    inside = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
    correct = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 0, 0, 0]], bool)
    world = PlantedWorld(SimpleNamespace(membership=inside, models=5), np.array([1]), correct)
    assert world.memorization(slice(0, 4)).tolist() == [0, 0, 0, 0.5]
    assert world.memorization(slice(0, 5)).tolist() == [1, 1 / 3 - 1 / 2, -0.5, 1 - 1 / 3]
    swapped = ~inside
    assert world.memorization(slice(0, 4), swapped).tolist() == [0, 0, 0, -0.5]


# ---- found ---------------------------------------------------------------------------------------


def test_all_planted_are_found_and_fresh_models_confirm_them_and_natural_singletons():
    units = list(experiment().found())
    called = 8 + len(NATURAL) + len(FALSE)
    assert len(units) == 3
    for unit in units:
        assert unit["recall"] == 1
        assert unit["precision"] == pytest.approx((8 + len(NATURAL)) / called)
        assert unit["planted among them"] == pytest.approx(8 / called)


def test_planted_that_everybody_knows_are_not_found():
    units = list(experiment(missed=3).found())
    called = 5 + len(NATURAL) + len(FALSE)
    for unit in units:
        assert unit["recall"] == 5 / 8
        assert unit["precision"] == pytest.approx((5 + len(NATURAL)) / called)
        assert unit["planted among them"] == pytest.approx(5 / called)


@pytest.mark.parametrize(("share", "few"), [(0.5, 8), (0.7, 10)])
def test_an_eighth_of_the_oracles_models_are_its_first(share, few):
    """With planted examples that the first models, IN or OUT, all know: they miss them alone."""

    def late(of, design, inside, number):
        said = says(of, design, inside, number)["pool.correct"]
        if number == 0:
            said[:few, planted_of(of)[:2]] = True
        return {"pool.correct": said}

    workshop = arrays.Workshop(late)
    some = PlantingExperiment(subject(share), SIZE, workshop)
    for unit, world in zip(some.found(), some.worlds, strict=True):
        inside = world.bank.membership[:few]
        sure = inside.any(axis=0) & ~inside.all(axis=0)
        kept = sure[world.planted[2:]].sum()
        assert unit["recall"] == 1
        assert unit["recall, an eighth of the models"] == kept / 8
        natural, false = sure[NATURAL].sum(), sure[FALSE].sum()
        called = kept + natural + false
        assert unit["precision, an eighth of the models"] == pytest.approx(
            (kept + natural) / called
        )
        assert unit["planted among them, an eighth of the models"] == pytest.approx(kept / called)
    # Another tenth of the models knows them too: the oracle's first eighth does not see it.
    assert (world.memorization(slice(few, 2 * few))[world.planted[:2]] > 0.5).all()


@pytest.mark.parametrize(("out_wrong", "found"), [(16, False), (17, True)])
def test_a_singleton_is_memorized_by_more_than_one_half(out_wrong, found):
    def half(of, design, inside, number):
        wrong = np.zeros(EXAMPLES)
        wrong[planted_of(of)] = out_wrong
        return {"pool.correct": arrays.right(inside, 0, wrong)}

    unit = next(PlantingExperiment(WHOLE, SIZE, arrays.Workshop(half)).found())
    assert unit["recall"] == found
    assert unit["precision"] == found  # of nobody called it is 0
    assert unit["planted among them"] == found


@pytest.mark.parametrize(("out_wrong", "confirmed"), [(8, False), (9, True)])
def test_fresh_models_confirm_above_a_quarter(out_wrong, confirmed):
    def weak(of, design, inside, number):
        wrong = np.zeros(EXAMPLES)
        wrong[planted_of(of)] = 32 if number == 0 else out_wrong
        return {"pool.correct": arrays.right(inside, 0, wrong)}

    unit = next(PlantingExperiment(WHOLE, SIZE, arrays.Workshop(weak)).found())
    assert (unit["recall"], unit["precision"]) == (1, confirmed)


def test_who_is_called_does_not_hang_on_the_models_that_confirm_nor_the_reverse():
    some = experiment()
    world = some.worlds[0]
    other = PlantedWorld(world.bank, world.planted, world.correct.copy())
    other.correct[64:] = True  # nobody is memorized there
    assert some.rates(other, 64) == {**some.rates(world, 64), "precision": 0}
    other = PlantedWorld(world.bank, world.planted, world.correct.copy())
    other.correct[:64] = True
    other.correct[:64][~world.bank.membership[:64][:, LATE[0]], LATE[0]] = False
    assert some.rates(other, 64) == {"recall": 0, "precision": 1, "planted among them": 0}


# ---- controls ------------------------------------------------------------------------------------


def test_where_none_is_planted_none_is_found():
    some = experiment()
    control = some.under(NONE_PLANTED)
    assert list(control.found()) == [{"recall": 0}] * 3
    assert control.cache is some.cache


def test_where_none_is_planted_natural_singletons_are_counted():
    """Some of the first world's planted are singletons everywhere, some are planted again."""
    worlds = experiment().worlds
    also = worlds[0].planted[:3]
    units = list(experiment(also=also).under(NONE_PLANTED).found())
    for number, unit in enumerate(units):
        calls = [
            example in also
            for other, world in enumerate(worlds)
            for example in worlds[number].planted
            if other != number and example not in world.planted
        ]
        assert unit == {"recall": np.mean(calls)}
    assert 0 < units[0]["recall"] < 1


@pytest.mark.parametrize(
    ("one", "other", "called"),
    [
        (16, 16, 0),
        (17, 16, 1 / 2),
        (16, 17, 1 / 2),
        (17, 17, 1),
        (20, 8, 1 / 2),  # 14 on the average, and 16 are no more than a half
        (12, 20, 1 / 2),
        (32, 12, 1 / 2),  # 22 on the average
    ],
)
def test_each_oracle_calls_on_its_own_before_calls_are_averaged(one, other, called):
    """The first world's planted are memorized by so many 32nds in each of the others."""
    first, *others = experiment().worlds
    planted = np.setdiff1d(first.planted, np.union1d(*(world.planted for world in others)))

    def elsewhere(of, design, inside, number):
        wrong = np.zeros(EXAMPLES)
        wrong[planted_of(of)] = 32
        if design.seed:
            wrong[planted] = (one, other)[design.seed - 1]
        return {"pool.correct": arrays.right(inside, 0, wrong)}

    some = PlantingExperiment(WHOLE, SIZE, arrays.Workshop(elsewhere))
    some.cache["worlds"] = [replace(some.world(0), planted=planted), some.world(1), some.world(2)]
    assert next(some.under(NONE_PLANTED).found()) == {"recall": called}


@pytest.mark.parametrize(("block", "called"), [(0, 1), (1, 0)])
def test_where_none_is_planted_only_the_oracles_half_is_asked(block, called):
    """The first world's planted are memorized elsewhere by the oracle, or by those that confirm."""
    planted = experiment().worlds[0].planted

    def half(of, design, inside, number):
        wrong = np.zeros(EXAMPLES)
        wrong[planted if number == block else planted_of(of)] = 32
        return {"pool.correct": arrays.right(inside, 0, wrong)}

    some = PlantingExperiment(WHOLE, SIZE, arrays.Workshop(half))
    assert next(some.under(NONE_PLANTED).found()) == {"recall": called}


def test_a_world_where_it_is_planted_too_says_nothing_of_an_example():
    some = experiment()
    one, two, _ = some.worlds
    own = np.setdiff1d(one.planted, two.planted)
    both = replace(one, planted=np.append(own[:5], two.planted[0]))
    elsewhere = replace(two, planted=two.planted[1:])
    some.cache["worlds"] = [both, two, two]
    assert next(some.under(NONE_PLANTED).found()) == {"recall": 0}
    some.cache["worlds"] = [both, two, elsewhere]
    assert next(some.under(NONE_PLANTED).found()) == {"recall": 1 / (5 + 6)}
    some.cache["worlds"] = [both, elsewhere, elsewhere]
    assert next(some.under(NONE_PLANTED).found()) == {"recall": 1 / 6}


def test_an_oracle_with_a_wrong_membership_finds_few():
    some = experiment()
    units = list(some.under(PERMUTED).found())
    real = list(some.found())
    for number, (unit, world) in enumerate(zip(units, some.worlds, strict=True)):
        told = np.random.default_rng([number, 72]).permuted(world.bank.membership, axis=0)
        assert (told.sum(axis=0) == 64).all()
        rows, told = world.correct[:64], told[:64]
        memorization = np.mean(rows, axis=0, where=told) - np.mean(rows, axis=0, where=~told)
        assert unit["recall"] == np.mean(memorization[world.planted] > 0.5) == 0
    assert list(some.found()) == real
    assert list(units[0]) == list(real[0])


def test_an_unknown_control_is_refused():
    for control in ("none", "without-noise"):
        with pytest.raises(ValueError) as caught:
            experiment().under(control)
        assert str(caught.value) == (
            f"control={control!r} is unknown: use one of none-planted, permuted-membership"
        )


def test_models_that_did_not_learn_what_is_planted_cannot_answer():
    """Of 32 IN models each may miss 6, for 26 are 81 %; 7 are too many."""
    assert len(list(experiment(wrong_in=6).found())) == 3
    some = experiment(wrong_in=7)
    for arm in (some, some.under(PERMUTED)):
        with pytest.raises(CannotResolveError) as caught:
            list(arm.found())
        assert str(caught.value) == (
            "models give the labels of 78% of the planted examples that they were trained on, and "
            "80% are the least: they are no singletons of a model that did not learn them, so "
            "train this subject longer"
        )
    assert some.figure("oracle-precision") is None


def test_too_few_examples_to_plant_any_are_said():
    with pytest.raises(CannotResolveError, match="90 examples are too few to mislabel 46 of"):
        list(experiment(replace(SIZE, planted=46)).found())


# ---- figure --------------------------------------------------------------------------------------


def test_the_figure_ends_in_the_numbers_that_decide(tmp_path):
    some = experiment(missed=1)
    shown = some.figure("oracle-precision")
    assert shown["models"].tolist() == [4, 8, 16, 32, 64]
    units = list(some.found())
    for name in ("recall", "precision", "planted among them"):
        assert shown[name].shape == (3, 5)
        np.testing.assert_array_equal(shown[name][:, -1], [unit[name] for unit in units])
        few = [unit[f"{name}, an eighth of the models"] for unit in units]
        np.testing.assert_array_equal(shown[name][:, 1], few)
    saved = load_artifact(tmp_path, save_artifact(tmp_path, "oracle-precision", "a", **shown))
    assert figures.draw("oracle-precision", saved, "f").panels


# ---- the claim -----------------------------------------------------------------------------------


def test_the_claim_decides_on_what_is_yielded():
    claims = runpy.run_path(str(Path(__file__).parents[2] / "claims" / "test_oracles.py"))
    claim = claims["test_the_oracle_finds_planted_singletons"].claim

    def without_false(of, design, inside, number):
        return says(of, design, inside, 1 - number)

    some = PlantingExperiment(WHOLE, SIZE, arrays.Workshop(without_false))
    evidence = gather(claim, some, "lab", "cpu")
    for control in evidence.controls:
        assert (control.name, control.verdict) == (control.name, "supported")
    verdicts = {part.name: part.verdict for part in evidence.observed.decision.parts}
    assert verdicts["recall"] == "supported"
    assert verdicts["planted among them"] is None
    assert {name for name, verdict in verdicts.items() if verdict} == {
        name for name, _ in claim.rule.named
    }
