"""What the claims about attacks on groups are given, against numbers counted another way."""

import math
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import rankdata

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.experiments import attack_bank
from benchsuite.experiments.attack_bank import (
    ALL,
    GROUPS_AT_RANDOM,
    LIRA,
    OOD,
    PERMUTED,
    SINGLETONS,
    SINGLETONS_AT_RANDOM,
    SUBPOPULATION,
)
from benchsuite.experiments.attack_groups import AttackExperiment
from benchsuite.experiments.sizes import AttackSize
from benchsuite.stats.verdict import CannotResolveError

attacked = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "attacked.py")))
SIZE = AttackSize(references=2, calibration=2, targets=3, removal=1, planted=1, fpr=0.02)
CALIBRATION = slice(128, 256)
BLOCKS = [slice(256, 320), slice(320, 384), slice(384, 448)]
GROUPS = {
    ALL: np.arange(140),
    OOD: np.arange(60, 140),
    SUBPOPULATION: np.arange(60, 75),
    SINGLETONS: np.arange(110, 130),
}
STRENGTH = dict(zip(ATTACKS, (0.2, 0.5, 0.8, 1.5, 2.0, 3.0), strict=True))


def with_scores(scores, given=None, **groups):
    """An experiment whose attacks score so: a function of attack, experiment and generator."""
    given = given or attacked.experiment(
        AttackExperiment, attacked.subject(under=80), SIZE, groups=False
    )
    given.cache["groups"] = {**GROUPS, **groups}
    rng = np.random.default_rng(0)
    for attack in ATTACKS:
        inside = given.bank.membership[128:]
        given.cache["scores", attack] = scores(attack, inside, rng)
    return given


def planted_scores(attack, inside, rng):
    """The better the attack and the more memorized the example, the more members score."""
    memorized = np.where(np.isin(np.arange(140), GROUPS[SINGLETONS]), 1.5, 0.1)
    memorized[GROUPS[OOD]] = np.maximum(memorized[GROUPS[OOD]], 0.5)
    return rng.normal(size=inside.shape) + STRENGTH[attack] * memorized * inside


@pytest.fixture(scope="module", autouse=True)
def _few_parts():
    """20 parts of 20 examples: of as many as there are, the naive counts take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack_bank, "DEALT", 400)
        yield


@pytest.fixture(scope="module")
def given():
    return with_scores(planted_scores)


def naive_misranked(of, attack, block, examples):
    """Share of pairs in the wrong order, by Mann and Whitney's U of the non-members."""
    scores = of.cache["scores", attack][block.start - 128 : block.stop - 128][:, examples]
    outside = ~of.bank.membership[block][:, examples]
    n = outside.sum()
    u = rankdata(scores.ravel())[outside.ravel()].sum() - n * (n + 1) / 2
    return max(float(u / (n * (~outside).sum())), 0.001)


def naive_rate(of, attack, block, examples, fpr=0.02):
    """TPR on a block above the threshold of the calibration models."""
    scores = of.cache["scores", attack][:, examples]
    inside = of.bank.membership[128:][:, examples]
    outside = sorted(scores[:128][~inside[:128]].tolist(), reverse=True)
    bar = outside[math.floor(fpr * len(outside) + 1e-9)]
    rows = slice(block.start - 128, block.stop - 128)
    return float(np.mean(scores[rows][inside[rows]] > bar))


def naive_found(of, attack, block, examples):
    return naive_rate(of, attack, block, examples) + 10 * 0.02


# ---- singletons against others -------------------------------------------------------------------


def naive_contrast(of, number, pair, found, within=None):
    """Means over parts as large as the smaller group; both of `within`, where that is given."""
    first, second = (of.groups[name if within is None else within] for name in pair)
    size = min(len(of.groups[name]) for name in pair)
    of_first, of_second = (
        [examples] if len(examples) == size else of.parts(examples, size, purpose, number)
        for purpose, examples in enumerate((first, second))
    )
    numbers = {}
    for attack in ATTACKS:

        def mean(count, parts, attack=attack):
            return np.mean([math.log(count(of, attack, BLOCKS[number], each)) for each in parts])

        numbers[f"log ({pair[0]} / {pair[1]} misranked): {attack}"] = mean(
            naive_misranked, of_first
        ) - mean(naive_misranked, of_second)
        if found:
            numbers[f"log ({pair[1]} / {pair[0]} found): {attack}"] = mean(
                naive_found, of_second
            ) - mean(naive_found, of_first)
    return numbers


def test_singletons_are_held_against_outliers_and_their_subpopulation(given):
    units = list(given.singletons_against_others())
    assert len(units) == 3
    for number in (0, 2):
        expected = naive_contrast(given, number, (OOD, SINGLETONS), found=True)
        expected |= naive_contrast(given, number, (SUBPOPULATION, SINGLETONS), found=False)
        assert units[number] == pytest.approx(expected)
    assert len(units[0]) == 6 * 2 + 6
    mean = {name: np.mean([unit[name] for unit in units]) for name in units[0]}
    assert mean["log (random OOD / singletons misranked): LiRA"] > math.log(3)
    assert mean["log (singletons / random OOD found): LiRA"] > math.log(1.25)
    assert mean["log (random OOD / singletons misranked): Yeom"] < math.log(1.25)


