"""Memorization and advantage with and without DP-SGD, against counts and attacks done by hand."""

import runpy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import norm
from torch import nn

from benchsuite import advantage_ceiling
from benchsuite.data.dataset import Dataset
from benchsuite.evidence import gather
from benchsuite.experiments import privacy as module
from benchsuite.experiments.privacy import PrivacyExperiment
from benchsuite.experiments.private_training import (
    ARMS_SEED,
    CLIP,
    DELTA,
    FITTING_SEED,
    NOISE,
    WITHOUT_NOISE,
)
from benchsuite.experiments.sizes import PrivacySize
from benchsuite.models import mlp
from benchsuite.report import figures
from benchsuite.report.artifacts import load_artifact, save_artifact
from benchsuite.shadows.columns import COLUMNS
from benchsuite.shadows.design import Balanced, Joining
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Privacy, Recipe
from benchsuite.training.accounting import noise_for, privacy_spent

pytest.importorskip("opacus")
arrays = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "banks_of_arrays.py")))

SIZE = PrivacySize(
    selection=2,
    blocks=3,
    epochs=4,
    canaries=10,
    game_epochs=2,
    references=2,
    targets=3,
    epsilons=(5.0, 3.0),
)
EXAMPLES, CLASSES, HELD_OUT = 60, 3, 100
CHOSEN = np.arange(10)
"""The highly memorized, by the plain models of the blocks that choose."""


RECIPE = Recipe(6, batch_size=16, learning_rate=0.2)


def subject(recipe=RECIPE, model=None):
    def data(count, seed):
        images = np.random.default_rng(seed).random((count, 1, 4, 4), dtype=np.float32)
        return Dataset(images, np.arange(count) % CLASSES)

    model = model or partial(mlp, 16, 2, CLASSES)
    return Subject("lab", data(EXAMPLES, 0), data(HELD_OUT, 1), model, recipe)


class Says(NamedTuple):
    """Of a block of 64: wrong IN models of every example, wrong OUT models of the chosen ones.

    Of each 32, so memorization is (wrong_out - wrong_in) / 32 of those; and of 100 held-out
    examples those that are right.
    """

    wrong_in: int
    wrong_out: int
    right: int

    @property
    def left(self):
        return (self.wrong_out - self.wrong_in) / 32

    def columns(self, inside, moment=""):
        wrong_out = np.zeros(EXAMPLES)
        wrong_out[CHOSEN] = self.wrong_out
        return {
            f"pool.correct{moment}": arrays.right(inside, self.wrong_in, wrong_out),
            f"test.correct{moment}": arrays.held_out(len(inside), HELD_OUT, self.right),
        }


ROUGH = (2, 9, 19)
"""Wrong IN models of clipping alone at 1, 3 and 10 times the rate: 32 * .005 are less than 1."""

EPOCHS = [Says(20, 22, 30), Says(10, 18, 50), Says(5, 17, 70), Says(3, 23, 78)]
"""Plain models by epoch, the same in all blocks; in the end `plain` says."""


def plain(number):
    """The first two blocks choose."""
    return Says(0, 30 - number, 90 + number)


def arm(recipe, number, fits=10.0):
    """Each way to train and block is another; clipping fits from this rate on."""
    times = recipe.learning_rate / 0.2
    if recipe.privacy.noise:
        return Says(4, 6 + number, 60) if times == 1 else Says(6, 11 + 2 * number, 55)
    wrong = 0 if times >= fits * 0.99 else 9
    return Says(wrong, 24 + number, 70 + number)


def says(of, design, inside, number, fits=10.0, epochs=EPOCHS):
    if of.recipe.privacy is None:
        columns = plain(number).columns(inside)
        for epoch, each in enumerate(epochs, start=1):
            columns |= each.columns(inside, f"@{epoch}")
        return columns
    return arm(of.recipe, number, fits).columns(inside)


def experiment(size=SIZE, of=None, speak=says, **changes):
    workshop = arrays.Workshop(partial(speak, **changes))
    return PrivacyExperiment(of or subject(), size, workshop)


def trained(given, name):
    return [
        (of.recipe, models, design)
        for of, models, design, _ in given.workshop.asked
        if of.name == name
    ]


