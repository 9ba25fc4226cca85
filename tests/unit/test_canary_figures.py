"""Arrays behind the figures of unique features, of a real experiment with few models."""

from dataclasses import replace

import numpy as np
import pytest

from benchsuite.data.canaries import LETTERS
from benchsuite.experiments import canary_figures
from benchsuite.experiments.canaries import CanaryExperiment
from benchsuite.experiments.canary_banks import CONVOLUTIONAL, PLAIN
from benchsuite.experiments.canary_figures import ARRAYS
from benchsuite.experiments.canary_models import NO_CANARY
from benchsuite.experiments.regularisers import REGULARISERS
from benchsuite.experiments.sizes import CANARY_SIZES
from benchsuite.report import feature_figures, feature_pictures, figures
from benchsuite.stats.intervals import t_interval
from benchsuite.subject import load_subject
from benchsuite.workshop import Workshop
from tests.silent import Silent


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    workshop = Workshop(tmp_path_factory.mktemp("banks"), "cpu", Silent)
    # Of one block of an arm too few models are clean for others to stand in for canary models.
    size = replace(CANARY_SIZES["smoke"], arm_blocks=2, compared_blocks=2, reported_blocks=2)
    return CanaryExperiment(load_subject("digits28-tiny"), size, workshop)


@pytest.fixture(scope="module")
def arrays(experiment):
    return {kind: experiment.figure(kind) for kind in ARRAYS}


def test_each_kind_of_arrays_has_a_drawing():
    assert set(ARRAYS) == set(feature_figures.KINDS) | set(feature_pictures.KINDS)


@pytest.mark.parametrize("kind", ARRAYS)
def test_the_arrays_of_every_figure_are_drawn(kind, arrays):
    drawing = figures.draw(kind, arrays[kind], "f")
    assert all(drawing.panels)
    assert drawing.caption


def test_maps_add_up_to_1_and_the_share_is_what_lies_under_the_letter(arrays):
    maps, places = arrays["where-it-looks"]["gradients"], arrays["where-it-looks"]["places"]
    assert maps.shape == (2, 2, 28, 28)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), 1)
    for of_letter, (row, column, height, width), share in zip(
        maps, places, arrays["where-it-looks"]["share"], strict=True
    ):
        under = of_letter[:, row : row + height, column : column + width]
        np.testing.assert_allclose(under.sum(axis=(1, 2)), share)


def test_one_clean_model_serves_all_letters_where_there_is_one(experiment, monkeypatch):
    asked = []
    real = canary_figures.train_again
    monkeypatch.setattr(
        canary_figures,
        "train_again",
        lambda bank, subject, models: asked.extend(models) or real(bank, subject, models),
    )
    experiment.figure("where-it-looks")
    present = experiment.plain.present[asked]
    wholly_clean = (present == NO_CANARY).all(axis=1)
    assert wholly_clean.sum() == 1
    assert (present[~wholly_clean] >= 0).any(axis=1).all()
    assert len(asked) <= 3


def test_the_share_found_by_letter_is_the_mean_over_its_canaries(experiment, arrays):
    models, by_letter = experiment.plain, arrays["by-letter"]
    assert by_letter["letters"].tolist() == list(LETTERS[:2])
    places = [(feature.row, feature.column) for feature in experiment.letters]
    assert list(zip(by_letter["rows"], by_letter["columns"], strict=True)) == places
    for letter in range(2):
        present, found = models.present[:, letter], models.found()[:, letter]
        of_canaries = [found[present == canary].mean() for canary in range(models.high)]
        interval = t_interval(of_canaries)
        names = "found", "found_low", "found_high"
        assert tuple(by_letter[name][letter] for name in names) == pytest.approx(interval)
        clean = present == NO_CANARY
        alarm = (models.p_values()[clean, letter] < 0.05).mean()
        assert by_letter["clean_alarm"][letter] == pytest.approx(alarm)
        effect = models.effects[clean, letter].mean()
        assert by_letter["clean_effect"][letter] == pytest.approx(effect)


def test_a_mean_over_no_positive_score_is_nan(experiment):
    plain = experiment.plain
    cache = {PLAIN: replace(plain, m=-np.ones(plain.m.shape))}
    of_none = replace(experiment, cache=cache)
    arrays = of_none.figure("regularisers")
    assert np.isnan(arrays["mean_positive"][0])
    assert arrays["mean_all"][0] == -1
    assert ">none<" in figures.draw("regularisers", arrays, "f").panels[1]


def test_ways_of_training_with_too_few_models_are_left_out(experiment, arrays):
    assert arrays["regularisers"]["arms"].tolist() == ["none", *REGULARISERS, CONVOLUTIONAL]
    few = replace(experiment, size=CANARY_SIZES["smoke"], cache={})
    assert few.figure("regularisers")["arms"].tolist() == ["none"]


def test_what_is_told_apart_is_named_so(experiment, arrays):
    for kind in ("regularisers", "along-training"):
        assert not {"effect", "effect_low", "effect_high"} & set(arrays[kind])
    row = arrays["regularisers"]
    apart = experiment.plain.told_apart()
    names = "apart", "apart_low", "apart_high"
    assert tuple(row[name][0] for name in names) == pytest.approx(t_interval(apart))


def test_best_epochs_are_those_of_the_experiment(experiment, arrays):
    along = arrays["along-training"]
    assert np.array_equal(along["best_epochs"], experiment.best_epochs())
    assert along["apart"].shape == along["epoch"].shape
