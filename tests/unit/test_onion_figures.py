"""The onion's figures: their arrays from planted banks, and drawings of synthetic arrays."""

import re
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest
from torch import nn

from benchsuite.data.dataset import Dataset
from benchsuite.experiments.onion import OnionExperiment
from benchsuite.experiments.sizes import OnionSize
from benchsuite.report import figures, onion_figures
from benchsuite.shadows.design import Balanced
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.roc import tpr_at_fpr
from benchsuite.subject import Subject
from benchsuite.training import Recipe

ROCS = {"onion-roc": 3, "onion-size": 5, "onion-capacity": 3, "onion-peeling": 2}
"""Curves by kind."""
EXAMPLES, LAYER = 80, 8
FPR = 0.05


# ---- arrays, from planted banks ----------------------------------------------------------------


@dataclass
class Planted:
    """A bank whose confidence rises with membership, by example as much as `shift` says."""

    design: Balanced
    models: int
    shift: np.ndarray
    seed: int

    def __post_init__(self):
        random = np.random.default_rng(self.seed)
        self.key = f"planted {self.seed}"
        self.membership = self.design.rows(0, self.models)
        self.confidence = random.normal(0, 1, self.membership.shape) + self.membership * self.shift

    def column(self, part, name):
        if part == "test":
            return np.ones((self.models, 4), bool)
        return self.confidence if name == "confidence" else self.confidence > 0


class Planter:
    """A workshop whose every bank is planted."""

    def __init__(self):
        self.seeds = count(1)
        self.asked = {}

    def bank(self, subject, models, design=None):
        key = subject.pool.digest, models
        if key not in self.asked:
            self.asked[key] = Planted(
                Balanced(len(subject.pool)), models, shift_of(subject.pool), next(self.seeds)
            )
        return self.asked[key]


def shift_of(pool):
    """The first `LAYER` examples are exposed, and the last 4 once half of those are gone."""
    place = (pool.images[:, 0, 0, 0] * EXAMPLES).round()  # a foreign outlier may be anything
    exposed = place < LAYER
    if exposed.sum() <= LAYER // 2:
        exposed |= place >= EXAMPLES - 4
    return np.where(exposed, 4.0, 0.3)


def pool():
    images = np.repeat(np.arange(EXAMPLES, dtype=np.float32) / EXAMPLES, 64).reshape(-1, 1, 8, 8)
    return Dataset(images, np.arange(EXAMPLES) % 2)


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def experiment(base_models=256, blocks=2, fpr=FPR):
    examples = pool()
    subject = Subject("planted", examples, examples, network, Recipe(epochs=1))
    bank = Planted(Balanced(EXAMPLES), base_models, shift_of(examples), 0)
    size = OnionSize(blocks, 1, 2, 4, 2, 1, fpr)
    return OnionExperiment(subject, bank, size, Planter())


@pytest.mark.parametrize(("kind", "curves"), ROCS.items())
def test_a_figure_has_a_curve_with_a_band_of_each_world(kind, curves):
    arrays = experiment().figure(kind)
    grid = arrays["fpr"]
    assert len(set(arrays["names"].tolist())) == curves
    assert arrays["tpr"].shape == arrays["low"].shape == arrays["high"].shape
    assert arrays["tpr"].shape == (curves, len(grid))
    assert (np.diff(grid) > 0).all()
    assert grid[0] == pytest.approx(FPR / 10)
    assert grid[-1] == 1
    assert FPR in grid
    assert (np.diff(arrays["tpr"]) >= 0).all()
    assert (arrays["tpr"][:, -1] == 1).all()
    assert (arrays["low"] <= arrays["tpr"]).all()
    assert (arrays["tpr"] <= arrays["high"]).all()
    assert arrays["blocks"] == 2
    assert figures.draw(kind, arrays, "f").panels  # what is saved can be drawn


def worlds(onion, kind):
    """What each curve of the figure is of."""
    base, exposed = onion.base, onion.exposed
    if kind == "onion-peeling":
        return onion.without(exposed), onion.without(onion.peeled)
    if kind == "onion-size":
        removals = (onion.random, onion.safest)
        pairs = [(base.at(removal.kept), onion.without(removal)) for removal in removals]
        return base, *pairs[0], *pairs[1]
    ideal, real = base.at(exposed.kept), onion.without(exposed)
    if kind == "onion-roc":
        return base, ideal, real
    return ideal, real, onion.with_outliers(exposed).at(exposed.kept)


