"""The arrays of the figures of outliers, against numbers counted another way."""

import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import OVER, UNDER
from benchsuite.experiments import outlier_figures
from benchsuite.experiments.attack_bank import SINGLETONS
from benchsuite.experiments.outlier_figures import ARRAYS
from benchsuite.experiments.outliers import OutlierExperiment
from benchsuite.models import mlp
from benchsuite.report import figures
from benchsuite.report.artifacts import load_artifact, save_artifact

attacked = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "attacked.py")))
REFERENCES, OTHERS = slice(0, 128), slice(128, 320)


@pytest.fixture(scope="module")
def given():
    return attacked.experiment(OutlierExperiment)


@pytest.fixture(scope="module")
def alone():
    return attacked.experiment(OutlierExperiment, attacked.subject(over=60, under=0))


def privacy(experiment, models):
    phi = experiment.observations.confidence[models].astype(float)
    inside = experiment.membership[models]
    members, others = np.ma.array(phi, mask=~inside), np.ma.array(phi, mask=inside)
    spread = members.std(axis=0) + others.std(axis=0)
    return np.asarray(abs(members.mean(axis=0) - others.mean(axis=0)) / spread)


def memorization(experiment, models):
    right, inside = experiment.correct[models], experiment.membership[models]
    return np.mean(right, axis=0, where=inside) - np.mean(right, axis=0, where=~inside)


@pytest.mark.parametrize("kind", ARRAYS)
def test_all_arrays_can_be_saved_and_drawn(kind, given, tmp_path):
    arrays = given.figure(kind)
    saved = load_artifact(tmp_path, save_artifact(tmp_path, kind, "a", **arrays))
    assert set(saved) == set(arrays)
    assert figures.draw(kind, saved, "f").panels


# ---- privacy-by-group --------------------------------------------------------------------------


def test_histograms_are_of_the_privacy_score_over_all_models(given):
    arrays = given.figure("privacy-by-group")
    scores = privacy(given, slice(0, 320))
    groups = {
        "over": np.arange(60),
        "under": np.arange(60, 100),
        "singletons": given.groups[SINGLETONS],
    }
    assert arrays["edges"][0] == 0
    assert arrays["edges"][-1] == pytest.approx(scores.max())
    assert len(arrays["edges"]) == outlier_figures.BINS + 1
    for name, group in groups.items():
        assert arrays[name].sum() == len(group)  # none lies outside the edges
        expected = np.histogram(scores[group], arrays["edges"])[0]
        np.testing.assert_array_equal(arrays[name], expected)
    assert (arrays["singletons"] <= arrays["under"]).all()
    assert arrays["over"].argmax() < arrays["singletons"].argmax()


def test_shares_are_of_the_outliers_alone(given):
    arrays = given.figure("privacy-by-group")
    scores = privacy(given, slice(0, 320))[60:]
    assert arrays["below_one"] == np.mean(scores < 1)
    assert arrays["below"] == np.mean(scores < 2)
    assert 0.2 < arrays["below_one"] < arrays["below"] < 1


def test_no_histogram_without_two_groups(alone):
    assert alone.figure("privacy-by-group") is None


# ---- outlier-scatter ---------------------------------------------------------------------------


