"""The figures of oracles, drawn from made-up arrays."""

import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from benchsuite.report import figures, oracle_figures, svg

KINDS = tuple(oracle_figures.KINDS)


def tiny(kind):
    """The least that a figure of `kind` says anything with."""
    arrays = {
        "oracle-precision": {
            "models": [4, 8, 64],
            "recall": [[0.8, 1.0, 1.0], [0.6, 0.9, 0.98]],
            "precision": [[0.5, 0.8, 0.9], [0.7, 0.8, 1.0]],
            "planted among them": [[0.3, 0.4, 0.5], [0.3, 0.4, 0.4]],
        },
        "oracle-scores": {
            "memorization": [0, 0, 0, 0.02, 0, 0.9, 1, 0.5],
            "trak": [0.0, 0.01, 0.02, 0.1, 0.05, 0.2, 0.25, 0.12],
            "same models": [0, 0.01, 0, 0, 0, 0.8, 1, 0.7],
            "under": [False, False, False, False, True, True, True, True],
            "separation": [0.84, 0.92, 0.78],
            "models": [512, 64, 64],
            "seconds": 14.2,
        },
        "memorization-threshold": {
            "thresholds": [0.1, 0.5, 0.9],
            "examples": [1094, 60, 32],
            "auroc": [[0.9, 0.89, 0.91], [0.95, 0.94, 0.96], [0.99, 0.98, 1.0]],
            "needed": [[40, 30, 50], [8, 7, 9], [4, 3.5, 4.5]],
            "references": 512,
        },
        "normality": {
            "counts": [8, 64, 256],
            "rejected": [[0.054, 0.125, 0.275], [0.048, 0.1, 0.229]],
            "level": 0.05,
            "examples": 1800,
        },
    }[kind]
    return {name: np.asarray(array) for name, array in arrays.items()}


PER_ROW = {
    "oracle-precision": ("models", "recall", "precision", "planted among them"),
    "oracle-scores": ("memorization", "trak", "same models", "under", "separation", "models"),
    "memorization-threshold": ("thresholds", "examples", "auroc", "needed"),
    "normality": ("counts", "rejected"),
}
"""Arrays with a row of each world, count, example, score or threshold."""
FINITE = {kind: tuple(set(tiny(kind)) - {"seconds"}) for kind in KINDS}


def drawn(kind, **changes):
    arrays = tiny(kind) | {name: np.asarray(array) for name, array in changes.items()}
    return figures.draw(kind, arrays, "f")


@pytest.fixture
def kept(monkeypatch):
    """The matplotlib figures that are drawn."""
    figures_drawn = []
    monkeypatch.setattr(svg, "render", lambda figure, name, alt: figures_drawn.append(figure) or "")
    return figures_drawn


def segments(axes):
    """Whiskers: place, low, high."""
    return [
        [float(each[0, 0]), *each[:, 1].tolist()]
        for lines in axes.collections
        for each in lines.get_segments()
    ]