def test_under_the_control_both_groups_are_random_outliers(given):
    units = list(given.under(SINGLETONS_AT_RANDOM).singletons_against_others())
    expected = naive_contrast(given, 1, (OOD, SINGLETONS), found=True, within=OOD)
    expected |= naive_contrast(given, 1, (SUBPOPULATION, SINGLETONS), found=False, within=OOD)
    assert units[1] == pytest.approx(expected)
    for name in units[0]:
        assert abs(np.mean([unit[name] for unit in units])) < math.log(1.25)
        assert len({unit[name] for unit in units}) == 3


@pytest.mark.parametrize(
    ("subpopulation", "shown"),
    [
        (range(60, 70), True),
        (range(60, 69), False),
        ((), False),
        (range(60, 140), False),
        (range(60, 139), True),
    ],
)
def test_a_subpopulation_too_small_or_the_whole_group_is_left_out(given, subpopulation, shown):
    other = replace(given, cache=dict(given.cache))
    other.cache["groups"] = {**GROUPS, SUBPOPULATION: np.array(subpopulation, dtype=int)}
    control = other.under(SINGLETONS_AT_RANDOM)
    for numbers in (
        other.singletons_against_others,
        control.singletons_against_others,
        other.outliers_against_all,
    ):
        unit = next(numbers())
        assert len(unit) == 6 * 2 + 6 * shown
        assert sum("subpopulation" in name for name in unit) == 6 * shown


def test_singletons_of_one_group_are_held_against_all():
    alone = attacked.experiment(AttackExperiment, attacked.subject(140, 0), SIZE, groups=False)
    alone = with_scores(planted_scores, alone)
    alone.cache["groups"] = {name: GROUPS[name] for name in (ALL, SINGLETONS)}
    units = list(alone.singletons_against_others())
    assert len(units) == 3
    assert units[1] == pytest.approx(naive_contrast(alone, 1, (ALL, SINGLETONS), found=True))
    control = list(alone.under(SINGLETONS_AT_RANDOM).singletons_against_others())
    assert control[1] == pytest.approx(
        naive_contrast(alone, 1, (ALL, SINGLETONS), found=True, within=ALL)
    )
    name = "log (all / singletons misranked): LiRA"
    assert abs(np.mean([unit[name] for unit in control])) < 0.1


def test_perfect_and_hopeless_attacks_stop_at_the_floors():
    """One in a thousand pairs, and ten times the FPR."""

    def scores(attack, inside, rng):
        perfect = np.where(np.isin(np.arange(140), GROUPS[SINGLETONS]), inside, 0.0)
        return {LIRA: perfect, "RMIA": -perfect}.get(attack, rng.random(inside.shape))

    of = with_scores(scores)
    for number, unit in enumerate(of.singletons_against_others()):
        parts = of.parts(GROUPS[OOD], 20, 0, number)
        among = [np.isin(part, GROUPS[SINGLETONS]).mean() for part in parts]
        assert min(among) < max(among)
        # Members among the others tie with all their non-members, and half of a tie is wrong.
        misranked = np.mean([math.log(0.5 * (1 - share) / 0.001) for share in among])
        name = "log (random OOD / singletons misranked)"
        assert unit[f"{name}: LiRA"] == pytest.approx(misranked)
        # And the singletons' lie below all non-members.
        misranked = np.mean([math.log(0.5 * (1 - share) + share) for share in among])
        assert unit[f"{name}: RMIA"] == pytest.approx(misranked)
        # All of the singletons, and those that there are in a part, each with .2 added; none.
        ratio = np.mean([math.log(1.2 / (share + 0.2)) for share in among])
        found = "log (singletons / random OOD found)"
        assert unit[f"{found}: LiRA"] == pytest.approx(ratio)
        assert unit[f"{found}: RMIA"] == 0


def test_too_few_singletons_are_named(given):
    few = replace(given, cache={**given.cache, "groups": {**GROUPS, SINGLETONS: np.arange(9)}})
    for numbers in (few.singletons_against_others, few.lira_against_others):
        with pytest.raises(CannotResolveError, match="the group 'singletons' above memorization"):
            list(numbers())


