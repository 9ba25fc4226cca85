"""Family C's claims on models whose scores are planted: what they find, miss, and call wrongly.

Each draw has as many models as the cpu tier trains: 288 plain ones with eight letters of 24
canaries each, 48 or 72 of an arm, 24 without any canary. Effects are in deviations of clean models.
As on the digits, half of the canaries of high self-influence move their models much, N(6, 4), the
others little, N(0, 1.5); nine tenths of that variance are the canary's, the rest its models'. Clean
models' noise is added, which makes all harder.

Tests of one letter share their clean models, so false alarms are counted over whole worlds.
"""

import runpy
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite.claim import TIERS
from benchsuite.data.dataset import Dataset
from benchsuite.evidence import gather
from benchsuite.experiments.canaries import CanaryExperiment
from benchsuite.experiments.canary_banks import CONVOLUTIONAL, PLAIN
from benchsuite.experiments.canary_figures import ARRAYS
from benchsuite.experiments.canary_models import NO_CANARY, CanaryModels
from benchsuite.experiments.feature_audit import FeatureAuditExperiment
from benchsuite.experiments.regularisers import AUGMENTATION, CLIPPED, DP, EARLY, ORDINARY
from benchsuite.experiments.sizes import CANARY_SIZES
from benchsuite.models import mlp
from benchsuite.report import figures
from benchsuite.shadows.design import Replacing
from benchsuite.stats.verdict import decide
from benchsuite.subject import Subject
from benchsuite.training import Recipe

HERE = Path(__file__).parent
synthetic = SimpleNamespace(**runpy.run_path(str(HERE / "synthetic.py")))
CLAIMS = synthetic.load_claims("test_unique_features.py")
AUDITS = synthetic.load_claims("test_feature_audit.py")
SIZE = CANARY_SIZES["cpu"]
LETTERS, EACH = SIZE.letters, SIZE.of_each
DRAWS = 100
ALPHA = 0.05 / 8
DEGREES = 5
"""Of freedom of the heavy-tailed effects: of Student's t."""

every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)