# ---- every kind --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_drawn_with_words_for_those_who_cannot_see_it(kind):
    drawing = drawn(kind)
    assert drawing.caption.endswith(".")
    assert "  " not in drawing.caption
    assert drawing == drawn(kind)
    for panel in drawing.panels:
        ElementTree.fromstring(panel)
        assert re.search(r'aria-label="[^"]+"', panel)
        assert not re.search(r"#[0-9a-f]{6}", panel)  # colours come from the page
    ids = re.findall(r' id="([^"]+)"', "".join(drawing.panels))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_array_is_named(kind):
    for name in tiny(kind):
        left = {other: array for other, array in tiny(kind).items() if other != name}
        with pytest.raises(KeyError, match=f"^'{name}'$"):
            figures.draw(kind, left, "f")


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_that_is_too_short_is_refused(kind):
    for name in PER_ROW[kind]:
        with pytest.raises(ValueError, match="shape"):
            drawn(kind, **{name: tiny(kind)[name][:-1]})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_is_refused(kind):
    for name in FINITE[kind]:
        for wrong in (np.nan, np.inf):
            spoilt = tiny(kind)[name].astype(float)
            spoilt[(0,) * spoilt.ndim] = wrong
            with pytest.raises(ValueError, match=f"^{name} "):
                drawn(kind, **{name: spoilt})


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("oracle-precision", {"models": [8, 4, 64]}, "models has shape .* does not rise"),
        ("oracle-precision", {"recall": [1.0, 1, 1]}, "expected worlds and counts"),
        ("oracle-precision", {"precision": np.full((2, 3), 1.1)}, "precision .* not shares"),
        ("oracle-scores", {"under": np.ones(8)}, "expected some of both"),
        ("oracle-scores", {"under": np.zeros(8)}, "expected some of both"),
        ("oracle-scores", {"seconds": [1.0, 2.0]}, r"seconds has shape \(2,\)"),
        ("oracle-scores", {"separation": [0.5, 0.5, 1.5]}, "separation .* not shares"),
        ("memorization-threshold", {"thresholds": [0.5, 0.1, 0.9]}, "thresholds .* does not rise"),
        ("memorization-threshold", {"auroc": np.tile([0.5, 0.6, 0.7], (3, 1))}, "auroc .* within"),
        ("memorization-threshold", {"needed": np.zeros((3, 3))}, "needed .* not above 0"),
        ("normality", {"rejected": np.full((2, 3), -0.1)}, "rejected .* not shares"),
        ("normality", {"counts": [0, 8, 16]}, "counts .* from above 0"),
    ],
)
def test_arrays_that_cannot_be_are_refused(kind, changes, said):
    with pytest.raises(ValueError, match=said):
        drawn(kind, **changes)


# ---- oracle-precision --------------------------------------------------------------------------


def test_rates_are_means_over_worlds_within_their_range(kept):
    drawn("oracle-precision")
    axes = kept[0].axes[0]
    assert [line.get_ydata().round(3).tolist() for line in axes.lines] == [
        [0.7, 0.95, 0.99],
        [0.6, 0.8, 0.95],
        [0.3, 0.4, 0.45],
    ]
    assert {tuple(line.get_xdata()) for line in axes.lines} == {(4, 8, 64)}
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.6, 1.0)
    assert axes.get_xscale() == "log"


def test_the_caption_of_an_oracle_has_most_and_fewest_models():
    drawing = drawn("oracle-precision")
    assert "With 64 it finds 99 % of them, and other models" in drawing.caption
    assert "confirm 95 % of all" in drawing.caption
    assert "with 4, 70 % and 60 %" in drawing.caption
    assert "Of those found 45 % were planted." in drawing.caption
    assert "2 worlds" in drawing.caption
    assert "planted ones that are found: 70 % with 4 models, 99 % with 64" in drawing.panels[0]


# ---- oracle-scores -----------------------------------------------------------------------------


def test_scores_are_histograms_of_each_group_on_a_logarithmic_axis(kept):
    drawn("oracle-scores")
    arrays = tiny("oracle-scores")
    for axes, name in zip(kept[0].axes, ("memorization", "trak", "same models"), strict=True):
        assert axes.get_yscale() == "log"
        for k, side in enumerate((~arrays["under"], arrays["under"])):
            fill, line = axes.patches[2 * k : 2 * k + 2]
            counts, _ = np.histogram(arrays[name][side], line.get_data().edges)
            assert counts.sum() == 4
            shares = np.where(counts, counts / 4, 0.5 / 8)  # half of one example of all: nothing
            np.testing.assert_allclose(line.get_data().values, shares)
            assert fill.get_facecolor()[:3] == to_rgb(svg.SERIES[k])
            assert line.get_edgecolor()[:3] == to_rgb(svg.SERIES[k])
    assert [text.get_text() for text in kept[0].legends[0].get_texts()] == [
        "over-represented (4)",
        "under-represented (4)",
    ]


