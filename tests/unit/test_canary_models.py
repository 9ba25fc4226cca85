import numpy as np
import pytest
from scipy import stats

from benchsuite.experiments.canary_models import LEFT_OUT, NO_CANARY, CanaryModels
from benchsuite.shadows.design import Replacing
from benchsuite.stats.verdict import CannotResolveError

LETTERS, HIGH = 4, 6


def models_of(effect, low=0, blocks=2, seed=0):
    """Models whose effects are normal, those of a canary of high self-influence moved by effect."""
    rng = np.random.default_rng(seed)
    pairs = HIGH + low
    groups = [[(k * 100 + p, k * 100 + 50 + p) for p in range(pairs)] for k in range(LETTERS)]
    design = Replacing(400, groups, seed)
    present = design.present(0, blocks * design.block)
    means, spreads = rng.normal(0, 2, LETTERS), rng.uniform(0.2, 1, LETTERS)
    moved = np.where((present >= 0) & (present < HIGH), effect, 0.0)
    effects = means + spreads * (rng.normal(size=present.shape) + moved)
    nothing = np.zeros(present.shape)
    return CanaryModels(effects, *[nothing] * 4, present, HIGH, rng.uniform(0.9, 1, len(present)))


def test_a_model_is_tested_against_the_letters_other_clean_models():
    models = models_of(1.0)
    p = models.p_values()
    for letter in range(LETTERS):
        effects, clean = models.effects[:, letter], models.present[:, letter] == NO_CANARY
        for model in (0, 1, 7):
            null = np.delete(effects, model)[np.delete(clean, model)]
            t = (effects[model] - null.mean()) / null.std(ddof=1) / np.sqrt(1 + 1 / len(null))
            assert p[model, letter] == pytest.approx(stats.t.sf(t, len(null) - 1))
    two_sided = models.p_values(two_sided=True)
    assert two_sided == pytest.approx(2 * np.minimum(p, 1 - p))


def test_a_large_effect_is_found_and_none_is_not():
    assert models_of(12.0).share_found().min() == 1
    assert np.mean([models_of(0.0, seed=s).found().any() for s in range(200)]) < 0.1


def test_the_false_discovery_rate_is_held():
    """Half of the letters have an effect, half none."""
    rates = []
    for seed in range(100):
        models = models_of(6.0, seed=seed)
        null = models_of(0.0, seed=seed)
        mixed = np.where(np.arange(LETTERS) < 2, models.effects, null.effects)
        found = CanaryModels(**{**vars(models), "effects": mixed}).found()
        rates.append(found[:, 2:].sum() / max(1, found.sum()))
    assert np.mean(rates) < 0.05


def test_a_lesser_effect_is_found_in_either_direction_alone():
    models = models_of(-12.0)
    assert not models.found().any()
    assert models.share_found(two_sided=True).min() == 1


def test_low_canaries_are_tested_apart():
    models = models_of(12.0, low=3)
    assert models.share_found().tolist() == [1] * HIGH
    assert (
        models.found().sum() == (models.present < HIGH).sum() - (models.present == NO_CANARY).sum()
    )
    assert not models.found(low=True).any()
    assert len(models_of(12.0, low=HIGH).share_found(low=True)) == HIGH


def test_stand_ins_are_clean_models_and_no_canary_is_left():
    models = models_of(12.0)
    stand_ins = models.with_clean_stand_ins()
    assert (models.present[stand_ins.present != LEFT_OUT] == NO_CANARY).all()
    assert (stand_ins.present[models.present >= 0] == LEFT_OUT).all()
    for letter in range(LETTERS):
        _, counts = np.unique(stand_ins.present[:, letter], return_counts=True)
        assert counts.tolist() == [12, 6, *[1] * HIGH]
    assert stand_ins.found().mean() < 0.05
    assert np.isnan(stand_ins.p_values()[stand_ins.present == LEFT_OUT]).all()


def test_canaries_are_told_apart_in_either_direction():
    assert models_of(50.0).told_apart().tolist() == [1] * HIGH
    assert models_of(-50.0).told_apart().tolist() == [1] * HIGH


def test_clean_models_are_told_apart_by_chance():
    """As often as not, however few they are: 5 standard errors."""
    many = np.concatenate([models_of(0.0, seed=s).told_apart() for s in range(300)])
    assert many.mean() == pytest.approx(0.5, abs=5 * many.std() / np.sqrt(len(many)))


def test_folds_share_no_clean_model_of_a_letter():
    models, fold = models_of(3.0), 2
    before, effects = models.told_apart(), models.effects.copy()
    for letter, present in enumerate(models.present.T):
        low, high = np.flatnonzero(present == NO_CANARY)[fold :: models.high]
        effects[[low, high], letter] += [-1e3, 1e3]  # which leaves the mean of the clean ones
    after = CanaryModels(**{**vars(models), "effects": effects}).told_apart()
    assert after[fold] == 0 < before[fold]
    assert np.flatnonzero(after != before).tolist() == [fold]


def test_groups_of_models_partition_them():
    models = models_of(0.0)
    where = models.present == NO_CANARY
    shares = models.by_group(models.p_values() < 0.5, where, 4)
    assert len(shares) == 4
    assert np.mean(shares) == pytest.approx(0.5, abs=0.25)
    assert models.accuracies(4).mean() == pytest.approx(models.accuracy.mean())


def test_wholly_clean_models_are_tested_against_those_without_the_letter():
    models, others = models_of(0.0), models_of(0.0, seed=1)
    p = models.p_values_of(others)
    null = models.effects[models.present[:, 2] == NO_CANARY, 2]
    t = (others.effects[5, 2] - null.mean()) / null.std(ddof=1) / np.sqrt(1 + 1 / len(null))
    assert p[5, 2] == pytest.approx(stats.t.sf(t, len(null) - 1))


def test_too_few_clean_models_cannot_resolve():
    models = models_of(0.0)
    present = models.present.copy()
    present[np.flatnonzero(present[:, 1] == NO_CANARY)[3:], 1] = LEFT_OUT
    with pytest.raises(CannotResolveError, match="a letter has 3 clean models, expected at least"):
        CanaryModels(**{**vars(models), "present": present})
