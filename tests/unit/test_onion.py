import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from benchsuite.data.dataset import Dataset
from benchsuite.experiments import onion as module
from benchsuite.experiments.onion import OnionExperiment
from benchsuite.experiments.onion_worlds import most
from benchsuite.experiments.world import World, cross_attack
from benchsuite.stats.verdict import CannotResolveError

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "planted.py")))
LAYERS = planted.Onion()
FIRST, SECOND = LAYERS.layers
ALONE = planted.Onion(unmasked=LAYERS.masked)  # nothing masks anything
NOTHING = planted.Onion(first=0.0, masked=0.0, unmasked=0.0, rest=0.0)


def onion(truth=LAYERS, **more):
    return planted.experiment(OnionExperiment, truth, **more)


def mean(units, name=None):
    return float(np.mean([unit if name is None else unit[name] for unit in units]))


def separated(d):
    """Advantage between two Gaussians d deviations apart."""
    return 2 * norm.cdf(d / 2) - 1


def best_tpr(separations, fpr):
    """TPR of the likelihood ratio over examples of these separations, pooled."""
    d = np.asarray(separations)[:, None]
    cut = brentq(lambda t: norm.sf((t + d**2 / 2) / d).mean() - fpr, -20, 40)
    return norm.sf((cut - d**2 / 2) / d).mean()


# ---- worlds --------------------------------------------------------------------------------------


def test_models_that_choose_are_never_among_those_that_measure():
    worlds = onion()
    confidence, membership = worlds.bank.column("pool", "confidence"), worlds.bank.membership
    assert worlds.models == 256
    np.testing.assert_array_equal(worlds.selection.confidence, confidence[:512])
    np.testing.assert_array_equal(worlds.base.confidence, confidence[512:])
    for world, rows in ((worlds.selection, slice(0, 512)), (worlds.base, slice(512, 768))):
        scores = cross_attack(confidence[rows], membership[rows])
        np.testing.assert_array_equal(world.scores, scores)


@pytest.mark.parametrize(("blocks", "models"), [(12, 256), (8, 256), (7, 192), (3, 64), (2, 64)])
def test_a_small_bank_gives_one_half_to_measure(blocks, models):
    worlds = onion(blocks=blocks)
    assert len(worlds.base) == worlds.models == models
    assert len(worlds.selection) == blocks * 64 - models
    assert len(worlds.without(worlds.exposed)) == models


def test_each_world_is_computed_once_for_all_arms(monkeypatch):
    computed = []
    of = World.of

    def counted(*args):
        computed.append(args)
        return of(*args)

    monkeypatch.setattr(World, "of", counted)
    worlds = onion()
    for arm in (worlds, worlds.under("random-layer"), worlds):
        list(arm.peels())
        list(arm.audits())
    assert len(computed) == 4  # selection, base, without the layer, without a random one


def test_worlds_of_another_share_cannot_be_resolved():
    subject = replace(planted.subject(100), share=0.7)
    worlds = onion(subject=subject, blocks=8)
    with pytest.raises(CannotResolveError, match=r"trains each model on a share of 0\.7"):
        list(worlds.peels())


def test_an_unknown_control_is_refused():
    with pytest.raises(ValueError, match=r"control='random' is unknown: use one of random-layer"):
        onion().under("random")


# ---- layers --------------------------------------------------------------------------------------


def test_the_exposed_layer_is_the_planted_one():
    worlds = onion()
    assert worlds.layer_size() == 10
    assert worlds.layer.examples == worlds.exposed.examples == tuple(FIRST)
    assert not set(worlds.safest.examples) & {*FIRST, *SECOND}
    advantage = worlds.selection.advantage
    others = np.delete(advantage, worlds.safest.examples)
    assert advantage[list(worlds.safest.examples)].max() <= others.min()