@pytest.fixture(scope="module", autouse=True)
def _count_once():
    """Opacus is asked once for each recipe: to look for a noise takes it half a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("noise_for", "privacy_spent"):
            patch.setattr(module, name, cache(getattr(module, name)))
        yield


# ---- banks ---------------------------------------------------------------------------------------


def test_plain_models_are_asked_about_by_epoch():
    given = experiment()
    assert given.plain.models == (2 + 3) * 64
    ((of, _, design, columns),) = given.workshop.asked
    assert of.recipe == given.subject.recipe
    moments = [f"{probe}.correct@{k}" for probe in ("pool", "test") for k in range(1, 5)]
    assert columns == (*COLUMNS, *moments)
    assert design == Balanced(EXAMPLES)
    short = experiment(of=subject(recipe=Recipe(3)))
    assert list(short.epochs) == [1, 2, 3]


def test_private_models_have_the_papers_clip_and_noise_at_a_rate():
    given = experiment()
    bank = given.private(NOISE, 3.0, 2)
    given.private(0.0, 1.0, 1)
    assert bank.models == 128
    (one,), (other,) = trained(given, "lab-dp"), trained(given, "lab-clip-only")
    recipe = given.subject.recipe
    assert one[0].privacy == Privacy(1.3, 1.0)
    assert one[0].learning_rate == pytest.approx(0.6)
    assert replace(one[0], learning_rate=0.2, privacy=None) == recipe
    assert other[0] == replace(recipe, privacy=Privacy(0.0, 1.0))
    assert one[2] == other[2] == Balanced(EXAMPLES, seed=ARMS_SEED) == bank.design


@pytest.mark.parametrize("control", ["without_noise", "none-planted"])
def test_an_unknown_control_is_refused(control):
    with pytest.raises(ValueError) as caught:
        experiment().under(control)
    assert str(caught.value) == f"control={control!r} is unknown: use one of without-noise"


def test_what_is_spent_is_counted_of_the_papers_noise_on_a_models_training_set():
    spent = experiment().spent
    recipe = replace(subject().recipe, privacy=Privacy(NOISE, CLIP))
    assert spent == privacy_spent(recipe, EXAMPLES // 2, 1e-5)
    assert spent.epsilon > privacy_spent(recipe, EXAMPLES, 1e-5).epsilon


# ---- choices -------------------------------------------------------------------------------------


def test_the_highly_memorized_are_chosen_by_plain_models_that_are_no_arm():
    given = experiment()
    assert given.highly_memorized.tolist() == CHOSEN.tolist()

    def others(of, design, inside, number):
        """Who is memorized is another from the third block on."""
        wrong = np.roll(np.where(np.arange(EXAMPLES) < 10, 30, 0), 0 if number < 2 else 20)
        columns = says(of, design, inside, number)
        return columns | {"pool.correct": arrays.right(inside, 0, wrong)}

    assert experiment(speak=others).highly_memorized.tolist() == CHOSEN.tolist()
    more = experiment(replace(SIZE, selection=5), speak=others)
    assert more.highly_memorized.tolist() == (CHOSEN + 20).tolist()


@pytest.mark.parametrize(("count", "enough"), [(1, False), (2, True)])
def test_too_few_highly_memorized_are_said(count, enough):
    def few(of, design, inside, number):
        """Memorization is 17 / 32 of so many, and 16 / 32 of the others."""
        wrong = np.where(np.arange(EXAMPLES) < count, 17, 16)
        columns = says(of, design, inside, number)
        return columns | {"pool.correct": arrays.right(inside, 0, wrong)}

    given = experiment(speak=few)
    for arm in (given, given.under(WITHOUT_NOISE)):
        if enough:
            assert len(list(arm.prevention())) == 3
            continue
        with pytest.raises(CannotResolveError) as caught:
            list(arm.prevention())
        assert str(caught.value) == (
            "1 examples have memorization above 0.5, and 2 are the least: this subject memorizes "
            "too little for this finding"
        )
        assert given.figure("dp-memorization") is None


@pytest.mark.parametrize("fits", [1.0, 3.0, 10.0, 30.0])
def test_the_fitting_rate_is_the_least_that_fits(fits):
    given = experiment(fits=fits)
    assert given.fitting == fits
    asked = trained(given, "lab-clip-only")
    tried = [times for times in (1.0, 3.0, 10.0, 30.0) if times <= fits]
    assert [recipe.learning_rate / 0.2 for recipe, _, _ in asked] == pytest.approx(tried)
    expected = (64, Balanced(EXAMPLES, seed=FITTING_SEED))
    assert {(models, design) for _, models, design in asked} == {expected}
    assert given.under(WITHOUT_NOISE).fitting == fits
    assert len(trained(given, "lab-clip-only")) == len(tried)


def test_the_arms_do_not_choose_the_fitting_rate():
    """Theirs would fit at the recipe's own rate, and those that are looked at fit at the third."""

    def sooner(of, design, inside, number):
        return says(of, design, inside, number, fits=10.0 if design.seed == FITTING_SEED else 1.0)

    given = experiment(speak=sooner)
    list(given.prevention())
    assert given.fitting == 10.0


