"""TRAK as an oracle, and Gaussians against kernels, by numbers counted another way."""

import math
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, logsumexp
from scipy.stats import norm, rankdata, shapiro

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.data.mixtures import UNDER
from benchsuite.evidence import gather
from benchsuite.experiments import attack_bank, oracle_figures
from benchsuite.experiments.attack_bank import (
    ALL,
    GROUPS_AT_RANDOM,
    LIRA,
    OOD,
    SINGLETONS,
    SINGLETONS_AT_RANDOM,
    SUBPOPULATION,
    TRAK_SINGLETONS,
)
from benchsuite.experiments.oracles import BIMODAL, OracleExperiment
from benchsuite.experiments.sizes import AttackSize
from benchsuite.experiments.trak_oracle import TrakOracle
from benchsuite.report import figures
from benchsuite.report.artifacts import load_artifact, save_artifact
from benchsuite.shadows.design import Balanced
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.verdict import CannotResolveError

TESTS = Path(__file__).parents[1]
attacked = SimpleNamespace(**runpy.run_path(str(TESTS / "attacked.py")))
arrays = SimpleNamespace(**runpy.run_path(str(TESTS / "banks_of_arrays.py")))

SIZE = AttackSize(references=2, calibration=2, targets=3, removal=1, planted=1, fpr=0.02)
BLOCKS = [slice(256, 320), slice(320, 384), slice(384, 448)]
EXAMPLES, OUTLIERS = 140, np.arange(60, 140)
BY_MEMORIZATION, BY_TRAK = np.arange(110, 130), np.arange(100, 120)
BY_ERROR, BY_FEW = np.arange(65, 85), np.arange(80, 100)
MISRANKED = "log ({} / {} misranked): {}".format


def high(chosen, lowest=0.0):
    """Scores that are above all others' on these, and rise."""
    return np.linspace(lowest, lowest + 0.1, EXAMPLES) + np.isin(np.arange(EXAMPLES), chosen)


def oracle(chosen=BY_TRAK):
    return TrakOracle(high(chosen), high(BY_FEW), high(BY_ERROR), models=64, seconds=12.0)


def experiment(size=SIZE, chosen=BY_TRAK, bank=None):
    given = attacked.experiment(
        OracleExperiment, attacked.subject(under=80), size, bank=bank, groups=False
    )
    given.cache["trak"] = oracle(chosen)
    given.cache["groups"] = {
        ALL: np.arange(EXAMPLES),
        OOD: OUTLIERS,
        SUBPOPULATION: OUTLIERS[:9],
        SINGLETONS: BY_MEMORIZATION,
        TRAK_SINGLETONS: np.asarray(chosen),
    }
    return given


def with_scores(strength, chosen=BY_TRAK, noise=1.0):
    """Attacks whose scores rise with membership by an example's strength."""
    given = experiment(chosen=chosen)
    rng = np.random.default_rng(0)
    inside = given.bank.membership[128:]
    for attack in ATTACKS:
        given.cache["scores", attack] = noise * rng.normal(size=inside.shape) + strength * inside
    return given


@pytest.fixture(scope="module", autouse=True)
def _few_parts():
    """20 parts of 20 examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack_bank, "DEALT", 400)
        yield


def misranked(of, attack, block, examples):
    """Share of pairs in the wrong order, by Mann and Whitney's U of the non-members."""
    scores = of.cache["scores", attack][block.start - 128 : block.stop - 128][:, examples]
    outside = ~of.bank.membership[block][:, examples]
    n = outside.sum()
    u = rankdata(scores.ravel())[outside.ravel()].sum() - n * (n + 1) / 2
    return max(float(u / (n * (~outside).sum())), 0.001)


def log_misranked(of, attack, block, parts):
    return np.mean([math.log(misranked(of, attack, block, part)) for part in parts])


# ---- TRAK as an oracle ---------------------------------------------------------------------------

TRUTH = np.where(np.isin(np.arange(EXAMPLES), BY_MEMORIZATION), 2.0, 0.2)


@pytest.fixture(scope="module")
def given():
    return with_scores(TRUTH)


