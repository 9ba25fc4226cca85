"""What the claims about outliers are given, against numbers counted another way."""

import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import rankdata

from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import OVER, UNDER
from benchsuite.experiments import outliers as module
from benchsuite.experiments.attack_bank import OOD, SINGLETONS
from benchsuite.experiments.outliers import (
    INDEPENDENT,
    PLANTED,
    RANDOM_REMOVAL,
    SHUFFLED,
    OutlierExperiment,
)
from benchsuite.experiments.sizes import AttackSize
from benchsuite.models import mlp
from benchsuite.shadows.design import Balanced
from benchsuite.stats.verdict import CannotResolveError

attacked = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "attacked.py")))
SIZE = AttackSize(references=2, calibration=1, targets=4, removal=3, planted=4, fpr=0.05)
REFERENCES, OTHERS = slice(0, 128), slice(128, 448)
UNITS_OF_OTHERS = [slice(128, 256), slice(256, 384)]
DETECTORS = {
    "MSP": lambda logits: -softmax(logits.astype(float), axis=-1).max(axis=-1),
    "energy": lambda logits: -logsumexp(logits.astype(float), axis=-1),
}


def experiment(subject=None, size=SIZE, bank=None, of_under=0.8):
    """An experiment of whose under-represented test examples so many are right."""
    subject = subject or attacked.subject(over=100, under=40)
    if bank is None:
        models = size.blocks * Balanced(len(subject.pool), subject.share).block
        bank = attacked.Bank(subject, models, of_under=of_under)
    workshop = attacked.Workshop()
    return attacked.experiment(OutlierExperiment, subject, size, bank=bank, workshop=workshop)


@pytest.fixture(scope="module")
def given():
    return experiment()


def privacy(confidence, membership):
    scores = []
    for phi, inside in zip(confidence.T.astype(float), membership.T, strict=True):
        one, other = phi[inside], phi[~inside]
        scores.append(abs(one.mean() - other.mean()) / (one.std() + other.std()))
    return np.array(scores)


def privacy_of(given, models):
    return privacy(given.observations.confidence[models], given.bank.membership[models])


def memorization(given, models):
    right, inside = given.bank.column("pool", "correct")[models], given.bank.membership[models]
    return np.mean(right, axis=0, where=inside) - np.mean(right, axis=0, where=~inside)


def spearman(one, other):
    return np.corrcoef(rankdata(one), rankdata(other))[0, 1]


# ---- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "each"), [(0.5, 128), (0.7, 160), (0.98, 400)])
def test_units_are_whole_blocks_of_at_least_128_models(share, each):
    examples = attacked.subject(over=60, under=40, share=share)
    size = AttackSize(2, 1, 4, 1, 1, 0.05)
    bank = SimpleNamespace(design=Balanced(100, share))
    some = OutlierExperiment(examples, bank, size, workshop=None)
    units = list(some.units(slice(0, 3 * each + 1)))
    assert [(unit.start, unit.stop) for unit in units] == [
        (0, each),
        (each, 2 * each),
        (2 * each, 3 * each),
    ]
    assert each % some.block == 0
    assert list(some.units(slice(7, 7 + each))) == [slice(7, 7 + each)]
    assert list(some.units(slice(7, 6 + each))) == []


def test_the_others_are_all_but_the_references(given):
    assert given.others == OTHERS
    assert list(given.units(given.others)) == UNITS_OF_OTHERS


# ---- exposure ------------------------------------------------------------------------------------


def shares(scores):
    return {
        "not exposed": np.mean(scores < 1),
        "exposed": np.mean(scores >= 1),
        "below the paper's 2": np.mean(scores < 2),
    }


def test_exposure_is_of_the_outliers_in_units_of_all_models(given):
    units = list(given.exposure())
    expected = [
        shares(privacy_of(given, slice(first, first + 128))[100:]) for first in (0, 128, 256)
    ]
    assert units == [pytest.approx(each) for each in expected]
    for unit in units:
        assert 0.2 < unit["not exposed"] < unit["below the paper's 2"] < 1
        assert unit["exposed"] > 0.2
    assert given.workshop.asked == []