@pytest.mark.parametrize(("first", "others", "fitting"), [(0, 16, 10.0), (9, 0, 1.0)])
def test_plain_models_that_choose_say_what_is_to_be_fitted(first, others, fitting):
    """Clipping has 9 wrong at lower rates; of all 5 plain blocks 3 are an arm, and say nothing."""

    def worse(of, design, inside, number):
        columns = says(of, design, inside, number)
        if of.recipe.privacy is None:
            columns |= (
                plain(number)._replace(wrong_in=others if number > 1 else first).columns(inside)
            )
        return columns

    assert experiment(speak=worse).fitting == fitting


def test_where_no_rate_fits_the_best_is_taken():
    wrong = {1.0: 8, 3.0: 5, 10.0: 2, 30.0: 4}

    def never(of, design, inside, number):
        if of.recipe.privacy is None:
            return says(of, design, inside, number)
        times = round(of.recipe.learning_rate / 0.2)
        return Says(wrong[times], 24, 75).columns(inside)

    given = experiment(speak=never)
    assert given.fitting == 10.0
    assert len(trained(given, "lab-clip-only")) == 4


@pytest.mark.parametrize(("wrong", "fits"), [(9, True), (10, False)])
def test_fitting_is_within_half_a_point_of_plain_training(wrong, fits):
    """60 examples IN 32 of 64 models are 1,920 answers: 9 of them are .47 %, and 10 are .52 %."""

    def nearly(of, design, inside, number):
        if of.recipe.privacy is None:
            return says(of, design, inside, number)
        of_each = np.where(np.arange(EXAMPLES) < wrong, 1, 0)
        return {"pool.correct": arrays.right(inside, of_each, 0)}

    given = experiment(speak=nearly)
    assert given.fitting == 1.0  # it fits, or is the least of equally good ones
    assert len(trained(given, "lab-clip-only")) == (1 if fits else 4)


@pytest.mark.parametrize(
    ("accuracy", "epoch", "share"),
    [
        (0.2, 1, 0.0),  # the first is more accurate already
        (0.3, 1, 0.0),
        (0.4, 1, 0.5),
        (0.5, 1, 1.0),
        (0.55, 2, 0.25),
        (0.76, 3, 0.75),
        (0.78, 3, 1.0),
        (0.9, 3, 1.0),  # none is so accurate
    ],
)
def test_plain_training_is_stopped_between_the_ends_of_two_epochs(accuracy, epoch, share):
    assert experiment().stopped(accuracy) == (epoch, pytest.approx(share))


def test_when_to_stop_is_told_by_the_models_that_choose():
    def later(of, design, inside, number):
        """The other blocks are as accurate an epoch earlier."""
        columns = says(of, design, inside, number)
        if of.recipe.privacy is None and number >= 2:
            for epoch in range(1, 4):
                columns[f"test.correct@{epoch}"] = columns[f"test.correct@{epoch + 1}"]
        return columns

    assert experiment(speak=later).stopped(0.55) == (2, pytest.approx(0.25))