def test_both_oracles_are_held_against_outliers_and_each_other(given):
    units = list(given.trak_singletons())
    assert len(units) == 3
    for number, (unit, block) in enumerate(zip(units, BLOCKS, strict=True)):
        parts = given.parts(OUTLIERS, 20, 0, number)
        expected = {"in both": 0.5}
        for attack in ATTACKS:
            by_trak = log_misranked(given, attack, block, [BY_TRAK])
            expected[MISRANKED(OOD, TRAK_SINGLETONS, attack)] = (
                log_misranked(given, attack, block, parts) - by_trak
            )
            expected[MISRANKED(TRAK_SINGLETONS, SINGLETONS, attack)] = by_trak - log_misranked(
                given, attack, block, [BY_MEMORIZATION]
            )
        for name, chosen in (
            ("memorization", BY_MEMORIZATION),
            ("TRAK", BY_TRAK),
            ("the mean error alone", BY_ERROR),
            ("memorization in TRAK's models", BY_FEW),
        ):
            share = misranked(given, LIRA, block, chosen)
            expected[f"AUROC of LiRA on singletons by {name}"] = 1 - share
        assert unit == pytest.approx(expected)
        assert len(unit) == 2 * 6 + 5
    mean = {name: np.mean([unit[name] for unit in units]) for name in units[0]}
    assert mean[MISRANKED(OOD, TRAK_SINGLETONS, LIRA)] > 0.1
    assert mean[MISRANKED(TRAK_SINGLETONS, SINGLETONS, LIRA)] > math.log(1.5)


def test_oracles_that_choose_alike_are_alike():
    given = with_scores(TRUTH, chosen=BY_MEMORIZATION)
    for unit in given.trak_singletons():
        assert unit["in both"] == 1
        for attack in ATTACKS:
            assert unit[MISRANKED(TRAK_SINGLETONS, SINGLETONS, attack)] == 0
            assert unit[MISRANKED(OOD, TRAK_SINGLETONS, attack)] > math.log(1.5)


@pytest.mark.parametrize(("better", "sign"), [(BY_TRAK, -1), (BY_MEMORIZATION, 1)])
def test_the_oracle_whose_singletons_are_told_has_the_sign(better, sign):
    """All of one are told, but where both overlap, and of the others only those."""
    strength = np.where(np.isin(np.arange(EXAMPLES), better), 1.0, 0.0)
    given = with_scores(strength, noise=0.0)
    for unit in given.trak_singletons():
        value = unit[MISRANKED(TRAK_SINGLETONS, SINGLETONS, LIRA)]
        # Of the other's 20, 10 are told; a tie of their members with the others' non-members is
        # wrong by half, and that is half of all pairs.
        assert value == pytest.approx(sign * math.log(0.25 / 0.001))


def test_under_the_control_both_choose_among_the_outliers_at_random(given):
    units = list(given.under(SINGLETONS_AT_RANDOM).trak_singletons())
    observed = list(given.trak_singletons())
    for number, (unit, block) in enumerate(zip(units, BLOCKS, strict=True)):
        first, second = (given.parts(OUTLIERS, 20, purpose, number) for purpose in (0, 1))
        assert not np.array_equal(first, second)
        for attack in ATTACKS:
            expected = log_misranked(given, attack, block, first) - log_misranked(
                given, attack, block, second
            )
            assert unit[MISRANKED(OOD, TRAK_SINGLETONS, attack)] == pytest.approx(expected)
            assert unit[MISRANKED(TRAK_SINGLETONS, SINGLETONS, attack)] == pytest.approx(expected)
            assert abs(expected) < math.log(1.1)
        for name in unit:
            if "misranked" not in name:
                assert unit[name] == observed[number][name]


def test_too_few_singletons_are_said(given):
    groups = {**given.groups, SINGLETONS: np.arange(110, 119), TRAK_SINGLETONS: np.arange(60, 69)}
    few = replace(given, cache={**given.cache, "groups": groups})
    for arm in (few, few.under(SINGLETONS_AT_RANDOM)):
        with pytest.raises(CannotResolveError, match="singletons by TRAK' has 9 examples, and 10"):
            list(arm.trak_singletons())
    alone = attacked.experiment(OracleExperiment, attacked.subject(140, 0), SIZE)
    with pytest.raises(CannotResolveError, match="singletons by TRAK' has 0 examples"):
        list(alone.trak_singletons())


def test_groups_have_as_many_outliers_by_trak_as_by_memorization(monkeypatch):
    features = np.random.default_rng(0).random((EXAMPLES, 12))
    monkeypatch.setattr(attack_bank, "penultimate_features", lambda subject, device: features)
    given = experiment()
    del given.cache["groups"]
    # An example that is over-represented has the highest score of all.
    given.cache["trak"] = replace(oracle(), scores=high([*BY_TRAK, 7]) + high([7]))
    given.cache["memorization"] = np.where(np.isin(np.arange(EXAMPLES), range(50, 77)), 0.9, 0.1)
    groups = given.groups
    np.testing.assert_array_equal(groups[SINGLETONS], np.arange(60, 77))
    assert groups[TRAK_SINGLETONS].tolist() == BY_TRAK[3:].tolist()  # scores rise