def test_planted_singletons_are_wrong_labels_on_ordinary_examples():
    planted = experiment().under(PLANTED)
    units = list(planted.exposure())
    ((subject, models, columns),) = planted.workshop.asked
    whole = planted.subject
    assert subject.name == "digits-planted-mislabelled"
    assert models == 4 * 64
    assert columns == ()
    np.testing.assert_array_equal(subject.pool.images, whole.pool.images)
    np.testing.assert_array_equal(subject.pool.groups, whole.pool.groups)
    wrong = np.flatnonzero(subject.pool.labels != whole.pool.labels)
    assert len(wrong) == 40
    assert (whole.pool.groups[wrong] == OVER).all()
    assert subject.pool.labels.max() < 3
    assert wrong.tolist() != list(range(40))
    kept = ("test", "model", "recipe", "share", "validation")
    assert all(getattr(subject, name) is getattr(whole, name) for name in kept)
    (bank,) = planted.workshop.given
    confidence = bank.column("pool", "confidence")
    expected = [
        shares(privacy(confidence[unit][:, wrong], bank.membership[unit][:, wrong]))
        for unit in (slice(0, 128), slice(128, 256))
    ]
    assert units == [pytest.approx(each) for each in expected]


def test_the_same_examples_are_mislabelled_each_time():
    one, other = (module.with_mislabelled(attacked.subject(over=100), 40) for _ in range(2))
    assert one[0].pool == other[0].pool
    np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize(("over", "enough"), [(79, False), (80, True)])
def test_a_pool_with_few_ordinary_examples_has_none_to_mislabel(over, enough):
    small = experiment(attacked.subject(over=over, under=120 - over)).under(PLANTED)
    if enough:
        assert len(list(small.exposure())) == 2
        return
    with pytest.raises(CannotResolveError, match="79 examples are too few to mislabel 40 of"):
        list(small.exposure())


@pytest.mark.parametrize("control", ["", PLANTED])
def test_exposure_needs_outliers(control):
    alone = experiment(attacked.subject(over=100, under=0))
    arm = alone.under(control) if control else alone
    with pytest.raises(CannotResolveError, match="the group 'random OOD' has 0 examples"):
        list(arm.exposure())
    assert alone.workshop.asked == []


# ---- detectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.7])
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_are_asked_of_the_references_that_have_not_seen_the_example(name, share):
    world = experiment(attacked.subject(over=100, under=40, share=share))
    said = DETECTORS[name](world.bank.column("pool", "logits")[world.references])
    outside = ~world.bank.membership[world.references]
    expected = [column[out].mean() for column, out in zip(said.T, outside.T, strict=True)]
    np.testing.assert_allclose(world.detected[name], expected)


def test_what_has_seen_the_example_and_other_models_do_not_count(given):
    changed = given.bank.but(OTHERS)
    logits = changed.column("pool", "logits")
    logits[given.bank.membership] += 7 * np.arange(3, dtype=np.float32)
    same = experiment(bank=changed)
    for name in DETECTORS:
        np.testing.assert_array_equal(same.detected[name], given.detected[name])
    one = np.flatnonzero(~given.bank.membership[5])[0]
    logits[5, one] += np.arange(3, dtype=np.float32)
    other = experiment(bank=changed)
    for name in DETECTORS:
        assert np.flatnonzero(other.detected[name] != given.detected[name]).tolist() == [one]


def test_the_memorized_are_above_0_on_the_references(given):
    expected = np.flatnonzero(memorization(given, REFERENCES) > 0)
    np.testing.assert_array_equal(given.memorized, expected)
    assert 40 < len(expected) < 140


@pytest.mark.parametrize(("count", "enough"), [(14, False), (15, True)])
def test_too_few_memorized_rank_nothing(given, count, enough):
    few = replace(given, cache=dict(given.cache))
    few.cache["memorization"] = np.where(np.arange(140) < count, 0.5 + np.arange(140) / 500, 0.0)
    for numbers in (few.prediction, few.proxies):
        if enough:
            assert len(list(numbers())) == 2
            continue
        with pytest.raises(CannotResolveError, match="14 examples have memorization above 0, of"):
            list(numbers())


# ---- prediction ----------------------------------------------------------------------------------


def test_memorization_and_detectors_rank_privacy_scores_of_other_models(given):
    units = list(given.prediction())
    predictor = memorization(given, REFERENCES)
    some, everyone = np.flatnonzero(predictor > 0), np.arange(140)
    assert len(units) == 2
    for unit, models in zip(units, UNITS_OF_OTHERS, strict=True):
        truth = privacy_of(given, models)
        own, every = (spearman(predictor[each], truth[each]) for each in (some, everyone))
        expected = {"memorization itself": own}
        for name in DETECTORS:
            score = given.detected[name]
            expected[f"less {name}"] = own - spearman(score[some], truth[some])
            expected[f"less {name}, all examples"] = every - spearman(score, truth)
        assert unit == pytest.approx(expected)
        assert unit["memorization itself"] > 0.5