def test_accuracy_that_falls_on_the_way_stops_at_the_first_epoch_that_reaches_it():
    rising = [Says(20, 22, right) for right in (30, 60, 50, 70)]
    assert experiment(epochs=rising).stopped(0.6) == (1, 1.0)
    assert experiment(epochs=rising).stopped(0.65) == (3, pytest.approx(0.75))
    falling = [Says(20, 22, right) for right in (30, 60, 50, 40)]
    assert experiment(epochs=falling).stopped(0.65) == (3, 1.0)
    alone = experiment(replace(SIZE, epochs=1))
    assert alone.stopped(0.9) == (1, 0.0)


# ---- prevention ----------------------------------------------------------------------------------


def test_differences_are_of_the_memorization_that_each_way_to_train_leaves():
    given = experiment()
    units = list(given.prevention())
    assert len(units) == 3
    early = 0.5 * EPOCHS[1].left + 0.5 * EPOCHS[2].left  # .6 is half way from .5 to .7
    recipe = {
        times: replace(given.subject.recipe, learning_rate=0.2 * times) for times in (1.0, 10.0)
    }
    dp = {times: replace(each, privacy=Privacy(NOISE, 1)) for times, each in recipe.items()}
    clip = replace(recipe[10.0], privacy=Privacy(0, 1))
    for number, unit in enumerate(units):
        own, fitted = arm(dp[1.0], number), arm(dp[10.0], number)
        clipped, whole = arm(clip, number), plain(2 + number)
        assert unit == pytest.approx(
            {
                "noise": fitted.left - clipped.left,
                "DP less early-stopped": own.left - early,
                "memorization, plain": whole.left,
                "memorization, clip-only": clipped.left,
                "memorization, DP at that rate": fitted.left,
                "memorization, DP": own.left,
                "memorization, early-stopped": early,
                "accuracy, plain": whole.right / 100,
                "accuracy, clip-only": clipped.right / 100,
                "accuracy, DP at that rate": 0.55,
                "accuracy, DP": 0.6,
                "accuracy, early-stopped": 0.6,
                "epsilon": given.spent.epsilon,
            }
        )
        assert unit["noise"] < 0
    assert len({unit["noise"] for unit in units}) == 3


def test_the_early_stopped_arm_is_as_accurate_as_dp_wherever_that_lies():
    def worse(of, design, inside, number):
        columns = says(of, design, inside, number)
        if of.name == "lab-dp" and of.recipe.learning_rate == 0.2:
            columns["test.correct"] = arrays.held_out(len(inside), HELD_OUT, 35 if number else 38)
        return columns

    given = experiment(speak=worse)
    for unit in given.prevention():  # 36 is 3 tenths of the way from 30 to 50
        assert unit["accuracy, early-stopped"] == pytest.approx(0.36)
        left = 0.7 * EPOCHS[0].left + 0.3 * EPOCHS[1].left
        assert unit["memorization, early-stopped"] == pytest.approx(left)


def test_the_early_stopped_arm_ends_with_the_last_epoch_looked_at():
    def better(of, design, inside, number):
        columns = says(of, design, inside, number)
        if of.name == "lab-dp":
            columns["test.correct"] = arrays.held_out(len(inside), HELD_OUT, 99)
        return columns

    for unit in experiment(speak=better).prevention():
        assert unit["accuracy, early-stopped"] == pytest.approx(0.78)
        assert unit["memorization, early-stopped"] == pytest.approx(EPOCHS[3].left)


def test_no_model_of_an_arm_is_one_that_it_is_held_against():
    """Each bank that is trained for one arm is of another recipe, or of other rows."""
    given = experiment()
    list(given.prevention())
    seeds = [
        (ARMS_SEED if models > 64 else FITTING_SEED) if of.recipe.privacy else 0
        for of, models, _, _ in given.workshop.asked
    ]
    assert [design.seed for _, _, design, _ in given.workshop.asked] == seeds
    assert {*seeds} == {0, ARMS_SEED, FITTING_SEED}
    assert len({0, ARMS_SEED, FITTING_SEED}) == 3
    rows = [Balanced(EXAMPLES, seed=seed).rows(0, 64).tobytes() for seed in {*seeds}]
    assert len(set(rows)) == 3
    asked = [(of.name, of.recipe, models) for of, models, _, _ in given.workshop.asked]
    arms = {(name, recipe) for name, recipe, models in asked if models > 64}
    assert len(arms) == 4
    assert {models for name, _, models in asked if name == "lab-dp"} == {3 * 64}
    clipped = {
        m for _, recipe, m in asked if recipe.learning_rate == 2 and not recipe.privacy.noise
    }
    assert clipped == {64, 6 * 64}


