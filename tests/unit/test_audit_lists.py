import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from benchsuite.attacks.observations import Observations
from benchsuite.auditing.listed import (
    FALSE_ENTRIES,
    example_table,
    listed,
    mean_memorization,
    predicted,
)
from benchsuite.auditing.shadows import Shadows
from benchsuite.auditing.strength import strengths
from benchsuite.shadows.design import Balanced
from tests.audited import World, observed

LISTS = ("memorized", "exposed")


def table_of(shadows, fpr=0.02):
    (attack,) = strengths(shadows.observations, ["LiRA"], fpr)
    return example_table(shadows, attack), attack


@pytest.mark.parametrize(("models", "fpr"), [(64, 0.02), (128, 0.05)])
def test_without_any_effect_lists_stay_empty(models, fpr):
    sets = 60
    tables = [table_of(World(seed=s, examples=300).shadows(models, s), fpr)[0] for s in range(sets)]
    for name in LISTS:  # 3 of 60 expected, 7 or more in one case of 30
        assert sum(table[name].any() for table in tables) <= 7


def test_lists_find_those_that_react_and_few_others():
    world = World(shift=3.5)
    false, found = {name: [] for name in LISTS}, {name: [] for name in LISTS}
    for seed in range(25):
        table, _ = table_of(world.shadows(seed=seed))
        for name in LISTS:
            entries = table[name].to_numpy()
            found[name].append(entries[world.real].mean())
            false[name].append((entries & ~world.real).sum() / max(1, entries.sum()))
    for name in LISTS:
        assert np.mean(false[name]) <= FALSE_ENTRIES
        assert np.mean(found[name]) > 0.7


def test_what_is_always_right_can_be_exposed_but_not_memorized():
    table, _ = table_of(World(location=15, shift=4).shadows())
    assert not table["memorized"].any()
    assert table["exposed"].sum() > 40
    assert (table["memorization"] == 0).all()


def test_the_list_is_fishers_test_and_benjamini_and_hochberg():
    rng = np.random.default_rng(1)
    inside = rng.random((40, 60)) < 0.4
    happened = rng.random((40, 60)) < np.where(inside, np.linspace(0.2, 0.95, 60), 0.2)
    p = [
        fisher_exact(
            [[(h & i).sum(), (h & ~i).sum()], [(~h & i).sum(), (~h & ~i).sum()]], "greater"
        ).pvalue
        for h, i in zip(happened.T, inside.T, strict=True)
    ]
    expected = false_discovery_control(p) <= 0.05
    assert 5 < expected.sum() < 55
    np.testing.assert_array_equal(listed(happened, inside), expected)


def test_what_happens_oftener_outside_is_not_listed():
    inside = Balanced(50).rows(0, 64)
    assert listed(inside, inside).all()
    assert not listed(~inside, inside).any()
    assert not listed(np.ones_like(inside), inside).any()
    assert not listed(np.zeros_like(inside), inside).any()


def test_a_row_says_what_happened_to_its_example():
    shadows = World(examples=200, shift=3.5).shadows(ids=np.arange(200)[::-1] * 7)
    table, attack = table_of(shadows, 0.05)
    assert table["example"].tolist() == (np.arange(200)[::-1] * 7).tolist()
    for example in (0, 5, 150):
        row, inside = table.iloc[example], shadows.membership[:, example]
        right = shadows.observations.confidence[:, example] > 0
        accused = attack.accused[:, example]
        assert row.memorization == pytest.approx(right[inside].mean() - right[~inside].mean())
        assert row.found == pytest.approx(accused[inside].mean())
        assert row.false_alarms == pytest.approx(accused[~inside].mean())
    for name in ("memorization", "found"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    assert table["memorization_low"].min() >= -1
    assert table["memorization_high"].max() <= 1
    assert not table.isna().any().any()


def test_intervals_of_examples_hold_their_rates():
    world = World(examples=100, shift=3)
    tables = [table_of(world.shadows(seed=seed), 0.05)[0] for seed in range(60)]
    # What others' false alarms are varies with the references, which no interval here is about.
    for name, among in (("memorization", slice(None)), ("found", world.real)):
        values, low, high = (
            np.array([table[f"{name}{end}"] for table in tables])[:, among]
            for end in ("", "_low", "_high")
        )
        truth = values.mean(axis=0)
        assert ((low <= truth) & (truth <= high)).mean() > 0.93


def test_mean_memorization_is_that_of_the_examples():
    shadows = World(shift=3.5).shadows()
    found = mean_memorization(shadows)
    table, _ = table_of(shadows)
    assert found.estimate == pytest.approx(table["memorization"].mean())
    assert found.low > 0.02
    null = [mean_memorization(World(seed=s, examples=200).shadows(seed=s)) for s in range(60)]
    assert np.mean([each.low <= 0 <= each.high for each in null]) >= 0.9


def test_predictions_are_the_largest_logit_or_more_than_half():
    logits = np.log(np.array([[[0.4, 0.3, 0.3], [0.2, 0.2, 0.6]]]))
    membership = np.array([[True, False]])
    with_logits = Observations(labels=[0, 0], logits=logits, membership=membership)
    assert predicted(Shadows("x", with_logits, np.arange(2))).tolist() == [[True, False]]
    alone = observed(with_logits.confidence, membership)
    assert predicted(Shadows("x", alone, np.arange(2))).tolist() == [[False, False]]
