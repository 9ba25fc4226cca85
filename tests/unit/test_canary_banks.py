from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax
from torch import nn

from benchsuite.data.dataset import Dataset
from benchsuite.data.outliers import out_of_distribution
from benchsuite.experiments import canary_banks
from benchsuite.experiments.canary_banks import (
    BERNOULLI,
    CONVOLUTIONAL,
    FIRST_GLYPH,
    MOMENTS,
    UNIFORM,
    UNIQUE,
    CanaryBanks,
)
from benchsuite.experiments.canary_choice import OBSERVED_EPOCHS
from benchsuite.experiments.canary_models import LEFT_OUT
from benchsuite.experiments.regularisers import CLIPPED, DECAY, DP, DROPOUT, EARLY
from benchsuite.experiments.sizes import CANARY_SIZES
from benchsuite.memorization.unique_feature import calibrated_score, unique_feature_score
from benchsuite.models import cnn2, densenet, digits_cnn, mlp
from benchsuite.shadows.design import Replacing
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.subjects import digits28_tiny
from benchsuite.training import Recipe
from benchsuite.workshop import Workshop
from tests.silent import Silent

SIZE = replace(CANARY_SIZES["smoke"], arm_blocks=2)
LETTERS, EACH, IMAGES, GLYPHS = SIZE.letters, SIZE.of_each, SIZE.images, SIZE.glyphs
VERSIONS = FIRST_GLYPH + GLYPHS
CLEAN_OF_LETTER = -1


@pytest.fixture(scope="module")
def banks(tmp_path_factory):
    """Trained quickly enough that some models stop early."""
    subject = digits28_tiny()
    faster = replace(subject, recipe=replace(subject.recipe, learning_rate=0.01))
    return CanaryBanks(faster, SIZE, Workshop(tmp_path_factory.mktemp("banks"), "cpu", Silent))


# ---- canaries ------------------------------------------------------------------------------------


def test_canaries_are_other_images_of_the_highest_and_lowest_self_influence(banks):
    assert banks.chosen.shape == (LETTERS, 2 * EACH)
    assert len(np.unique(banks.chosen)) == banks.chosen.size
    assert banks.high.tolist() == banks.chosen[:, :EACH].tolist()
    ranked = np.argsort(-banks.influence)
    assert set(banks.high.ravel()) == set(ranked[: LETTERS * EACH])
    assert set(banks.chosen[:, EACH:].ravel()) == set(ranked[-LETTERS * EACH :])


def test_letters_get_canaries_in_turn(banks):
    """The first letter the highest, the second the next: none has all of the hardest."""
    ranked = np.sort(banks.influence)[::-1][: LETTERS * EACH]
    assert banks.influence[banks.high.T.ravel()].tolist() == ranked.tolist()


def test_influence_is_gradients_at_checkpoints_by_the_learning_rate(banks):
    gradients = [
        banks.clean_bank.column("pool", "squared_gradient", epoch=e).astype(float) for e in (1, 2)
    ]
    expected = 0.01 * (gradients[0].mean(axis=0) + gradients[1].mean(axis=0))
    assert banks.influence == pytest.approx(expected, rel=1e-6)
    assert banks.clean_bank.models == 12 * SIZE.clean_blocks
    assert banks.clean_bank.membership.all()


def test_a_stamped_copy_differs_from_its_original_under_the_letter_alone(banks):
    pool, before = banks.stamped.pool, banks.subject.pool
    assert len(pool) == len(before) + banks.chosen.size
    assert np.array_equal(pool.images[: len(before)], before.images)
    for letter, originals, copies in zip(banks.letters, banks.chosen, banks.copies, strict=True):
        assert np.array_equal(pool.images[copies], letter.stamped(before.images[originals]))
        assert pool.labels[copies].tolist() == before.labels[originals].tolist()
        elsewhere = pool.images[copies] - before.images[originals]
        elsewhere[..., letter.row : letter.row + 5, letter.column : letter.column + 5] = 0
        assert not elsewhere.any()


