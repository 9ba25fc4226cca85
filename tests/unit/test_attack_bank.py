"""The bank under every attack: who is a reference, what is chosen from whom, and the controls."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.attacks import shadow_classifier
from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.attacks.observations import Observations
from benchsuite.data.mixtures import OVER, UNDER
from benchsuite.experiments import attack_bank as module
from benchsuite.experiments.attack_bank import (
    ALL,
    GROUPS_AT_RANDOM,
    LIRA,
    OOD,
    PERMUTED,
    SINGLETONS,
    SINGLETONS_AT_RANDOM,
    SUBPOPULATION,
    TRAK_SINGLETONS,
    singletons_above,
)
from benchsuite.experiments.attack_groups import AttackExperiment
from benchsuite.experiments.sizes import ATTACK_SIZES, AttackSize
from benchsuite.memorization.label import label_memorization
from benchsuite.stats.roc import auroc
from benchsuite.stats.verdict import CannotResolveError

attacked = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "attacked.py")))
REFERENCES, CALIBRATION, TARGETS = slice(0, 128), slice(128, 192), slice(192, 320)
LAST_BLOCK = slice(256, 320)
FROM_CALIBRATION_ON = slice(128, 320)


def experiment(*args, **more):
    return attacked.experiment(AttackExperiment, *args, **more)


@pytest.fixture(scope="module", autouse=True)
def _hurried():
    """Shokri's networks take longer than all else; how well they learn is not tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadow_classifier, "EPOCHS", 3)
        yield


@pytest.fixture(scope="module")
def given():
    return experiment()


@pytest.fixture(scope="module")
def told_apart(given):
    """Banks that differ from the planted one in what some models say, or in who was IN them."""
    bank = given.bank
    others = {
        "references": bank.but(REFERENCES),
        "IN the calibration models": bank.but(CALIBRATION, membership=True),
        "last block, and IN the targets": bank.but(LAST_BLOCK).but(TARGETS, membership=True),
    }
    return {what: experiment(bank=other) for what, other in others.items()}


# ---- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "block"), [(0.5, 64), (0.7, 80)])
@pytest.mark.parametrize(
    "size", [attacked.SIZE, AttackSize(1, 2, 3, 1, 1, 0.1), *ATTACK_SIZES.values()]
)
def test_references_calibration_and_targets_are_all_models_once_in_order(share, block, size):
    bank = SimpleNamespace(design=SimpleNamespace(block=block))
    split = AttackExperiment(attacked.subject(share=share), bank, size, workshop=None)
    parts = split.references, split.calibration, split.targets
    models = [each for part in parts for each in range(part.start, part.stop)]
    assert models == list(range(size.blocks * block))
    assert [(part.stop - part.start) / block for part in parts] == [
        size.references,
        size.calibration,
        size.targets,
    ]


def test_the_block_is_the_designs():
    assert experiment().block == 64
    uneven = experiment(attacked.subject(share=0.7))
    assert uneven.block == 80
    assert uneven.bank.models == uneven.targets.stop == 400


def test_blocks_are_disjoint_parts_of_a_slice_and_a_rest_is_left_out(given):
    parts = list(given.blocks(slice(64, 300)))
    assert parts == [slice(64, 128), slice(128, 192), slice(192, 256)]
    assert list(given.blocks(slice(64, 300), 100)) == [slice(64, 164), slice(164, 264)]
    assert list(given.blocks(given.targets)) == [slice(192, 256), slice(256, 320)]
    assert list(given.blocks(slice(0, 63))) == []


def test_an_unknown_control_is_refused(given):
    with pytest.raises(ValueError, match=r"control='random' is unknown: use one of groups-at-rand"):
        given.under("random")


@pytest.mark.parametrize("control", AttackExperiment.controls)
def test_a_control_shares_all_else(given, control):
    under = given.under(control)
    assert under.control == control
    assert given.control == ""
    for name in ("subject", "bank", "size", "workshop", "cache"):
        assert getattr(under, name) is getattr(given, name)


def test_observations_are_the_banks(given):
    known = given.observations
    np.testing.assert_array_equal(known.logits, given.bank.column("pool", "logits"))
    np.testing.assert_array_equal(known.labels, given.subject.pool.labels)
    np.testing.assert_array_equal(given.membership, given.bank.membership)
    np.testing.assert_allclose(known.confidence, given.bank.column("pool", "confidence"), atol=1e-4)


# ---- what is chosen, from whom -------------------------------------------------------------------


def naive_memorization(of, models):
    right, inside = (of.bank.column("pool", "correct")[models], of.bank.membership[models])
    return np.array(
        [
            right[inside[:, x], x].mean() - right[~inside[:, x], x].mean()
            for x in range(inside.shape[1])
        ]
    )


