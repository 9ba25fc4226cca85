import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.data.dataset import Dataset
from benchsuite.experiments import locality as module
from benchsuite.experiments.locality import UNITS, LocalityExperiment
from benchsuite.experiments.world import cross_attack, pooled_advantage
from benchsuite.shadows.design import Lacking
from benchsuite.stats.verdict import CannotResolveError

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "planted.py")))
FIRST, SECOND = planted.Onion().layers
TARGETS = SECOND[:4]
MASKED_BY = {target: [FIRST[k], FIRST[k + 4]] for k, target in enumerate(TARGETS.tolist())}
"""Two examples of the first layer mask each target: with both IN, or with one, it is hidden."""
SEPARATION = np.where(np.isin(np.arange(100), FIRST), 6.0, 0.1)
SEPARATION[TARGETS] = 4.0
TRUTH = planted.Maskers(SEPARATION, MASKED_BY)
SIZE = replace(planted.SIZE, neighbours=4)


def locality(truth=TRUTH, size=SIZE, **more):
    return planted.experiment(LocalityExperiment, truth, size=size, **more)


def mean(units, name):
    return float(np.mean([unit[name] for unit in units]))


# ---- targets -------------------------------------------------------------------------------------


def test_the_second_layer_is_what_the_first_one_masks():
    worlds = locality()
    assert worlds.exposed.examples == tuple(FIRST)
    assert set(worlds.second_layer) == set(TARGETS)


def test_other_targets_are_drawn_outside_the_layer_and_always_the_same():
    worlds, again = locality(), locality()
    for name in ("random_targets", "safe_targets"):
        targets = getattr(worlds, name)
        assert len(set(targets)) == 4
        np.testing.assert_array_equal(targets, getattr(again, name))
        assert not set(targets) & set(FIRST)
    assert worlds.selection.advantage[worlds.safe_targets].max() <= 0.1
    assert set(worlds.safe_targets) != set(worlds.random_targets)
    everyone = locality(size=replace(SIZE, targets=90))
    np.testing.assert_array_equal(everyone.random_targets, everyone.exposed.kept)


def test_too_few_safe_examples_cannot_be_resolved():
    worlds = locality(planted.apart(np.full(100, 3.0)))
    with pytest.raises(CannotResolveError, match=r"0 examples have an advantage of 0\.1 or less"):
        list(worlds.rises())


# ---- neighbours ----------------------------------------------------------------------------------


def test_neighbours_are_others_and_the_maskers_are_among_them():
    worlds = locality()
    targets = {*worlds.second_layer, *worlds.random_targets, *worlds.safe_targets}
    assert set(worlds.neighbours) == targets
    for target, neighbours in worlds.neighbours.items():
        assert len(set(neighbours)) == 4
        assert target not in neighbours
    found = [set(worlds.neighbours[each][:2]) == set(of) for each, of in MASKED_BY.items()]
    assert all(found)


def test_a_target_is_not_its_own_neighbour_though_its_own_removal_serves_most(monkeypatch):
    """Were the attack right about OUT models alone, nothing would serve it as well."""
    monkeypatch.setattr(module, "rightness", lambda world: (~world.membership).astype(float))
    worlds = locality()
    for target in {*worlds.second_layer.tolist(), *worlds.random_targets.tolist()}:
        assert target not in worlds.near(target).examples


def test_neighbours_are_chosen_by_models_that_measure_nothing():
    worlds = locality()
    chosen = worlds.neighbours

    def other_noise(pool, membership):
        shift = TRUTH(pool, membership)
        shift[512:] += np.random.default_rng(1).normal(0, 1, shift[512:].shape)
        return shift

    others = locality(other_noise)
    np.testing.assert_array_equal(others.selection.scores, worlds.selection.scores)
    assert (others.base.scores != worlds.base.scores).all()
    for target, neighbours in others.neighbours.items():
        if target in chosen:
            np.testing.assert_array_equal(neighbours, chosen[target])


def test_under_the_control_neighbours_are_random_ones_of_the_layer():
    control = locality().under("random-neighbours")
    drawn = {target: set(control.near(target).examples) for target in TARGETS.tolist()}
    assert all(len(each) == 4 for each in drawn.values())
    assert all(each <= set(FIRST) for each in drawn.values())
    assert len({tuple(sorted(each)) for each in drawn.values()}) > 1
    again = locality().under("random-neighbours")
    assert all(set(again.near(target).examples) == each for target, each in drawn.items())


def test_a_layer_smaller_than_the_neighbourhood_gives_what_it_has():
    control = locality(size=replace(SIZE, neighbours=26)).under("random-neighbours")
    assert len(control.near(1)) == 10