def test_without_noise_other_clipped_models_stand_in_for_private_ones():
    given = experiment()
    units = list(given.under(WITHOUT_NOISE).prevention())
    assert len(units) == 3
    assert trained(given, "lab-dp") == []
    recipe = replace(given.subject.recipe, learning_rate=2.0, privacy=Privacy(0, 1))
    stand_ins = [arm(recipe, number).right for number in (3, 4, 5)]
    mean = np.mean(stand_ins) / 100  # .74, and .725 of all six blocks
    assert 0.7 < mean < 0.78
    early, share = EPOCHS[2], (mean - 0.7) / 0.08
    early = (1 - share) * early.left + share * EPOCHS[3].left
    for number, unit in enumerate(units):
        one, other = arm(recipe, number), arm(recipe, 3 + number)
        assert unit["noise"] == pytest.approx(other.left - one.left)
        assert unit["noise"] == pytest.approx(3 / 32)  # 0 would be the same models
        assert unit["DP less early-stopped"] == pytest.approx(other.left - early)
        assert unit["memorization, plain"] == pytest.approx(plain(2 + number).left)
        assert unit["accuracy, clip-only"] == pytest.approx(one.right / 100)
        assert unit["accuracy, DP"] == pytest.approx(other.right / 100)
        stopped = (1 - share) * 0.7 + share * 0.78
        assert unit["accuracy, early-stopped"] == pytest.approx(stopped)
        assert stopped == pytest.approx(mean)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(self.body(x))


def test_a_layer_that_mixes_examples_is_named_before_anything_is_trained():
    given = experiment(of=subject(model=Normed))
    for arm in (given, given.under(WITHOUT_NOISE)):
        for numbers in (arm.prevention, arm.bounds):
            with pytest.raises(CannotResolveError) as caught:
                list(numbers())
            assert str(caught.value) == (
                "recipe.privacy clips the gradient of each example, but layer body.2 "
                "(BatchNorm1d) mixes the examples of a batch: use GroupNorm there, or privacy=None"
            )
    assert given.workshop.asked == []


# ---- the canary game -----------------------------------------------------------------------------


def planted_of(of):
    return np.flatnonzero(of.pool.labels != subject().pool.labels)


def game(of, design, inside, number, quiet=(), loud=()):
    """Canaries' confidences rise with membership, the k-th one's by k / 4, and by 1 more alone.

    Those of `quiet` blocks are noise; in `loud` ones the first canary is told perfectly.
    """
    if not isinstance(design, Joining):
        return says(of, design, inside, number)
    noise = of.recipe.privacy.noise
    rng = np.random.default_rng([number, int(1000 * noise), 5])
    rise = np.zeros(EXAMPLES)
    rise[planted_of(of)] = np.arange(SIZE.canaries) / 4 + (0 if noise else 2)
    if number in quiet:
        rise[:] = 0
    if number in loud:
        rise[planted_of(of)] = 0
        rise[planted_of(of)[0]] = 50
    z = rng.normal(size=inside.shape)
    wrong = np.zeros(EXAMPLES)
    wrong[planted_of(of)] = 8 if noise else 24
    accurate = 70 + number - (20 if noise else 0)
    return {
        "pool.confidence": (z + rise * inside).astype(np.float32),
        "pool.correct": arrays.right(inside, 0, wrong),
        "test.correct": arrays.held_out(len(inside), HELD_OUT, accurate),
    }


def played(**changes):
    return experiment(speak=game, **changes)


def naive_lira(bank, canaries, references, targets):
    """Log ratio of two normal densities, [targets, canaries]."""
    phi = bank.columns["pool.confidence"][:, canaries].astype(float)
    inside = bank.membership[:, canaries]
    sides = [np.ma.array(phi[references], mask=side[references]) for side in (~inside, inside)]
    logs = [
        norm.logpdf(phi[targets], np.asarray(s.mean(axis=0)), np.asarray(s.std(axis=0)))
        for s in sides
    ]
    return logs[0] - logs[1]