# ---- worlds --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What canaries do.

    Args:
        strong: share of those of high self-influence that move their models much.
        weak: deviation of what the others do; 0 for nothing at all.
        tails: whether clean models' effects have those of Student's t.
    """

    strong: float = 0.5
    weak: float = 1.5
    tails: bool = False


LIKE_THE_DIGITS = Truth()
NOTHING = Truth(strong=0, weak=0)
ALL_STRONG = Truth(strong=1)


@cache
def present_in(pairs, blocks):
    groups = [[(100 * k + p, 100 * k + 50 + p) for p in range(pairs)] for k in range(LETTERS)]
    return Replacing(1000, groups).present(0, 2 * pairs * blocks)


def drawn(truth, rng, *, blocks, low=True):
    """Models of this truth; canaries of low self-influence, if there are any, do nothing."""
    present = present_in(EACH * (1 + low), blocks)
    noise = (
        rng.standard_t(DEGREES, present.shape) if truth.tails else rng.normal(size=present.shape)
    )
    strong = rng.permuted(np.tile(np.arange(EACH) < truth.strong * EACH, (LETTERS, 1)), axis=1)
    mean = np.zeros((LETTERS, EACH * (1 + low)))
    deviation = np.zeros(mean.shape)
    mean[:, :EACH] = np.where(strong, 6.0, 0.0)
    deviation[:, :EACH] = np.where(strong, 4.0, truth.weak)
    of_canary = mean + deviation * np.sqrt(0.9) * rng.normal(size=mean.shape)
    each = np.arange(LETTERS), present.clip(0)
    of_model = of_canary[each] + deviation[each] * np.sqrt(0.1) * rng.normal(size=present.shape)
    effects = noise + np.where(present >= 0, of_model, 0)
    zeros, ones = np.zeros(effects.shape), np.ones(effects.shape)
    accuracy = rng.normal(0.95, 0.005, len(effects))
    return CanaryModels(effects, zeros, zeros, ones, ones, present, EACH, accuracy)


class Planted(CanaryExperiment):
    """Epochs, which nothing here is decided by, are not asked of a bank."""

    def best_epochs(self):
        return np.zeros(2 * EACH * SIZE.arm_blocks, dtype=np.int64)

    def training_at(self, epoch):
        return np.arange(0)

    def _epochs_told_apart_best(self):
        return np.zeros(EACH)


class Designs:
    """A workshop that trains nothing: its banks know their designs."""

    def bank(self, subject, models, *, columns, probes, design):
        return SimpleNamespace(models=models, design=design)


_examples = 2 * EACH * LETTERS + 8
_images = np.random.default_rng(0).random((_examples, 1, 28, 28), dtype=np.float32)
_pool = Dataset(_images, np.arange(_examples) % 3, name="noise")
SUBJECT = Subject("planted", _pool, _pool.subset(range(9)), partial(mlp, 784, 2, 3), Recipe(1))
ARMS = {
    "memorized-before-overfitting": (EARLY,),
    "regularisation-does-not-prevent": ORDINARY,
    "dp-does-prevent": (DP, CLIPPED),
    "cnn-memorizes-more": (CONVOLUTIONAL,),
    "augmentation-amplifies": (AUGMENTATION,),
}
"""By claim; of the others none."""


def experiment(name, seed, plain=LIKE_THE_DIGITS, **truths):
    """What a claim is given: its arms are like the plain models, but those named here."""
    rng = np.random.default_rng(seed)
    planted = Planted(SUBJECT, SIZE, Designs())
    influence = rng.uniform(0.4, 0.6, _examples)  # of high ones about ten times that of low ones
    influence[: EACH * LETTERS] = rng.uniform(0.8, 1.2, EACH * LETTERS)
    influence[-EACH * LETTERS :] = rng.uniform(0, 0.2, EACH * LETTERS)
    planted.cache["influence"] = influence
    planted.cache[PLAIN] = drawn(plain, rng, blocks=SIZE.blocks)
    for arm in ARMS.get(name, ()):
        truth = truths.get(arm, plain)
        compared = arm in (AUGMENTATION, DP, CLIPPED, CONVOLUTIONAL)
        blocks = SIZE.compared_blocks if compared else SIZE.arm_blocks
        planted.cache[arm] = drawn(truth, rng, blocks=blocks, low=False)
    clean = rng.normal(size=(12 * SIZE.clean_blocks, LETTERS))
    nothing = np.zeros(clean.shape)
    none = np.full(clean.shape, NO_CANARY)
    planted.cache["wholly clean"] = CanaryModels(clean, *[nothing] * 4, none, EACH, clean[:, 0])
    return planted


# ---- as fast as it takes -------------------------------------------------------------------------


# ---- false support -------------------------------------------------------------------------------


def verdicts(name, draws=DRAWS, **truths):
    evidence = [
        gather(CLAIMS[name], experiment(name, seed, **truths), "digits28-mlp", "cpu")
        for seed in range(draws)
    ]
    declared = CLAIMS[name].declared_units("digits28-mlp", "cpu")
    assert {each.observed.units for each in evidence} == {declared}
    return evidence


def observed(evidence, verdict):
    return np.mean([each.observed.verdict == verdict for each in evidence])


@pytest.mark.parametrize(
    "name",
    ["unique-feature-memorized", "memorized-before-overfitting", "regularisation-does-not-prevent"],
)
@pytest.mark.parametrize("tails", [False, True])
def test_where_canaries_do_nothing_none_is_said_to_be_memorized(name, tails):
    """Less often than alpha: in none of so many worlds, of which alpha would leave one."""
    evidence = verdicts(name, 200, plain=replace(NOTHING, tails=tails))
    assert sum(each.observed.verdict == "supported" for each in evidence) == 0


@pytest.mark.parametrize("tails", [False, True])
def test_where_canaries_do_nothing_clean_models_are_still_held_clean(tails):
    evidence = verdicts("score-is-specific", plain=replace(NOTHING, tails=tails))
    assert observed(evidence, "refuted") == 0
    assert {each.verdict for each in evidence} == {"void"}  # the control has nothing to find


@pytest.mark.parametrize("name", ["cnn-memorizes-more", "augmentation-amplifies"])
def test_where_both_do_the_same_neither_is_said_to_do_more(name):
    """In 200 worlds alpha / 2 leaves 0.6 on average, more than 4 in one case of 2,600."""
    assert sum(each.observed.verdict == "supported" for each in verdicts(name, 200)) <= 4


def test_where_canaries_show_privacy_is_not_said_to_prevent_it():
    assert observed(verdicts("dp-does-prevent"), "supported") == 0


def test_where_effects_are_dealt_at_random_self_influence_predicts_nothing():
    """Of 192 canaries the correlation is chance, which the blocks of models all share."""
    experiments = []
    for seed in range(20):
        planted = experiment("self-influence-is-weak-predictor", seed)
        rng = np.random.default_rng([seed, 1])
        shuffled = np.empty(_examples)
        shuffled[planted.chosen.ravel()] = rng.permutation(
            planted.influence[planted.chosen].ravel()
        )
        effects = np.mean(planted.effects_by_block(), axis=0)
        experiments.append(np.corrcoef(shuffled[planted.chosen.ravel()], effects)[0, 1])
    assert abs(np.mean(experiments)) < 5 / np.sqrt(20 * 192)


# ---- false discoveries ---------------------------------------------------------------------------


def false_share(moved, tails):
    """Of each draw, where so many letters move their models and the others do not."""
    for seed in range(100):
        rng = np.random.default_rng([seed, moved])
        true = drawn(replace(ALL_STRONG, tails=tails), rng, blocks=SIZE.blocks)
        null = drawn(replace(NOTHING, tails=tails), rng, blocks=SIZE.blocks)
        effects = np.where(np.arange(LETTERS) < moved, true.effects, null.effects)
        found = replace(true, effects=effects).found()
        yield found[:, moved:].sum() / max(1, found.sum())


@pytest.mark.parametrize("moved", [1, 4, 7])
def test_among_what_is_found_no_more_than_the_stated_share_is_false(moved):
    """5 standard errors; above 0, or nothing would be tested."""
    shares = list(false_share(moved, tails=False))
    assert 0 < np.mean(shares) <= 0.05 + 5 * np.std(shares) / np.sqrt(len(shares))


@pytest.mark.parametrize(("moved", "most"), [(1, 0.11), (4, 0.05)])
def test_heavy_tails_make_more_of_what_is_found_false_where_little_is_true(moved, most):
    """9 % where one letter of eight moves its models, 3 % where half of them do."""
    assert np.mean(list(false_share(moved, tails=True))) < most


@pytest.mark.parametrize(("tails", "most"), [(False, 0.055), (True, 0.08)])
def test_the_false_alarm_rate_of_a_clean_model(tails, most):
    """5 % where effects are normal; 4.5 % with tails of 5 degrees of freedom, bounded at 8 %."""
    rates = []
    for seed in range(DRAWS):
        models = drawn(replace(NOTHING, tails=tails), np.random.default_rng(seed), blocks=6)
        rates.append((models.p_values()[models.present == NO_CANARY] < 0.05).mean())
    assert 0.03 < np.mean(rates) < most


# ---- power ---------------------------------------------------------------------------------------

STRONGER = {"cnn-memorizes-more": CONVOLUTIONAL, "augmentation-amplifies": AUGMENTATION}
"""Where the finding is that an arm does more, all of its canaries move their models much."""


@pytest.mark.parametrize(
    "name",
    [
        "unique-feature-memorized",
        "score-is-specific",
        "memorized-before-overfitting",
        "regularisation-does-not-prevent",
        "self-influence-is-weak-predictor",
    ],
)
@pytest.mark.parametrize("tails", [False, True])
def test_what_is_true_of_the_digits_is_found_with_power(name, tails):
    """Controls included where effects are normal."""
    evidence = verdicts(name, 50, plain=replace(LIKE_THE_DIGITS, tails=tails))
    assert observed(evidence, "supported") > 0.9
    assert tails or np.mean([each.verdict == "supported" for each in evidence]) > 0.9


@pytest.mark.parametrize("name", STRONGER)
def test_that_an_arm_does_more_is_found_where_it_does_much_more(name):
    evidence = verdicts(name, **{STRONGER[name]: ALL_STRONG})
    assert observed(evidence, "supported") > 0.8
    assert observed(evidence, "refuted") == 0


def test_that_privacy_prevents_it_is_found_where_it_does():
    evidence = verdicts("dp-does-prevent", 200, **{DP: NOTHING})
    assert observed(evidence, "supported") > 0.9
    assert observed(evidence, "refuted") == 0


@pytest.mark.parametrize("name", ["dp-does-prevent", *STRONGER])
def test_controls_come_out_as_required(name):
    """Of the other claims the verdicts above show it."""
    truths = {DP: NOTHING} if name == "dp-does-prevent" else {STRONGER[name]: ALL_STRONG}
    evidence = verdicts(name, **truths)
    assert np.mean([all(c.came_out for c in each.controls) for each in evidence]) > 0.9


# ---- what is declared ----------------------------------------------------------------------------


@every_claim
def test_every_control_is_one_of_the_experiment(claim):
    assert set(claim.controls) <= set(CanaryExperiment.controls)


def test_the_families_count_their_claims():
    for claims, count in ((CLAIMS, 8), (AUDITS, 1)):
        assert {claim.family.claims for claim in claims.values()} == {len(claims)} == {count}
    assert {claim.family.alpha_of_each for claim in CLAIMS.values()} == {ALPHA}


@every_claim
@pytest.mark.parametrize("tier", TIERS)
def test_units_are_the_folds_or_blocks_that_the_models_give(claim, tier):
    size = CANARY_SIZES[tier]
    blocks = claim.id == "self-influence-is-weak-predictor"
    assert claim.declared_units("any", tier) == (size.blocks if blocks else size.of_each)


def test_the_audits_control_is_one_of_its_experiment():
    (audit,) = AUDITS.values()
    assert set(audit.controls) <= set(FeatureAuditExperiment.controls)
    assert audit.declared_units("any", "cpu") == 8


def test_every_figure_has_arrays_and_a_drawing():
    kinds = {kind for claim in CLAIMS.values() for kind in claim.figures}
    assert kinds == set(ARRAYS)
    assert kinds <= set(figures._KINDS)


def test_a_margin_is_never_met_by_folds_that_scatter_around_it():
    """What lies on the bound is called supported in less than alpha / 2 of samples."""
    rule = CLAIMS["unique-feature-memorized"].rule_at("cpu")
    rng, supported = np.random.default_rng(0), 0
    for _ in range(2000):
        units = [{"found": x} for x in rng.normal(0.05, 0.02, EACH)]
        supported += decide(rule, units, ALPHA).verdict == "supported"
    assert supported / 2000 < 2 * ALPHA / 2
