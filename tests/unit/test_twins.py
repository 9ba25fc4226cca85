import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.data import sources
from benchsuite.data.dataset import Dataset
from benchsuite.experiments import twins as module
from benchsuite.experiments.onion import OnionExperiment
from benchsuite.experiments.twins import TwinsExperiment
from benchsuite.models import mlp
from benchsuite.shadows.design import Balanced, Lacking, Tied
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Recipe

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "planted.py")))
FIRST, _ = planted.Onion().layers
STRONG = np.where(np.isin(np.arange(100), FIRST), np.linspace(6, 3, 100), 0.1)
"""Separations; the earlier in the layer, the more exposed."""
MASKED = planted.Copies(STRONG)
APART = planted.apart(STRONG)  # copies are strangers


def twins(truth=MASKED, **more):
    return planted.experiment(TwinsExperiment, truth, **more)


def with_pool(subject, **changed):
    """The subject with a pool of other images or labels."""
    pool = subject.pool
    new = Dataset(
        changed.get("images", pool.images), changed.get("labels", pool.labels), pool.groups
    )
    return replace(subject, pool=new, test=new)


# ---- the pools -----------------------------------------------------------------------------------


def test_originals_are_every_second_of_the_layer():
    worlds = twins()
    assert len(worlds.originals) == 4  # of five, which could not be halved
    ranked = np.argsort(-worlds.selection.advantage, kind="stable")[:10]
    np.testing.assert_array_equal(worlds.originals, np.sort(ranked[[0, 2, 4, 6]]))
    assert set(worlds.originals) < set(FIRST) == set(worlds.exposed.examples)


def test_each_original_has_a_twin_at_the_end_of_the_pool():
    worlds = twins()
    pool = worlds.doubled.pool
    assert pool.subset(range(100)) == worlds.subject.pool
    np.testing.assert_array_equal(worlds.twins, range(100, 104))
    np.testing.assert_array_equal(pool.labels[worlds.twins], pool.labels[worlds.originals])
    difference = np.abs(pool.images[worlds.twins] - pool.images[worlds.originals])
    assert (difference.max(axis=(1, 2, 3)) > 0).tolist() == [False, False, True, True]
    assert difference.max() <= 1 / 16 + 1e-6
    assert worlds.doubled.name == "planted-with-twins"


def test_planted_twins_are_found_exactly_among_the_digits():
    images, test = sources.digits()
    pool = Dataset(images.images, images.labels, np.arange(len(images)))
    subject = Subject("digits", pool, test, partial(mlp, 64, 2, 10), Recipe(1))
    separation = np.random.default_rng(0).permutation(np.linspace(0, 5, len(pool)))
    worlds = twins(planted.Copies(separation), subject=subject, blocks=4)
    assert len(worlds.originals) == 74  # of 75
    assert worlds.found.examples == tuple(worlds.twins)
    assert worlds.clusters == tuple(zip(worlds.originals, worlds.twins, strict=True))
    assert worlds.deduplicated is worlds.base  # nothing else was taken out
    asked = [subject.pool for subject, *_ in worlds.workshop.asked]
    assert asked == [pool]


def test_duplicates_that_straddle_classes_cannot_be_resolved():
    plain = planted.subject(100)
    images = plain.pool.images.copy()
    images[41] = images[3]  # of class 1 and of class 3
    worlds = twins(subject=with_pool(plain, images=images))
    with pytest.raises(
        CannotResolveError, match=r"duplicates cannot be removed: .*\[3, 41\].*straddle classes"
    ):
        list(worlds.deduplication())


def test_a_black_picture_cannot_be_compared():
    plain = planted.subject(100)
    images = plain.pool.images.copy()
    images[41] = 0
    worlds = twins(subject=with_pool(plain, images=images))
    with pytest.raises(CannotResolveError, match=r"embedding\[41\] is all zeros"):
        _ = worlds.found


def test_none_found_cannot_be_resolved(monkeypatch):
    worlds = twins()
    monkeypatch.setattr(module, "find_duplicates", lambda *_: ())
    with pytest.raises(CannotResolveError, match="no duplicates are found in this pool"):
        list(worlds.deduplication())


def test_an_odd_number_of_duplicates_leaves_one(monkeypatch):
    worlds = twins()
    pairs = tuple(zip(worlds.originals.tolist(), worlds.twins.tolist(), strict=True))
    monkeypatch.setattr(module, "find_duplicates", lambda *_: pairs[:3])
    assert worlds.found.examples == (100, 101)
    assert len(list(worlds.deduplication())) == 4


def test_examples_that_cannot_be_copied_with_a_little_noise_cannot_be_resolved():
    plain = planted.subject(100)
    worlds = twins(subject=with_pool(plain, images=plain.pool.images * 4 - 2))
    with pytest.raises(CannotResolveError, match=r"no twins can be planted: images run from -"):
        _ = worlds.doubled


def test_a_layer_too_small_to_double_cannot_be_resolved():
    worlds = twins(examples=20)
    assert worlds.layer_size() == 2
    with pytest.raises(CannotResolveError, match="layer of a pool of 20 has 2 examples: too few"):
        list(worlds.in_step_gain())


def test_large_pictures_are_compared_by_what_the_network_sees(monkeypatch):
    worlds = twins()
    asked = []

    def features(subject, device):
        asked.append((subject.name, device))
        return subject.pool.inputs().reshape(len(subject.pool), -1) ** 2

    monkeypatch.setattr(module, "penultimate_features", features)
    monkeypatch.setattr(module, "FEW_PIXELS", 15)
    monkeypatch.setattr(module, "FEATURES_ALIKE", 0.99)
    assert set(worlds.twins) <= set(worlds.found.examples)
    assert asked == [("planted-with-twins", "cpu")]