def naive_advantage(scores, inside):
    said = scores > 0
    return np.mean(said, axis=0, where=inside) - np.mean(said, axis=0, where=~inside)


@pytest.fixture(autouse=True)
def half_of_the_ten_canaries_are_the_most_exposed(monkeypatch):
    monkeypatch.setattr(module, "MOST_EXPOSED", 5)


def bank_of(given, name):
    """The canary game's bank of this name."""
    return next(bank for bank in given.workshop.banks.values() if bank.subject.name.endswith(name))


@pytest.mark.parametrize(("control", "name"), [("", "epsilon-1"), (WITHOUT_NOISE, "clip-only")])
def test_the_game_is_lira_on_each_canary_less_the_ceiling(control, name):
    given = played()
    arm = given.under(control) if control else given
    units = list(arm.bounds())
    bank = bank_of(given, f"mislabelled-{name}")
    assert bank.models == (2 + 3) * 64
    canaries = planted_of(bank.subject)
    assert len(canaries) == 10
    assert bank.design == Joining(EXAMPLES, tuple(canaries.tolist()))
    among = naive_lira(bank, canaries, slice(64, 128), slice(0, 64))
    among = naive_advantage(among, bank.membership[:64, canaries])
    exposed = sorted(range(10), key=lambda k: -among[k])[:5]  # the first of equals
    ceiling = advantage_ceiling(1, 1e-5)
    scores = naive_lira(bank, canaries, slice(0, 128), slice(128, 320))
    assert len(units) == 3
    for number, unit in enumerate(units):
        rows = slice(64 * number, 64 * number + 64)
        inside = bank.membership[128 + rows.start : 128 + rows.stop, canaries]
        each = naive_advantage(scores[rows], inside)
        assert unit == pytest.approx(
            {
                "all canaries": each.mean() - ceiling,
                "most exposed": each[exposed].mean() - ceiling,
                "advantage": each.mean(),
                "memorization": 24 / 32 if control else 8 / 32,
                "ceiling": ceiling,
                "held-out accuracy": ((72 if control else 52) + number) / 100,
            }
        )
    assert len({unit["most exposed"] for unit in units}) > 1
    assert (np.mean([unit["all canaries"] for unit in units]) > 0) == bool(control)