@pytest.mark.parametrize("examples", [100, 104, 110, 114, 256])
def test_what_a_layer_leaves_can_be_halved(examples):
    worlds = onion(truth=planted.Onion(examples + 10), examples=examples)
    assert worlds.layer_size() % 2 == 0
    assert abs(worlds.layer_size() - examples / 10) <= 1
    sizes = {len(each) for each in (worlds.exposed, worlds.safest, worlds.random)}
    assert sizes == {worlds.layer_size()}


def test_a_random_layer_is_another_one_and_always_the_same():
    worlds = onion()
    control = worlds.under("random-layer")
    assert control.layer.examples == worlds.random.examples == onion().random.examples
    assert len(set(control.layer.examples) & set(FIRST)) <= 3
    assert control.exposed.examples == worlds.exposed.examples


def test_most_takes_the_first_of_equals():
    np.testing.assert_array_equal(most(np.array([1.0, 3.0, 3.0, 2.0, 3.0]), 2), [1, 2])


def test_a_layer_that_empties_a_class_cannot_be_resolved():
    plain = planted.subject(100)
    labels = np.where(np.isin(np.arange(100), FIRST), 3, np.arange(100) % 3)
    pool = Dataset(plain.pool.images, labels, plain.pool.groups)
    subject = replace(plain, pool=pool, test=pool, model=planted.partial(planted.mlp, 16, 2, 4))
    with pytest.raises(CannotResolveError, match="'exposed' takes out every example of class 3"):
        list(onion(subject=subject).peels())


def test_a_pool_without_a_layer_cannot_be_resolved():
    worlds = onion(examples=8)
    assert worlds.layer_size() == 0
    with pytest.raises(CannotResolveError, match="takes out no example"):
        list(worlds.peels())


# ---- peels ---------------------------------------------------------------------------------------


def test_the_effect_is_the_planted_one():
    """What a perfect attacker would gain, but for what 128 models do not tell."""
    fpr = planted.SIZE.fpr
    rest = np.full(80, LAYERS.rest)
    masked, unmasked = ([*rest, *[d] * 10] for d in (LAYERS.masked, LAYERS.unmasked))
    expected = np.log(best_tpr(unmasked, fpr) / best_tpr(masked, fpr))
    units = [unit for seed in range(3) for unit in onion(seed=seed).peels()]
    assert len(units) == 12
    assert mean(units, "log (R/I)") == pytest.approx(expected, abs=0.2)
    whole = np.log(best_tpr([*masked, *[LAYERS.first] * 10], fpr) / best_tpr(masked, fpr))
    assert mean(units, "log (B/I)") == pytest.approx(whole, abs=0.2)
    for unit in units:
        assert unit["log (B/R)"] == pytest.approx(unit["log (B/I)"] - unit["log (R/I)"])
        assert -0.05 < unit["accuracy lost"] < 0.05


def test_there_is_no_effect_where_nothing_masks():
    units = [unit for seed in range(3) for unit in onion(ALONE, seed=seed).peels()]
    assert mean(units, "log (R/I)") == pytest.approx(0, abs=0.15)
    control = [unit for seed in range(3) for unit in onion(seed=seed).under("random-layer").peels()]
    assert mean(control, "log (R/I)") == pytest.approx(0, abs=0.15)


def test_both_thresholds_are_set_on_the_kept_examples():
    worlds = onion()
    first, *_ = worlds.peels()
    kept = worlds.exposed.kept
    base, real = worlds.base.part(slice(0, 64)), worlds.without(worlds.exposed).part(slice(0, 64))
    logs = [np.log(each.tpr(0.02)) for each in (real, base.take(kept))]
    assert first["log (R/I)"] == pytest.approx(logs[0] - logs[1])
    np.testing.assert_array_equal(real.examples, kept)


def test_an_fpr_that_no_block_resolves_is_said():
    worlds = onion(size=replace(planted.SIZE, fpr=1e-3))
    with pytest.raises(CannotResolveError, match=r"2,880 non-members allow 2\.9 false positives"):
        list(worlds.peels())