@pytest.mark.parametrize("neighbours", [99, 100, 1000])
def test_more_neighbours_than_the_pool_holds_cannot_be_resolved(neighbours):
    worlds = locality(size=replace(SIZE, neighbours=neighbours))
    with pytest.raises(
        CannotResolveError, match=f"{neighbours} neighbours of a target .* in a pool of 100"
    ):
        list(worlds.rises())


def test_neighbours_that_are_a_class_cannot_be_resolved():
    plain = planted.subject(100)
    labels = np.where(np.isin(np.arange(100), MASKED_BY[TARGETS[0]]), 3, np.arange(100) % 3)
    pool = Dataset(plain.pool.images, labels, plain.pool.groups)
    subject = replace(plain, pool=pool, test=pool, model=planted.partial(planted.mlp, 16, 2, 4))
    worlds = locality(subject=subject)
    with pytest.raises(CannotResolveError, match="takes out every example of class 3"):
        worlds.near(int(TARGETS[0]))


# ---- rises ---------------------------------------------------------------------------------------


def test_each_target_has_a_world_that_lacks_its_own_neighbours():
    worlds = locality()
    groups = worlds.groups()
    assert list(groups) == ["second layer", "random targets", "safe targets", "duplicates"]
    of = dict(zip(("second", "random", "safe"), list(groups.values())[:3], strict=True))
    asked = [(m, d) for _, m, d in worlds.workshop.asked if isinstance(d, Lacking)]
    for (name, group), (models, design) in zip(of.items(), asked[:3], strict=True):
        np.testing.assert_array_equal(group.before.confidence, worlds.base.confidence)
        assert group.removed == 4
        assert models == len(group.after) * (64 if name == "safe" else 128)
        for (target, world), removed in zip(group.after.items(), design.removals, strict=True):
            assert len(world) == models / len(group.after)
            assert world.examples.tolist() == [target]
            assert removed == worlds.near(target).examples
            assert target not in removed


def test_a_target_is_attacked_as_in_a_bank_of_its_own():
    """What stands beside it in the bank, and that other models lack other examples, is nothing."""
    worlds = locality()
    group = worlds.groups()["second layer"]
    (bank,) = (
        bank
        for bank in worlds.workshop.banks.values()
        if isinstance(bank.design, Lacking)
        and bank.design.removals[0] == worlds.near(int(worlds.second_layer[0])).examples
    )
    for part, (target, world) in enumerate(group.after.items()):
        rows = np.concatenate([np.arange(64) + 64 * (part + turn * 4) for turn in (0, 1)])
        confidence = bank.column("pool", "confidence")[rows, target]
        np.testing.assert_array_equal(world.confidence[:, 0], confidence)
        membership = bank.membership[rows, target]
        scores = cross_attack(confidence[:, None], membership[:, None])
        np.testing.assert_array_equal(world.scores, scores)
        assert membership.mean() == 0.5


def test_all_attackers_know_as_many_models():
    worlds = locality(size=replace(SIZE, local_blocks=1))
    group = worlds.groups()["second layer"]
    for world in (group.before, worlds.without_layer, *group.after.values()):
        for part in world.blocks(64):
            np.testing.assert_array_equal(
                part.scores, cross_attack(part.confidence, part.membership)
            )


def test_only_what_was_masked_is_exposed():
    units = list(locality().rises())
    assert len(units) == UNITS
    assert mean(units, "second layer") > 0.5
    assert mean(units, "whole layer") == pytest.approx(mean(units, "second layer"), abs=0.1)
    for name in ("random targets", "safe targets"):
        assert mean(units, name) == pytest.approx(0, abs=0.15)


def test_random_neighbours_expose_less():
    """Some of ten hit one of two maskers; a target is as hidden by the other."""
    units = list(locality().under("random-neighbours").rises())
    assert set(units[0]) == {"second layer", "whole layer"}
    real = list(locality().rises())
    assert mean(units, "second layer") < mean(real, "second layer") / 2
    assert mean(units, "whole layer") == mean(real, "whole layer")


def test_rises_are_of_the_pooled_targets():
    worlds = locality()
    units = list(worlds.rises())
    group = worlds.groups()["second layer"]
    for number, unit in enumerate(units):
        same = dict.fromkeys(group.after, group.before)
        rise = pooled_advantage(group.after, number, 8) - pooled_advantage(same, number, 8)
        assert unit["second layer"] == rise
        above = unit["second layer"] - unit["random targets"]
        assert unit["second layer above random"] == above


def test_choosing_targets_does_not_make_them_rise():
    """Where nothing changes, those that seem to rise most do not rise in other models."""
    truth = planted.apart(np.where(np.isin(np.arange(100), FIRST), 6.0, 0.3))
    units = [unit for seed in range(6) for unit in locality(truth, seed=seed).rises()]
    for name in ("second layer", "whole layer", "random targets"):
        assert mean(units, name) == pytest.approx(0, abs=0.06)
