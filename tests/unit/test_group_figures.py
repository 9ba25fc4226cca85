"""The figures of groups and singletons, drawn from made-up arrays."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from benchsuite.report import canvas, figures, group_figures, svg

KINDS = tuple(group_figures.KINDS)
SETS = ["all examples", "memorization above 0", "over-represented", "under-represented"]


def tiny(kind):
    """The least that a figure of `kind` says anything with."""
    arrays = {
        "privacy-by-group": {
            "edges": [0, 0.5, 1, 1.5, 2, 2.5],
            "over": [6, 2, 0, 0, 0],
            "under": [1, 1, 0, 1, 1],
            "singletons": [0, 0, 0, 0, 1],
            "below": 0.75,
            "below_one": 0.5,
        },
        "outlier-scatter": {
            "memorization": [0, 0.1, 0, 0.3, 0.9, 0.6],
            "memorization_of_others": [-0.05, 0.2, 0.1, 0.4, 0.8, 0.5],
            "privacy": [0.1, 0.2, 0.3, 1.5, 2.5, 2.0],
            "msp": [-0.9, -0.8, -0.5, -0.6, -0.7, -0.4],
            "energy": [-9, -8, -5, -6, -7, -4],
            "group": [0, 0, 0, 1, 2, 1],
            "pairs": ["memorization - privacy", "MSP - privacy", "energy - memorization"],
            "sets": SETS,
            "examples": [1200, 400, 1000, 200],
            "spearman": [
                [0.604, 0.81, 0.4, -0.35],
                [0.5, 0.399, 0, -0.002],
                [-0.399, 0.6, 0.1, 0.2],
            ],
            "p": [[0, 1e-9, 1e-4, 0.002], [1e-4, 1e-4, 1, 0.9], [0.001, 1e-5, 0.04, 0.0009]],
        },
        "memorization-levels": {
            "images": np.random.default_rng(0).random((4, 6, 6)),
            "labels": [3, 1, 4, 1],
            "memorization": [-0.031, 0.05, 0.62, 0.996],
            "group": [0, 1, 1, 2],
            "level": [0, 0, 1, 2],
            "levels": ["up to .1", ".1 to .8", "above .8", "<none>"],
            "counts": [[1200, 12], [0, 1], [0, 1], [0, 0]],
        },
    }[kind]
    return {name: np.asarray(array) for name, array in arrays.items()}


PER_ROW = {
    "privacy-by-group": ("edges", "over", "under", "singletons"),
    "outlier-scatter": (
        *("memorization", "memorization_of_others", "privacy", "msp", "energy", "group"),
        *("pairs", "sets", "examples", "spearman", "p"),
    ),
    "memorization-levels": tuple(tiny("memorization-levels")),
}
"""Arrays with a row of each bin, example, pair, set, image or level."""


def drawn(kind, **changes):
    arrays = tiny(kind) | {name: np.asarray(array) for name, array in changes.items()}
    return figures.draw(kind, arrays, "f")


@pytest.fixture
def kept(monkeypatch):
    """The matplotlib figures that are drawn."""
    figures_drawn = []
    monkeypatch.setattr(svg, "render", lambda figure, name, alt: figures_drawn.append(figure) or "")
    return figures_drawn


def parsed(panel):
    return ElementTree.fromstring(re.sub(r"(<(?:img|br)\b[^>]*)>", r"\1/>", str(panel)))


def text(panel):
    """What is read in a panel."""
    whole = " ".join(each.strip() for each in parsed(panel).itertext() if each.strip())
    return whole.replace("\u00a0", " ")


# ---- every kind --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_drawn_with_words_for_those_who_cannot_see_it(kind):
    drawing = drawn(kind)
    assert drawing.caption.endswith(".")
    assert "  " not in drawing.caption
    assert drawing == drawn(kind)
    for panel in drawing.panels:
        assert text(panel)  # it is well formed
        pictures = len(re.findall(r"<img|<svg", panel))
        assert pictures == len(re.findall(r' alt="[^"]+"|aria-label="[^"]+"', panel))
        assert not re.search(r"#[0-9a-f]{6}", panel)  # colours come from the page
    ids = re.findall(r' id="([^"]+)"', "".join(drawing.panels))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_array_is_named(kind):
    for name in tiny(kind):
        left = {other: array for other, array in tiny(kind).items() if other != name}
        if kind == "outlier-scatter" and name in ("memorization", "msp", "energy"):
            left["pairs"] = np.array([f"{name.replace('msp', 'MSP')} - privacy"] * 3)
        with pytest.raises(KeyError, match=f"^'{name}'$"):
            figures.draw(kind, left, "f")


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_that_is_too_short_is_refused(kind):
    for name in PER_ROW[kind]:
        with pytest.raises(ValueError, match=r"shape|expected|do not fit|others than"):
            drawn(kind, **{name: tiny(kind)[name][:-1]})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_is_refused(kind):
    for name, array in tiny(kind).items():
        if array.dtype.kind == "U" or name in ("images", "counts"):
            continue
        for wrong in (np.nan, np.inf):
            spoilt = array.astype(float)
            spoilt[(0,) * spoilt.ndim] = wrong
            with pytest.raises(ValueError, match=f"^{name} "):
                drawn(kind, **{name: spoilt})


# ---- privacy-by-group --------------------------------------------------------------------------


def test_histograms_are_shares_of_each_group_above_one_another(kept):
    drawn("privacy-by-group")
    over, under, singletons = kept[0].axes
    for axes, shares in (
        (over, [0.75, 0.25, 0, 0, 0]),
        (under, [0.25, 0.25, 0, 0.25, 0.25]),
        (singletons, [0, 0, 0, 0, 1]),
    ):
        for patch in axes.patches:
            np.testing.assert_allclose(patch.get_data().values, shares)
            assert patch.get_data().edges.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
        assert [line.get_xdata()[0] for line in axes.lines] == [1, 2]
        assert axes.get_shared_x_axes().joined(axes, over)
    assert len({axes.patches[0].get_facecolor() for axes in kept[0].axes}) == 3


def test_histograms_say_how_many_outliers_are_not_exposed():
    (panel,) = drawn("privacy-by-group").panels
    assert "under-represented (4): 50 % below 1, 75 % below 2" in text(panel)
    assert (
        "Histograms of the privacy score; over-represented (8), median 0.25; under-represented "
        "(4): 50 % below 1, 75 % below 2, median 0.75; singletons (1), a part of these, median 2.25"
        in panel
    )


def test_without_singletons_there_are_two_histograms(kept):
    drawn("privacy-by-group", singletons=np.zeros(5))
    assert len(kept[0].axes) == 2


def test_the_papers_threshold_is_shown_where_no_score_reaches_it(kept):
    drawn("privacy-by-group", edges=np.linspace(0, 0.5, 6))
    assert kept[0].axes[-1].get_xlim()[1] > 2


@pytest.mark.parametrize(
    "changes",
    [
        {"over": np.zeros(5)},
        {"under": np.zeros(5)},
        {"below": 0.4},
        {"below": 1.2},
        {"edges": [0, 0.5, 0.5, 1.5, 2, 2.5]},
    ],
)
def test_histograms_that_cannot_be_are_refused(changes):
    with pytest.raises(ValueError, match=r"no .* example|no rising shares|does not rise"):
        drawn("privacy-by-group", **changes)


# ---- outlier-scatter ---------------------------------------------------------------------------


def test_each_pair_is_drawn_with_its_own_scores(kept):
    drawn("outlier-scatter")
    arrays = tiny("outlier-scatter")
    for figure, x, y in zip(
        kept,
        ("memorization", "msp", "energy"),
        ("privacy", "privacy", "memorization_of_others"),
        strict=True,
    ):
        dots = [line for line in figure.axes[0].lines if len(line.get_xdata())]
        for k, line in enumerate(dots):
            of_group = arrays["group"] == k
            assert line.get_xdata().tolist() == arrays[x][of_group].tolist()
            assert line.get_ydata().tolist() == arrays[y][of_group].tolist()
        assert [line.get_marker() for line in dots] == ["o", "s", "^"]
        assert [line.get_color() for line in dots] == list(svg.SERIES[:3])
        labels = [each.get_text() for each in figure.axes[0].get_legend().get_texts()]
        assert labels == ["over-represented (3)", "under-represented (2)", "singletons (1)"]


def test_axes_say_what_is_on_them(kept):
    drawn("outlier-scatter")
    said = [(each.axes[0].get_xlabel(), each.axes[0].get_ylabel()) for each in kept]
    assert [x.split(" (")[0] for x, _ in said] == [
        "Memorization",
        "Outlier score by MSP",
        "Outlier score by energy",
    ]
    assert [y.split(" (")[0] for _, y in said] == [
        "Privacy score",
        "Privacy score",
        "Memorization, by other models",
    ]


def test_a_panel_says_its_correlations():
    first, second, third, _ = drawn("outlier-scatter").panels
    assert "Spearman 0.60 (all examples), 0.81 (memorization above 0)" in first
    assert "0.50 (all examples), 0.40 (memorization above 0)" in second
    assert "Spearman −0.40 (all examples), 0.60 (memorization above 0)" in third
    assert "3 over-represented, 2 under-represented, 1 singletons" in first


def test_the_table_has_p_where_it_is_not_significant():
    table = parsed(drawn("outlier-scatter").panels[-1])
    rows = [["".join(cell.itertext()) for cell in row] for row in table.findall(".//tr")]
    assert rows == [
        [
            *("Of", "All examples (1,200)", "Memorization above 0 (400)"),
            *("Over-represented (1,000)", "Under-represented (200)"),
            "The paper's word, all examples",
        ],
        ["memorization and privacy", "0.60", "0.81", "0.40", "−0.35 (p = 0.002)", "strong"],
        ["MSP and privacy", "0.50", "0.40", "0.00 (p = 1)", "0.00 (p = 0.9)", "moderate"],
        [
            *("energy and memorization", "−0.40 (p = 0.001)", "0.60", "0.10 (p = 0.04)", "0.20"),
            "not significant",
        ],
    ]


@pytest.mark.parametrize(
    ("rho", "p", "word"),
    [
        (0.399, 0, "weak"),
        (-0.4, 0, "moderate"),
        (0.599, 0, "moderate"),
        (-0.6, 0.00099, "strong"),
        (0.9, 0.001, "not significant"),
    ],
)
def test_the_papers_words(rho, p, word):
    table = drawn("outlier-scatter", spearman=np.full((3, 4), rho), p=np.full((3, 4), p)).panels[-1]
    assert table.count(f">{word}<") == 3


def test_a_pool_of_one_group_is_drawn_too(kept):
    drawing = drawn("outlier-scatter", group=[0, 0, 0, 0, 2, 2])
    labels = [each.get_text() for each in kept[0].axes[0].get_legend().get_texts()]
    assert labels == ["others (4)", "singletons (2)"]
    marks = [line.get_marker() for line in kept[0].axes[0].lines if len(line.get_xdata())]
    assert marks == ["o", "^"]  # as in every other figure
    assert len(drawing.panels) == 4


def test_many_examples_stay_small_and_it_is_said(kept, monkeypatch):
    random = np.random.default_rng(0)
    n = 5000
    many = {name: random.random(n) for name in PER_ROW["outlier-scatter"][:5]}
    many["group"] = np.repeat([0, 1, 2], [4000, 201, n - 4201])
    drawing = drawn("outlier-scatter", **many)
    dots = [line for line in kept[0].axes[0].lines if len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in dots] == [300, 200, 150]
    assert [line.get_xdata()[-1] for line in dots] == many["memorization"][
        [3999, 4200, 4999]
    ].tolist()
    assert drawing.caption.endswith(
        " Drawn are 300 of the over-represented and 200 of the under-represented and 150 of the "
        "singletons."
    )
    monkeypatch.undo()
    assert sum(map(len, drawn("outlier-scatter", **many).panels)) < 140_000
    assert "Drawn are" not in drawn("outlier-scatter").caption


@pytest.mark.parametrize(
    "changes",
    [
        {"group": [0, 0, 0, 1, 3, 1]},
        {"pairs": ["privacy - MSP"] * 3},
        {"pairs": np.array([], dtype=str)},
        {"sets": np.array([], dtype=str)},
    ],
)
def test_scatters_that_cannot_be_are_refused(changes):
    with pytest.raises(ValueError, match=r"^group has|^pairs holds"):
        drawn("outlier-scatter", **changes)


# ---- memorization-levels -----------------------------------------------------------------------


def test_each_level_has_its_images_and_counts():
    arrays = tiny("memorization-levels")
    panels = drawn("memorization-levels").panels
    images = [canvas.png(each) for each in arrays["images"]]
    assert [re.findall(r'base64,([^"]+)"', panel) for panel in panels] == [
        images[:2],
        [images[2]],
        [images[3]],
        [],
    ]
    assert [text(panel) for panel in panels] == [
        "Memorization up to .1: 1,200 over-represented, 12 under-represented "
        "label 3 mem −.03 over label 1 mem .05 under",
        "Memorization .1 to .8: 0 over-represented, 1 under-represented label 4 mem .62 under",
        "Memorization above .8: 0 over-represented, 1 under-represented label 1 mem 1.0 singleton",
        "Memorization <none>: 0 over-represented, 0 under-represented",
    ]
    assert 'alt="label 4, memorization .62, under"' in panels[1]
    assert "both groups" in drawn("memorization-levels").caption


def test_levels_of_one_group_name_none():
    drawing = drawn(
        "memorization-levels", group=[0, 0, 0, 2], counts=[[12, 0], [1, 0], [1, 0], [0, 0]]
    )
    assert text(drawing.panels[0]).startswith("Memorization up to .1: 12 examples label 3 mem −.03")
    assert text(drawing.panels[2]).endswith("label 1 mem 1.0 singleton")
    assert 'alt="label 3, memorization −.03"' in drawing.panels[0]
    assert "represented" not in "".join((*drawing.panels, drawing.caption))


@pytest.mark.parametrize("changes", [{"level": [0, 0, 1, 4]}, {"group": [0, 1, 1, 3]}])
def test_levels_that_cannot_be_are_refused(changes):
    with pytest.raises(ValueError, match="holds others than"):
        drawn("memorization-levels", **changes)