def test_accuracy_is_of_the_models_of_each_block():
    lost = [unit["accuracy lost"] for unit in onion().peels()]
    assert len(set(lost)) == 4


def test_what_should_not_matter_does_not():
    units = [u for seed in range(3) for u in onion(seed=seed).removals_that_should_not_matter()]
    assert mean(units, "random") == pytest.approx(0, abs=0.15)
    assert mean(units, "safest") == pytest.approx(0, abs=0.15)
    worlds = onion()
    for unit, one, other in zip(
        worlds.removals_that_should_not_matter(),
        worlds.effect(worlds.random),
        worlds.effect(worlds.safest),
        strict=True,
    ):
        assert unit == {"random": one["log (R/I)"], "safest": other["log (R/I)"]}
    control = onion().under("exposed-layer")
    peeled = [unit["log (R/I)"] for unit in onion().peels()]
    for unit, effect in zip(control.removals_that_should_not_matter(), peeled, strict=True):
        assert unit == {"random": effect, "safest": effect}


# ---- agreement -----------------------------------------------------------------------------------


def _spread(examples):
    """Every example a little better told apart than the one before it."""
    return planted.apart(np.linspace(0, 1.2, examples))


def test_reliability_is_that_of_as_many_models(monkeypatch):
    """Two halves of 512 models correlate as the formula says of parts of 128."""
    monkeypatch.setattr(module, "RELIABLE_AT", 512)
    stated, measured, parts = [], [], []
    for seed in range(3):
        worlds = onion(_spread(200), examples=200, blocks=16, seed=seed)
        units = list(worlds.agreement())
        assert len(units) == 4
        stated.append(mean(units, "r"))
        parts.append(mean(units, "r of parts"))
        whole = [
            World.of(worlds.bank, np.arange(200), rows) for rows in (slice(512), slice(512, 1024))
        ]
        measured.append(np.corrcoef([each.advantage for each in whole])[0, 1])
    assert np.mean(stated) == pytest.approx(np.mean(measured), abs=0.03)
    assert np.mean(parts) < np.mean(measured) - 0.1


def test_independent_parts_find_the_planted_layer():
    for unit in onion(blocks=16).agreement():
        assert unit["overlap"] == 1
        assert 0.8 < unit["r of parts"] < unit["r"] <= 1


def test_where_nothing_is_memorized_parts_agree_on_nothing():
    worlds = onion(NOTHING, examples=100, blocks=16)
    assert mean(worlds.agreement(), "r of parts") == pytest.approx(0, abs=0.15)
    assert mean(worlds.agreement(), "overlap") < 0.3


def test_permuted_advantages_agree_on_nothing():
    units = list(onion(blocks=16).under("permuted").agreement())
    assert mean(units, "overlap") < 0.3
    assert mean(units, "r of parts") == pytest.approx(0, abs=0.15)


def test_a_reliability_is_a_correlation_even_where_chance_makes_it_negative():
    """At a correlation of -1/15 between parts of 64 models the formula would divide by zero."""
    units = [
        unit
        for seed in range(5)
        for unit in onion(NOTHING, examples=20, blocks=16, seed=seed).agreement(pairs=8)
    ]
    negative = [unit for unit in units if unit["r of parts"] < 0]
    assert len(negative) >= 5
    assert all(-1 <= unit["r"] < 0 for unit in negative)


# ---- foreign outliers ----------------------------------------------------------------------------


class WithOutliers(planted.Onion):
    """The onion where outliers, which are added to what a peel keeps, are told apart well."""

    outliers = 5.0

    def __call__(self, pool, membership):
        if pool.groups.any():
            return super().__call__(pool, membership)
        separation = np.full(len(pool), self.rest)
        second = np.isin(np.delete(np.arange(100), FIRST), SECOND)
        separation[:90][second] = self.unmasked
        separation[90:] = self.outliers
        return membership * separation


