from dataclasses import FrozenInstanceError, fields
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.data import (
    LETTER_A,
    Dataset,
    Feature,
    glyph,
    ink_range,
    letters,
    places,
    stamped_copies,
    with_canaries,
)

IMAGES = np.random.default_rng(0).random((4, 3, 9, 8), dtype=np.float32)
BYTES = np.random.default_rng(0).integers(0, 256, (6, 9, 8, 3), dtype=np.uint8)
LABELS = np.array([2, 1, 0, 2, 2, 0])
POOLS = {
    "grey": Dataset(BYTES[..., 0], LABELS),
    "colour": Dataset(BYTES, LABELS, np.array(["a", "b", "c", "a", "b", "c"]), name="lab"),
    "float": Dataset(BYTES.transpose(0, 3, 1, 2).astype(np.float32) / 100 - 1, LABELS),
}
every_pool = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


def test_the_letter_lies_one_pixel_from_the_top_left_corner():
    stamped = Feature().stamped(IMAGES)
    assert stamped.dtype == np.float32
    for image in stamped:
        for channel in image:
            np.testing.assert_array_equal(channel[1:6, 1:6], LETTER_A)
    outside = np.ones((9, 8), dtype=bool)
    outside[1:6, 1:6] = False
    np.testing.assert_array_equal(stamped[..., outside], IMAGES[..., outside])


def test_the_images_given_are_not_changed():
    before = IMAGES.copy()
    Feature().stamped(IMAGES)
    np.testing.assert_array_equal(IMAGES, before)


def test_position_contrast_and_channel():
    feature = Feature([[0, 1], [1, 0.5]], row=4, column=6, low=0.2, high=0.6, channel=1)
    stamped = feature.stamped(IMAGES)
    np.testing.assert_allclose(stamped[0, 1, 4:6, 6:8], [[0.2, 0.6], [0.6, 0.4]])
    np.testing.assert_array_equal(stamped[:, [0, 2]], IMAGES[:, [0, 2]])


def test_grey_bytes_are_stamped_in_whole_numbers():
    bytes_ = np.full((2, 7, 7), 100, dtype=np.uint8)
    stamped = Feature([[0.5, 1.0]], row=0, column=0, high=255).stamped(bytes_)
    assert stamped.dtype == np.uint8
    assert stamped[0, 0, :3].tolist() == [128, 255, 100]


def test_colour_bytes_have_their_channels_last_and_floats_first():
    feature = Feature(row=2, column=1, high=255, channel=1)
    last = feature.stamped(BYTES)
    first = feature.stamped(BYTES.transpose(0, 3, 1, 2).astype(np.float32))
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), first)
    np.testing.assert_array_equal(last[0, 2:7, 1:6, 1], 255 * glyph("A"))
    np.testing.assert_array_equal(last[..., [0, 2]], BYTES[..., [0, 2]])


@given(st.integers(0, 2**32), st.sampled_from(["uniform", "bernoulli"]))
def test_random_features_differ_by_image_and_stay_in_place(seed, kind):
    images = np.zeros((50, 8, 8))
    drawn = Feature(low=2, high=4).random_stamped(images, np.random.default_rng(seed), kind)
    patches = drawn[:, 1:6, 1:6]
    assert len({patch.tobytes() for patch in patches}) == 50
    assert patches.min() >= 2
    assert patches.max() <= 4
    assert patches.mean() == pytest.approx(3, abs=0.2)
    assert set(np.unique(patches)) == {2, 4} or kind == "uniform"
    assert drawn.sum() == pytest.approx(patches.sum())


@given(st.integers(0, 2**32))
def test_shuffled_glyphs_have_equal_ink_and_are_others(seed):
    feature = Feature([[0, 0.5, 1]], row=2, column=3, high=9)
    for each in feature.shuffled(np.random.default_rng(seed), 20):
        assert sorted(each.glyph.ravel()) == [0, 0.5, 1]
        assert not np.array_equal(each.glyph, feature.glyph)
        assert (each.row, each.column, each.high) == (2, 3, 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"glyph": [0, 1]}, r"glyph has shape \(2,\), expected \[height, width\]"),
        ({"glyph": [[0, 2]]}, r"glyph has ink outside \[0, 1\]"),
        ({"glyph": [[0, np.nan]]}, r"glyph has ink outside \[0, 1\]"),
        ({"glyph": [[1, 1]]}, "glyph is 1 everywhere: such a feature cannot be seen"),
        ({"low": 3, "high": 3}, "low and high are both 3: such a feature cannot be seen"),
        ({"row": -1}, "row=-1, column=1 lie before the first pixel"),
    ],
)
def test_bad_features_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Feature(**arguments)