def test_a_detector_that_ranks_the_other_way_predicts_the_less(given):
    mirrored = replace(given, cache=dict(given.cache))
    mirrored.cache["detected"] = {name: -score for name, score in given.detected.items()}
    for unit, before in zip(mirrored.prediction(), given.prediction(), strict=True):
        own = unit["memorization itself"]
        for name in DETECTORS:
            assert own - unit[f"less {name}"] == pytest.approx(before[f"less {name}"] - own)
            assert unit[f"less {name}, all examples"] > before[f"less {name}, all examples"]


def test_predictors_have_not_seen_what_they_predict(given):
    """Other targets change what is predicted, and no predictor."""
    other = experiment(bank=given.bank.but(UNITS_OF_OTHERS[1]))
    one, two = zip(given.prediction(), other.prediction(), strict=True)
    assert one[0] == one[1]
    assert two[0] != two[1]
    one, two = zip(given.proxies(), other.proxies(), strict=True)
    assert one[0] == one[1]
    assert two[0] != two[1]


def test_shuffled_memorization_ranks_nothing_and_detectors_rank_as_before(given):
    arm = given.under(SHUFFLED)
    units = list(arm.prediction())
    again = experiment(bank=given.bank).under(SHUFFLED)
    assert list(again.prediction()) == units
    for unit, before in zip(units, given.prediction(), strict=True):
        assert abs(unit["memorization itself"]) < 0.1
        for name in DETECTORS:
            of_detector = before["memorization itself"] - before[f"less {name}"]
            own = unit["memorization itself"]
            assert unit[f"less {name}"] == pytest.approx(own - of_detector)
            key = f"less {name}, all examples"
            assert unit[key] < before[key] - 0.3
    assert units[0]["memorization itself"] != units[1]["memorization itself"]


def test_a_shuffle_is_the_mean_over_50_deals_of_the_memorized(given, monkeypatch):
    dealt = []
    spearman_of = module.spearman

    def spy(one, other):
        dealt.append((np.array(one), np.array(other), spearman_of(one, other)))
        return dealt[-1][-1]

    monkeypatch.setattr(module, "spearman", spy)
    units = list(given.under(SHUFFLED).prediction())
    some = given.memorized
    of_these = [
        each
        for each in dealt
        if len(each[0]) == len(some)
        and np.array_equal(np.sort(each[0]), np.sort(given.memorization[some]))
    ]
    assert len(of_these) == len({tuple(one) for one, _, _ in of_these}) == 2 * 50
    for number, (unit, models) in enumerate(zip(units, UNITS_OF_OTHERS, strict=True)):
        of_unit = of_these[50 * number : 50 * number + 50]
        truth = privacy_of(given, models)[some]
        for one, other, _ in of_unit:
            np.testing.assert_allclose(other, truth)
            assert not np.array_equal(one, given.memorization[some])
        assert unit["memorization itself"] == pytest.approx(np.mean([r for _, _, r in of_unit]))


# ---- proxies -------------------------------------------------------------------------------------


def test_detectors_rank_memorization_of_other_models_less_than_memorization_does(given):
    predictor = memorization(given, REFERENCES)
    some = np.flatnonzero(predictor > 0)
    for unit, models in zip(given.proxies(), UNITS_OF_OTHERS, strict=True):
        truth = memorization(given, models)[some]
        again = spearman(predictor[some], truth)
        expected = {"again": again}
        for name in DETECTORS:
            rank = abs(spearman(given.detected[name][some], truth))
            expected[name], expected[f"again less {name}"] = rank, again - rank
        assert unit == pytest.approx(expected)
        assert again > 0.5


def test_a_detector_that_ranks_the_other_way_counts_as_much(given):
    mirrored = replace(given, cache=dict(given.cache))
    mirrored.cache["detected"] = {name: -score for name, score in given.detected.items()}
    for unit, before in zip(mirrored.proxies(), given.proxies(), strict=True):
        assert unit == pytest.approx(before)
        assert min(unit[name] for name in DETECTORS) >= 0


def test_a_constant_ranks_nothing(given):
    constant = replace(given, cache=dict(given.cache))
    constant.cache["detected"] = {"MSP": np.full(140, -1.0), "energy": given.detected["energy"]}
    for unit, other in zip(constant.proxies(), constant.prediction(), strict=True):
        assert unit["MSP"] == 0
        assert unit["energy"] > 0
        assert other["less MSP"] == other["memorization itself"]


