from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.attacks.observations import Observations
from benchsuite.auditing import target
from benchsuite.auditing.shadows import Shadows
from benchsuite.auditing.strength import strengths
from benchsuite.auditing.target import check_trained_on, findings_on
from tests.audited import World

FPR = 0.02
NOBODY, EVERYBODY = np.zeros(600, dtype=bool), np.ones(600, dtype=bool)


def half(seed, examples=600):
    return np.random.default_rng(seed).permutation(examples) < examples // 2


def known(world, seed=0, models=64, fpr=FPR):
    shadows = world.shadows(models, seed)
    (attack,) = strengths(shadows.observations, ["LiRA"], fpr)
    return shadows, attack


@pytest.fixture(scope="module")
def drawn():
    """A world in which some react, and its shadow models."""
    world = World(shift=4)
    return world, *known(world)


@pytest.fixture(scope="module")
def strangers():
    """What is found on models that were trained on none, by the shadow models of many banks."""
    found = []
    for seed in range(20):
        world = World(seed=seed, shift=4)
        shadows, attack = known(world, seed)
        chance = target.finely(shadows, attack.attack, target._realised(attack))
        with pytest.MonkeyPatch.context() as patched:  # of the shadow models alone: once a bank
            patched.setattr(target, "finely", lambda *_, chance=chance: chance)
            for model in range(30):
                said, held_out = world.target(NOBODY, 100 * seed + model)
                found.append(findings_on(shadows, attack, said, held_out, None))
    return found


def test_a_model_trained_on_none_is_accused_as_by_chance(strangers):
    likes = [each for each in strangers if not each.unlike]
    accused = np.array([each.accused.sum() for each in likes])
    mean = np.mean([each.by_chance[0] for each in likes])
    assert mean == pytest.approx(600 * FPR, rel=0.02)
    assert accused.mean() == pytest.approx(mean, rel=0.06)
    above = [n > each.by_chance[2] for n, each in zip(accused, likes, strict=True)]
    below = [n < each.by_chance[1] for n, each in zip(accused, likes, strict=True)]
    assert np.mean(above) <= 0.04
    assert np.mean(below) <= 0.04


def test_p_values_are_never_too_small_and_else_about_uniform(strangers):
    p = np.array([each.p_value for each in strangers if not each.unlike])
    for level in (0.02, 0.05, 0.1):
        assert (p <= level).mean() <= level + 0.02
    assert (p <= 0.25).mean() > 0.08
    assert 0.3 < (p <= 0.5).mean() < 0.6


def test_models_of_the_recipe_are_rarely_called_unlike(strangers):
    assert 0 < np.mean([bool(each.unlike) for each in strangers]) < 0.03
    assert {each.compared for each in strangers} == {"200 held-out examples"}


def test_the_p_value_counts_shadow_models_that_accuse_as_many(drawn, monkeypatch):
    world, shadows, attack = drawn
    said, held_out = world.target(NOBODY, 3)
    threshold = target.finely(shadows, attack.attack, target._realised(attack)).threshold
    scores = findings_on(shadows, attack, said, held_out, None).scores
    accused = int((scores > threshold).sum())
    shares = (accused + np.array([-2.0, -1, 0, 1, 3])) / len(scores)
    fake = SimpleNamespace(false_alarms=shares, threshold=threshold)
    monkeypatch.setattr(target, "finely", lambda *_: fake)
    found = findings_on(shadows, attack, said, held_out, None)
    assert found.accused.sum() == accused > 0
    assert found.p_value == 4 / 6
    assert found.by_chance == pytest.approx((accused + 0.2, accused - 1.9, accused + 2.8))


def test_a_model_of_the_recipe_is_found_out_as_shadow_models_are(drawn):
    world, shadows, attack = drawn
    tpr, fpr, covered = [], [], []
    for seed in range(40):
        members = half(seed)
        found = findings_on(shadows, attack, *world.target(members, seed), members)
        if found.unlike:
            continue
        tpr.append(found.tpr)
        fpr.append(found.fpr)
        assert found.tpr[0] == found.accused[members].mean()
        assert found.fpr[0] == found.accused[~members].mean()
        covered.append(found.fpr[1] <= FPR <= found.fpr[2])
        assert found.p_value <= 2 / 65
        assert found.accused.sum() > found.by_chance[2]
    assert len(tpr) >= 38
    assert np.mean(tpr, axis=0)[0] == pytest.approx(attack.tpr.estimate, rel=0.1)
    assert np.mean(fpr, axis=0)[0] == pytest.approx(FPR, rel=0.15)
    assert np.mean(covered) >= 0.85