@pytest.mark.parametrize(
    ("feature", "images", "message"),
    [
        (Feature(row=5), IMAGES, "a feature of 5 x 5 at row 5, column 1 reaches beyond .* 9 x 8"),
        (Feature(), IMAGES[..., :4], "reaches beyond images of 9 x 4: move it or make it smaller"),
        (Feature(channel=3), IMAGES, "channel=3, but the images have 3: from 0"),
        (Feature(channel=1), IMAGES[:, 0], "channel=1, but the images have 1"),
        (Feature(), IMAGES[0, 0], r"images have shape \(9, 8\), expected \[n, height, width\]"),
        (Feature(), IMAGES[:0], r"images have shape \(0, 3, 9, 8\)"),
        (Feature(high=256), BYTES, "a feature from 0 to 256 does not fit into uint8 images"),
        (Feature(low=-1), BYTES, "a feature from -1 to 1 does not fit into uint8 images"),
        (Feature(), BYTES, "the feature goes from 0 to 1, but uint8 .* low=0 and high=255"),
    ],
)
def test_images_that_cannot_hold_a_feature_are_named(feature, images, message):
    for stamp in (feature.stamped, partial(feature.random_stamped, rng=np.random.default_rng(0))):
        with pytest.raises(ValueError, match=message):
            stamp(images)


@pytest.mark.parametrize("feature", [Feature(high=255), Feature(high=255, channel=1)])
def test_a_feature_that_changes_no_pixel_of_any_image_is_named(feature):
    there = feature.stamped(BYTES)
    with pytest.raises(ValueError, match="the feature changes no pixel of the images"):
        feature.stamped(there)
    there[2, 1, 1, 1] ^= 255
    np.testing.assert_array_equal(feature.stamped(there), feature.stamped(BYTES))


def test_a_feature_keeps_its_own_glyph_and_is_frozen():
    ink = np.array([[0, 1], [1, 0]])
    feature = Feature(ink)
    ink[0, 0] = 1
    assert feature.glyph.dtype == np.float64
    assert feature.glyph.tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ValueError, match="read-only"):
        feature.glyph[0, 0] = 1
    with pytest.raises(FrozenInstanceError):
        feature.row = 2
    assert [field.name for field in fields(Feature) if not field.init] == []


def test_an_unknown_kind_of_random_feature_is_named():
    with pytest.raises(ValueError, match="kind='normal' is unknown: use 'uniform' or 'bernoulli'"):
        Feature().random_stamped(IMAGES, np.random.default_rng(0), "normal")


# ---- places and letters ----


def test_eight_places_in_an_image_of_mnist():
    rows = [1, 8, 15, 22]
    assert places(28, 28) == [(row, 1) for row in rows] + [(row, 22) for row in rows]


@given(st.integers(7, 64), st.integers(7, 64))
def test_letters_lie_apart_and_off_the_edges_and_the_first_is_the_papers(height, width):
    there = places(height, width)
    assert there[0] == (1, 1)
    covered = np.zeros((height, width), dtype=int)
    for row, column in there:
        assert row + 5 < height
        assert column + 5 < width
        covered[row - 1 : row + 6, column - 1 : column + 6] += 1  # with a pixel around
        assert covered[row : row + 5, column : column + 5].max() == 1


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (7, 7, [(1, 1)]),
        (12, 12, [(1, 1)]),
        (13, 12, [(1, 1), (7, 1)]),
        (8, 13, [(1, 1), (1, 7)]),
        (24, 7, [(1, 1), (9, 1), (18, 1)]),
        (25, 7, [(1, 1), (7, 1), (13, 1), (19, 1)]),
        (200, 7, [(1, 1), (65, 1), (129, 1), (194, 1)]),
    ],
)
def test_small_images_have_fewer_places(height, width, expected):
    assert places(height, width) == expected


@pytest.mark.parametrize(("height", "width"), [(6, 28), (28, 6)])
def test_an_image_without_a_place_is_named(height, width):
    with pytest.raises(ValueError, match=f"{height} x {width} pixels is too small .* 7 x 7"):
        places(height, width)