def test_independent_memorization_is_the_best_proxy(given):
    predictor = memorization(given, REFERENCES)
    some = np.flatnonzero(predictor > 0)
    for unit, models in zip(given.under(INDEPENDENT).proxies(), UNITS_OF_OTHERS, strict=True):
        again = spearman(predictor[some], memorization(given, models)[some])
        assert unit == pytest.approx(
            {
                "MSP": again,
                "energy": again,
                "again": again,
                "again less MSP": 0,
                "again less energy": 0,
            }
        )
        assert again > 0.6


# ---- removal -------------------------------------------------------------------------------------


def error(bank, models, subject):
    right = bank.column("test", "correct")[models][:, subject.test.groups == UNDER]
    return 1 - right.mean()


def test_removal_compares_test_errors_of_the_under_represented_block_by_block():
    world = experiment()
    units = list(world.removal())
    names = [subject.name for subject, _, _ in world.workshop.asked]
    assert names == [
        "digits-planted-without-random",
        "digits-planted-without-singletons",
        "digits-planted-without-other-outliers",
    ]
    assert {models for _, models, _ in world.workshop.asked} == {3 * 64}
    random, *others = world.workshop.given
    for number, unit in enumerate(units):
        block = slice(64 * number, 64 * number + 64)
        target = slice(192 + block.start, 192 + block.stop)
        baseline = error(random, block, world.subject)
        expected = {
            name: error(bank, block, world.subject) - baseline
            for name, bank in zip(("singletons", "other outliers"), others, strict=True)
        }
        expected["nothing"] = error(world.bank, target, world.subject) - baseline
        assert unit == pytest.approx(expected)
    assert len(units) == len({unit["singletons"] for unit in units}) == 3


def positions(part, whole):
    """Where the examples of a part are in the whole pool."""
    index = {image.tobytes(): at for at, image in enumerate(whole.images)}
    return [index[image.tobytes()] for image in part.images]


def removed(subject, world):
    kept = positions(subject.pool, world.subject.pool)
    assert kept == sorted(kept)  # in the pool's order
    np.testing.assert_array_equal(subject.pool.labels, world.subject.pool.labels[kept])
    np.testing.assert_array_equal(subject.pool.groups, world.subject.pool.groups[kept])
    same = ("test", "model", "recipe", "share", "validation")
    assert all(getattr(subject, name) is getattr(world.subject, name) for name in same)
    return sorted(set(range(len(world.subject.pool))) - set(kept))


@pytest.mark.parametrize(
    ("share", "singletons", "count"),
    [(0.5, 10, 10), (0.5, 11, 10), (0.5, 17, 16), (0.7, 13, 10), (0.7, 20, 20), (0.75, 15, 12)],
)
def test_the_most_memorized_singletons_are_removed_and_the_share_stays_whole(
    share, singletons, count
):
    world = experiment(attacked.subject(over=100, under=60, share=share))
    world.cache["groups"] = {**world.groups, SINGLETONS: np.arange(150 - singletons, 150)}
    values = np.random.default_rng(0).random(160)
    world.cache["memorization"] = values
    list(world.removal())
    _, (one, _, _), (other, _, _) = world.workshop.asked
    chosen = world.groups[SINGLETONS]
    assert removed(one, world) == sorted(chosen[np.argsort(-values[chosen])[:count]].tolist())
    others = removed(other, world)
    assert len(others) == count
    assert set(others) <= set(range(100, 160)) - set(chosen.tolist())
    assert others != sorted(set(range(100, 160)) - set(chosen.tolist()))[:count]
    assert (160 - count) * share == int((160 - count) * share)


def test_random_examples_are_from_the_whole_pool_and_as_many():
    world = experiment()
    list(world.removal())
    random, singletons, _ = (removed(subject, world) for subject, _, _ in world.workshop.asked)
    assert len(random) == len(singletons)
    assert 0 < sum(example < 100 for example in random) < len(random)
    again = experiment()
    list(again.removal())
    assert removed(again.workshop.asked[0][0], again) == random


def test_under_the_control_other_random_examples_take_the_singletons_place():
    world = experiment()
    list(world.removal())
    random, singletons, _ = (removed(subject, world) for subject, _, _ in world.workshop.asked)
    control = experiment().under(RANDOM_REMOVAL)
    units = list(control.removal())
    names = [subject.name for subject, _, _ in control.workshop.asked]
    assert names == ["digits-planted-without-random", "digits-planted-without-more-random"]
    same, other = (removed(subject, control) for subject, _, _ in control.workshop.asked)
    assert same == random
    assert len(other) == len(random)
    assert other not in (random, singletons)
    assert 0 < sum(example < 100 for example in other) < len(other)
    block = slice(64, 128)
    one, two = (error(bank, block, control.subject) for bank in control.workshop.given)
    assert [list(unit) for unit in units] == [["singletons", "nothing"]] * 3
    assert units[1]["singletons"] == pytest.approx(two - one)