def test_the_highest_are_outliers_in_order_of_the_pool_and_the_first_of_equals():
    given = experiment()
    scores = np.zeros(EXAMPLES)
    scores[[10, 70, 130]] = 9, 1, 2
    assert given.highest(scores, 4).tolist() == [60, 61, 70, 130]
    assert given.highest(scores, 0).tolist() == []


@pytest.mark.parametrize("control", ["", BIMODAL, SINGLETONS_AT_RANDOM])
def test_its_own_controls_are_known_and_no_others(control):
    assert experiment().under(control).control == control
    with pytest.raises(ValueError, match=f"control='{GROUPS_AT_RANDOM}' is unknown"):
        experiment().under(GROUPS_AT_RANDOM)


# ---- the oracle's models -------------------------------------------------------------------------


def said(subject, design, inside, number):
    rng = np.random.default_rng(number)
    shape = inside.shape
    return {
        "pool.leverage": rng.random(shape),
        "pool.confidence": rng.normal(size=shape).astype(np.float32),
        "pool.correct": rng.random(shape) < 0.7,
        "test.correct": rng.random((len(inside), 50)) < 0.9,
    }


@pytest.mark.parametrize(("share", "models"), [(0.5, 64), (0.7, 80)])
def test_trak_scores_by_one_block_of_models_of_its_own(share, models):
    subject, workshop = attacked.subject(share=share), arrays.Workshop(said)
    trak = TrakOracle.of(subject, workshop)
    ((of, asked, design, columns),) = workshop.asked
    assert replace(of, name=subject.name) == subject
    assert of.name == "digits-planted-trak"
    assert asked == models == trak.models
    assert design == Balanced(100, share, seed=1)
    assert (design.rows(0, 8) != Balanced(100, share).rows(0, 8)).any()  # than the attacker's
    assert {"pool.leverage", "pool.confidence", "pool.correct"} < set(columns)
    (bank,) = workshop.banks.values()
    leverage, phi, right = (
        bank.columns[f"pool.{name}"].astype(float) for name in ("leverage", "confidence", "correct")
    )
    error = np.mean(1 - expit(phi), axis=0)
    np.testing.assert_allclose(trak.error, error)
    np.testing.assert_allclose(trak.scores, leverage.mean(axis=0) * error)
    inside = bank.membership
    expected = np.mean(right, axis=0, where=inside) - np.mean(right, axis=0, where=~inside)
    np.testing.assert_allclose(trak.memorization, expected)
    assert trak.seconds == 7


def test_a_cost_that_only_a_part_of_the_models_took_is_not_told():
    class Found(arrays.Workshop):
        def bank(self, *given, **more):
            bank = super().bank(*given, **more)
            bank.fill.models_trained -= 1
            return bank

    assert np.isnan(TrakOracle.of(attacked.subject(), Found(said)).seconds)


def test_the_oracle_is_asked_once_and_its_models_are_no_ones_else():
    workshop = arrays.Workshop(said)
    given = attacked.experiment(OracleExperiment, workshop=workshop)
    assert given.trak is given.under(SINGLETONS_AT_RANDOM).trak
    assert len(workshop.asked) == 1


# ---- Gaussians -----------------------------------------------------------------------------------

GAUSSIANS = AttackSize(references=4, calibration=3, targets=3, removal=1, planted=1, fpr=0.02)
REFERENCES, CALIBRATION = slice(0, 256), slice(256, 448)
TARGETS = [slice(448, 512), slice(512, 576), slice(576, 640)]


@pytest.fixture(scope="module")
def gaussian():
    return experiment(GAUSSIANS)