def test_memorization_is_that_of_the_references_alone(given, told_apart):
    np.testing.assert_allclose(given.memorization, naive_memorization(given, REFERENCES))
    for membership in (False, True):
        other = experiment(bank=given.bank.but(FROM_CALIBRATION_ON, membership))
        np.testing.assert_array_equal(other.memorization, given.memorization)
    assert (told_apart["references"].memorization != given.memorization).any()
    some = slice(64, 192)
    np.testing.assert_allclose(given.memorization_of(some), naive_memorization(given, some))


@pytest.mark.parametrize(
    ("subject", "mixed", "threshold"),
    [
        ("mnist-augmnist-cnn32", True, 0.8),
        ("mnist-svhn-cnn32", True, 0.8),
        ("mnist-usps-cnn32", True, 0.8),
        ("mnist-cifar10-cnn64", True, 0.8),
        ("cifar10-augcifar10-resnet18", True, 0.5),
        ("cifar10-cifar100-resnet9", True, 0.5),
        ("mnist-cnn32", False, 0.4),
        ("cifar10-resnet9-70", False, 0.8),
        ("digits-pixmix", True, 0.5),
        ("digits-photos", True, 0.8),
        ("digits-mix-tiny", True, 0.1),
        ("digits-mlp", False, 0.4),
        ("my-own", True, 0.8),
        ("my-own", False, 0.4),
        ("cifar10-cifar100-resnet9-miniature", True, 0.0),
        ("mnist-cnn32-miniature", False, 0.0),
    ],
)
def test_singletons_are_above_the_papers_thresholds_or_the_declared(subject, mixed, threshold):
    assert singletons_above(subject, mixed) == threshold
    of = attacked.subject(under=40 if mixed else 0, name=subject)
    assert experiment(of).threshold == threshold


CLUSTERS = np.repeat(range(5), [30, 30, 30, 36, 14])  # of 60 and 80: the last is of the second


@pytest.fixture
def features(monkeypatch):
    """Features that lie in five clusters: the smallest has two over-represented examples."""
    asked = []
    swapped = CLUSTERS.copy()
    swapped[[0, 1]], swapped[[-1, -2]] = 4, 0

    def planted(subject, device):
        asked.append((subject, device))
        return np.eye(5, dtype=np.float32)[swapped]

    monkeypatch.setattr(module, "penultimate_features", planted)
    return SimpleNamespace(asked=asked, smallest=np.flatnonzero(swapped == 4))


def mixture(bank=None):
    return experiment(attacked.subject(under=80), bank=bank, groups=False)


@pytest.fixture(autouse=True)
def trak(monkeypatch):
    """TRAK's scores rise with the position, whatever the subject: no model is trained for them."""

    def scored(subject, workshop):
        return SimpleNamespace(scores=np.arange(float(len(subject.pool))))

    monkeypatch.setattr("benchsuite.experiments.attack_bank.TrakOracle.of", scored)


def test_the_groups_of_a_mixture(features):
    found = mixture()
    found.bank.column("pool", "correct")[:, 3] = found.bank.membership[:, 3]  # all is memorized
    groups = found.groups
    assert list(groups) == [ALL, OOD, SUBPOPULATION, SINGLETONS, TRAK_SINGLETONS]
    count = len(groups[SINGLETONS])
    assert groups[TRAK_SINGLETONS].tolist() == list(range(140 - count, 140))
    assert groups[ALL].tolist() == list(range(140))
    assert groups[OOD].tolist() == list(range(60, 140))
    assert groups[SUBPOPULATION].tolist() == [each for each in features.smallest if each >= 60]
    assert len(groups[SUBPOPULATION]) == 12
    memorization = naive_memorization(found, REFERENCES)
    assert memorization[3] == 1  # and is over-represented
    assert groups[SINGLETONS].tolist() == [x for x in range(60, 140) if memorization[x] > 0.8]
    assert 10 <= len(groups[SINGLETONS]) < 20
    assert found.mixed
    assert found.source == OOD
    assert features.asked == [(found.subject, "cpu")]


@pytest.mark.usefixtures("features")
def test_groups_are_found_without_calibration_and_targets():
    one = mixture()
    other = mixture(one.bank.but(FROM_CALIBRATION_ON))
    everyone_else = mixture(one.bank.but(FROM_CALIBRATION_ON, membership=True))
    for name, members in one.groups.items():
        np.testing.assert_array_equal(other.groups[name], members)
        np.testing.assert_array_equal(everyone_else.groups[name], members)
    changed = mixture(one.bank.but(REFERENCES))
    assert set(changed.groups[SINGLETONS]) != set(one.groups[SINGLETONS])