@pytest.mark.parametrize("kind", ROCS)
def test_a_curve_is_the_mean_over_blocks_of_what_a_claim_measures(kind):
    onion = experiment()
    assert onion.exposed.examples == tuple(range(LAYER))
    arrays = onion.figure(kind)
    at = arrays["fpr"].tolist().index(FPR)
    for k, world in enumerate(worlds(onion, kind)):
        points = [tpr_at_fpr(b.scores, b.membership, FPR) for b in world.blocks()]
        assert [point.tpr for point in points] == [b.tpr(FPR) for b in world.blocks()]
        interval = t_interval([point.tpr for point in points], 0.05)
        assert arrays["tpr"][k, at] == interval.estimate
        assert (arrays["low"][k, at], arrays["high"][k, at]) == interval[1:]
        assert arrays["realised_fpr"][k] == np.mean([point.realised_fpr for point in points])
        examples = EXAMPLES if world is onion.base else EXAMPLES - LAYER
        assert arrays["non_members"][k] == points[0].non_members == 32 * examples
    assert len(set(arrays["tpr"][:, at])) == ROCS[kind]  # no two curves are of the same world


def test_a_control_is_drawn_as_the_claim_measures_it():
    onion = experiment()
    at = onion.figure("onion-roc")["fpr"].tolist().index(FPR)
    control = onion.under("random-layer")
    expected = [block.tpr(FPR) for block in onion.base.at(onion.random.kept).blocks()]
    assert control.figure("onion-roc")["tpr"][1, at] == np.mean(expected)


def test_the_planted_onion_is_seen():
    """The layer holds nearly all that an attack finds at a low FPR, and 4 follow it."""
    arrays = experiment().figure("onion-roc")
    base, idealised, real = arrays["tpr"][:, arrays["fpr"].tolist().index(FPR)]
    assert base > 0.1 + 0.04  # 8 of 80 are found surely, of the others about as many as accused
    assert idealised < 0.09
    assert real > idealised + 0.02


def test_random_and_safest_removals_keep_the_exposed():
    arrays = experiment().figure("onion-size")
    low = arrays["tpr"][:, arrays["fpr"].tolist().index(FPR)]
    assert (low > 0.1).all()
    assert [name[-3:] for name in arrays["names"]] == ["les", "(I)", "(R)", "(I)", "(R)"]


def test_peeling_says_its_rounds():
    onion = experiment()
    arrays = onion.figure("onion-peeling")
    assert onion.peeled.examples != onion.exposed.examples
    assert arrays["names"][1] == "peeled: as many removed in 2 rounds"


@pytest.mark.parametrize("kind", ROCS)
def test_there_is_no_curve_where_blocks_do_not_resolve_the_rate(kind):
    assert experiment(fpr=1e-3).figure(kind) is None


def test_there_is_no_band_over_a_single_block():
    assert experiment(base_models=128).figure("onion-roc") is None


def test_the_halves_of_the_bank_are_independent_and_its_whole():
    onion = experiment()
    arrays = onion.figure("onion-agreement")
    halves = [onion.whole(slice(0, 128)), onion.whole(slice(128, 256))]
    assert np.array_equal(halves[0].membership, onion.bank.membership[:128])
    assert np.array_equal(halves[1].membership, onion.bank.membership[128:])
    assert np.array_equal(arrays["one"], halves[0].advantage)
    assert np.array_equal(arrays["other"], halves[1].advantage)
    assert arrays["models"] == 128
    assert arrays["layers"].shape == (2, EXAMPLES)
    assert arrays["layers"].sum(axis=1).tolist() == [LAYER, LAYER]
    assert np.flatnonzero(arrays["layers"].all(axis=0)).tolist() == list(range(LAYER))
    assert arrays["r"] == pytest.approx(np.corrcoef(arrays["one"], arrays["other"])[0, 1])


def test_a_bank_of_three_blocks_has_halves_of_one_block():
    assert experiment(base_models=192).figure("onion-agreement")["models"] == 64