def naive_scores(phi, inside, rows):
    """Log ratios of normal densities, and of means of kernels, fitted on the references."""
    both = np.empty((2, len(phi[rows]), phi.shape[1]))
    for example, (column, was_in) in enumerate(zip(phi.T, inside.T, strict=True)):
        known, asked = column[REFERENCES], column[rows]
        logs = []
        for side in (known[was_in[REFERENCES]], known[~was_in[REFERENCES]]):
            quartiles = np.quantile(side, [0.25, 0.75])
            spread = min(side.std(), (quartiles[1] - quartiles[0]) / 1.34)
            width = 2 * 0.9 * spread * len(side) ** -0.2
            kernels = norm.logpdf(asked[:, None], side, width)
            logs.append(
                (
                    norm.logpdf(asked, side.mean(), side.std()),
                    logsumexp(kernels, axis=1) - math.log(len(side)),
                )
            )
        both[:, :, example] = np.subtract(*logs)
    return both


def naive_found(scores, inside, fpr=0.02):
    """TPR of each block above the threshold of the calibration models."""
    outside = sorted(scores[:192][~inside[CALIBRATION]].tolist(), reverse=True)
    bar = outside[math.floor(fpr * len(outside) + 1e-9)]
    return [float(np.mean(scores[b.start - 256 : b.stop - 256][inside[b]] > bar)) for b in TARGETS]


def test_both_attacks_have_thresholds_of_their_own_and_the_same_references(gaussian):
    units = list(gaussian.gaussians())
    phi, inside = gaussian.observations.confidence.astype(float), gaussian.membership
    scores = naive_scores(phi, inside, slice(256, 640))
    found = [naive_found(each, inside) for each in scores]
    assert len(units) == 3
    for number, (unit, block) in enumerate(zip(units, TARGETS, strict=True)):
        one, other = found[0][number], found[1][number]
        members = inside[block]
        ranked = []
        for each in scores:
            ranks = rankdata(each[block.start - 256 : block.stop - 256])
            u = (
                ranks.reshape(members.shape)[members].sum()
                - members.sum() * (members.sum() + 1) / 2
            )
            ranked.append(u / (members.sum() * (~members).sum()))
        assert unit == pytest.approx(
            {
                "log (Gaussian / kernel found)": math.log(one / other),
                "AUROC, Gaussian less kernel": ranked[0] - ranked[1],
                "found, Gaussian": one,
                "found, kernel": other,
            }
        )
    assert abs(np.mean([unit["log (Gaussian / kernel found)"] for unit in units])) < math.log(1.25)


def test_other_targets_change_only_their_own_unit(gaussian):
    changed = experiment(GAUSSIANS, bank=gaussian.bank.but(TARGETS[2]))
    one, other = list(gaussian.gaussians()), list(changed.gaussians())
    assert one[:2] == other[:2]
    assert one[2] != other[2]
    changed = experiment(GAUSSIANS, bank=gaussian.bank.but(CALIBRATION))
    for unit, before in zip(changed.gaussians(), one, strict=True):
        assert unit["AUROC, Gaussian less kernel"] == before["AUROC, Gaussian less kernel"]
        assert unit["found, Gaussian"] != before["found, Gaussian"]


def test_nothing_found_counts_as_half_a_member(gaussian):
    hopeless = replace(gaussian, cache=dict(gaussian.cache))
    inside = gaussian.membership[256:]
    scores = np.random.default_rng(0).random(inside.shape)
    hopeless.cache["densities", ""] = scores, np.where(inside, -1.0, scores)
    for unit, block in zip(hopeless.gaussians(), TARGETS, strict=True):
        assert unit["found, kernel"] == 0
        assert unit["found, Gaussian"] > 0
        least = 0.5 / gaussian.membership[block].sum()
        assert unit["log (Gaussian / kernel found)"] == pytest.approx(
            math.log(unit["found, Gaussian"] / least)
        )


def test_too_few_non_members_for_a_threshold_are_said(gaussian):
    """140 examples OUT for half of 192 models are 13,440, and 20 of them are the least."""
    for fpr, enough in ((19.9 / 13440, False), (20.1 / 13440, True)):
        few = replace(gaussian, size=replace(GAUSSIANS, fpr=fpr))
        if enough:
            assert len(list(few.gaussians())) == 3
            continue
        with pytest.raises(CannotResolveError, match="140 examples give 13,440 non-members to the"):
            list(few.gaussians())


