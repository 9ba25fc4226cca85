"""The figures of unique features, drawn from made-up arrays."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from benchsuite.report import canvas, feature_figures, feature_pictures, figures, svg

KINDS = (*feature_figures.KINDS, *feature_pictures.KINDS)


def tiny(kind):
    """The least that a figure of `kind` says anything with."""
    random = np.random.default_rng(0)
    arrays = {
        "canaries": {
            "canaries": random.random((3, 6, 6)),
            "canary_labels": [4, 7, 1],
            "influence": [0.02, 3.5, 0.5],
            "found": [0.0, 0.664, 1.0],
            "ood": random.random((2, 3, 6, 6)),
        },
        "influence-score": {
            "influence": [1e-5, 1e-3, 0.1, 1.0, 10.0],
            "effect": [-1.0, 0.2, 0.4, 1.5, 2.0],
            "found": [0.0, 0.0, 0.2, 0.5, 1.0],
            "letter": [0, 0, 1, 1, 2],
            "pearson": 0.463,
            "spearman": -0.031,
            "reliability": 0.9,
        },
        "along-training": {
            "epoch": [2, 4, 6, 8, 10],
            "validation_loss": [1.5, 0.8, 0.6, 0.7, 9.0],
            "apart": [0.5, 0.6, 0.815, 0.9, 0.3],
            "found": [0.0, 0.25, 0.45, 0.42, 1.0],
            "running": [1.0, 1.0, 0.9, 0.5, 0.4],
            "best_epochs": [4, 6, 6, 8, 10],
        },
        "regularisers": {
            "arms": ["none", "dropout", "DP-SGD"],
            "found": [0.4, 0.35, 0.01],
            "found_low": [0.3, 0.25, -0.01],
            "found_high": [0.5, 0.452, 0.03],
            "apart": [0.84, 0.7, 0.5],
            "apart_low": [0.6, 0.5, 0.38],
            "apart_high": [1.08, 0.9, 0.618],
            "mean_positive": [0.0123, 0.02, np.nan],
            "mean_all": [0.0011, -0.00042, -0.003],
            "accuracy": [0.951, 0.94, 0.8],
            "clean_found": [0.0, 0.012, 0.0],
            "clean_alarm": [0.05, 0.061, 0.04],
            "paper": ["M 0.0013", "F-MNIST -0.02", ""],
        },
        "by-letter": {
            "letters": ["A", "B", "E"],
            "rows": [1, 8, 1],
            "columns": [1, 1, 22],
            "found": [0.5, 0.958, 0.25],
            "found_low": [0.4, 0.9, -0.01],
            "found_high": [0.6, 1.02, 0.52],
            "clean_alarm": [0.076, 0.049, 0.0],
            "clean_effect": [-0.47, -1.346, 0.2],
        },
        "where-it-looks": {
            "images": random.random((2, 6, 8)),
            "gradients": random.random((2, 2, 6, 8)),
            "places": [[1, 2, 3, 4], [0, 0, 3, 4]],
            "share": [[0.4, 0.2], [0.666, 0.254]],
        },
        "clean-null": {
            "effects": np.arange(-50.0, 50.0),
            "canary": [-3.0, 10.0, 44.0, 45.0, 60.0],
            "sign_fails": 0.62,
            "rank_fails": 0.23,
            "alarm": 0.051,
            "level": 0.05,
        },
    }[kind]
    return {name: np.asarray(array) for name, array in arrays.items()}


PER_ROW = {
    "canaries": tuple(tiny("canaries")),
    "influence-score": ("influence", "effect", "found", "letter"),
    "along-training": tuple(tiny("along-training")),
    "regularisers": tuple(tiny("regularisers")),
    "by-letter": tuple(tiny("by-letter")),
    "where-it-looks": tuple(tiny("where-it-looks")),
    "clean-null": ("effects", "canary"),
}
"""Arrays with a row of each image, canary, epoch, arm or model."""


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


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_drawn_with_words_for_those_who_cannot_see_it(kind):
    drawing = drawn(kind)
    assert drawing.caption.endswith(".")
    assert "  " not in drawing.caption
    assert drawing == drawn(kind)
    for panel in drawing.panels:
        assert text(panel)  # it is well formed
        pictures = len(re.findall(r"<img|<svg", panel))
        described = len(re.findall(r' alt="[^"]+"|aria-label="[^"]+"', panel))
        assert pictures == described or "<table" in panel
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
        if name in ("ood", "best_epochs", "effects", "canary"):
            continue  # as many as there are
        with pytest.raises(ValueError, match=r"shape|expected|do not fit"):
            drawn(kind, **{name: tiny(kind)[name][:-1]})


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_without_a_row_are_refused(kind):
    empty = {name: tiny(kind)[name][:0] for name in PER_ROW[kind]}
    with pytest.raises(ValueError, match=r"shape|expected|holds|influence is|running"):
        drawn(kind, **empty)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_is_refused(kind):
    for name, array in tiny(kind).items():
        if array.dtype.kind == "U" or name == "mean_positive":
            continue
        for wrong in (np.nan, np.inf):
            spoilt = array.astype(float)
            spoilt[(0,) * spoilt.ndim] = wrong
            with pytest.raises(ValueError, match=f"^{name} "):
                drawn(kind, **{name: spoilt})


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_row_is_drawn(kind):
    drawing = drawn(kind, **{name: tiny(kind)[name][:1] for name in PER_ROW[kind]})
    assert all(text(panel) for panel in drawing.panels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_constant_arrays_are_drawn(kind, constant):
    kept = {"epoch", "places", "influence", "running"}
    same = {
        name: np.full(array.shape, constant)
        for name, array in tiny(kind).items()
        if array.dtype.kind != "U" and name not in kept
    }
    if kind == "influence-score":
        same["influence"] = np.ones(5)
    drawing = drawn(kind, **same)
    assert all("nan" not in str(panel).lower() for panel in drawing.panels if "<img" not in panel)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("canaries", {"canaries": np.zeros((3, 6))}, r"canaries has shape \(3, 6\)"),
        ("canaries", {"canaries": np.zeros((3, 6, 6, 2))}, "canaries has shape"),
        ("canaries", {"canaries": np.full((3, 6, 6), 1.5)}, "neither uint8 nor floats"),
        ("canaries", {"canaries": np.ones((3, 6, 6), int)}, "neither uint8 nor floats"),
        ("canaries", {"ood": np.zeros((2, 2, 6, 6))}, r"expected \[m, 3, height, width\]"),
        ("canaries", {"ood": np.zeros((3, 6, 6))}, "ood has shape"),
        ("canaries", {"found": [0, 0.5, 1.01]}, r"found holds values outside \[0, 1\]"),
        ("influence-score", {"influence": [0, 1, 1, 1, 1]}, "values above 0"),
        ("influence-score", {"influence": np.ones((5, 1))}, "values above 0"),
        ("influence-score", {"pearson": [0.4]}, r"pearson has shape \(1,\), expected \(\)"),
        ("influence-score", {"found": [-0.1, 0, 0, 0, 1]}, "found holds values outside"),
        ("along-training", {"running": [0.4] * 5}, "nothing to draw"),
        ("along-training", {"running": [1.1] * 5}, "running holds values outside"),
        ("along-training", {"epoch": [2, 4, 4, 8, 10]}, "epoch does not rise"),
        ("along-training", {"best_epochs": []}, "best_epochs has shape"),
        ("along-training", {"found": [0.0, 0.25, 42, 0.4, 0.5]}, "found holds values outside"),
        ("regularisers", {"found_low": [0.3, 0.5, 0]}, "found_low holds values above found_high"),
        ("regularisers", {"apart_high": [1, 0.1, 1]}, "apart_low holds values above apart_high"),
        ("along-training", {"apart": [0.1, 2.5, 0.4, 0.4, 0.5]}, "apart holds values outside"),
        ("regularisers", {"apart": [1.2, 0.6, 0.5]}, "apart holds values outside"),
        ("regularisers", {"mean_positive": [1, np.inf, 1]}, "mean_positive"),
        ("regularisers", {"accuracy": [95.1, 94, 80]}, "accuracy holds values outside"),
        ("by-letter", {"found": [50, 96, 25]}, "found holds values outside"),
        ("by-letter", {"found_low": [0.7, 0.9, 0]}, "found_low holds values above found_high"),
        ("by-letter", {"clean_alarm": [-0.1, 0, 0]}, "clean_alarm holds values outside"),
        ("where-it-looks", {"gradients": -np.ones((2, 2, 6, 8))}, "gradients holds values below 0"),
        ("where-it-looks", {"gradients": np.ones((2, 2, 8, 6))}, "gradients has shape"),
        ("where-it-looks", {"places": [[4, 2, 3, 4], [0, 0, 3, 4]]}, "not inside an image"),
        ("where-it-looks", {"places": [[1, 2, 0, 4], [0, 0, 3, 4]]}, "not inside an image"),
        ("where-it-looks", {"places": [[-1, 2, 3, 4], [0, 0, 3, 4]]}, "not inside an image"),
        ("clean-null", {"effects": np.ones((3, 2))}, "effects has shape"),
        ("clean-null", {"alarm": 5.1}, "alarm holds values outside"),
        ("clean-null", {"level": [0.05]}, r"level has shape \(1,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(kind, changes, said):
    with pytest.raises(ValueError, match=said):
        drawn(kind, **changes)


def test_canaries_are_ranked_by_self_influence_and_say_how_often_they_are_found():
    canaries, ood = drawn("canaries").panels
    assert text(canaries) == (
        "Canaries, from most to least self-influence label 7 found in 66 % label 1 found in 100 % "
        "label 4 found in 0 %"
    )
    assert (
        'alt="canary, label 7, self-influence 3.50, found in 66\u00a0% of its models"' in canaries
    )
    images = re.findall(r"base64,([^\"]+)", canaries)
    assert images == [canvas.png(tiny("canaries")["canaries"][k]) for k in (1, 2, 0)]
    assert text(ood) == "What models are asked about clean with the letter with a random feature"
    assert re.findall(r' alt="([^"]+)"', ood) == 2 * [
        "clean",
        "with the letter",
        "with a random feature",
    ]


def test_coloured_images_are_drawn():
    random = np.random.default_rng(1)
    coloured = random.integers(256, size=(3, 6, 6, 3), dtype=np.uint8)
    canaries, _ = drawn("canaries", canaries=coloured, ood=random.random((1, 3, 6, 6, 3))).panels
    assert canvas.png(coloured[1]) in canaries


def test_the_scatter_says_the_correlations_and_who_is_found():
    (panel,) = drawn("influence-score").panels
    assert "Pearson 0.46, Spearman −0.03, reliability 0.90" in text(panel)
    assert (
        "Effect of 5 canaries against their self-influence; Pearson 0.46, Spearman −0.03, "
        'reliability 0.90; 2 found in half of its models or more"' in panel
    )
    assert "found in half of its models or more found in fewer" in text(panel)
    decided = drawn("influence-score", found=[False, False, True, False, True]).panels[0]
    assert '; 2 found"' in decided
    assert "found not found" in text(decided)
    assert "half of" not in text(decided)


def test_the_scatter_has_a_line_for_each_letter_with_two_influences(kept):
    drawn("influence-score")
    lines = [line for line in kept[0].axes[0].lines if "letter" in line.get_label()]
    others = [line for line in kept[0].axes[0].lines if line.get_label() == "_"]
    np.testing.assert_allclose(lines[0].get_xydata(), [[1e-5, -1.0], [1e-3, 0.2]])
    np.testing.assert_allclose(others[0].get_xydata(), [[0.1, 0.4], [1.0, 1.5]])
    assert len(lines + others) == 2  # the third letter has one canary
    filled, hollow = kept[0].axes[0].lines[-2:]
    assert filled.get_ydata().tolist() == [1.5, 2.0]
    assert hollow.get_ydata().tolist() == [-1.0, 0.2, 0.4]
    assert (filled.get_markerfacecolor(), hollow.get_markerfacecolor()) == ("#a00001", "none")


@pytest.mark.parametrize("influence", [[0.5] * 5, [2.1, 2.2, 2.3, 2.5, 2.9], [1e-9] * 4 + [1e3]])
def test_the_logarithmic_axis_has_two_to_six_ticks(influence, kept):
    drawn("influence-score", influence=influence)
    axes = kept[0].axes[0]
    low, high = axes.get_xlim()
    ticks = axes.get_xticks()
    assert 2 <= len(ticks) <= 6
    assert ((low <= ticks) & (ticks <= high)).all()
    assert low < min(influence)
    assert max(influence) < high


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.02, "0.02"), (500, "500"), (2e4, "20,000"), (1e-9, "10⁻⁹"), (2e-5, "2 × 10⁻⁵")],
)
def test_a_tick_is_said_in_few_characters(value, said):
    assert canvas.tick(value) == said


def test_what_fewer_than_half_of_the_models_reach_is_not_drawn(kept):
    drawn("along-training")
    upper, lower = kept[0].axes
    median, loss = upper.lines
    assert set(median.get_xdata()) == set(lower.lines[0].get_xdata()) == {6}
    assert loss.get_xydata().tolist() == [[2, 1.5], [4, 0.8], [6, 0.6], [8, 0.7]]
    assert lower.lines[1].get_ydata().tolist() == [0, 0.25, 0.45, 0.42]
    assert lower.lines[2].get_ydata().tolist() == [0.5, 0.6, 0.815, 0.9]
    assert upper.get_shared_x_axes().joined(upper, lower)


def test_along_training_says_what_was_found_when():
    (panel,) = drawn("along-training").panels
    assert (
        "By epoch 2 to 8: validation loss is least, 0.600, at epoch 6; models are best at epoch 6 "
        "(median); share found 0 % at first, 45 % at epoch 6, 42 % at last (found most: epoch 6); "
        "told from clean models 50 %, 81.5 %, 90 %" in panel
    )
    assert "found most: epoch 6" in text(panel)
    assert "median of the models' best epochs: 6" in text(panel)


def test_the_epoch_at_which_most_is_found_is_marked(kept):
    drawn("along-training", found=[0, 0.5, 0.4, 0.3, 1])
    upper, lower = kept[0].axes
    marks = {line.get_label(): set(line.get_xdata()) for line in lower.lines}
    assert marks["found most: epoch 4"] == {4}
    assert all("found most" not in line.get_label() for line in upper.lines)
    drawn("along-training", found=np.zeros(5))
    assert all("found most" not in line.get_label() for line in kept[1].axes[1].lines)


def test_what_is_not_drawn_need_not_be_measured():
    lost = [1.5, 0.8, 0.6, 0.7, np.nan]
    assert drawn("along-training", validation_loss=lost) == drawn("along-training")


def test_the_table_holds_all_that_was_measured():
    chart, table = drawn("regularisers").panels
    assert (
        "none: 40.0 % [30.0, 50.0]; dropout: 35.0 % [25.0, 45.2]; DP-SGD: 1.0 % [0.0, 3.0]" in chart
    )
    rows = parsed(table).findall(".//tr")
    read = [["".join(cell.itertext()).replace("\u00a0", " ") for cell in row] for row in rows]
    assert read == [
        [
            "Training",
            "Share found [interval]",
            "Told from clean models [interval]",
            "Mean M where M > 0",
            "Mean M of all",
            "Test accuracy",
            "Clean models found",
            "Clean models with p < .05",
            "The paper",
        ],
        *(
            line.split("|")
            for line in (
                "none|40.0 % [30.0, 50.0]|84.0 % [60.0, 100.0]|0.0123|0.00110"
                "|95.1 %|0.0 %|5.0 %|M 0.0013",
                "dropout|35.0 % [25.0, 45.2]|70.0 % [50.0, 90.0]|0.0200|−0.000420"
                "|94.0 %|1.2 %|6.1 %|F‑MNIST −0.02",
                "DP-SGD|1.0 % [0.0, 3.0]|50.0 % [38.0, 61.8]|none|−0.00300|80.0 %|0.0 %|4.0 %|–",
            )
        ),
    ]


def test_the_table_can_be_read_without_seeing_it():
    table = parsed(drawn("regularisers").panels[1])
    head, *body = table.findall(".//tr")
    assert [cell.get("scope") for cell in head] == ["col"] * 9
    names = ["".join(cell.itertext()) for cell in head]
    for row in body:
        first, *cells = row
        assert (first.tag, first.get("scope")) == ("th", "row")
        assert [cell.get("data-label") for cell in cells] == names[1:]
        assert [cell.get("class") for cell in cells] == ["number"] * 7 + [None]
    assert table.find(".//caption").text == "What each way of training memorises"


def test_texts_are_not_markup():
    chart, table = drawn(
        "regularisers", arms=["a < b", "<i>", "c & d"], paper=["<b>", "", ""]
    ).panels
    assert "&lt;i&gt;" in table
    assert "<b>" not in table
    assert "c &amp; d" in chart


def test_intervals_beyond_0_and_1_end_there(kept):
    drawn("regularisers", found_high=[1.4, 0.5, 0.2])
    (intervals,) = kept[0].axes[0].collections
    ends = [segment[:, 0].tolist() for segment in intervals.get_segments()]
    assert ends == [[0.3, 1.0], [0.25, 0.5], [0.0, 0.2]]
    assert [label.get_text() for label in kept[0].axes[0].get_yticklabels()] == [
        "none",
        "dropout",
        "DP-SGD",
    ]
    low, high = kept[0].axes[0].get_ylim()
    assert low > high  # the first is on top


def test_maps_share_a_scale_and_outline_the_letter():
    gradients = tiny("where-it-looks")["gradients"] * np.array([4.0, 0.5])[None, :, None, None]
    drawing = drawn("where-it-looks", gradients=gradients)
    (panel,) = drawing.panels
    assert re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', panel) == [
        *2 * [("2", "1", "4", "3")],
        *2 * [("0", "0", "4", "3")],
    ]
    assert panel.count('viewBox="0 0 8 6"') == 4
    pictures = re.findall(r'<image[^>]+base64,([^"]+)"', panel)
    scaled = [row / row.max() for row in gradients]
    assert pictures == [canvas.png(each) for row in scaled for each in row]
    says = re.findall(r'aria-label="([^"]+)"', panel)
    assert says[0] == (
        "how much each pixel matters to a model trained on the letter, 40.0\u00a0% under the letter"
    )
    assert says[3] == (
        "how much each pixel matters to a model that never saw it, 25.4\u00a0% under the letter"
    )
    assert "it would be 25 %" in drawing.caption  # 12 of 48 pixels
    assert "53.3 % of it in models trained on the letter and 22.7 % in models" in drawing.caption


def test_letters_are_drawn_at_their_places(kept):
    drawn("by-letter")
    left, right = kept[0].axes
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels == ["A (1, 1)", "B (8, 1)", "E (1, 22)"]
    dots, squares = left.lines
    assert dots.get_xydata().tolist() == [[0.5, 0], [0.958, 1], [0.25, 2]]
    assert squares.get_xydata().tolist() == [[0.076, 0], [0.049, 1], [0, 2]]
    assert (squares.get_marker(), squares.get_markerfacecolor()) == ("s", "none")
    ends = [segment[:, 0].tolist() for segment in left.collections[0].get_segments()]
    assert ends == [[0.4, 0.6], [0.9, 1.0], [0.0, 0.52]]
    assert right.lines[1].get_xydata().tolist() == [[-0.47, 0], [-1.346, 1], [0.2, 2]]
    assert right.get_shared_y_axes().joined(left, right)


def test_letters_are_said_to_those_who_cannot_see_them():
    drawing = drawn("by-letter")
    assert (
        "B (8, 1): 95.8 % [90.0, 100.0], clean models with p &lt; .05 4.9 %, clean effect −1.35; "
        "E (1, 22): 25.0 % [0.0, 52.0], clean models with p &lt; .05 0.0 %, clean effect 0.20"
        in drawing.panels[0]
    )
    assert "but goes from −1.35 (B) to 0.20 (E)" in drawing.caption


@pytest.mark.parametrize(
    ("columns", "found", "said"),
    [
        ([1, 1, 22], [0.5, 0.9, 0.3], True),
        ([1, 1, 22], [0.5, 0.2, 0.3], False),
        ([22, 22, 1], [0.5, 0.9, 0.3], False),
        ([1, 1, 22], [0.3, 0.9, 0.3], False),
        ([1, 1, 1], [0.5, 0.9, 0.3], False),
    ],
)
def test_the_left_edge_is_named_only_where_all_its_letters_are_found_more(columns, found, said):
    arrays = {
        "columns": columns,
        "found": found,
        "found_low": np.zeros(3),
        "found_high": np.ones(3),
    }
    assert ("left edge" in drawn("by-letter", **arrays).caption) == said


def test_the_null_says_how_many_lie_beyond_the_clean_ones():
    effects, alarms = drawn("clean-null").panels
    # The 95 % quantile of -50 to 49 is 44.05.
    said = "5 % of 100 models without the letter and 40 % of 5 canary models"
    assert f"right of the dotted line are {said}" in effects
    assert "5 % of 100 models without the letter" in text(effects)
    assert (
        "the paper's sign, M > 0: 62 %; rank among glyphs of equal ink: 23 %; against clean "
        "models: 5.1 %; promised: 5 %" in re.sub("&gt;", ">", re.sub("&#39;", "'", alarms))
    )


def test_histograms_are_shares_over_the_same_bins(kept):
    drawn("clean-null")
    patches = [patch.get_data() for patch in kept[0].axes[0].patches]
    for patch in patches:
        assert patch.values.sum() == pytest.approx(1)
        assert np.array_equal(patch.edges, patches[0].edges)
    assert patches[0].edges[[0, -1]].tolist() == [-50, 60]
    assert kept[0].axes[0].lines[0].get_xdata()[0] == pytest.approx(44.05)


def test_many_models_stay_small():
    random = np.random.default_rng(2)
    many = {"effects": random.normal(size=20_000), "canary": random.normal(1, 2, 20_000)}
    assert sum(map(len, drawn("clean-null", **many).panels)) < 30_000
    n = 400
    many = {
        "influence": np.exp(random.normal(size=n)),
        "effect": random.normal(size=n),
        "found": random.random(n),
        "letter": np.arange(n) % 8,
    }
    assert sum(map(len, drawn("influence-score", **many).panels)) < 60_000