def test_outliers_take_the_place_of_the_layer():
    worlds = onion(WithOutliers())
    units = list(worlds.foreign_outliers_instead())
    subject, models, _ = worlds.workshop.asked[-1]
    assert models == worlds.models
    kept = worlds.exposed.kept
    assert (
        subject.pool.subset(range(90)).digest
        == Dataset(worlds.subject.pool.images[kept], worlds.subject.pool.labels[kept]).digest
    )
    assert len(subject.pool) == 100
    added = worlds.with_outliers(worlds.exposed)
    np.testing.assert_array_equal(added.examples, [*kept, *[-1] * 10])
    assert mean(units, "with outliers / without") == pytest.approx(0, abs=0.3)
    assert mean(units, "with outliers / idealised") > 0.8
    gap = norm.sf(1 - WithOutliers.outliers) - norm.sf(1 - LAYERS.first)
    assert mean(units, "memorization") == pytest.approx(gap, abs=0.02)


def test_the_layer_put_back_is_in_other_models_of_the_whole_pool():
    worlds = onion(WithOutliers())
    units = list(worlds.under("layer-put-back").foreign_outliers_instead())
    effect = [unit["log (R/I)"] for unit in worlds.peels()]
    assert len({unit["with outliers / idealised"] for unit in units}) == 4
    assert mean(units, "with outliers / idealised") == pytest.approx(0, abs=0.3)
    assert -mean(units, "with outliers / without") == pytest.approx(np.mean(effect), abs=0.3)
    assert 0 < abs(mean(units, "memorization")) < 0.05
    confidence = worlds.bank.column("pool", "confidence")
    np.testing.assert_array_equal(worlds.others.confidence, confidence[-512:-256])
    np.testing.assert_array_equal(worlds.base.confidence, confidence[-256:])


def test_a_pool_without_pictures_has_no_outliers():
    plain = planted.subject(100)
    pool = Dataset(plain.pool.images.reshape(100, 16), plain.pool.labels, plain.pool.groups)
    subject = replace(plain, pool=pool, test=pool)
    with pytest.raises(CannotResolveError, match=r"no outliers for this pool: .*\(90, 16\)"):
        list(onion(subject=subject).foreign_outliers_instead())


# ---- what a removal exposes ----------------------------------------------------------------------


def test_the_new_layer_is_as_exposed_as_planted():
    units = list(onion().new_layer())
    assert len(units) == 4
    expected = separated(LAYERS.unmasked) - separated(LAYERS.first)
    assert mean(units) == pytest.approx(expected, abs=0.03)


def test_choosing_the_new_layer_does_not_make_it_look_exposed():
    truth = planted.Onion(400, masked=0.0, unmasked=0.0, rest=0.0)
    units = [u for seed in range(2) for u in onion(truth, examples=400, seed=seed).new_layer()]
    assert mean(units) == pytest.approx(0 - separated(LAYERS.first), abs=0.03)


def test_a_random_new_layer_is_not_exposed():
    units = list(onion().under("random-layer").new_layer())
    assert mean(units) < -0.5


def test_unlearning_exposes_as_much_as_planted():
    units = list(onion(planted.Onion(400), examples=400).unlearning())
    assert len(units) == 4
    rise = separated(LAYERS.unmasked) - separated(LAYERS.masked)
    assert mean(units, "worst") == pytest.approx(rise, abs=0.1)
    assert mean(units, "mean") == pytest.approx(rise / 9, abs=0.03)


@pytest.mark.parametrize("separation", [0.0, 0.4])
def test_the_worst_rise_is_none_where_nothing_changes(separation):
    """Of 396 examples the four that chance raises most in other models do not rise in these."""
    truth = planted.apart(np.full(440, separation))
    units = [u for seed in range(6) for u in onion(truth, examples=440, seed=seed).unlearning()]
    assert mean(units, "worst") == pytest.approx(0, abs=0.045)
    assert mean(units, "mean") == pytest.approx(0, abs=0.01)