def test_scores_say_how_well_they_tell_the_groups_apart():
    drawing = drawn("oracle-scores")
    assert (
        "Memorization by 512 models: AUROC 0.84; TRAK's score by 64 models: AUROC 0.92; "
        "Memorization by the same 64 models: AUROC 0.78"
    ) in unescape(str(drawing.panels[0]))
    assert (
        "best by TRAK's score (0.92), then by memorization (0.84), and least by memorization by as "
        "few models as TRAK's (0.78)"
    ) in drawing.caption
    assert "50 % of all examples have a memorization of exactly 0, and 12.5 % such" in (
        drawing.caption
    )
    turned = drawn("oracle-scores", separation=[0.92, 0.5, 0.6]).caption
    assert "best by memorization (0.92), then by memorization by as few" in turned
    assert "least by TRAK's score (0.50)" in turned


def test_the_cost_of_trak_is_said_where_it_was_measured():
    assert drawn("oracle-scores").caption.endswith("TRAK's models and gradients took 14 s.")
    assert "took" not in drawn("oracle-scores", seconds=np.nan).caption


def test_many_scores_stay_small():
    random = np.random.default_rng(0)
    many = {name: random.random(20_000) for name in ("memorization", "trak", "same models")}
    drawing = drawn("oracle-scores", under=random.random(20_000) < 0.1, **many)
    assert len(drawing.panels[0]) < 40_000


def test_scores_that_are_all_0_are_drawn():
    assert drawn("oracle-scores", trak=np.zeros(8)).panels


# ---- memorization-threshold --------------------------------------------------------------------


def test_thresholds_have_their_examples_and_whiskers(kept):
    drawn("memorization-threshold")
    for figure, name in zip(kept, ("auroc", "needed"), strict=True):
        axes, values = figure.axes[0], tiny("memorization-threshold")[name]
        assert axes.lines[0].get_ydata().tolist() == values[:, 0].tolist()
        assert segments(axes) == [
            [x, low, high] for x, (_, low, high) in zip((0.1, 0.5, 0.9), values, strict=True)
        ]
        labels = [each.get_text() for each in axes.get_xticklabels()]
        assert labels == [".10\n(1,094)", ".50\n(60)", ".90\n(32)"]
    assert [figure.axes[0].get_yscale() for figure in kept] == ["linear", "log"]


def test_thresholds_say_both_ends():
    caption = drawn("memorization-threshold").caption
    assert "512 reference models, AUROC 0.900 above .10 and 0.990 above .90" in caption
    assert "nearly all its gain over chance, 40.0 and 4.00" in caption


def test_models_needed_have_ticks_however_alike_they_are(kept):
    drawn("memorization-threshold", needed=np.tile([4.1, 4.0, 4.2], (3, 1)))
    axes = kept[1].axes[0]
    low, high = axes.get_ylim()
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2


# ---- normality ---------------------------------------------------------------------------------


def test_rejections_are_held_against_the_level(kept):
    drawn("normality")
    axes = kept[0].axes[0]
    inside, outside, level = axes.lines
    assert inside.get_ydata().tolist() == [0.054, 0.125, 0.275]
    assert outside.get_ydata().tolist() == [0.048, 0.1, 0.229]
    assert set(level.get_ydata()) == {0.05}
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] > 0.275


def test_the_level_is_in_sight_where_nothing_is_rejected(kept):
    drawn("normality", rejected=np.zeros((2, 3)))
    assert kept[0].axes[0].get_ylim()[1] > 0.05


def test_rejections_are_said():
    caption = drawn("normality").caption
    assert "of the 1,800 examples a test (Shapiro-Wilk at 5 %)" in caption
    assert "5.4 % (IN) and 4.8 % (OUT) with 8 confidences" in caption
    assert "27.5 % (IN) and 22.9 % (OUT) with 256" in caption
