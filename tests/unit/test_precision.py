"""The numbers of the claims about precision, counted another way; and what bf16 rounds."""

import math
import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata

from benchsuite.experiments.precision import (
    FLOOR,
    FPR,
    ROUNDED,
    PrecisionExperiment,
    Scores,
    compared,
    differences,
    rank_correlation,
    rounded_to_bf16,
    scores_of,
)
from benchsuite.experiments.sizes import PRECISION_SIZES, PrecisionSize, precision_size
from benchsuite.models import mlp
from benchsuite.report import figures
from benchsuite.report.artifacts import load_artifact, save_artifact
from benchsuite.shadows import Fill
from benchsuite.shadows.design import Balanced
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.training import Engine, Recipe, TrainingJob, logits, train

TESTS = Path(__file__).parents[1]
planted = SimpleNamespace(**runpy.run_path(str(TESTS / "planted.py")))

EXAMPLES, UNITS = 60, 3
SUBJECT = planted.subject(EXAMPLES)
STRENGTH = np.linspace(0, 3, EXAMPLES)
NAMES = ("memorization", "AUROC", "log TPR at 0.1 % FPR")


class Workshop:
    """Draws models whose confidences rise with membership; the noise is the precision's and seed's.

    Args:
        changed: how many times the strength of float32 another precision has.
    """

    def __init__(self, changed=1.0):
        self.changed = changed
        self.asked = []

    def bank(self, subject, models, *, design, precision):
        self.asked.append((subject, models, design, precision))
        rng = np.random.default_rng([design.seed, len(precision)])
        membership = design.rows(0, models)
        strength = STRENGTH if precision == "float32" else self.changed * STRENGTH
        confidence = (rng.normal(size=membership.shape) + strength * membership).astype(np.float32)
        columns = {
            ("pool", "confidence"): confidence,
            ("pool", "correct"): confidence > 1,
            ("test", "correct"): rng.random((models, 40)) < 0.9,
        }
        trained = models if precision == "bf16" else 0
        return SimpleNamespace(
            membership=membership,
            column=lambda *names: columns[names],
            models=models,
            design=design,
            fill=Fill(trained, models - trained, 16.0),
            execution=SimpleNamespace(device="cuda:1"),
        )


def experiment(units=UNITS, changed=1.0, of="bf16"):
    return PrecisionExperiment(SUBJECT, PrecisionSize(units), Workshop(changed), of)


@pytest.fixture(scope="module")
def units():
    given = experiment()
    return given, list(given.kept())


# ---- which models ------------------------------------------------------------------------------


def test_all_arms_have_the_same_subsets_and_one_has_another_seed(units):
    given, _ = units
    asked = given.workshop.asked
    assert {of[0].name for of in asked} == {SUBJECT.name}
    assert {of[1] for of in asked} == {2 * 64 * UNITS}
    assert {(of[2].seed, of[3]) for of in asked} == {(0, "float32"), (1, "float32"), (0, "bf16")}
    rows = [design.rows(0, 128) for _, _, design, _ in asked]
    assert all((each == rows[0]).all() for each in rows)


def test_float32s_bank_is_that_of_other_claims(units):
    design = next(of[2] for of in units[0].workshop.asked if of[2].seed == 0)
    assert design.identity() == Balanced(EXAMPLES, SUBJECT.share).identity()


def test_another_precision_shares_what_float32_came_to(units):
    given, _ = units
    before = len(given.workshop.asked)
    list(given.at("tf32").kept())
    assert [of[3] for of in given.workshop.asked[before:]] == ["tf32"]


# ---- scores of a unit --------------------------------------------------------------------------


def by_hand(bank, rows):
    """LiRA by loops over examples, its AUROC by Mann and Whitney's U, its TPR by sorting."""
    confidence = bank.column("pool", "confidence")[rows].astype(float)
    inside = bank.membership[rows]
    found = np.empty(inside.shape)
    for own, others in ((slice(0, 64), slice(64, 128)), (slice(64, 128), slice(0, 64))):
        for k in range(EXAMPLES):
            sides = [confidence[others, k][inside[others, k] == side] for side in (True, False)]
            one, other = (norm(each.mean(), each.std()) for each in sides)
            found[own, k] = one.logpdf(confidence[own, k]) - other.logpdf(confidence[own, k])
    members, outside = found[inside], found[~inside]
    u = rankdata(np.concatenate([members, outside]))[: len(members)].sum()
    auroc = (u - len(members) * (len(members) + 1) / 2) / (len(members) * len(outside))
    threshold = np.sort(outside)[::-1][int(FPR * len(outside))]  # so many lie above
    correct = bank.column("pool", "correct")[rows]
    memorization = [
        correct[inside[:, k], k].mean() - correct[~inside[:, k], k].mean() for k in range(EXAMPLES)
    ]
    return np.array(memorization), found, auroc, (members > threshold).mean()