def by_held_out(world, shadows, attack, members, seed, **how):
    return findings_on(shadows, attack, *world.target(members, seed, **how), None)


def by_others(world, shadows, attack, members, seed, **how):
    return findings_on(shadows, attack, world.target(members, seed, **how)[0], None, members)


@pytest.mark.parametrize("compare", [by_held_out, by_others])
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"off": 2}, "mean confidence in the label"),
        ({"off": -2}, "mean confidence in the label"),
        ({"spread": 1.5}, "mean distance"),
    ],
)
def test_a_model_that_behaves_otherwise_accuses_nobody(drawn, compare, how, what):
    for seed in range(5):
        found = compare(*drawn, half(seed), seed, **how)
        assert what in found.unlike
        assert not found.accused.any()
        assert found.p_value == 1


def test_without_the_comparison_such_a_model_would_be_accused(drawn):
    world, shadows, attack = drawn
    said, _ = world.target(NOBODY, 0, spread=2)
    found = findings_on(shadows, attack, said, None, None)
    assert found.compared == found.unlike == ""
    assert found.accused.sum() > 3 * found.by_chance[2]  # which is why result says so


def test_a_model_trained_on_all_is_unlike_where_more_data_made_it_surer(drawn):
    world, shadows, attack = drawn
    said, held_out = world.target(EVERYBODY, 0, off=2)
    found = findings_on(shadows, attack, said, held_out, EVERYBODY)
    assert found.unlike
    assert found.tpr is None
    assert found.fpr is None
    nothing = findings_on(shadows, attack, said, None, EVERYBODY)
    assert nothing.compared == ""  # nobody is left to compare it on


def test_models_are_compared_example_by_example():
    world = World(hardness=8)  # a half of the examples can be far easier than another
    shadows, attack = known(world)
    found = by_others(world, shadows, attack, half(1), 1, off=1.5)
    assert "mean confidence" in found.unlike
    assert not by_others(world, shadows, attack, half(1), 1).unlike


def test_few_examples_outside_are_no_comparison():
    world = World(examples=600, share=0.9)
    shadows, attack = known(world, models=80, fpr=0.05)
    for outside, compared in ((19, ""), (20, "20 examples that it was not trained on")):
        members = np.arange(600) >= outside
        said, _ = world.target(members, 0)
        assert findings_on(shadows, attack, said, None, members).compared == compared


def test_models_out_of_none_of_them_are_no_comparison():
    world = World(examples=600)
    shadows, attack = known(world)
    inside = shadows.membership.copy()
    inside[15:, :20] = True  # two or more are OUT of each, but 15 models alone
    changed = Observations(
        labels=shadows.observations.labels,
        confidence=shadows.observations.confidence,
        membership=inside,
    )
    members = np.arange(600) >= 20
    said, _ = world.target(members, 0)
    found = findings_on(Shadows("x", changed, shadows.ids), attack, said, None, members)
    assert found.compared == ""


def test_the_table_has_a_row_for_each_example(drawn):
    world, shadows, attack = drawn
    said, held_out = world.target(half(0), 0)
    found = findings_on(shadows, attack, said, held_out, None)
    table = found.table()
    assert table.columns.tolist() == ["score", "accused"]
    assert len(table) == 600
    assert table["score"][table["accused"]].min() > table["score"][~table["accused"]].max()
    assert found.tpr is None
    assert found.fpr is None


def test_a_model_of_other_classes_is_refused():
    rng = np.random.default_rng(0)
    labels, membership = np.arange(100) % 3, rng.random((64, 100)) < 0.5
    theirs = Observations(
        labels=labels, logits=rng.normal(size=(64, 100, 3)), membership=membership
    )
    (attack,) = strengths(theirs, ["LiRA"], 0.1)
    said = Observations(labels=labels, logits=rng.normal(size=(1, 100, 4)))
    with pytest.raises(ValueError, match="outputs of 4 classes and the shadow models of 3"):
        findings_on(Shadows("x", theirs, np.arange(100)), attack, said, None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(5, dtype=bool), "trained on none of the 5 examples"),
        (np.ones(4, dtype=bool), r"shape \[4\], expected bool \[5\]"),
        (np.ones(5, dtype=int), "dtype int64"),
        ([0, 3], "dtype int64"),
    ],
)
def test_what_a_model_was_trained_on_is_checked(given, message):
    with pytest.raises(ValueError, match=message):
        check_trained_on(given, 5)