def test_a_single_block_has_no_halves():
    assert experiment(base_models=64).figure("onion-agreement") is None


# ---- drawings, from synthetic arrays -----------------------------------------------------------


def synthetic(kind):
    """The least that a figure of `kind` can be drawn from."""
    if kind == "onion-agreement":
        small = {
            "one": [0.0, 0.1, 0.6, 0.7, 0.9],
            "other": [0.1, 0.0, 0.7, 0.5, 0.95],
            "layers": [[0, 0, 0, 1, 1], [0, 0, 1, 0, 1]],
            "r": 0.9637,
            "models": 1024,
        }
    else:
        curves = ROCS[kind]
        tpr = np.array([[0.004, 0.0213, 0.3 + k / 100, 1.0] for k in range(curves)])
        small = {
            "names": [f"curve {k}" for k in range(curves)],
            "fpr": [1e-4, 1e-3, 0.1, 1.0],
            "tpr": tpr,
            "low": tpr - 0.005,
            "high": tpr + 0.005,
            "low_fpr": 1e-3,
            "realised_fpr": [43 / 43_200] * curves,
            "non_members": [43_200] * curves,
            "blocks": 8,
            "level": 0.95,
        }
    return {name: np.asarray(array) for name, array in small.items()}


@pytest.mark.parametrize("kind", [*ROCS, "onion-agreement"])
def test_a_drawing_is_said_in_words_and_takes_its_colours_from_the_page(kind):
    drawing = figures.draw(kind, synthetic(kind), "f")
    assert drawing.caption.endswith(".")
    assert "  " not in drawing.caption
    for panel in drawing.panels:
        assert 'role="img" aria-label="' in panel
        assert not re.search(r"#[0-9a-f]{6}", panel)
    assert figures.draw(kind, synthetic(kind), "f") == drawing
    ids = re.findall(r' id="([^"]+)"', "".join(drawing.panels))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", ROCS)
def test_a_curve_says_its_rate_and_what_stands_behind_it(kind):
    (panel,) = figures.draw(kind, synthetic(kind), "f").panels
    assert (
        "true positive rate at 0.1 % false positives, and non-members accused in a block: "
        "curve 0: 2.13 % [1.63, 2.63], 43 of 43,200; curve 1: " in panel
    )
    assert panel.count("2.13 % [1.63, 2.63], 43 of 43,200") == 2 * ROCS[kind]  # legend too
    assert "At 0.1 % false positives (dots): true positive" in panel
    assert panel.count("fill-opacity: 0.18") == ROCS[kind]


def test_the_caption_says_what_a_band_is():
    changed = synthetic("onion-roc") | {"blocks": np.asarray(4), "level": np.asarray(0.9)}
    caption = figures.draw("onion-roc", changed, "f").caption
    assert "the 90 % interval over 4 blocks of models" in caption


def test_captions_differ():
    captions = {figures.draw(kind, synthetic(kind), "f").caption for kind in ROCS}
    assert len(captions) == len(ROCS)


def test_what_a_curve_shows_has_one_colour_and_line_on_all_figures():
    roc, capacity, peeling = (
        onion_figures.KINDS[kind].keywords["styles"]
        for kind in ("onion-roc", "onion-capacity", "onion-peeling")
    )
    assert roc[1:] == capacity[:2]
    assert roc[2] == peeling[0]
    for kind in ROCS:
        styles = onion_figures.KINDS[kind].keywords["styles"]
        assert len(set(styles)) == len(styles) == ROCS[kind]


def test_bands_and_rates_beyond_the_axes_are_drawn():
    arrays = synthetic("onion-roc")
    arrays["tpr"] = np.zeros_like(arrays["tpr"])
    arrays["low"], arrays["high"] = arrays["tpr"] - 0.2, arrays["tpr"] + 1.2
    (panel,) = figures.draw("onion-roc", arrays, "f").panels
    assert "curve 0: 0 % [0, 100], 43 of 43,200" in panel
    paths = " ".join(re.findall(r' d="([^"]*)"', panel))
    assert max(map(float, re.findall(r"\d+(?:\.\d+)?", paths))) < 1000  # not far off the figure