def test_scores_are_what_counting_gives(units):
    given, _ = units
    bank = given.bank
    for number, own in enumerate(given.scores("float32")):
        rows = slice(128 * number, 128 * (number + 1))
        memorization, found, auroc, tpr = by_hand(bank, rows)
        np.testing.assert_allclose(own.memorization, memorization)
        np.testing.assert_allclose(own.lira, found, rtol=1e-4, atol=1e-4)
        assert (own.auroc, own.tpr) == pytest.approx((auroc, tpr), abs=1e-4)
        assert own.accuracy == pytest.approx(bank.column("test", "correct")[rows].mean())
        assert 0.5 < auroc < 0.95
        assert 0 < tpr < 0.9


def test_numbers_are_differences_from_float32_and_ranks_beside_its_own(units):
    given, found = units
    arms = (given.scores("bf16"), given.scores("float32"), given.scores("float32", 1))
    assert len(found) == UNITS
    for unit, other, float32, reseeded in zip(found, *arms, strict=True):
        expected = {
            "memorization": other.memorization.mean() - float32.memorization.mean(),
            "AUROC": other.auroc - float32.auroc,
            "log TPR at 0.1 % FPR": math.log(other.tpr) - math.log(float32.tpr),
            "memorization, by seed": reseeded.memorization.mean() - float32.memorization.mean(),
            "AUROC, by seed": reseeded.auroc - float32.auroc,
            "log TPR at 0.1 % FPR, by seed": math.log(reseeded.tpr) - math.log(float32.tpr),
        }
        for name, of in (("memorization", "memorization"), ("LiRA's scores", "lira")):
            ranks = [rankdata(getattr(each, of)) for each in (other, float32, reseeded)]
            same, own, between = (
                np.corrcoef(ranks[a], ranks[b])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2))
            )
            expected[f"rank of {name}"] = own - between
            expected[f"correlation, same seed: {name}"] = same
            expected[f"correlation, by seed: {name}"] = between
        assert unit == pytest.approx(expected, abs=1e-9)


def test_a_precision_that_changes_what_is_memorized_shows():
    found = [{name: unit[name] for name in NAMES} for unit in experiment(changed=0.7).kept()]
    for unit in found:
        assert unit["memorization"] < -0.05
        assert unit["AUROC"] < -0.03
        assert unit["log TPR at 0.1 % FPR"] < -0.3


# ---- answers in bf16 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "rounded"),
    [
        (0.5, 0.5),
        (0.998, 0.99609375),  # 255 / 256: the last below 1
        (0.9981, 1.0),
        (0.1, 205 / 2048),  # 8 bits
        (1e-6, None),
    ],
)
def test_probabilities_have_eight_bits(p, rounded):
    (found,) = rounded_to_bf16(np.array([math.log(p) - math.log1p(-p)]))
    if rounded is None:
        assert found == pytest.approx(math.log(p), rel=2**-8)
    elif rounded == 1:
        assert found == pytest.approx(-math.log(FLOOR))
    else:
        assert found == pytest.approx(math.log(rounded / (1 - rounded)), abs=1e-12)


def test_what_is_surely_right_is_all_the_same_then(units):
    given, _ = units
    sure = np.array([[7.0, 9.0, 30.0]], dtype=np.float32)
    assert len(set(rounded_to_bf16(sure).ravel())) == 1
    plain, rounded = given.scores("bf16"), given.scores("bf16", rounded=True)
    for one, other in zip(plain, rounded, strict=True):
        np.testing.assert_array_equal(one.memorization, other.memorization)
        assert (one.lira != other.lira).any()
    under = list(given.under(ROUNDED).kept())
    assert under == list(
        map(compared, rounded, given.scores("float32"), given.scores("float32", 1))
    )


# ---- what cannot be answered -------------------------------------------------------------------


def test_too_few_non_members_are_named():
    few = np.tile([[True, False], [False, True]], (8, 1))
    with pytest.raises(CannotResolveError, match="16 non-members are too few"):
        scores_of(np.zeros((16, 2)), few, few, 1.0)


def test_scores_that_are_all_alike_are_named():
    alike, other = np.zeros(5), np.arange(5.0)
    with pytest.raises(CannotResolveError, match="all alike"):
        rank_correlation(alike, other)
    with pytest.raises(CannotResolveError, match="all alike"):
        rank_correlation(other, alike)


@pytest.mark.parametrize("none_found", [0, 1])
def test_no_ratio_of_tprs_is_made_up(none_found):
    both = [Scores(np.zeros(2), np.zeros((2, 2)), 0.5, 0.1, 1.0)] * 2
    both[none_found] = both[none_found]._replace(tpr=0.0)
    with pytest.raises(CannotResolveError, match="nobody is found at"):
        differences(*both)


# ---- the figure --------------------------------------------------------------------------------


