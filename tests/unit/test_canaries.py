import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.data.canaries import LETTER_A, Feature

IMAGES = np.random.default_rng(0).random((4, 3, 9, 8), dtype=np.float32)


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
    ],
)
def test_images_that_cannot_hold_a_feature_are_named(feature, images, message):
    with pytest.raises(ValueError, match=message):
        feature.stamped(images)


def test_an_unknown_kind_of_random_feature_is_named():
    with pytest.raises(ValueError, match="kind='normal' is unknown: use 'uniform' or 'bernoulli'"):
        Feature().random_stamped(IMAGES, np.random.default_rng(0), "normal")