def test_the_agreement_says_r_and_how_many_both_halves_find():
    drawing = figures.draw("onion-agreement", synthetic("onion-agreement"), "f")
    everything, layers = drawing.panels
    says = "by one half of the models against that by the other, 1,024 models each. "
    assert f'{says}All examples: r = 0.964"' in everything
    assert f'{says}The layers: 1 of 2 are in both"' in layers
    assert "the 2 examples that it finds most exposed" in drawing.caption


def test_the_layers_are_drawn_with_whoever_lies_among_them():
    one, other = np.array([0.0, 0.5, 0.6, 0.7, 0.9]), np.array([0.6, 0.4, 0.6, 0.5, 0.9])
    layers = np.array([False, True, False, False, True])
    around = onion_figures._around(one, other, layers)
    assert around.tolist() == [False, True, True, True, True]


def test_halves_that_agree_fully_are_drawn():
    arrays = synthetic("onion-agreement")
    arrays["layers"] = np.array([[0, 0, 0, 1, 1]] * 2)
    assert "2 of 2 are in both" in figures.draw("onion-agreement", arrays, "f").panels[1]


def test_many_points_stay_small():
    random = np.random.default_rng(0)
    one = random.beta(0.3, 1, 50_000)
    other = one + random.normal(0, 0.02, one.shape)
    layers = np.array([values >= np.sort(values)[-5000] for values in (one, other)])
    arrays = synthetic("onion-agreement") | {"one": one, "other": other, "layers": layers}
    assert sum(map(len, figures.draw("onion-agreement", arrays, "f").panels)) < 120_000


@pytest.mark.parametrize("kind", [*ROCS, "onion-agreement"])
def test_a_missing_array_is_named(kind):
    for name in synthetic(kind):
        arrays = synthetic(kind)
        del arrays[name]
        with pytest.raises(KeyError, match=f"^'{name}'$"):
            figures.draw(kind, arrays, "f")


@pytest.mark.parametrize("kind", ["onion-roc", "onion-agreement"])
def test_what_is_not_finite_is_refused(kind):
    for name, array in synthetic(kind).items():
        if array.dtype.kind == "U":
            continue
        for wrong in (np.nan, np.inf):
            spoilt = array.astype(float)
            spoilt[(-1,) * spoilt.ndim] = wrong
            with pytest.raises(ValueError, match=f"^{name} holds values that are not finite"):
                figures.draw(kind, synthetic(kind) | {name: spoilt}, "f")


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("onion-roc", {"tpr": np.zeros((3, 3))}, r"tpr has shape \(3, 3\), expected \(3, 4\)"),
        ("onion-roc", {"low": np.zeros(4)}, r"low has shape \(4,\), expected \(3, 4\)"),
        ("onion-roc", {"non_members": np.ones(2)}, r"non_members has shape \(2,\)"),
        ("onion-roc", {"names": np.array(["a", "b"])}, "names holds 2 curves, expected 3"),
        ("onion-size", {"names": np.array(["a", "b"])}, "names holds 2 curves, expected 5"),
        ("onion-roc", {"fpr": np.array([0, 1e-3, 0.1, 1])}, "fpr does not rise from above 0"),
        ("onion-roc", {"fpr": np.array([1e-3, 1e-3, 0.1, 1])}, "fpr does not rise from above 0"),
        ("onion-roc", {"low_fpr": np.array(2e-3)}, "fpr does not hold low_fpr, 0.002"),
        ("onion-roc", {"blocks": np.ones(3)}, r"blocks has shape \(3,\), expected \(\)"),
        ("onion-agreement", {"other": np.zeros(4)}, r"other has shape \(4,\), expected \(5,\)"),
        ("onion-agreement", {"layers": np.ones(5)}, r"layers has shape \(5,\), expected \(2, 5\)"),
        ("onion-agreement", {"layers": np.zeros((2, 5))}, "layers hold 0 and 0 examples"),
        (
            "onion-agreement",
            {"layers": np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])},
            "layers hold 1 and 2 examples, expected as many",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(kind, changes, says):
    with pytest.raises(ValueError, match=says):
        figures.draw(kind, synthetic(kind) | changes, "f")