def test_the_figure_has_a_row_of_each_training(units):
    given, found = units
    shown = given.figure("precision-scores")
    arms = [*shown["arms"]]
    assert arms == ["float32", "float32, another seed", "bf16", "bf16, answers in bf16"]
    scores = given.scores("float32"), given.scores("float32", 1), given.scores("bf16")
    for row, of_arm in enumerate(scores):
        assert shown["auroc"][row].tolist() == list(t_interval([u.auroc for u in of_arm], 0.05))
        assert shown["tpr"][row, 0] == pytest.approx(np.mean([u.tpr for u in of_arm]))
    between = np.mean([unit["correlation, by seed: LiRA's scores"] for unit in found])
    own = np.mean([unit["rank of LiRA's scores"] for unit in found])
    ranks = shown["rank of LiRA's scores"][:, 0]
    assert ranks[:3] == pytest.approx([between, between, between + own])
    assert shown["rate"].tolist() == pytest.approx([np.nan, np.nan, 24.0, np.nan], nan_ok=True)
    np.testing.assert_allclose(
        shown["by example, other"], np.mean([u.memorization for u in scores[2]], axis=0)
    )
    assert shown["non-members"] == 64 * EXAMPLES
    assert (shown["models"], shown["units"], shown["device"]) == (384, 3, "cuda")


def test_the_figure_is_drawn_as_saved(units, tmp_path):
    artifact = save_artifact(
        tmp_path, "precision-scores", "x", **units[0].figure("precision-scores")
    )
    drawing = figures.draw("precision-scores", load_artifact(tmp_path, artifact), "f")
    assert len(drawing.panels) == 3
    assert "384 models on a GPU" in drawing.caption


def test_one_unit_has_no_figure():
    assert experiment(units=1).figure("precision-scores") is None


# ---- how many models ---------------------------------------------------------------------------


@pytest.mark.parametrize("block", [64, 80])
def test_sizes_are_declared_or_what_shadows_give(block):
    for key, declared in PRECISION_SIZES.items():
        subject, _, tier = key.rpartition("/")
        enough = declared.units * 2 * block
        for shadows in (None, enough, enough + 1):
            assert precision_size(subject, tier, shadows, block) == (declared, True)
        if declared.units > 2:
            fewer = PrecisionSize(declared.units - 1), False
            assert precision_size(subject, tier, enough - 1, block) == fewer
    with pytest.raises(ValueError, match=f"two units are {4 * block} models"):
        precision_size("digits-mlp", "cpu", 4 * block - 1, block)


# ---- bf16 itself -------------------------------------------------------------------------------


def job(recipe, models=1, seed=0):
    """Digits-like inputs, each model on half of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 10
    inputs = rng.normal(size=(80, 16)) + 1.5 * rng.normal(size=(10, 16))[labels]
    rows = Balanced(80).rows(0, models)
    return TrainingJob(
        partial(mlp, 16, 12, 10),
        recipe,
        torch.tensor(inputs, dtype=torch.float32),
        torch.tensor(labels),
        np.stack([np.flatnonzero(row) for row in rows]),
        tuple(range(models)),
        seed,
    )


ENGINES = [Engine("stacked", precision="bf16"), Engine("looped", precision="bf16")]


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_gradients_are_bf16s_and_weights_have_more_bits(engine):
    """A first step adds -rate x gradient, which bf16 can hold if a product in bf16 gave it."""
    rate = 2.0**-4
    step = Recipe(epochs=1, batch_size=40, learning_rate=rate)
    some = job(step)
    assert some.steps == 1
    start = some.untrained(0).state_dict()

    def bits_lost(how):
        """Relative error of bf16 on the gradients of all weights."""
        trained = train(some, how)
        each = [(start[name] - trained[name][0]) / rate for name in start if "weight" in name]
        gradients = torch.cat([gradient.flatten() for gradient in each])
        assert gradients.abs().max() > 0.01
        return float((gradients.bfloat16().float() - gradients).norm() / gradients.norm())

    assert bits_lost(engine) < 1e-5
    assert bits_lost("looped") > 1e-3
    for name, tensor in train(some, engine).items():
        assert tensor.dtype == torch.float32
        assert (tensor != tensor.bfloat16().float()).any(), name


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_bf16_is_nearer_to_float32_than_another_seed_is(engine):
    recipe = Recipe(epochs=15, batch_size=10)
    some = job(recipe, models=6)
    weights = {
        "float32": train(some, replace(engine, precision="float32")),
        "bf16": train(some, engine),
        "reseeded": train(replace(some, seed=1), replace(engine, precision="float32")),
    }
    said = {of: logits(some.factory, each, some.inputs, engine) for of, each in weights.items()}
    apart = {of: float((each - said["float32"]).abs().mean()) for of, each in said.items()}
    assert 0 < apart["bf16"] < 0.2 * apart["reseeded"]
    # What they are asked is float32: what a plain model with their weights says.
    model = some.untrained(0)
    for number in range(6):
        model.load_state_dict({name: each[number] for name, each in weights["bf16"].items()})
        plain = model.eval()(some.inputs).detach()
        torch.testing.assert_close(said["bf16"][number], plain, rtol=1e-5, atol=1e-5)