def test_of_no_mixture_the_memorized_are_singletons_and_nothing_is_trained(features):
    alone = experiment(attacked.subject(under=0), groups=False)
    memorization = np.linspace(0, 0.8, 60)
    memorization[[30, 31]] = 0.4, np.nextafter(0.4, 1)
    alone.cache["memorization"] = memorization
    assert list(alone.groups) == [ALL, SINGLETONS]
    assert alone.groups[ALL].tolist() == list(range(60))
    assert alone.groups[SINGLETONS].tolist() == list(range(31, 60))  # .4 is not above .4
    assert not alone.mixed
    assert alone.source == ALL
    assert features.asked == []


@pytest.mark.parametrize("groups", [None, [OVER], [UNDER], [OVER, UNDER, "another"]])
def test_other_groups_are_no_mixture(groups):
    plain = attacked.subject(under=0)
    chosen = None if groups is None else np.resize(groups, 60)
    pool = type(plain.pool)(plain.pool.images, plain.pool.labels, chosen)
    assert not experiment(replace(plain, pool=pool)).mixed


def test_the_networks_features_are_really_asked():
    found = experiment(groups=False).groups
    assert set(found[SUBPOPULATION]) <= set(found[OOD])


class Product(nn.Module):
    """A network whose last features enter no layer that has a name."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(attacked.SIDE**2, attacked.CLASSES))

    def forward(self, inputs):
        return inputs.flatten(1) @ self.weight


def test_a_network_without_features_cannot_be_clustered():
    """As one's own may be: said in one line, like all else that a subject is not fit for."""
    bare = experiment(replace(attacked.subject(), model=Product), groups=False)
    with pytest.raises(CannotResolveError, match=r"nn\.Linear"):
        bare.members(OOD)


@pytest.mark.parametrize(("count", "enough"), [(0, False), (9, False), (10, True)])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (SINGLETONS, "the group 'singletons' above memorization 0.8 has {} examples"),
        (OOD, "the group 'random OOD' has {} examples"),
        (SUBPOPULATION, "the group 'subpopulation' has {} examples"),
    ],
)
def test_a_group_that_is_too_small_is_named(name, said, count, enough):
    small = experiment()
    small.cache["groups"] = {**small.groups, name: np.arange(60, 60 + count)}
    if enough:
        assert small.members(name).tolist() == list(range(60, 70))
        return
    with pytest.raises(CannotResolveError) as caught:
        small.members(name)
    assert str(caught.value).startswith(f"{said.format(count)}, and 10 are the least")


@pytest.mark.parametrize("name", [OOD, SUBPOPULATION])
def test_a_pool_of_one_group_has_no_outliers(name):
    with pytest.raises(CannotResolveError, match=f"the group '{name}' has 0 examples"):
        experiment(attacked.subject(under=0)).members(name)


# ---- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS)
def test_calibration_and_targets_are_scored_by_the_references(given, attack):
    rows = np.arange(128, 320)
    expected = ATTACKS[attack](given.observations, rows)
    np.testing.assert_array_equal(given.scores(attack), expected)
    for models in (CALIBRATION, TARGETS, LAST_BLOCK):
        examples = np.array([70, 3, 99])
        scores, inside = given.of(attack, models, examples)
        shifted = slice(models.start - 128, models.stop - 128)
        np.testing.assert_array_equal(scores, expected[shifted][:, examples])
        np.testing.assert_array_equal(inside, given.bank.membership[models][:, examples])


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_score_depends_on_the_references_and_the_model_alone(given, told_apart, attack):
    scores = given.scores(attack)
    np.testing.assert_array_equal(told_apart["IN the calibration models"].scores(attack), scores)
    others = told_apart["last block, and IN the targets"].scores(attack)
    assert (others != scores).any(axis=1).tolist() == [False] * 128 + [True] * 64
    assert (told_apart["references"].scores(attack) != scores).any(axis=1).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_thresholds_are_those_of_the_calibration_models(given, told_apart, attack):
    for examples in (given.groups[ALL], given.groups[SINGLETONS]):
        threshold = given.calibrated(attack, examples)
        of_others = told_apart["last block, and IN the targets"]
        assert of_others.calibrated(attack, examples) == threshold
        of_others = told_apart["IN the calibration models"]
        assert of_others.calibrated(attack, examples) > threshold
        outside = given.scores(attack)[:64, examples][~given.membership[CALIBRATION][:, examples]]
        above = np.mean(outside > threshold)
        assert above <= 0.05
        one_more = outside[outside < threshold].max()
        assert np.mean(outside > one_more) > 0.05 or one_more < outside.min()