def test_each_place_has_its_own_letter_in_order():
    features = letters(28, 28, -1, 2)
    assert [(each.row, each.column) for each in features] == places(28, 28)
    assert {(each.low, each.high, each.channel) for each in features} == {(-1, 2, None)}
    for letter, feature in zip("ABCDEHKS", features, strict=True):
        np.testing.assert_array_equal(feature.glyph, glyph(letter))
    assert len(letters(8, 8, 0, 1)) == 1


# ---- canaries ----


@pytest.mark.parametrize(
    ("pool", "expected"),
    [("grey", (0, 255)), ("float", (BYTES.min() / 100 - 1, BYTES.max() / 100 - 1))],
)
def test_ink_is_as_dark_and_bright_as_the_images_get(pool, expected):
    assert ink_range(POOLS[pool]) == pytest.approx(expected)


@every_pool
def test_copies_have_the_pools_form_and_differ_in_the_patch_alone(pool):
    low, high = ink_range(pool)
    [feature] = letters(9, 8, low, high)
    copies = stamped_copies(pool, [4, 1], feature)
    assert (copies.dtype, copies.shape[1:]) == (pool.images.dtype, pool.images.shape[1:])
    made = Dataset(copies, np.array([2, 1])).inputs()
    scale = 255 if pool.images.dtype == np.uint8 else 1
    expected = Feature(low=low / scale, high=high / scale).stamped(pool.inputs()[[4, 1]])
    np.testing.assert_allclose(made, expected, rtol=1e-6)


@every_pool
def test_canaries_follow_the_pool_under_their_originals_labels_and_groups(pool):
    low, high = ink_range(pool)
    first, second = Feature(low=low, high=high), Feature(row=3, column=2, low=low, high=high)
    both = with_canaries(pool, [([4], first), (np.array([0, 5]), second)])
    assert len(both) == 9
    assert both.name == pool.name
    np.testing.assert_array_equal(both.images[:6], pool.images)
    np.testing.assert_array_equal(both.images[6:7], stamped_copies(pool, [4], first))
    np.testing.assert_array_equal(both.images[7:], stamped_copies(pool, [0, 5], second))
    for name in ("labels", "groups"):
        before = getattr(pool, name)
        np.testing.assert_array_equal(getattr(both, name), before[[*range(6), 4, 0, 5]])


FULL = Feature(high=255)


@pytest.mark.parametrize(
    ("examples", "feature", "message"),
    [
        ([3, 6], FULL, "examples hold 6, expected positions from 0 to 5: the pool has 6 examples"),
        ([-1], FULL, "examples hold -1, expected positions from 0"),
        ([], FULL, r"examples have shape \(0,\) .* a list of one integer or more"),
        ([0.5], FULL, "dtype float64, expected positions in the pool"),
        ([True] * 6, FULL, "dtype bool, expected positions in the pool"),
        ([[1]], FULL, r"examples have shape \(1, 1\)"),
        ([1], Feature(row=5, high=255), "a feature of 5 x 5 at row 5, .* beyond images of 9 x 8"),
        ([1], Feature(), r"feature goes from 0 to 1, but uint8 images .* ink_range\(pool\)"),
    ],
)
def test_canaries_that_cannot_be_made_are_named(examples, feature, message):
    with pytest.raises(ValueError, match=message):
        stamped_copies(POOLS["colour"], examples, feature)


def test_a_feature_that_is_there_already_is_named():
    images = np.zeros((3, 9, 9), dtype=np.uint8)
    images[1:2] = FULL.stamped(images[1:2])
    pool = Dataset(images, np.arange(3))
    with pytest.raises(ValueError, match="the feature changes no pixel of example 1: choose"):
        stamped_copies(pool, [0, 1, 2], FULL)
    with pytest.raises(ValueError, match="the feature changes no pixel"):
        stamped_copies(pool, [1], FULL)
    assert len(stamped_copies(pool, [0, 2], FULL)) == 2


@pytest.mark.parametrize("shape", [(6, 30), (6, 9, 8), (6, 3, 9, 8, 1)])
def test_a_pool_without_images_has_no_canaries(shape):
    pool = Dataset(np.zeros(shape, dtype=np.float32), LABELS)
    with pytest.raises(ValueError, match=r"pool has images of shape \(6, .*canaries are images"):
        stamped_copies(pool, [0], Feature())


def test_a_pool_without_canaries_is_refused():
    with pytest.raises(ValueError, match="canaries is empty, expected pairs"):
        with_canaries(POOLS["grey"], [])