def test_a_model_is_trained_on_a_copy_exactly_where_it_lacks_the_original(banks):
    membership, present = banks.bank.membership, banks.plain.present
    assert len(membership) == 4 * EACH * SIZE.blocks
    copies = membership[:, banks.copies]
    assert np.array_equal(copies, ~membership[:, banks.chosen])
    assert copies.sum(axis=2).max() == 1
    assert copies.sum(axis=0).tolist() == np.full(banks.chosen.shape, SIZE.blocks).tolist()
    never = np.setdiff1d(np.arange(len(banks.subject.pool)), banks.chosen)
    assert membership[:, never].all()
    which = np.where(copies.any(axis=2), copies.argmax(axis=2), CLEAN_OF_LETTER)
    assert present.tolist() == which.tolist()


# ---- what models are asked -----------------------------------------------------------------------


def test_the_probe_is_clean_images_then_each_letter_and_what_it_is_compared_with(banks):
    probe, letters = banks.probe, banks.letters
    assert probe.groups.tolist() == np.repeat(np.arange(1 + LETTERS * VERSIONS), IMAGES).tolist()
    groups = probe.images.reshape(-1, IMAGES, *probe.images.shape[1:])
    clean = groups[0]
    foreign = out_of_distribution(banks.subject.pool, IMAGES, seed=0)
    assert np.array_equal(clean, foreign)
    of_pool = banks.subject.pool.images.reshape(300, -1)
    assert not (of_pool[:, None] == clean.reshape(IMAGES, -1)).all(axis=2).any()
    for number, letter in enumerate(letters):
        of_letter = groups[1 + number * VERSIONS :][:VERSIONS]
        under = np.s_[..., letter.row : letter.row + 5, letter.column : letter.column + 5]
        outside = of_letter - clean
        outside[under] = 0
        assert not outside.any()
        patches = of_letter[under].reshape(VERSIONS, IMAGES, 25)
        assert np.array_equal(patches[UNIQUE, 0], letter.glyph.ravel())
        assert (patches[UNIQUE] == patches[UNIQUE, 0]).all()
        uniform, bernoulli = patches[UNIFORM], patches[BERNOULLI]
        assert len(np.unique(uniform)) > 20 * IMAGES
        assert set(np.unique(bernoulli)) == {0, 1}
        assert len(np.unique(bernoulli, axis=0)) == IMAGES
        glyphs = patches[FIRST_GLYPH:]
        assert (glyphs == glyphs[:, :1]).all()
        assert (glyphs.sum(axis=2) == letter.glyph.sum()).all()
        assert not (glyphs[:, 0] == letter.glyph.ravel()).all(axis=1).any()
    assert (letters[0].row, letters[0].column) == (1, 1)


def test_all_arms_are_asked_the_same(banks):
    assert banks.under("clean").probe is banks.probe


# ---- scores --------------------------------------------------------------------------------------


def test_scores_are_those_of_the_models_own_outputs(banks):
    bank = banks.workshop.bank(
        banks.stamped,
        banks.bank.models,
        design=banks.bank.design,
        columns=("ood.logits", "test.correct"),
        probes={"ood": banks.probe},
    )
    said = softmax(bank.column("ood", "logits").astype(float), axis=-1)
    of_model = said.reshape(len(said), -1, IMAGES, said.shape[-1])
    scores = banks.plain
    for model in (0, 9, len(said) - 1):
        clean = of_model[model, 0]
        for letter in range(LETTERS):
            versions = of_model[model, 1 + letter * VERSIONS :][:VERSIONS]
            calibrated = calibrated_score(clean, versions[UNIQUE], versions[FIRST_GLYPH:])
            assert scores.effects[model, letter] == pytest.approx(calibrated.effect, abs=1e-3)
            assert scores.rank_p[model, letter] == calibrated.p_value
            for name, other in (("m", UNIFORM), ("m_bernoulli", BERNOULLI)):
                m = unique_feature_score(clean, versions[UNIQUE], versions[other]).m
                assert getattr(scores, name)[model, letter] == pytest.approx(m, rel=1e-3, abs=1e-6)
            papers = unique_feature_score(clean, versions[UNIQUE], versions[UNIFORM])
            assert scores.t_p[model, letter] == pytest.approx(papers.p_value, rel=0.02, abs=1e-4)
    correct = bank.column("test", "correct").mean(axis=1)
    assert scores.accuracy == pytest.approx(correct)
    assert scores.high == EACH


def test_models_without_any_canary_are_clean_of_every_letter(banks):
    models = banks.wholly_clean
    assert models.effects.shape == (12 * SIZE.clean_blocks, LETTERS)
    assert (models.present == CLEAN_OF_LETTER).all()