def test_bimodal_out_confidences_have_the_mean_and_deviation_of_in_ones(gaussian):
    phi, inside = gaussian.observations.confidence.astype(float), gaussian.membership
    control = gaussian.under(BIMODAL)
    made = control._with_two_modes(phi.copy(), inside)
    np.testing.assert_array_equal(made[inside], phi[inside])
    known, side = phi[REFERENCES], inside[REFERENCES]
    moments = [
        (np.mean(known, axis=0, where=each), np.std(known, axis=0, where=each))
        for each in (side, ~side)
    ]
    (mean_in, sd_in), (mean_out, sd_out) = moments
    placed = (made - mean_in) / sd_in
    signs = np.array([np.sign(row[~out]) for row, out in zip(placed, inside, strict=True)], object)
    assert all(len(set(each.tolist())) == 1 for each in signs)  # of a model they are all in one
    sign = np.array([each[0] for each in signs])
    assert abs(sign.mean()) < 0.15
    narrow = placed - 0.98 * sign[:, None]
    np.testing.assert_allclose(
        narrow[~inside], (0.2 * (phi - mean_out) / sd_out)[~inside], atol=1e-9
    )
    mean = np.mean(made[REFERENCES], axis=0, where=~side)
    deviation = np.std(made[REFERENCES], axis=0, where=~side)
    assert np.abs((mean - mean_in) / sd_in).mean() < 0.15
    np.testing.assert_allclose(deviation / sd_in, 1, atol=0.1)


def test_the_modes_are_fitted_on_references_alone(gaussian):
    phi, inside = gaussian.observations.confidence.astype(float), gaussian.membership
    control = gaussian.under(BIMODAL)
    one = control._with_two_modes(phi, inside)
    other = phi.copy()
    other[TARGETS[0]] += 3
    two = control._with_two_modes(other, inside)
    rows = np.r_[REFERENCES, CALIBRATION, TARGETS[1], TARGETS[2]]
    np.testing.assert_array_equal(one[rows], two[rows])


def test_gaussians_do_not_see_two_modes_and_kernels_do(gaussian):
    units = list(gaussian.under(BIMODAL).gaussians())
    before = list(gaussian.gaussians())
    assert len(units) == 3
    for unit in units:
        assert unit["log (Gaussian / kernel found)"] < -math.log(1.25)
        assert unit["found, Gaussian"] < 0.1
        assert abs(unit["AUROC, Gaussian less kernel"]) > 0.1
    assert list(gaussian.gaussians()) == before
    again = experiment(GAUSSIANS).under(BIMODAL)
    assert list(again.gaussians()) == units


def test_a_confidence_that_never_varies_is_said(gaussian):
    phi = gaussian.observations.confidence.astype(float)
    phi[:, 3] = 1.0
    with pytest.raises(CannotResolveError, match="one OUT confidence in all references"):
        gaussian.under(BIMODAL)._with_two_modes(phi, gaussian.membership)


# ---- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", oracle_figures.ARRAYS)
def test_all_arrays_can_be_saved_and_drawn(kind, given, tmp_path):
    shown = given.figure(kind)
    saved = load_artifact(tmp_path, save_artifact(tmp_path, kind, "a", **shown))
    assert set(saved) == set(shown)
    assert figures.draw(kind, saved, "f").panels


def naive_auroc(scores, group):
    n = group.sum()
    u = rankdata(scores)[group].sum() - n * (n + 1) / 2
    return u / (n * (~group).sum())


def test_scores_are_shown_with_how_well_they_tell_the_groups(given):
    shown = given.figure("oracle-scores")
    under = given.subject.pool.groups == UNDER
    right, inside = given.correct[:128], given.membership[:128]
    memorization = np.mean(right, axis=0, where=inside) - np.mean(right, axis=0, where=~inside)
    scores = {
        "memorization": memorization,
        "trak": given.trak.scores,
        "same models": given.trak.memorization,
    }
    for name, values in scores.items():
        np.testing.assert_allclose(shown[name], values)
    np.testing.assert_array_equal(shown["under"], under)
    expected = [naive_auroc(each, under) for each in scores.values()]
    assert shown["separation"].tolist() == pytest.approx(expected)
    assert shown["models"].tolist() == [128, 64, 64]
    assert shown["seconds"] == 12


@pytest.mark.parametrize(("count", "enough"), [(9, False), (10, True)])
def test_no_scores_are_shown_of_too_few_singletons(given, count, enough):
    groups = {**given.groups, TRAK_SINGLETONS: np.arange(110, 110 + count)}
    few = replace(given, cache={**given.cache, "groups": groups})
    assert (few.figure("oracle-scores") is not None) == enough


def test_no_scores_are_shown_of_a_pool_of_one_group():
    """Everybody may be a singleton by memorization there, and TRAK is not even asked."""
    alone = attacked.experiment(
        OracleExperiment,
        attacked.subject(140, 0),
        SIZE,
        workshop=arrays.Workshop(said),
        groups=False,
    )
    alone.cache["memorization"] = np.ones(EXAMPLES)
    assert len(alone.members(SINGLETONS)) == EXAMPLES
    assert alone.figure("oracle-scores") is None
    assert alone.workshop.asked == []


