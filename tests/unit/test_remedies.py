import sys
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from benchsuite import load_subject
from benchsuite.auditing import audit, auditor, remedies
from benchsuite.auditing.remedies import Workplace, check_remedies, private, try_remedies
from benchsuite.auditing.shadows import shadows_of
from benchsuite.auditing.strength import strengths
from benchsuite.shadows.design import Balanced
from benchsuite.training import Recipe
from benchsuite.training.accounting import privacy_spent

pytest.importorskip("opacus")
EPSILON, FPR = 4.0, 0.05


def normalised():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10)
    )


@pytest.fixture(scope="module")
def tiny():
    return load_subject("digits-tiny")


@pytest.fixture(scope="module")
def audited(tiny, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(auditor, "attacks_for", lambda _: (["LiRA"], []))
        folder = tmp_path_factory.mktemp("banks")
        return audit(tiny, models=64, fpr=FPR, epsilon=EPSILON, folder=folder), folder


def test_one_row_for_each_remedy(audited):
    table = audited[0].remedies
    names = table["remedy"].tolist()
    assert names[0] == "as it is"
    assert names[1].startswith("DP-SGD, epsilon 4 at delta 1e-05 (Opacus's RDP accountant)")
    assert names[2:] == ["the 30 most exposed ignored", "trained without these 30"]
    assert table["examples"].tolist() == [300, 300, 270, 270]
    assert not table.isna().any().any()
    assert (table["found_low"] <= table["found"]).all()
    assert (table["found"] <= table["found_high"]).all()


def test_the_first_row_is_the_audits_own(audited):
    found = audited[0]
    row = found.remedies.iloc[0]
    assert row["found"] == found.attacks["tpr"].iloc[0]
    assert row["memorization"] == found.memorization.estimate


def test_remedies_change_what_they_should(audited):
    as_it_is, private_, ignored, without = (row for _, row in audited[0].remedies.iterrows())
    assert as_it_is["found"] > private_["found"]
    assert as_it_is["accuracy"] > private_["accuracy"] + 0.05
    assert as_it_is["found"] > ignored["found"]
    assert as_it_is["memorization"] > ignored["memorization"]
    assert without["accuracy"] < as_it_is["accuracy"] + 0.02


def test_the_removed_are_chosen_by_other_models_than_those_that_are_shown(tiny, audited):
    found, folder = audited
    shadows = shadows_of(tiny, 64, folder=folder)
    (attack,) = strengths(shadows.observations, ["LiRA"], FPR)
    changed = replace(attack, scores=attack.scores.copy())
    changed.scores[32:] = np.where(np.arange(300) < 30, 1e6, -1e6)
    place = Workplace(64, folder, None, None)
    same = try_remedies(shadows, changed, FPR, EPSILON, place).table
    assert same.equals(found.remedies)


def test_epsilon_is_what_the_accountant_counts(tiny):
    recipe = private(tiny, EPSILON).recipe
    assert 0.99 * EPSILON < privacy_spent(recipe, 150, 1e-5).epsilon <= EPSILON
    assert replace(recipe, privacy=None) == tiny.recipe
    assert recipe.privacy.clip == 1


@pytest.mark.parametrize("share", [0.5, 0.25, 0.05, 0.7, 1 / 3, 0.99])
def test_about_a_tenth_is_removed_and_any_share_of_the_rest_is_whole(tiny, share):
    layer = remedies._layer_size(replace(tiny, share=share))
    Balanced(300 - layer, share)
    assert abs(layer - 30) <= (10 if share < 0.9 else 70)


def test_another_share_than_one_half(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(remedies, "noise_for", lambda *_: 1.0)
    remedies._noise.cache_clear()
    subject = replace(tiny, share=0.7, recipe=Recipe(epochs=1, batch_size=64), name="digits-70")
    shadows = shadows_of(subject, 80, folder=tmp_path)
    (attack,) = strengths(shadows.observations, ["LiRA"], FPR)
    table = try_remedies(shadows, attack, FPR, EPSILON, Workplace(80, tmp_path, None, None)).table
    assert table["examples"].tolist() == [300, 300, 270, 270]
    remedies._noise.cache_clear()


def refused(message, subject, tmp_path, **options):
    given = {"models": 64, "fpr": FPR, "epsilon": EPSILON, "folder": tmp_path} | options
    with pytest.raises(ValueError, match=message) as caught:
        audit(subject, **given)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())  # nothing was trained


def test_a_layer_that_mixes_examples_is_named(tiny, tmp_path):
    refused(r"layer 2 \(BatchNorm1d\)", replace(tiny, model=normalised), tmp_path)


@pytest.mark.parametrize("epsilon", [0, -1, np.inf, np.nan])
def test_an_epsilon_that_is_none_is_refused(tiny, tmp_path, epsilon):
    refused("epsilon=.* must be above 0 and finite", tiny, tmp_path, epsilon=epsilon)


def test_an_epsilon_out_of_reach_is_refused(tiny, tmp_path):
    refused("epsilon=1e-09 is out of reach", tiny, tmp_path, epsilon=1e-9)


def test_a_rate_that_half_of_the_models_cannot_resolve_is_refused_before_training(tiny, tmp_path):
    refused("fpr=0.01 and epsilon=4.0: .* pass fpr=0.02, or", tiny, tmp_path, fpr=0.01)
    check_remedies(tiny, 64, 0.02, EPSILON)


def test_too_few_models_for_two_halves_are_refused(tiny):
    with pytest.raises(ValueError, match="expected at least 32 in it"):
        check_remedies(tiny, 62, FPR, EPSILON)


def test_without_opacus_it_is_said(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    remedies._noise.cache_clear()
    with pytest.raises(ImportError, match="benchsuite\\[dp\\]"):
        audit(tiny, models=64, fpr=FPR, epsilon=EPSILON, folder=tmp_path)
    assert not list(tmp_path.iterdir())