def test_clean_models_stand_in_under_that_control_alone(banks):
    stand_ins = banks.under("clean").plain
    assert stand_ins.present.tolist() == banks.plain.with_clean_stand_ins().present.tolist()
    assert (stand_ins.present == LEFT_OUT).any()
    for other in ("stamped", "shuffled", "without-noise"):
        assert banks.under(other).plain is banks.plain
    assert (banks.under("clean").arm(DROPOUT).present == LEFT_OUT).any()


# ---- arms ----------------------------------------------------------------------------------------


def test_models_under_a_regulariser_have_canaries_of_high_influence_alone(banks):
    models, membership = banks.arm(DROPOUT), banks.arm_bank(DROPOUT).membership
    assert len(models.effects) == 2 * EACH * SIZE.arm_blocks
    assert set(np.unique(models.present)) == {CLEAN_OF_LETTER, *range(EACH)}
    out = np.flatnonzero(~membership[:, : len(banks.subject.pool)].all(axis=0))
    assert set(out) == set(banks.high.ravel())


def test_what_is_only_reported_has_fewer_models(banks):
    assert banks.arm_bank(DECAY).models == 2 * EACH * SIZE.reported_blocks


def test_models_that_have_stopped_say_nothing_of_later_epochs(banks):
    bank = banks.arm_bank(EARLY)
    for epoch in MOMENTS:
        training = np.isfinite(bank.column("validation", "loss", epoch=epoch)).all(axis=1)
        said = np.isfinite(bank.column("ood", "divergence", epoch=epoch)).all(axis=(1, 2))
        assert said.tolist() == training.tolist()
        if epoch == 1:
            assert training.all()
    assert not training.all()


def test_scores_of_an_epoch_keep_the_rows_of_the_models_that_train_then(banks):
    bank = banks.arm_bank(EARLY)
    stopped = np.arange(bank.models) % 5 == 3

    def column(probe, what, epoch=None):
        values = bank.column(probe, what, epoch=epoch).copy()
        if epoch is not None:
            values[stopped] = np.nan
        return values

    half = SimpleNamespace(column=column, design=bank.design)
    every, left = banks.scores(bank, 1), banks.scores(half, 1)
    for name in ("effects", "m", "m_bernoulli", "rank_p", "present", "accuracy"):
        assert getattr(left, name).tolist() == getattr(every, name)[~stopped].tolist()
    assert len(banks.scores(half).effects) == bank.models


# ---- which models are asked for, trained by nobody -----------------------------------------------


class Notebook:
    """A workshop that trains nothing: it keeps what it was asked for."""

    def bank(self, subject, models, *, columns, probes, design):
        return SimpleNamespace(
            subject=subject, models=models, columns=columns, probes=probes, design=design
        )


def noise(shape=(1, 28, 28), examples=80, name="noise"):
    images = np.random.default_rng(0).random((examples, *shape), dtype=np.float32)
    return Dataset(images, np.arange(examples) % 3, name=name)


def planned(model=None, recipe=None, pool=None, **changes):
    pool = noise() if pool is None else pool
    model = partial(mlp, int(np.prod(pool.inputs().shape[1:])), 4, 3) if model is None else model
    subject = Subject("planned", pool, pool, model, recipe or Recipe(8), validation=pool)
    banks = CanaryBanks(subject, SIZE, Notebook(), **changes)
    banks.cache["influence"] = np.random.default_rng(1).random(len(pool))
    return banks


def test_influence_weighs_checkpoints_by_the_rates_of_their_last_steps():
    recipe = Recipe(epochs=60, batch_size=32, learning_rate=0.1, schedule="cosine")
    banks = planned(recipe=recipe)
    observed = banks.epochs_observed
    assert (observed[0], observed[-1], len(observed)) == (1, 60, OBSERVED_EPOCHS)
    losses = dict(zip(observed, np.geomspace(1, 1e-3, OBSERVED_EPOCHS), strict=True))

    def column(probe, what, epoch):
        assert probe == "pool"
        if what == "loss":
            return np.full((12, 80), losses[epoch])
        return np.outer(np.linspace(0, 2, 12), np.arange(80)) * epoch

    banks.workshop.bank = lambda *args, **kwargs: SimpleNamespace(column=column)
    del banks.cache["influence"]
    fallen = next(k for k, e in enumerate(observed) if losses[e] <= 0.05 * np.log(3))
    used = observed[np.unique(np.ceil(np.arange(1, 11) * (fallen + 1) / 10)).astype(int) - 1]
    assert len(used) < OBSERVED_EPOCHS
    rates = [0.05 * (1 + np.cos(np.pi * (3 * epoch - 1) / 180)) for epoch in used]
    assert banks.influence == pytest.approx(np.dot(rates, used) * np.arange(80))