def test_groups_above_each_threshold_are_attacked_and_small_ones_left_out(given):
    memorized = 0.85 * given.memorization
    less = replace(given, cache={**given.cache, "memorization": memorized})
    shown = less.figure("memorization-threshold")
    sizes = [int((memorized[OUTLIERS] > above).sum()) for above in np.arange(1, 10) / 10]
    enough = [k for k, size in enumerate(sizes) if size >= 10]
    assert 1 < len(enough) < 9
    assert shown["thresholds"].tolist() == [(k + 1) / 10 for k in enough]
    assert shown["examples"].tolist() == [sizes[k] for k in enough]
    for row, k in enumerate(enough):
        group = OUTLIERS[memorized[OUTLIERS] > (k + 1) / 10]
        auroc = [1 - misranked(given, LIRA, block, group) for block in BLOCKS]
        np.testing.assert_allclose(
            shown["auroc"][row], np.clip(t_interval(auroc, 0.05), 0, 1), rtol=1e-9
        )
    assert (shown["needed"][:, 0] >= 1).all()
    assert shown["references"] == 128


def test_models_needed_do_not_hang_on_those_that_set_thresholds(given):
    other = replace(given, bank=given.bank.but(slice(128, 256)), cache=dict(given.cache))
    for key in ("observations", "correct"):
        other.cache.pop(key, None)
    one, two = (each.figure("memorization-threshold")["needed"] for each in (given, other))
    np.testing.assert_array_equal(one, two)
    other = replace(given, bank=given.bank.but(BLOCKS[0]), cache=dict(given.cache))
    for key in ("observations", "correct"):
        other.cache.pop(key, None)
    assert (other.figure("memorization-threshold")["needed"] != one).any()


def test_no_thresholds_are_shown_where_nobody_is_memorized(given):
    nobody = replace(given, cache={**given.cache, "memorization": np.zeros(EXAMPLES)})
    assert nobody.figure("memorization-threshold") is None


def test_normality_is_tested_of_the_first_references_on_each_side(given):
    shown = given.figure("normality")
    assert shown["counts"].tolist() == [8, 16, 32, 64]
    phi, inside = given.observations.confidence[:128].astype(float), given.membership[:128]
    for row, side in enumerate((inside, ~inside)):
        for column, count in enumerate((8, 16, 32, 64)):
            p = [shapiro(phi[side[:, k], k][:count]).pvalue for k in range(EXAMPLES)]
            assert shown["rejected"][row, column] == np.mean(np.array(p) < 0.05)
    assert (shown["examples"], shown["level"]) == (EXAMPLES, 0.05)


def test_confidences_of_another_shape_are_rejected_on_their_side(given):
    logits = given.bank.column("pool", "logits").copy()
    members = np.broadcast_to(given.bank.membership[:, :, None], logits.shape)
    logits[members] = np.sign(logits[members]) * logits[members] ** 4
    bank = given.bank.but(slice(0, 0))
    bank._columns["pool", "logits"] = logits
    rejected = experiment(bank=bank).figure("normality")["rejected"]
    assert rejected[0, -1] > 0.5 > rejected[1, -1]


def test_too_few_references_for_a_test_show_nothing():
    given = experiment()
    confidence = np.random.default_rng(0).random((448, EXAMPLES))
    for count, shown in ((7, False), (8, True)):
        inside = np.tile(np.arange(448)[:, None] < count, EXAMPLES)
        given.cache["observations"] = SimpleNamespace(confidence=confidence, membership=inside)
        assert (given.figure("normality") is not None) == shown


# ---- the claims ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("test_trak_chooses_singletons_that_are_attacked_well", 6 + 3),
        ("test_gaussians_are_good_enough", 1),
    ],
)
def test_the_claims_decide_on_what_is_yielded(name, parts, given, gaussian):
    claim = runpy.run_path(str(TESTS.parent / "claims" / "test_oracles.py"))[name].claim
    on = given if "trak" in name else gaussian
    evidence = gather(claim, on, "lab", "cpu")
    for arm in (evidence.observed, *evidence.controls):
        judged = [part.name for part in arm.decision.parts if part.verdict]
        assert len(judged) == parts < len(arm.decision.parts)