@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.2, 1.0])
def test_a_threshold_allows_the_declared_share(fpr):
    allowing = experiment(size=replace(attacked.SIZE, fpr=fpr))
    examples = allowing.groups[OOD]
    threshold = allowing.calibrated("Yeom", examples)
    tpr, realised = allowing.rates("Yeom", allowing.calibration, examples, threshold)
    least = 1 / (32 * len(examples))
    assert fpr - least < realised <= fpr
    assert tpr > realised or fpr == 1


def test_rates_are_of_scores_above_a_threshold_not_at_it(given):
    planted = replace(given, cache=dict(given.cache))
    scores = np.random.default_rng(0).integers(0, 4, given.scores("Yeom").shape)
    planted.cache["scores", "Yeom"] = scores.astype(float)
    examples = np.array([5, 61, 80, 81])
    accused = scores[64:][:, examples] >= 3
    inside = given.membership[TARGETS][:, examples]
    assert planted.rates("Yeom", TARGETS, examples, 2.0) == (
        accused[inside].mean(),
        accused[~inside].mean(),
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_auroc_is_pooled_over_models_and_examples(given, attack):
    examples = given.groups[OOD][::3]
    pooled = given.scores(attack)[128:, examples], given.bank.membership[LAST_BLOCK][:, examples]
    assert given.auroc(attack, LAST_BLOCK, examples) == auroc(*pooled)
    both = {given.auroc(attack, block, examples) for block in given.blocks(TARGETS)}
    assert len(both) == 2


def test_different_examples_have_different_numbers(given):
    """Whatever is kept, it is kept of these models and examples."""
    for attack in ATTACKS:
        numbers = {
            given.auroc(attack, models, given.groups[group])
            for models in (CALIBRATION, TARGETS, LAST_BLOCK, slice(192, 256))
            for group in (ALL, OOD, SINGLETONS)
        }
        assert len(numbers) == 12
    thresholds = [
        given.calibrated(attack, given.groups[group])
        for attack in ATTACKS
        for group in (ALL, OOD, SINGLETONS)
    ]
    assert len(set(thresholds)) > 15  # RMIA's few levels may coincide


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_threshold_rests_on_so_many_false_positives(share):
    uneven = experiment(attacked.subject(share=share))
    examples = uneven.groups[SINGLETONS]
    outside = sum(
        not uneven.bank.membership[model, example]
        for model in range(uneven.calibration.start, uneven.calibration.stop)
        for example in examples
    )
    assert uneven.allowed_false_positives(examples) == pytest.approx(0.05 * outside)
    assert outside == pytest.approx((1 - share) * uneven.block * len(examples))


def test_nothing_is_scored_twice(monkeypatch):
    asked = []
    fast = {
        name: lambda known, rows, name=name: asked.append(name) or known.confidence[rows]
        for name in ATTACKS
    }
    monkeypatch.setattr(module, "ATTACKS", fast)
    one = experiment()
    for arm in (one, *map(one.under, one.controls), one):
        for attack in fast:
            arm.scores(attack)
            arm.calibrated(attack, one.groups[OOD])
    assert sorted(asked) == sorted([*ATTACKS, LIRA])


# ---- permuted membership -------------------------------------------------------------------------


def test_lira_is_told_another_membership_of_the_references_alone(given, monkeypatch):
    told = {}

    def spy(known, rows):
        told[len(told)] = known
        return np.zeros((len(rows), known.shape[1]))

    monkeypatch.setitem(module.ATTACKS, LIRA, spy)
    fresh = experiment().under(PERMUTED)
    fresh.scores(LIRA)
    known, truth = told[0], given.bank.membership
    np.testing.assert_array_equal(known.membership[FROM_CALIBRATION_ON], truth[128:])
    references = known.membership[REFERENCES]
    np.testing.assert_array_equal(references.sum(axis=0), truth[REFERENCES].sum(axis=0))
    as_it_was = (references == truth[REFERENCES]).mean(axis=0)
    assert abs(as_it_was.mean() - 0.5) < 0.02
    assert 0.02 < as_it_was.std() < 0.1  # each example has a permutation of its own
    np.testing.assert_array_equal(known.confidence, given.observations.confidence)
    np.testing.assert_array_equal(known.labels, given.subject.pool.labels)
    experiment().under(PERMUTED).scores(LIRA)
    np.testing.assert_array_equal(told[1].membership, known.membership)
    np.testing.assert_array_equal(fresh.membership, truth)


def test_only_lira_is_misled_and_only_by_its_references(given):
    told = given.bank.membership.copy()
    misled = experiment().under(PERMUTED)
    lira = misled.scores(LIRA)
    rng = np.random.default_rng([given.bank.design.seed, 61])
    told[REFERENCES] = rng.permuted(told[REFERENCES], axis=0)
    known = given.observations
    naive = Observations(confidence=known.confidence, labels=known.labels, membership=told)
    np.testing.assert_array_equal(lira, ATTACKS[LIRA](naive, np.arange(128, 320)))
    for attack in ATTACKS:
        same = np.array_equal(misled.scores(attack), given.scores(attack))
        assert same == (attack != LIRA)
        _, inside = misled.of(attack, TARGETS, np.arange(100))
        np.testing.assert_array_equal(inside, given.bank.membership[TARGETS])
    singletons = given.groups[SINGLETONS]
    assert given.auroc(LIRA, TARGETS, singletons) > 0.9
    assert abs(misled.auroc(LIRA, TARGETS, singletons) - 0.5) < 0.2
    assert misled.calibrated(LIRA, singletons) != given.calibrated(LIRA, singletons)


def test_arms_that_share_a_cache_do_not_mix(given):
    """Whichever is computed first."""
    shared = replace(given, cache={"groups": given.groups})
    first = shared.under(PERMUTED)
    examples = given.groups[OOD]
    numbers = [
        [
            (arm.auroc(attack, LAST_BLOCK, examples), arm.calibrated(attack, examples))
            for attack in ("Yeom", LIRA)
        ]
        for arm in (first, shared, shared.under(GROUPS_AT_RANDOM))
    ]
    expected = [
        (given.auroc(attack, LAST_BLOCK, examples), given.calibrated(attack, examples))
        for attack in ("Yeom", LIRA)
    ]
    assert numbers[1] == numbers[2] == expected
    assert numbers[0][0] == expected[0]
    assert numbers[0][1] != expected[1]


def test_memorization_and_groups_are_the_true_ones_under_every_control(given):
    for control in given.controls:
        arm = replace(given, cache={"groups": given.groups}).under(control)
        np.testing.assert_array_equal(arm.memorization, given.memorization)
        expected = label_memorization(given.correct[LAST_BLOCK], given.membership[LAST_BLOCK])
        np.testing.assert_array_equal(arm.memorization_of(LAST_BLOCK), expected.estimate)
        for name, members in given.groups.items():
            np.testing.assert_array_equal(arm.groups[name], members)


# ---- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", ["", *AttackExperiment.controls])
def test_a_group_of_that_size_is_its_only_part(given, control):
    arm = given.under(control) if control else given
    (only,) = arm.parts(given.groups[OOD], 40, purpose=1, block=3)
    assert only is given.groups[OOD]


@pytest.mark.parametrize(
    ("examples", "size", "count"),
    [(range(60, 100), 20, 20), (range(100), 30, 13), (range(60), 59, 6)],
)
def test_parts_are_random_samples_of_the_size(given, monkeypatch, examples, size, count):
    monkeypatch.setattr(module, "DEALT", 400)
    group = np.array(examples)
    parts = given.parts(group, size, purpose=0, block=0)
    assert len(parts) == count
    for part in parts:
        assert len(part) == len(set(part.tolist())) == size
        assert set(part) <= set(examples)
    assert len({tuple(sorted(part)) for part in parts}) == count
    counts = np.bincount(np.concatenate(parts), minlength=100)[group]
    share = size / len(group)
    assert counts.min() < count * share < counts.max()
    assert counts.std() < 1.5 * np.sqrt(count * share * (1 - share))


def test_of_a_large_group_there_is_one_part_at_least(given, monkeypatch):
    monkeypatch.setattr(module, "DEALT", 39)
    (part,) = given.parts(np.arange(100), 40, purpose=0, block=0)
    assert len(set(part.tolist())) == 40


def test_each_block_purpose_and_seed_has_parts_of_its_own(given, monkeypatch):
    monkeypatch.setattr(module, "DEALT", 300)

    def drawn(of, *args):
        return [part.tolist() for part in of.parts(np.arange(100), 30, *args)]

    first = drawn(given, 0, 0)
    assert drawn(given.under(SINGLETONS_AT_RANDOM), 0, 0) == drawn(experiment(), 0, 0) == first
    others = drawn(given, 1, 0), drawn(given, 0, 1), drawn(given, 1, 1)
    others += (drawn(experiment(seed=1), 0, 0),)
    everything = [tuple(part) for parts in (first, *others) for part in parts]
    assert len(set(everything)) == 5 * 10