def test_accuracy_is_of_each_target_alone():
    def uneven(of, design, inside, number):
        """Each model of a block knows one test example more than the one before."""
        columns = game(of, design, inside, number)
        if isinstance(design, Joining):
            known = 10 * number + np.arange(len(inside))[:, None] // 2
            columns["test.correct"] = np.arange(HELD_OUT) < known
        return columns

    given = experiment(speak=uneven)
    game_played = given.played(1.0, 2, 3)
    expected = (10 * np.arange(2, 5)[:, None] + np.arange(64) // 2) / 100
    np.testing.assert_allclose(game_played.accuracy, expected.ravel())
    accuracy = [unit["held-out accuracy"] for unit in given.bounds()]
    assert accuracy == pytest.approx(expected.mean(axis=1).tolist())


def test_the_game_is_trained_at_the_fitting_rate_with_noise_for_one_epsilon():
    given = played()
    list(given.bounds())
    list(given.under(WITHOUT_NOISE).bounds())
    (one, _, _), (other, _, _) = (
        trained(given, f"lab-mislabelled-{name}")[0] for name in ("epsilon-1", "clip-only")
    )
    assert one.epochs == other.epochs == 2
    assert one.learning_rate == other.learning_rate == pytest.approx(2.0)
    assert one.privacy.clip == other.privacy.clip == 1
    assert other.privacy.noise == 0
    assert one.privacy.noise == noise_for(1.0, one, EXAMPLES, 1e-5)
    assert 0.99 < privacy_spent(one, EXAMPLES, 1e-5).epsilon <= 1
    assert replace(one, privacy=None) == replace(other, privacy=None)
    short = played(of=subject(recipe=Recipe(1, learning_rate=0.2)))
    list(short.bounds())
    assert trained(short, "lab-mislabelled-epsilon-1")[0][0].epochs == 1


def test_canaries_have_wrong_labels_and_all_else_is_the_subjects():
    given = played()
    list(given.bounds())
    of = bank_of(given, "epsilon-1").subject
    assert (of.pool.labels != given.subject.pool.labels).sum() == SIZE.canaries
    np.testing.assert_array_equal(of.pool.images, given.subject.pool.images)
    assert of.test is given.subject.test


def test_the_most_exposed_canaries_are_chosen_by_references_alone():
    """Where targets tell the first canary, and the references do not, it is not chosen."""
    base = played()
    chosen = base.played(1.0, 2, 3).exposed.tolist()
    assert len(chosen) == 5
    assert 0 not in chosen
    loud = played(loud=(2, 3, 4)).played(1.0, 2, 3)
    assert loud.exposed.tolist() == chosen
    assert loud.scores.tolist() != base.played(1.0, 2, 3).scores.tolist()
    assert played(loud=(0, 1)).played(1.0, 2, 3).exposed[0] == 0
    assert played(loud=(0, 1, 2, 3, 4)).played(1.0, 2, 3).exposed[0] == 0


def test_targets_are_no_references_of_each_other():
    """Other last targets change no score of the first."""
    one, other = played().played(1.0, 2, 3), played(quiet=(4,)).played(1.0, 2, 3)
    np.testing.assert_array_equal(one.scores[:128], other.scores[:128])
    assert (one.scores[128:] != other.scores[128:]).any()
    np.testing.assert_array_equal(one.membership, other.membership)


def test_a_canary_is_in_half_of_each_block():
    game_played = played().played(None, 2, 3)
    for rows in np.split(game_played.membership, 3):
        assert (rows.sum(axis=0) == 32).all()


def test_a_game_is_played_once():
    given = played()
    assert given.played(1.0, 2, 3) is given.under(WITHOUT_NOISE).played(1.0, 2, 3)
    assert given.played(None, 2, 3) is not given.played(1.0, 2, 3)
    assert given.played(3.0, 2, 3).spent.epsilon > 2.9 > given.played(1.0, 2, 3).spent.epsilon
    assert given.played(None, 1, 1).scores.shape == (64, 10)


def test_an_epsilon_out_of_reach_is_said(monkeypatch):
    monkeypatch.setattr(module, "EPSILON", 1e-9)
    given = played()
    with pytest.raises(CannotResolveError, match="epsilon=1e-09 is out of reach: accountant='rdp'"):
        list(given.bounds())
    assert len(list(given.under(WITHOUT_NOISE).bounds())) == 3


def test_too_small_a_pool_for_canaries_is_said():
    given = played(size=replace(SIZE, canaries=31))
    with pytest.raises(CannotResolveError, match="60 examples are too few to mislabel 31 of"):
        list(given.bounds())


# ---- figures -------------------------------------------------------------------------------------


def saved(tmp_path, kind, given):
    shown = given.figure(kind)
    again = load_artifact(tmp_path, save_artifact(tmp_path, kind, "a", **shown))
    assert figures.draw(kind, again, "f").panels
    return shown


def test_the_figure_of_arms_shows_the_means_that_decide(tmp_path):
    given = experiment()
    units = list(given.prevention())
    shown = saved(tmp_path, "dp-memorization", given)
    arms = shown["arms"].tolist()
    assert shown["memorization"].shape == (6, len(CHOSEN))
    names = {
        "plain": "plain",
        "clipping alone, fitting rate": "clip-only",
        "DP-SGD, fitting rate": "DP at that rate",
        "DP-SGD, own rate": "DP",
    }
    for shown_as, name in names.items():
        at = arms.index(shown_as)
        for what, value in (
            ("memorization", shown["memorization"][at].mean()),
            ("accuracy", shown["accuracy"][at]),
        ):
            assert value == pytest.approx(np.mean([u[f"{what}, {name}"] for u in units])), shown_as
    early = arms.index("plain, stopped early")  # the nearer end; the earlier of two as near
    np.testing.assert_allclose(shown["memorization"][early], EPOCHS[1].left)
    assert shown["accuracy"][early] == pytest.approx(0.5)
    assert shown["stopped"] == pytest.approx(2.5)
    designs = {of.name: design for of, _, design, _ in given.workshop.asked}
    assert designs["lab-dp"].seed == designs["lab-clip-only"].seed == ARMS_SEED
    own = arms.index("clipping alone, own rate")
    np.testing.assert_allclose(shown["memorization"][own], (24 - 9) / 32)
    assert shown["epsilon"] == given.spent.epsilon
    assert (shown["delta"], shown["accountant"]) == (DELTA, "rdp")


def test_the_figure_of_arms_shows_the_later_epoch_where_that_is_nearer():
    def better(of, design, inside, number):
        columns = says(of, design, inside, number)
        if of.name == "lab-dp":
            columns["test.correct"] = arrays.held_out(len(inside), HELD_OUT, 62)
        return columns

    shown = experiment(speak=better).figure("dp-memorization")
    early = shown["arms"].tolist().index("plain, stopped early")
    assert shown["stopped"] == pytest.approx(2.6)
    assert shown["accuracy"][early] == pytest.approx(0.7)
    np.testing.assert_allclose(shown["memorization"][early], EPOCHS[2].left)


def test_the_figure_of_arms_leaves_out_the_models_that_chose():
    def much(of, design, inside, number):
        columns = says(of, design, inside, number)
        if of.recipe.privacy is None and number >= 2:
            columns |= Says(0, 10, 95).columns(inside)
        return columns

    shown = experiment(speak=much).figure("dp-memorization")
    np.testing.assert_allclose(shown["memorization"][0], 10 / 32)
    assert shown["accuracy"][0] == pytest.approx(0.95)


def test_the_figure_of_games_shows_the_advantage_that_decides(tmp_path):
    given = played()
    units = list(given.bounds())
    control = list(given.under(WITHOUT_NOISE).bounds())
    shown = saved(tmp_path, "privacy-ceiling", given)
    assert shown["epsilons"].tolist() == [1, 5, 3]
    expected = [advantage_ceiling(epsilon, 1e-5) for epsilon in (1, 5, 3)]
    assert shown["ceilings"].tolist() == pytest.approx(expected)
    ends = t_interval([unit["advantage"] for unit in units], 0.05)
    np.testing.assert_allclose(shown["advantage"][0], ends)
    ends = t_interval([unit["advantage"] for unit in control], 0.05)
    np.testing.assert_allclose(shown["without"], [*ends, 24 / 32, 0.73])
    for row in (1, 2):  # a single block has no interval
        assert np.isnan(shown["advantage"][row]).tolist() == [False, True, True]
    assert shown["memorization"].tolist() == pytest.approx([0.25] * 3)
    assert shown["accuracy"].tolist() == pytest.approx([0.53, 0.51, 0.51])  # the targets'
    assert shown["canaries"] == 10
    single = bank_of(given, "epsilon-3")
    canaries = planted_of(single.subject)
    scores = naive_lira(single, canaries, slice(0, 64), slice(64, 128))
    advantage = naive_advantage(scores, single.membership[64:128, canaries]).mean()
    assert shown["advantage"][2, 0] == pytest.approx(advantage)


# ---- the claims ----------------------------------------------------------------------------------


def same(of, design, inside, number):
    """Blocks of each way to train are as good as equal."""
    columns = game(of, design, inside, 1)
    if isinstance(design, Joining):
        columns["pool.confidence"] = game(of, design, inside, number)["pool.confidence"]
    return columns


@pytest.mark.parametrize(
    "name", ["test_privacy_prevents_memorization", "test_privacy_bounds_advantage"]
)
def test_the_claims_decide_on_what_is_yielded(name):
    claims = runpy.run_path(str(Path(__file__).parents[2] / "claims" / "test_oracles.py"))
    claim = claims[name].claim
    evidence = gather(claim, experiment(speak=same), "lab", "cpu")
    for arm, rule in (
        (evidence.observed, claim.rule),
        *zip(evidence.controls, claim.controls.values(), strict=True),
    ):
        judged = {part.name for part in arm.decision.parts if part.verdict}
        assert judged == {name for name, _ in rule.named}
        assert len(arm.decision.parts) > len(judged)