def test_predictors_come_from_the_references_and_the_predicted_from_the_others(given):
    arrays = given.figure("outlier-scatter")
    expected = {
        "memorization": memorization(given, REFERENCES),
        "memorization_of_others": memorization(given, OTHERS),
        "privacy": privacy(given, OTHERS),
        "msp": given.detected["MSP"],
        "energy": given.detected["energy"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(arrays[name], values, rtol=1e-6, atol=1e-7)
    assert np.bincount(arrays["group"]).tolist() == [60, 40 - len(given.groups[SINGLETONS]), 15]
    assert (arrays["group"][given.groups[SINGLETONS]] == 2).all()


def test_rank_correlations_are_of_each_pair_and_set(given):
    arrays = given.figure("outlier-scatter")
    assert arrays["pairs"].tolist() == [
        "memorization - privacy",
        "MSP - privacy",
        "energy - privacy",
        "MSP - memorization",
        "energy - memorization",
    ]
    assert arrays["sets"].tolist() == ["all examples", "memorization above 0", OVER, UNDER]
    sets = [
        np.arange(100),
        np.flatnonzero(memorization(given, REFERENCES) > 0),
        np.arange(60),
        np.arange(60, 100),  # with the singletons
    ]
    assert arrays["examples"].tolist() == [len(each) for each in sets]
    below = {"memorization": memorization(given, REFERENCES), **given.detected}
    left = {"privacy": privacy(given, OTHERS), "memorization": memorization(given, OTHERS)}
    for k, pair in enumerate(arrays["pairs"]):
        one, other = str(pair).split(" - ")
        for number, each in enumerate(sets):
            ranks = rankdata(below[one][each]), rankdata(left[other][each])
            rho = np.corrcoef(*ranks)[0, 1]
            assert arrays["spearman"][k, number] == pytest.approx(rho, abs=1e-3)
            p = spearmanr(below[one][each], left[other][each]).pvalue
            assert arrays["p"][k, number] == pytest.approx(p, rel=0.05, abs=1e-12)
    assert arrays["p"].min() < 1e-6 < arrays["p"].max()


def test_what_is_constant_ranks_nothing(given):
    constant = replace(given, cache=dict(given.cache))
    constant.cache["detected"] = {"MSP": np.zeros(100), "energy": given.detected["energy"]}
    arrays = constant.figure("outlier-scatter")
    assert arrays["spearman"][[1, 3]].tolist() == [[0] * 4] * 2
    assert arrays["p"][[1, 3]].tolist() == [[1] * 4] * 2
    assert (arrays["spearman"][[0, 2, 4]] != 0).all()


def test_sets_that_are_too_small_are_left_out(alone):
    assert alone.figure("outlier-scatter")["sets"].tolist() == [
        "all examples",
        "memorization above 0",
    ]
    few = attacked.experiment(OutlierExperiment, attacked.subject(over=60, under=8))
    arrays = few.figure("outlier-scatter")
    assert arrays["sets"].tolist() == ["all examples", "memorization above 0", OVER]
    assert arrays["spearman"].shape == arrays["p"].shape == (5, 3)


def test_no_scatter_where_nothing_is_memorized(given):
    assert (
        replace(given, cache={**given.cache, "memorization": np.zeros(100)}).figure(
            "outlier-scatter"
        )
        is None
    )


# ---- memorization-levels -----------------------------------------------------------------------


def with_memorization(given, values):
    return replace(given, cache={**given.cache, "memorization": np.asarray(values, dtype=float)})


def test_levels_hold_who_is_counted_there(given):
    values = np.concatenate([np.linspace(-0.2, 0.1, 58), [0.100001, 0.5], np.linspace(0, 1, 40)])
    arrays = with_memorization(given, values).figure("memorization-levels")
    assert arrays["levels"].tolist() == ["up to .1", ".1 to .5", ".5 to .8", "above .8"]
    under = np.linspace(0, 1, 40)
    assert arrays["counts"].tolist() == [
        [58, (under <= 0.1).sum()],
        [2, ((under > 0.1) & (under <= 0.5)).sum()],
        [0, ((under > 0.5) & (under <= 0.8)).sum()],
        [0, (under > 0.8).sum()],
    ]
    upper = np.array([0.1, 0.5, 0.8, np.inf])
    assert (arrays["memorization"] <= upper[arrays["level"]]).all()
    assert (arrays["memorization"] > np.r_[-np.inf, upper][arrays["level"]]).all()


def test_at_most_ten_of_a_level_are_shown_from_both_groups(given):
    values = np.concatenate([np.linspace(-0.2, 0.1, 58), [0.100001, 0.5], np.linspace(0, 1, 40)])
    experiment = with_memorization(given, values)
    arrays = experiment.figure("memorization-levels")
    under = arrays["group"] > 0
    shown = [[int((at & side).sum()) for side in (~under, under)] for at in levels(arrays)]
    assert shown == [[6, 4], [2, 8], [0, 10], [0, 8]]
    first = arrays["memorization"][levels(arrays)[0] & ~under]
    assert first[[0, -1]] == pytest.approx([-0.2, 0.1])  # the ends, and evenly between
    assert np.ptp(np.diff(first)) < 0.02
    places = [int(np.flatnonzero(values == each)[0]) for each in arrays["memorization"][~under]]
    pool = experiment.subject.pool
    np.testing.assert_array_equal(arrays["images"][~under], pool.images[places, 0])
    np.testing.assert_array_equal(arrays["labels"][~under], pool.labels[places])
    singletons = {float(each) for each in values[given.groups[SINGLETONS]]}
    assert {float(each) for each in arrays["memorization"][arrays["group"] == 2]} <= singletons


def levels(arrays):
    return [arrays["level"] == k for k in range(len(arrays["levels"]))]


def test_alone_all_are_of_one_group(alone):
    arrays = with_memorization(alone, np.linspace(0, 1, 60)).figure("memorization-levels")
    assert arrays["counts"][:, 1].tolist() == [0] * 4
    assert arrays["counts"].sum() == 60
    assert 1 not in arrays["group"]


def test_what_is_no_picture_has_no_levels(given):
    rng = np.random.default_rng(0)
    pool = Dataset(
        rng.random((100, 6), dtype=np.float32), given.subject.pool.labels, given.subject.pool.groups
    )
    table = replace(given.subject, pool=pool, test=pool, model=partial(mlp, 6, 2, 3))
    assert replace(given, subject=table).figure("memorization-levels") is None