def test_without_as_many_other_outliers_only_singletons_are_removed():
    world = experiment()
    for first, others in ((120, 20), (119, 19)):  # of 21 too, 20 are removed
        world.cache["groups"] = {**world.groups, SINGLETONS: np.arange(first, 140)}
        names = ["singletons", "other outliers", "nothing"]
        names = names if others == 20 else ["singletons", "nothing"]
        assert [list(unit) for unit in world.removal()] == [names] * 3


def test_as_many_models_as_declared_are_trained_without():
    size = replace(SIZE, removal=2)
    world = experiment(size=size)
    assert len(list(world.removal())) == 2
    assert {models for _, models, _ in world.workshop.asked} == {128}


@pytest.mark.parametrize("control", ["", RANDOM_REMOVAL])
def test_too_few_singletons_are_not_removed(control):
    world = experiment()
    world.cache["groups"] = {**world.groups, SINGLETONS: np.arange(100, 109)}
    arm = world.under(control) if control else world
    with pytest.raises(CannotResolveError, match=r"the group 'singletons' above memorization 0\.8"):
        list(arm.removal())
    assert world.workshop.asked == []


def test_of_one_group_nothing_is_removed():
    world = experiment(attacked.subject(over=100, under=0))
    world.cache["groups"][SINGLETONS] = np.arange(80, 100)
    with pytest.raises(CannotResolveError, match="the group 'random OOD' has 0 examples"):
        list(world.removal())
    assert world.workshop.asked == []


def test_singletons_that_are_a_whole_class_cannot_be_removed():
    plain = attacked.subject(over=100, under=40)
    labels = np.where(np.arange(140) < 120, plain.pool.labels, 3)
    pool = Dataset(plain.pool.images, labels, plain.pool.groups)
    subject = replace(plain, pool=pool, model=partial(mlp, attacked.SIDE**2, 2, 4))
    world = experiment(subject)
    world.cache["groups"] = {**world.groups, SINGLETONS: np.arange(120, 140)}
    with pytest.raises(CannotResolveError, match="takes out every example of class 3"):
        list(world.removal())


def test_a_test_set_without_the_under_represented_says_so():
    """As of one's own mixture whose test examples are of one group."""
    plain = attacked.subject(over=100, under=40)
    test = plain.test.subset(np.flatnonzero(plain.test.groups == OVER))
    world = experiment(replace(plain, test=test))
    with pytest.raises(CannotResolveError, match="the test set of digits-planted has no example"):
        list(world.removal())
    assert world.workshop.asked == []


@pytest.mark.parametrize(("of_under", "enough"), [(0.37, False), (0.6, True)])
def test_what_is_hardly_learned_cannot_be_hurt(of_under, enough):
    """Of three classes a third is chance, and 40 % the least."""
    world = experiment(of_under=of_under)
    if enough:
        assert len(list(world.removal())) == 3
        return
    with pytest.raises(CannotResolveError, match=r"under-represented test examples are right, and"):
        list(world.removal())
    assert world.workshop.asked == []
    plain = attacked.subject(over=100, under=40, name="digits-planted-miniature")
    assert len(list(experiment(plain, of_under=of_under).removal())) == 3


def test_two_classes_that_are_learned_can_be_hurt():
    """Where chance is one half."""
    plain = attacked.subject(over=100, under=40)

    def halved(data):
        return Dataset(data.images, data.labels % 2, data.groups, data.name)

    subject = replace(
        plain,
        pool=halved(plain.pool),
        test=halved(plain.test),
        model=partial(mlp, attacked.SIDE**2, 2, 2),
    )
    assert len(list(experiment(subject, of_under=0.95).removal())) == 3


def test_a_share_that_no_removal_leaves_whole_is_said():
    subject = attacked.subject(over=60, under=40, share=0.98)
    size = replace(SIZE, targets=3)
    world = experiment(subject, size)
    world.cache["groups"] = {**world.groups, SINGLETONS: np.arange(60, 100)}
    with pytest.raises(CannotResolveError, match=r"40 singletons are too few .* share of 0\.98 of"):
        list(world.removal())


def test_the_groups_come_from_the_shared_cache(given):
    assert given.members(OOD).tolist() == list(range(100, 140))
    assert given.under(PLANTED).cache is given.cache