# ---- deduplication -------------------------------------------------------------------------------


def test_deduplication_exposes_what_was_masked():
    """A twin that is IN half of the time takes half of the originals' advantage."""
    units = list(twins().deduplication())
    assert len(units) == 4
    rise = np.mean([unit["rise of duplicated"] for unit in units])
    assert rise == pytest.approx(0.5, abs=0.1)
    effect = planted.experiment(OnionExperiment, MASKED)
    expected = [unit["log (R/I)"] for unit in effect.peels()]
    assert [unit["log (R/I)"] for unit in units] == expected


def test_removing_others_does_not():
    worlds = twins().under("random-removal")
    units = list(worlds.deduplication())
    assert np.mean([unit["rise of duplicated"] for unit in units]) == pytest.approx(0, abs=0.05)
    subject, *_ = next(each for each in worlds.workshop.asked if each[0].name.endswith("random"))
    assert len(subject.pool) == 100
    assert np.bincount(subject.pool.groups, minlength=100)[worlds.originals].tolist() == [2] * 4
    everyone = worlds._without_twins(1000)
    assert set(everyone) == set(range(100)) - set(worlds.originals)


def test_strangers_that_look_alike_expose_nothing():
    units = list(twins(APART).deduplication())
    assert np.mean([unit["rise of duplicated"] for unit in units]) == pytest.approx(0, abs=0.05)


def test_an_original_that_is_a_natural_duplicate_is_not_measured():
    """Of three alike the first stays, and that is not the original."""
    plain = planted.subject(100)
    images = plain.pool.images.copy()
    images[FIRST[1:5] - 5] = images[FIRST[1:5]]  # of the same class
    worlds = twins(subject=with_pool(plain, images=images))
    natural = np.intersect1d(worlds.originals, FIRST[1:5])
    assert 1 <= len(natural) <= 3
    assert set(natural) < set(worlds.found.examples)
    assert set(worlds.unique) == set(worlds.originals) - set(natural)
    assert len(list(worlds.deduplication())) == 4
    assert set(worlds.unmasked().after) == set(worlds.unique)


# ---- in step -------------------------------------------------------------------------------------


def test_a_twin_in_step_makes_an_example_easier():
    truth = planted.Copies(STRONG / 4, each=True)
    worlds = twins(truth)
    gains = list(worlds.in_step_gain())
    assert len(gains) == 4
    assert min(gains) > 0.05
    *_, (subject, models, design) = worlds.workshop.asked
    assert isinstance(design, Tied)
    assert (len(subject.pool), models) == (104, 256)
    world = worlds.in_step
    np.testing.assert_array_equal(
        world.membership[:, worlds.originals], world.membership[:, worlds.twins]
    )


def test_a_twin_out_of_step_makes_it_harder():
    worlds = twins().under("out-of-step")
    assert max(worlds.in_step_gain()) < -0.2
    assert all(isinstance(design, Balanced) for *_, design in worlds.workshop.asked)
    assert abs(np.mean(list(twins(APART).under("out-of-step").in_step_gain()))) < 0.05


# ---- influence -----------------------------------------------------------------------------------

LARGE = replace(planted.SIZE, blocks=8)


def test_a_twin_is_ranked_first_where_its_removal_is_what_exposes():
    ranks = list(twins(size=LARGE, blocks=16).ranks_of_twins())
    assert len(ranks) == 4
    assert min(ranks) > 0.95


@pytest.mark.parametrize("truth", [MASKED, APART], ids=["masked", "strangers"])
def test_a_random_example_is_ranked_anywhere(truth):
    ranks = [
        rank
        for seed in range(3)
        for rank in twins(truth, size=LARGE, blocks=16, seed=seed)
        .under("random-pairs")
        .ranks_of_twins()
    ]
    assert np.mean(ranks) == pytest.approx(0.5, abs=0.12)


def test_a_stranger_that_looks_alike_is_ranked_anywhere():
    ranks = [
        rank
        for seed in range(3)
        for rank in twins(APART, size=LARGE, blocks=16, seed=seed).ranks_of_twins()
    ]
    assert np.mean(ranks) == pytest.approx(0.5, abs=0.12)


def rises(worlds, units=8):
    unmasked = worlds.unmasked()
    return [unmasked.rise(unit, units) for unit in range(units)]


def test_removing_the_closest_maskers_exposes():
    worlds = twins(size=LARGE, blocks=16)
    unmasked = worlds.unmasked()
    assert set(unmasked.after) == set(worlds.originals)
    assert len(unmasked.before) == 256
    half = worlds.with_twins.part(slice(256, 512))
    np.testing.assert_array_equal(unmasked.before.confidence, half.confidence)
    twin = dict(zip(worlds.originals, worlds.twins, strict=True))
    (design,) = (each for *_, each in worlds.workshop.asked if isinstance(each, Lacking))
    for (target, world), removed in zip(unmasked.after.items(), design.removals, strict=True):
        assert len(world) == 64
        assert world.examples.tolist() == [target]
        assert len(removed) == unmasked.removed == 2
        assert twin[target] in removed
        assert target not in removed
    assert np.mean(rises(worlds)) == pytest.approx(0.5, abs=0.1)


def test_choosing_targets_does_not_make_them_rise():
    """Where copies are strangers and all is chance, what was lowest in one half is not in other."""
    truth = planted.apart(np.full(200, 0.5))
    size = replace(planted.SIZE, targets=2)
    risen = [
        each
        for seed in range(12)
        for each in rises(twins(truth, size=size, examples=200, seed=seed), units=4)
    ]
    assert np.mean(risen) == pytest.approx(0, abs=0.06)