def test_unlearning_random_examples_exposes_little():
    control = list(onion().under("random-layer").unlearning())
    assert mean(control, "mean") < 0.03
    assert mean(control, "worst") < 0.3


def test_audits_count_the_planted_share():
    truth = planted.Onion(masked=0.0, rest=0.0)
    worlds = onion(truth)
    units = list(worlds.audits())
    safe = worlds.selection.advantage[worlds.exposed.kept] <= 0.1
    of_second = np.isin(worlds.exposed.kept, SECOND)
    assert safe.sum() > 60
    assert (safe & of_second).sum() >= 7
    assert units == [(safe & of_second).sum() / safe.sum()] * 4
    assert list(onion(NOTHING).audits()) == [0] * 4
    assert mean(worlds.under("random-layer").audits()) < 0.01


def test_an_audit_that_calls_nothing_safe_cannot_be_resolved():
    worlds = onion(planted.apart(np.full(100, 3.0)))
    with pytest.raises(CannotResolveError, match=r"no example has an advantage of 0\.1 or less"):
        list(worlds.audits())


@pytest.mark.parametrize("name", ["new_layer", "unlearning", "audits", "peels", "peeling"])
def test_a_bank_of_another_size_gives_whole_units(name):
    """Seven blocks leave three to measure, whose halves are unequal."""
    assert len(list(getattr(onion(blocks=7), name)())) == (4 if name == "peeling" else 3)


@pytest.mark.parametrize("name", ["new_layer", "unlearning", "audits"])
def test_one_block_cannot_both_choose_and_measure(name):
    with pytest.raises(CannotResolveError, match="64 models are no two blocks"):
        list(getattr(onion(blocks=2), name)())


# ---- peeling -------------------------------------------------------------------------------------


def test_peeling_removes_as_many_as_a_layer_each_once():
    worlds = onion()
    peeled = worlds.peeled
    assert len(peeled) == len(set(peeled.examples)) == 10
    trained = [subject.pool for subject, models, _ in worlds.workshop.asked if models == 128]
    assert [len(pool) for pool in trained] == [96, 94]  # after the first round and the second
    once, twice = (set(pool.groups) for pool in trained)
    assert set(peeled.kept) < twice < once


def test_each_round_takes_what_is_most_exposed_by_then():
    """The third round finds that the second layer has overtaken what is left of the first."""
    truth = planted.Onion(first=2.0, unmasked=8.0)
    worlds = onion(truth, size=replace(planted.SIZE, rounds=5))
    peeled = set(worlds.peeled.examples)
    assert 0 < len(peeled & set(FIRST)) < 10
    assert peeled <= {*FIRST, *SECOND}
    assert worlds.exposed.examples == tuple(FIRST)


@pytest.mark.parametrize(("rounds", "sizes"), [(1, []), (2, [96]), (50, [98, 96, 94, 92])])
def test_more_rounds_than_pairs_are_as_many_as_can_be(rounds, sizes):
    worlds = onion(size=replace(planted.SIZE, rounds=rounds))
    assert len(worlds.peeled) == 10
    assert [len(s.pool) for s, models, _ in worlds.workshop.asked if models == 128] == sizes


def test_peeling_and_one_shot_agree_on_a_planted_layer():
    units = list(onion(planted.Onion(first=6.0)).peeling())
    assert len(units) == 4
    assert [unit["overlap"] for unit in units] == [1] * 4
    assert [unit["overlap of one shots"] for unit in units] == [1] * 4
    assert [unit["log (peeled / one shot)"] for unit in units] == [0] * 4  # the same removal
    control = list(onion(planted.Onion(first=6.0)).under("random-layer").peeling())
    assert mean(control, "overlap") < 0.4
    assert mean(control, "log (peeled / one shot)") > 0.1
