"""The figures of differential privacy, drawn from made-up arrays."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from benchsuite.report import figures, privacy_figures, svg
from benchsuite.stats.privacy import advantage_ceiling

KINDS = tuple(privacy_figures.KINDS)
DELTA = 1e-5


def ceilings(*epsilons):
    return [advantage_ceiling(each, DELTA) for each in epsilons]


def tiny(kind):
    """The least that a figure of `kind` says anything with."""
    arrays = {
        "dp-memorization": {
            "arms": [
                *("plain", "plain, stopped early"),
                *("clipping alone, fitting rate", "DP-SGD, fitting rate"),
                *("clipping alone, own rate", "DP-SGD, own rate"),
            ],
            "memorization": [
                *([0.8, 1.0, 0.9], [0.1, 0.2, 0.3], [0.7, 0.8, 0.9]),
                *([0.1, -0.02, 0.04], [0.4, 0.0, 0.2], [0.1, 0.1, 0.1]),
            ],
            "accuracy": [0.951, 0.924, 0.947, 0.822, 0.931, 0.918],
            "epsilon": 10.49,
            "delta": DELTA,
            "accountant": "rdp",
            "stopped": 4.52,
        },
        "privacy-ceiling": {
            "epsilons": [1.0, 3.0, 10.0],
            "ceilings": ceilings(1, 3, 10),
            "advantage": [[0.1, 0.02, 0.18], [0.3, np.nan, np.nan], [0.5, np.nan, np.nan]],
            "memorization": [0.01, 0.02, 0.03],
            "accuracy": [0.666, 0.795, 0.867],
            "without": [0.668, 0.628, 0.708, 0.04, 0.957],
            "delta": DELTA,
            "accountant": "rdp",
            "canaries": 40,
        },
    }[kind]
    return {name: np.asarray(array) for name, array in arrays.items()}


PER_ROW = {
    "dp-memorization": ("arms", "memorization", "accuracy"),
    "privacy-ceiling": (
        *("epsilons", "ceilings", "advantage", "memorization", "accuracy", "without"),
    ),
}
"""Arrays with a row of each way to train, or of each epsilon."""


def drawn(kind, **changes):
    arrays = tiny(kind) | {name: np.asarray(array) for name, array in changes.items()}
    return figures.draw(kind, arrays, "f")


@pytest.fixture
def kept(monkeypatch):
    """The matplotlib figures that are drawn."""
    figures_drawn = []
    monkeypatch.setattr(svg, "render", lambda figure, name, alt: figures_drawn.append(figure) or "")
    return figures_drawn


def marks(axes, marker):
    (line,) = [each for each in axes.lines if each.get_marker() == marker]
    return line


def whiskers(axes):
    return [
        each[:, 1].tolist()
        for lines in axes.collections
        if hasattr(lines, "get_segments")
        for each in lines.get_segments()
    ]


# ---- every kind --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_drawn_with_words_for_those_who_cannot_see_it(kind):
    drawing = drawn(kind)
    assert drawing.caption.endswith(".")
    assert "  " not in drawing.caption
    assert "nan" not in drawing.caption
    assert drawing == drawn(kind)
    for panel in drawing.panels:
        ElementTree.fromstring(panel)
        assert re.search(r'aria-label="[^"]+"', panel)
        assert not re.search(r"#[0-9a-f]{6}", panel)  # colours come from the page
        assert "nan" not in panel
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
        with pytest.raises(ValueError, match=r"shape|expected"):
            drawn(kind, **{name: tiny(kind)[name][:-1]})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_is_refused(kind):
    for name, array in tiny(kind).items():
        if array.dtype.kind == "U":
            continue
        for wrong in (np.nan, np.inf):
            spoilt = array.astype(float)
            spoilt[(0,) * spoilt.ndim] = wrong
            with pytest.raises(ValueError, match=f"^{name} "):
                drawn(kind, **{name: spoilt})


@pytest.mark.parametrize("kind", KINDS)
def test_the_accountant_is_named(kind):
    assert "by Opacus's PRV accountant." in drawn(kind, accountant="prv").caption


# ---- dp-memorization ---------------------------------------------------------------------------


def test_each_way_to_train_has_a_histogram(kept):
    drawn("dp-memorization")
    arrays = tiny("dp-memorization")
    assert len(kept[0].axes) == 6
    for axes, values in zip(kept[0].axes, arrays["memorization"], strict=True):
        line = axes.patches[1]
        counts, _ = np.histogram(values, line.get_data().edges)
        assert counts.sum() == 3  # the one below 0 too
        np.testing.assert_allclose(line.get_data().values, counts / 3)
        assert axes.lines[0].get_xdata()[0] == pytest.approx(values.mean())
        assert axes.get_shared_x_axes().joined(axes, kept[0].axes[0])
        assert axes.get_shared_y_axes().joined(axes, kept[0].axes[0])


def test_ways_of_a_kind_have_a_colour(kept):
    drawn("dp-memorization")
    colours = [axes.patches[1].get_edgecolor() for axes in kept[0].axes]
    plain, stopped, clipped, private, clipped_own, private_own = colours
    assert (plain, clipped, private) == (stopped, clipped_own, private_own)
    assert len(set(colours)) == 3


def test_each_histogram_says_mean_and_accuracy(kept):
    drawn("dp-memorization")
    assert [axes.get_title(loc="left") for axes in kept[0].axes] == [
        "plain: mean .90, held-out 95.1 %",
        "plain, stopped early: mean .20, held-out 92.4 %",
        "clipping alone, fitting rate: mean .80, held-out 94.7 %",
        "DP-SGD, fitting rate: mean .04, held-out 82.2 %",
        "clipping alone, own rate: mean .20, held-out 93.1 %",
        "DP-SGD, own rate: mean .10, held-out 91.8 %",
    ]


def test_the_caption_compares_what_differs_in_one_thing():
    order = [5, 2, 0, 4, 1, 3]
    shuffled = {name: tiny("dp-memorization")[name][order] for name in PER_ROW["dp-memorization"]}
    for caption in (drawn("dp-memorization").caption, drawn("dp-memorization", **shuffled).caption):
        assert ".90 at 95.1 % held-out accuracy in plain training" in caption
        assert "clipping leaves .80 at 94.7 %, and noise beside it .04 at 82.2 %" in caption
        assert "guarantees nothing, leaves .20 at 93.1 %, DP-SGD .10 at 91.8 %" in caption
        assert "stopped after epoch 5, where it is about as accurate, .20 at 92.4 %" in caption
        assert "epsilon 10.5 at delta 10⁻⁵ for one training" in caption


def test_stopping_that_is_not_as_accurate_is_not_called_so():
    accuracy = tiny("dp-memorization")["accuracy"].copy()
    accuracy[1] = 0.223
    caption = drawn("dp-memorization", accuracy=accuracy).caption
    assert "stopped after epoch 5, the nearest to that, .20 at 22.3 %" in caption
    assert "as accurate" not in caption


@pytest.mark.parametrize(
    ("stopped", "epoch"), [(4.0, 4), (4.5, 4), (4.51, 5), (5.0, 5), (1.0, 1), (2.4, 2)]
)
def test_the_epoch_is_that_which_is_drawn(stopped, epoch):
    # The experiment draws the end of the later epoch from more than half the way to it on.
    assert f"after epoch {epoch}," in drawn("dp-memorization", stopped=stopped).caption


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ["plain"] * 6}, "^arms is"),
        ({"memorization": [0.5] * 6}, "^memorization has shape"),
        ({"memorization": np.zeros((6, 0))}, "^memorization has shape"),
    ],
)
def test_ways_to_train_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        drawn("dp-memorization", **changes)


# ---- privacy-ceiling ---------------------------------------------------------------------------


def test_the_ceiling_is_that_of_the_theorem_and_ends_before_the_game_without_noise(kept):
    drawn("privacy-ceiling")
    axes = kept[0].axes[0]
    curve = axes.lines[0]
    epsilons = curve.get_xdata()
    np.testing.assert_allclose(
        curve.get_ydata(), (np.exp(epsilons) - 1 + 2 * DELTA) / (np.exp(epsilons) + 1), atol=1e-12
    )
    assert epsilons.min() < 1
    assert 10 < epsilons.max() < marks(axes, "o").get_xdata()[-1]
    assert axes.get_xscale() == "log"


def test_games_stand_at_their_epsilon_and_that_without_noise_at_the_right(kept):
    drawn("privacy-ceiling")
    ceiling, accuracy = (figure.axes[0] for figure in kept)
    advantage, memorization = marks(ceiling, "o"), marks(ceiling, "s")
    assert advantage.get_ydata().tolist() == [0.1, 0.3, 0.5, 0.668]
    assert memorization.get_ydata().tolist() == [0.01, 0.02, 0.03, 0.04]
    assert marks(accuracy, "D").get_ydata().tolist() == [0.666, 0.795, 0.867, 0.957]
    np.testing.assert_allclose(
        np.sqrt(advantage.get_xdata() * memorization.get_xdata())[:3], [1, 3, 10]
    )
    for axes in (ceiling, accuracy):
        labels = [each.get_text() for each in axes.get_xticklabels()]
        assert labels == ["1", "3", "10", "no noise"]
        assert axes.get_xlim()[1] > axes.get_xticks()[-1]
    texts = [each.get_text().replace("\u00a0", " ") for each in accuracy.texts]
    assert texts == ["66.6 %", "79.5 %", "86.7 %", "95.7 %"]


def test_what_has_a_single_block_has_no_whisker(kept):
    drawn("privacy-ceiling")
    assert whiskers(kept[0].axes[0]) == [[0.02, 0.18], [0.628, 0.708]]


@pytest.mark.parametrize(
    ("several", "said"),
    [
        ([True] * 4, "over blocks of targets. "),
        ([True, False, False, True], "over blocks of targets, where there are several. "),
        ([False] * 4, None),
    ],
)
def test_the_caption_says_which_dots_have_a_line(several, said):
    advantage = np.array([[0.1, 0.02, 0.18], [0.3, 0.2, 0.4], [0.5, 0.4, 0.6]])
    without = np.array([0.668, 0.628, 0.708, 0.04, 0.957])
    advantage[~np.array(several[:3]), 1:] = np.nan
    if not several[3]:
        without[1:3] = np.nan
    caption = drawn("privacy-ceiling", advantage=advantage, without=without).caption
    assert ("95 % intervals" in caption) is (said is not None)
    assert said is None or said in caption


def test_games_are_sorted_by_epsilon(kept):
    arrays = tiny("privacy-ceiling")
    names = ("epsilons", "ceilings", "advantage", "memorization", "accuracy")
    drawn("privacy-ceiling", **{name: arrays[name][[2, 0, 1]] for name in names})
    assert marks(kept[0].axes[0], "o").get_ydata().tolist() == [0.1, 0.3, 0.5, 0.668]
    assert marks(kept[1].axes[0], "D").get_ydata().tolist() == [0.666, 0.795, 0.867, 0.957]
    assert whiskers(kept[0].axes[0]) == [[0.02, 0.18], [0.628, 0.708]]


def test_one_epsilon_is_enough():
    assert drawn(
        "privacy-ceiling",
        epsilons=[1.0],
        ceilings=ceilings(1),
        advantage=[[0.1, 0.02, 0.18]],
        memorization=[0.01],
        accuracy=[0.6],
    ).panels


def test_a_game_above_the_ceiling_is_told():
    caption = drawn("privacy-ceiling").caption
    assert "0.100 at epsilon 1 (ceiling 0.462), 0.300 at epsilon 3 (ceiling 0.905)" in caption
    assert "nowhere above the curve" in caption
    above = [[0.5, 0.4, 0.6], [0.3, np.nan, np.nan], [0.9999999, np.nan, np.nan]]
    caption = drawn("privacy-ceiling", advantage=above).caption
    assert "above the curve at epsilon 1 and epsilon 10." in caption
    assert "nowhere" not in caption


def test_memorization_far_below_the_advantage_is_explained():
    why = "told by confidences though the prediction stays"
    assert why in drawn("privacy-ceiling").caption
    near = [0.668, 0.628, 0.708, 0.6, 0.957]
    assert why not in drawn("privacy-ceiling", without=near).caption
    assert "wrong labels is 0.600 without noise." in drawn("privacy-ceiling", without=near).caption


def test_an_advantage_below_0_is_in_sight(kept):
    low = [[-0.2, -0.3, -0.1], [0.3, np.nan, np.nan], [0.5, np.nan, np.nan]]
    drawn("privacy-ceiling", advantage=low)
    assert kept[0].axes[0].get_ylim()[0] < -0.3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epsilons": [0.0, 3.0, 10.0]}, "^epsilons has"),
        ({"epsilons": [1.0, 1.0, 10.0], "ceilings": ceilings(1, 1, 10)}, "^epsilons holds"),
        ({"ceilings": ceilings(1, 3, 9)}, "^ceilings holds"),
        ({"delta": 0.1}, "^ceilings holds"),
        ({"advantage": [[0.1, 0.2, 0.3]] * 3}, "^advantage .* within their intervals"),
        ({"advantage": [[0.1, 0.0, np.nan]] * 3}, "^advantage .* within their intervals"),
        ({"without": [0.5, 0.6, 0.7, 0.0, 0.9]}, "^without .* within their intervals"),
    ],
)
def test_games_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        drawn("privacy-ceiling", **changes)