def test_a_threshold_that_rests_on_too_little_is_said(given):
    """20 singletons in 128 models are 1,280 non-members: 19 of them are too few, 20 enough."""
    for fpr, enough in ((19.9 / 1280, False), (20 / 1280, True)):
        cache = {key: each for key, each in given.cache.items() if key[0] != "threshold"}
        few = replace(given, size=replace(SIZE, fpr=fpr), cache=cache)
        for numbers in (few.singletons_against_others, few.lira_against_others):
            if enough:
                assert len(list(numbers())) == 3
                continue
            with pytest.raises(CannotResolveError) as caught:
                list(numbers())
            assert str(caught.value) == (
                "20 examples give 1,280 non-members to the calibration models, which allow 19.9 "
                f"false positives at an FPR of {fpr:g}, and 20 are the least: this needs more "
                "models or a larger group"
            )
        assert len(list(few.outliers_against_all())) == 3  # which are 80


# ---- outliers against all ------------------------------------------------------------------------


def test_outliers_and_a_subpopulation_are_held_against_all(given):
    units = list(given.outliers_against_all())
    assert len(units) == 3
    expected = naive_contrast(given, 1, (ALL, OOD), found=True)
    expected |= naive_contrast(given, 1, (ALL, SUBPOPULATION), found=False)
    assert units[1] == pytest.approx(expected)
    for name in ("log (all / random OOD misranked): LiRA", "log (random OOD / all found): LiRA"):
        assert np.mean([unit[name] for unit in units]) > math.log(1.1)


def test_random_outliers_are_like_all(given):
    units = list(given.under(GROUPS_AT_RANDOM).outliers_against_all())
    expected = naive_contrast(given, 2, (ALL, OOD), found=False, within=ALL)
    expected |= naive_contrast(given, 2, (ALL, SUBPOPULATION), found=False, within=ALL)
    assert units[2] == pytest.approx(expected)
    for name in units[0]:
        assert abs(np.mean([unit[name] for unit in units])) < math.log(1.1)


def test_too_few_outliers_for_a_threshold_are_said(given):
    cache = {key: each for key, each in given.cache.items() if key[0] != "threshold"}
    few = replace(given, size=replace(SIZE, fpr=19.9 / 5120), cache=cache)
    with pytest.raises(CannotResolveError, match=r"80 examples give 5,120 .* allow 19\.9 false"):
        list(few.outliers_against_all())


def test_without_outliers_there_is_nothing_to_hold_against_all():
    alone = attacked.experiment(AttackExperiment, attacked.subject(60, 0))
    for arm in (alone, alone.under(GROUPS_AT_RANDOM)):
        with pytest.raises(CannotResolveError, match="the group 'random OOD' has 0 examples"):
            list(arm.outliers_against_all())


# ---- LiRA against others -------------------------------------------------------------------------


def naive_leads(of, block, source):
    where = {"": GROUPS[source], " on singletons": GROUPS[SINGLETONS]}
    return {
        f"{attack}{suffix}": naive_rate(of, LIRA, block, examples)
        - naive_rate(of, attack, block, examples)
        for suffix, examples in where.items()
        for attack in ATTACKS
        if attack != LIRA
    }


def test_lira_leads_by_its_rate_less_each_other_attacks(given):
    units = list(given.lira_against_others())
    assert len(units) == 3
    for unit, block in zip(units, BLOCKS, strict=True):
        assert unit == pytest.approx(naive_leads(given, block, OOD))
    assert all(unit["Yeom"] > 0.1 for unit in units)
    assert all(unit["Yeom on singletons"] > unit["Yeom"] for unit in units)


def test_of_one_group_lira_leads_on_all():
    alone = attacked.experiment(AttackExperiment, attacked.subject(140, 0), SIZE, groups=False)
    alone = with_scores(planted_scores, alone)
    alone.cache["groups"] = {name: GROUPS[name] for name in (ALL, SINGLETONS)}
    for unit, block in zip(alone.lira_against_others(), BLOCKS, strict=True):
        assert unit == pytest.approx(naive_leads(alone, block, ALL))


def test_lira_that_was_misled_leads_by_nothing(given):
    """Its own scores are LiRA's here, not planted; the other attacks keep theirs."""
    real = replace(given, cache={k: v for k, v in given.cache.items() if LIRA not in k})
    leads = [unit["Yeom on singletons"] for unit in real.lira_against_others()]
    misled = real.under(PERMUTED)
    units = list(misled.lira_against_others())
    assert min(leads) > 0.1
    assert max(unit["Yeom on singletons"] for unit in units) < 0.1
    rates = [
        misled.rates(LIRA, block, GROUPS[OOD], misled.calibrated(LIRA, GROUPS[OOD]))[0]
        - naive_rate(given, "RMIA", block, GROUPS[OOD])
        for block in BLOCKS
    ]
    assert [unit["RMIA"] for unit in units] == pytest.approx(rates)


def test_a_misled_lira_leaves_the_groups_as_they_are(given):
    names = [f"log (random OOD / singletons misranked): {attack}" for attack in ATTACKS]
    misled = given.under(PERMUTED)
    misled.cache["scores", f"{LIRA}, misled"] = given.cache["scores", LIRA]
    for observed, told in zip(
        given.singletons_against_others(), misled.singletons_against_others(), strict=True
    ):
        assert [observed[name] for name in names] == [told[name] for name in names]
