"""Findings of models whose scores are planted: nothing is trained."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.data.dataset import Dataset
from benchsuite.experiments.canaries import ALL_FOUR, P_BELOW, CanaryExperiment
from benchsuite.experiments.canary_banks import CONVOLUTIONAL, MOMENTS, PLAIN
from benchsuite.experiments.canary_models import LEFT_OUT, NO_CANARY, CanaryModels
from benchsuite.experiments.regularisers import CLIPPED, DP, DROPOUT, ORDINARY
from benchsuite.experiments.sizes import CanarySize
from benchsuite.models import mlp
from benchsuite.shadows.design import Replacing
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Recipe

LETTERS, EACH = 3, 4
SIZE = CanarySize(LETTERS, EACH, 4, 4, 4, 1, 1, 4, 3, 2)
EXAMPLES = 60
IMAGES = np.random.default_rng(0).random((EXAMPLES, 1, 28, 28), dtype=np.float32)
POOL = Dataset(IMAGES, np.arange(EXAMPLES) % 3, name="noise")
SUBJECT = Subject("planted", POOL, POOL, partial(mlp, 784, 2, 3), Recipe(1), validation=POOL)
LOUD = 30.0


class Designs:
    """A workshop that trains nothing: its banks know their designs."""

    def __init__(self, columns=None):
        self.columns = columns

    def bank(self, subject, models, *, columns, probes, design):
        return SimpleNamespace(subject=subject, models=models, design=design, column=self.columns)


def models_of(effects=0.0, *, low=EACH, blocks=4, seed=0, **changes):
    """Of standard normal effects, those of each canary moved by so much [letters, canaries]."""
    rng, pairs = np.random.default_rng(seed), EACH + low
    groups = [[(k * 100 + p, k * 100 + 50 + p) for p in range(pairs)] for k in range(LETTERS)]
    present = Replacing(400, groups).present(0, 2 * pairs * blocks)
    moved = np.broadcast_to(effects, (LETTERS, pairs))
    noise = rng.normal(size=present.shape)
    shift = np.where(present >= 0, moved[np.arange(LETTERS), present.clip(0)], 0.0)
    numbers = {
        "effects": noise + shift,
        "m": np.where(present >= 0, 1.0, -1.0),
        "m_bernoulli": np.where(present >= 0, -1.0, 1.0),
        "t_p": np.where(present >= 0, 0.01, 0.5),
        "rank_p": np.where(present >= 0, 0.01, 0.5),
        "present": present,
        "high": EACH,
        "accuracy": np.linspace(0.8, 0.9, len(present)),
        **changes,
    }
    return CanaryModels(**numbers)


def clean_models(level=0.0):
    effects = np.random.default_rng(9).normal(size=(12, LETTERS)) + level
    zeros = np.zeros(effects.shape)
    present = np.full(effects.shape, NO_CANARY)
    return CanaryModels(effects, *[zeros] * 4, present, EACH, np.ones(12))


def experiment(*, columns=None, influence=None, **models):
    """With these models, by the names of their arms, "none" for the plain ones."""
    planted = CanaryExperiment(SUBJECT, SIZE, Designs(columns))
    cache = {**models}
    cache["influence"] = np.arange(EXAMPLES, dtype=float) if influence is None else influence
    cache.setdefault(PLAIN, models_of())
    cache.setdefault("wholly clean", clean_models())
    planted.cache.update(cache)
    return planted


def by_name(units):
    units = list(units)
    return {name: [unit[name] for unit in units] for name in units[0]}


def effects_of(high, low=0.0):
    return np.concatenate([np.full((LETTERS, EACH), high), np.full((LETTERS, EACH), low)], axis=1)


# ---- memorized -----------------------------------------------------------------------------------


def test_found_are_the_folds_whose_canaries_move_the_models():
    effects = effects_of(0.0)
    effects[:, 1] = LOUD
    effects[0, 2] = LOUD
    found = by_name(experiment(none=models_of(effects)).memorized())
    assert found["found"] == pytest.approx([0, 1, 1 / 3, 0], abs=0.1)
    assert found["of low self-influence"] == [0] * EACH


def test_either_direction_and_low_influence_are_told_beside():
    found = by_name(experiment(none=models_of(effects_of(-LOUD, LOUD))).memorized())
    assert found == {
        "found": [0] * EACH,
        P_BELOW: [0] * EACH,
        "found in either direction": [1] * EACH,
        "of low self-influence": [1] * EACH,
        "of low, in either direction": [1] * EACH,
    }


def test_among_clean_stand_ins_nothing_is_found():
    planted = experiment(none=models_of(effects_of(LOUD, LOUD)))
    found = by_name(planted.under("clean").memorized())
    assert set(found) == {"found", P_BELOW, "found in either direction"}
    assert np.mean(found["found"]) < 0.05
    stand_ins = planted.under("clean").plain
    below = [
        (stand_ins.p_values()[stand_ins.present == fold] < 0.05).mean() for fold in range(EACH)
    ]
    assert found[P_BELOW] == pytest.approx(below)


# ---- false alarms --------------------------------------------------------------------------------


def test_false_alarms_are_of_clean_models_at_both_levels():
    plain = models_of(effects_of(LOUD), seed=1)
    alarms = by_name(experiment(none=plain).false_alarms())
    assert set(alarms) == {
        "false alarms",
        "at 1 %",
        "of the paper's sign, M > 0",
        "of the paper's t-test",
        "of M > 0, Bernoulli features",
        "of the rank among glyphs",
        "of models without any canary",
    }
    clean, p = plain.present == NO_CANARY, plain.p_values()
    for name, level in (("false alarms", 0.05), ("at 1 %", 0.01)):
        shares = [(p[g::EACH][clean[g::EACH]] < level).mean() for g in range(EACH)]
        assert alarms[name] == pytest.approx(shares)
    assert alarms["false alarms"] != alarms["at 1 %"]
    assert alarms["of the paper's sign, M > 0"] == [0] * EACH  # m is below 0 in clean models
    assert alarms["of M > 0, Bernoulli features"] == [1] * EACH
    assert alarms["of the rank among glyphs"] == [0] * EACH


def test_models_without_any_canary_are_held_against_the_clean_ones_of_the_letter():
    loud = experiment(**{"wholly clean": clean_models(LOUD)})
    assert by_name(loud.false_alarms())["of models without any canary"] == [1] * EACH
    quiet = by_name(experiment().false_alarms())["of models without any canary"]
    assert np.mean(quiet) < 0.3


def test_models_with_canaries_stand_in_for_clean_ones():
    planted = experiment(none=models_of(effects_of(LOUD, -LOUD)))
    assert by_name(planted.under("stamped").false_alarms())["false alarms"] == [1] * EACH
    assert np.mean(by_name(planted.false_alarms())["false alarms"]) < 0.2


# ---- arms ----------------------------------------------------------------------------------------


def arm(effect, seed=0):
    return models_of(np.full((LETTERS, EACH), effect), low=0, seed=seed)


def test_each_of_the_papers_regularisers_has_its_share():
    arms = {name: arm(LOUD if name == DROPOUT else 0.0) for name in ORDINARY}
    found = by_name(experiment(**arms).despite_regularisers())
    assert list(found) == [*ORDINARY, ALL_FOUR, P_BELOW]
    assert found.pop(ALL_FOUR) == pytest.approx(np.mean([found[n] for n in ORDINARY], axis=0))
    assert found.pop(DROPOUT) == [1] * EACH
    assert min(found.pop(P_BELOW)) >= 1 / len(ORDINARY)
    assert np.max(list(found.values())) < 0.1
    clean = by_name(experiment(**arms).under("clean").despite_regularisers())
    assert np.mean(clean.pop(P_BELOW)) < 0.15
    assert np.max(list(clean.values())) < 0.1


def test_under_privacy_without_noise_another_arm_is_looked_at():
    planted = experiment(**{DP: arm(0.0), CLIPPED: arm(-LOUD)})
    private = by_name(planted.under_privacy())
    assert set(private) == {"told apart", "accuracy", "found"}
    assert np.mean(private["told apart"]) == pytest.approx(0, abs=0.15)
    assert np.mean(private["accuracy"]) == pytest.approx(0.85)
    clipped = by_name(planted.under("without-noise").under_privacy())
    assert clipped["told apart"] == [0.5] * EACH
    assert clipped["found"] == [0] * EACH


@pytest.mark.parametrize("name", [CONVOLUTIONAL, DROPOUT])
def test_other_models_are_compared_with_plain_ones_fold_by_fold(name):
    effects = effects_of(0.0)
    effects[:, 0] = LOUD
    plain, other = models_of(effects), arm(LOUD)
    more = by_name(experiment(**{PLAIN: plain, name: other}).less_plain(name))
    assert set(more) == {"told apart", "found"}
    assert more["told apart"] == pytest.approx(1 - plain.told_apart())
    assert more["told apart"][0] == 0
    assert more["found"] == pytest.approx([0, 1, 1, 1], abs=0.1)
    same = by_name(experiment(**{PLAIN: plain, name: other}).under("clean").less_plain(name))
    assert abs(np.mean(same["told apart"])) < 0.35
    assert max(map(abs, same["found"])) < 0.1


# ---- before overfitting --------------------------------------------------------------------------


def early_bank(best=9, stop=40, told_from=4, until=40, late=0):
    """Columns of models that have their best epoch there, and tell from an epoch on.

    Every eighth stops at epoch 6, and the first `late` of eight go on `until` another one.
    """
    present = Replacing(
        EXAMPLES + LETTERS * EACH,
        [[(10 * k + p, EXAMPLES + EACH * k + p) for p in range(EACH)] for k in range(LETTERS)],
    ).present(0, 2 * EACH * SIZE.arm_blocks)
    models = len(present)
    eighth = np.arange(models) % 8
    stops = np.where(eighth == 7, 6, np.where(eighth < late, until, stop))

    def column(probe, what, epoch=None):
        if (probe, what) == ("test", "correct"):
            return np.ones((models, 5), dtype=bool)
        running = epoch is None or epoch <= stops
        if (probe, what) == ("validation", "loss"):
            of_epoch = np.abs(epoch - np.minimum(best, stops)) + 1.0
            return np.where(running, of_epoch, np.nan)[:, None] * np.ones(6)
        assert (probe, what) == ("ood", "divergence")
        rng = np.random.default_rng(epoch or 0)
        said = np.exp(rng.normal(0, 0.1, (models, LETTERS, 6, 4)))
        told = epoch is None or epoch >= told_from
        said[:, :, 0] *= np.where(told & (present >= 0), 50.0, 1.0)[..., None]
        said[~np.broadcast_to(running, models)] = np.nan
        return said.reshape(models, -1, 4)

    return column


def test_the_epoch_at_which_canaries_are_told_apart_and_that_of_the_lowest_loss():
    planted = experiment(columns=early_bank())
    numbers = by_name(planted.before_overfitting())
    assert numbers["found"] == [1] * EACH
    assert numbers["epoch told apart best"] == [4] * EACH
    best = planted.best_epochs()
    assert set(best) == {6, 9}
    assert (best == 6).mean() == 1 / 8
    groups = [best[first::EACH].mean() for first in range(EACH)]
    assert numbers["epoch of lowest validation loss"] == groups


@pytest.mark.parametrize("late", [0, 3])
def test_epochs_that_less_than_half_of_the_models_reach_are_left_out(late):
    """They would be told apart best in those that are left, of which there may be none."""
    planted = experiment(columns=early_bank(best=5, stop=7, told_from=8, late=late))
    numbers = by_name(planted.before_overfitting())
    assert max(numbers["epoch told apart best"]) < 8
    assert set(numbers["epoch told apart best"]) <= set(MOMENTS)
    half = experiment(columns=early_bank(best=5, stop=7, told_from=8, late=4))
    assert by_name(half.before_overfitting())["epoch told apart best"] == [8] * EACH


def test_clean_stand_ins_of_models_that_stopped_early():
    planted = experiment(columns=early_bank()).under("clean")
    numbers = by_name(planted.before_overfitting())
    assert set(numbers) == {"found", P_BELOW}
    assert np.mean(numbers["found"]) < 0.1


# ---- self-influence ------------------------------------------------------------------------------


def correlated(slope):
    """Effects of canaries that are `slope` times their self-influence, and nearly no noise."""
    influence = np.zeros(EXAMPLES)
    influence[:12] = np.linspace(2, 1, 12)
    influence[-12:] = np.linspace(-1, -2, 12)
    planted = experiment(influence=influence)
    effects = slope * influence[planted.chosen]
    planted.cache[PLAIN] = models_of(100 * effects)
    return planted


def test_effects_that_follow_self_influence_correlate():
    units = list(correlated(1.0).influence_and_memorization())
    assert len(units) == SIZE.blocks
    for unit in units:
        assert set(unit) == {"r", "r below .6 by", "reliability"}
        assert unit["r"] > 0.99
        assert unit["r below .6 by"] == pytest.approx(0.6 - unit["r"])
        assert unit["reliability"] > 0.99
    assert all(unit["r"] < -0.99 for unit in correlated(-1.0).influence_and_memorization())


def test_r_is_that_of_the_mean_over_blocks_though_each_block_is_noisy():
    planted = correlated(0.0)
    influence = planted.influence[planted.chosen]
    planted.cache[PLAIN] = models_of(influence)  # as large as a clean model's deviation
    units = by_name(planted.influence_and_memorization())
    every = np.array(planted.effects_by_block())
    of_mean = np.corrcoef(influence.ravel(), every.mean(axis=0))[0, 1]
    of_block = np.mean([np.corrcoef(influence.ravel(), each)[0, 1] for each in every])
    assert of_mean > of_block + 0.05
    assert np.mean(units["r"]) == pytest.approx(of_mean, abs=(of_mean - of_block) / 3)
    alike = np.corrcoef(every)[0, 1]
    blocks = len(every)
    expected = blocks * alike / (1 + (blocks - 1) * alike)
    assert units["reliability"][0] == pytest.approx(expected)


def test_dealt_to_others_self_influence_says_nothing():
    units = by_name(correlated(1.0).under("shuffled").influence_and_memorization())
    assert np.abs(units["r"]).max() < 4 / np.sqrt(2 * EACH * LETTERS)
    assert len(set(units["r"])) == SIZE.blocks


def test_effects_that_are_noise_are_not_reliable():
    planted = correlated(0.0)
    planted.cache[PLAIN] = models_of(0.0, seed=4)
    units = by_name(planted.influence_and_memorization())
    assert np.mean(units["reliability"]) < 0.8
    every = planted.effects_by_block()
    half = np.corrcoef(every[0], every[1])[0, 1]
    assert units["reliability"][0] == pytest.approx(4 * half / (1 + 3 * half))


def test_effects_of_a_block_are_in_the_order_of_the_chosen_in_deviations_of_clean_models():
    effects = 100.0 * np.arange(LETTERS * 2 * EACH).reshape(LETTERS, -1)
    models = models_of(effects)
    planted = experiment(none=models)
    every = planted.effects_by_block()
    assert len(every) == SIZE.blocks
    for of_block in every:
        assert np.argsort(of_block).tolist() == list(range(effects.size))
    letter, model = 1, int(np.flatnonzero(models.present[:, 1] == 5)[0])
    clean = models.effects[models.present[:, letter] == NO_CANARY, letter]
    expected = (models.effects[model, letter] - clean.mean()) / clean.std(ddof=1)
    block = 4 * EACH
    assert every[model // block][letter * 2 * EACH + 5] == pytest.approx(expected)


def test_one_block_cannot_tell_reliability():
    planted = replace(experiment(none=models_of(blocks=1)), size=replace(SIZE, blocks=1))
    with pytest.raises(CannotResolveError, match="1 block of models: reliability needs two"):
        list(planted.influence_and_memorization())


def test_the_share_of_models_in_which_each_canary_is_found():
    effects = effects_of(0.0)
    effects[1, 2], effects[2, EACH] = LOUD, LOUD
    share = experiment(none=models_of(effects)).share_of_models_found().reshape(LETTERS, -1)
    assert share[1, 2] == share[2, EACH] == 1
    assert share.sum() == pytest.approx(2, abs=0.5)


# ---- the experiment ------------------------------------------------------------------------------


def test_controls_share_what_was_computed_and_leave_the_experiment():
    planted = experiment(none=models_of(effects_of(LOUD)))
    stand_in = planted.under("clean")
    assert stand_in.cache is planted.cache
    assert (stand_in.plain.present == LEFT_OUT).any()
    assert not (planted.plain.present == LEFT_OUT).any()


def test_a_figure_that_the_sample_does_not_give_is_none_and_an_unknown_one_an_error():
    planted = experiment(none=models_of(blocks=1))
    assert replace(planted, size=replace(SIZE, blocks=1)).figure("influence-score") is None
    with pytest.raises(KeyError):
        planted.figure("onions")