def test_arms_are_other_subjects_on_the_same_stamped_pool():
    banks = planned()
    plain, high = banks.bank, planned().arm_bank(DP)
    assert plain.subject.pool.digest == banks.stamped.pool.digest
    assert (plain.design.block, high.design.block) == (4 * EACH, 2 * EACH)
    assert high.subject.recipe.privacy.noise == 1
    assert banks.arm_bank(CLIPPED).subject.recipe.privacy.noise == 0
    assert high.subject.pool.digest == banks.arm_bank(DROPOUT).subject.pool.digest
    assert len(high.subject.pool) == 80 + LETTERS * EACH
    assert [each.columns for each in (plain, high)] == [("test.correct", "ood.divergence")] * 2
    assert high.probes["ood"].digest == plain.probes["ood"].digest
    watched = set(banks.arm_bank(EARLY).columns)
    assert {f"ood.divergence@{epoch}" for epoch in MOMENTS} <= watched
    assert {f"validation.loss@{epoch}" for epoch in banks.epochs_watched} <= watched


def test_the_larger_network_is_the_papers_next(monkeypatch):
    larger = planned().arm_bank(CONVOLUTIONAL).subject
    assert larger.name == "planned-convolutional-canaries"
    kinds = [type(layer) for layer in larger.model()]
    assert kinds.count(nn.Conv2d) == 2
    assert kinds.count(nn.Linear) == 3
    assert next(larger.model().parameters()).shape == (SIZE.filters, 1, 3, 3)
    monkeypatch.setattr(canary_banks, "densenet", partial(densenet, depth=10))  # of 100 is slow
    on_colour = planned(partial(cnn2, 3, 16, 3), pool=noise((3, 16, 16), 40))
    assert on_colour.arm_bank(CONVOLUTIONAL).subject.model.func is densenet


def test_networks_without_a_larger_one_cannot_resolve():
    small = planned(partial(digits_cnn, 3), pool=noise((1, 8, 8)))
    with pytest.raises(CannotResolveError, match="planned is neither an mlp nor a cnn2"):
        small.arm_bank(CONVOLUTIONAL)
    with pytest.raises(CannotResolveError, match="images of 28 x 20 pixels are not square"):
        planned(pool=noise((1, 28, 20))).arm_bank(CONVOLUTIONAL)


def test_images_with_few_places_have_few_letters():
    assert len(planned().letters) == LETTERS
    assert len(planned(pool=noise((1, 8, 8))).letters) == 1


def test_nothing_is_computed_twice():
    banks, calls = planned(), []
    for each in (banks, banks.under("stamped")):
        assert each.once("it", lambda: calls.append(1) or 7) == 7
    assert calls == [1]


def test_a_design_without_groups_has_no_canary():
    assert Replacing(80).rows(0, 12).all()
    assert planned().clean_bank.design == Replacing(80)


# ---- errors --------------------------------------------------------------------------------------


def test_a_pool_with_fewer_images_than_canaries_is_refused():
    planned(pool=noise(examples=16))
    with pytest.raises(ValueError, match="pool has 15 examples, expected 16 or more"):
        planned(pool=noise(examples=15))


def test_images_too_small_for_a_letter_are_refused():
    with pytest.raises(ValueError, match="an image of 6 x 9 pixels is too small for a letter"):
        planned(pool=noise((1, 6, 9)))


def test_an_unknown_control_is_refused():
    with pytest.raises(ValueError, match="control='tidy' is unknown: use one of clean, stamped"):
        planned(control="tidy")
    with pytest.raises(ValueError, match="control='tidy' is unknown"):
        planned().under("tidy")


def test_a_pool_of_no_images_is_refused():
    with pytest.raises(ValueError, match=r"pool has images of shape .*: canaries are images"):
        planned(pool=noise((64,)))
