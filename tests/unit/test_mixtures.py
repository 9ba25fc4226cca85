import numpy as np
import pytest
import torch

from benchsuite.data import (
    OVER,
    UNDER,
    Dataset,
    augmented_copies,
    balanced_sample,
    digits,
    in_the_form_of,
    mixing_ratio,
    mixture,
    photo_patches,
    pixmix,
)
from benchsuite.data import mixtures as module

RNG = np.random.default_rng(0)
LABELS = np.arange(30) % 10


def data(images, labels=LABELS, name="lab"):
    return Dataset(images, labels, name=name)


GREY = data(RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8), name="grey")
ONE_CHANNEL = data(RNG.integers(0, 256, (30, 16, 12, 1), dtype=np.uint8))
COLOUR = data(RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8))
FLOAT_GREY = data(RNG.random((30, 1, 8, 8), dtype=np.float32))
FLOAT_COLOUR = data(RNG.random((30, 3, 32, 24), dtype=np.float32))
FORMS = {
    "grey": GREY,
    "one channel": ONE_CHANNEL,
    "colour": COLOUR,
    "float grey": FLOAT_GREY,
    "float colour": FLOAT_COLOUR,
}
each_over = pytest.mark.parametrize("over", FORMS.values(), ids=FORMS)
each_under = pytest.mark.parametrize("under", FORMS.values(), ids=FORMS)


# ---- forms ----


@each_over
@each_under
def test_every_form_becomes_every_other_as_torch_resizes(over, under):
    got = in_the_form_of(over, under)
    assert got.images.dtype == over.images.dtype
    assert got.images.shape[1:] == over.images.shape[1:]
    np.testing.assert_array_equal(got.labels, under.labels)
    pixels = torch.from_numpy(under.inputs()).double()
    size = over.inputs().shape[2:]
    expected = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    channels = over.inputs().shape[1]
    if channels < expected.shape[1]:
        weights = torch.tensor([0.2989, 0.5870, 0.1140]).double()
        expected = torch.einsum("nchw,c->nhw", expected, weights)[:, None]
    expected = expected.expand(-1, channels, -1, -1).numpy()
    step = 0.501 / 255 if over.images.dtype == np.uint8 else 1e-6
    np.testing.assert_allclose(got.inputs(), expected, atol=step, rtol=0)


def test_the_same_form_stays_as_it_is():
    for form in FORMS.values():
        assert in_the_form_of(form, form) == form


def test_grey_is_weighted_as_the_paper_says():
    pure = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    pure[0, ..., 0] = pure[1, ..., 1] = pure[2, ..., 2] = pure[3] = 255
    under = Dataset(pure, np.arange(4))
    floats = in_the_form_of(FLOAT_GREY, under).images
    np.testing.assert_allclose(floats.max((1, 2, 3)), [0.2989, 0.5870, 0.1140, 0.9999], rtol=1e-6)
    np.testing.assert_array_equal(floats.max((1, 2, 3)), floats.min((1, 2, 3)))
    greys = in_the_form_of(GREY, under).images
    np.testing.assert_array_equal(greys[:, 5, 5], [76, 150, 29, 255])


def test_grey_becomes_three_equal_channels():
    got = in_the_form_of(COLOUR, GREY).images
    for channel in (1, 2):
        np.testing.assert_array_equal(got[..., channel], got[..., 0])
    assert got.std() > 10


def test_groups_and_name_of_the_under_represented_are_kept():
    grouped = Dataset(GREY.images, LABELS, np.arange(30) % 3, "mine")
    got = in_the_form_of(FLOAT_GREY, grouped)
    assert got.name == "mine"
    np.testing.assert_array_equal(got.groups, grouped.groups)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (data(RNG.random((30, 8), dtype=np.float32)), r"images of shape \(30, 8\).* are images"),
        (data(np.zeros((30, 8, 8, 4), np.uint8)), "has images of 4 channels, expected 1 or 3"),
        (data(FLOAT_GREY.images * 3), r"has pixels from .* to 2\.9.*, expected from 0 to 1"),
        (data(FLOAT_GREY.images - 1), "has pixels from -"),
    ],
)
def test_what_has_no_such_form_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        in_the_form_of(GREY, bad)
    with pytest.raises(ValueError, match=message):
        in_the_form_of(bad, GREY)


# ---- mixtures ----


def test_a_mixture_holds_both_groups_in_order():
    under = in_the_form_of(GREY, COLOUR).subset(range(10))
    mixed = mixture(GREY, under, "both")
    assert mixed.name == "both"
    np.testing.assert_array_equal(mixed.images[:30], GREY.images)
    np.testing.assert_array_equal(mixed.images[30:], under.images)
    np.testing.assert_array_equal(mixed.labels, [*LABELS, *range(10)])
    assert mixed.groups.tolist() == [OVER] * 30 + [UNDER] * 10
    assert mixing_ratio(mixed) == 0.75


@pytest.mark.parametrize(
    ("under", "message"),
    [
        (COLOUR, r"under has images of uint8 \[32, 32, 3\], but over of uint8 \[28, 28\]: pass"),
        (data(RNG.random((30, 28, 28), dtype=np.float32)), "under has images of float32"),
        (
            data(GREY.images, LABELS + 5),
            r"under has labels up to 14, but over has 10 classes: .* classes=range\(10\)",
        ),
    ],
)
def test_groups_that_do_not_match_are_refused(under, message):
    with pytest.raises(ValueError, match=message):
        mixture(GREY, under, "both")


def test_the_ratio_of_what_is_no_mixture_is_refused():
    with pytest.raises(ValueError, match="group 0, expected 'over-represented' and 'under-"):
        mixing_ratio(GREY)
    alone = Dataset(GREY.images, LABELS, np.array([UNDER] * 30))
    with pytest.raises(ValueError, match="group 'under-represented', expected"):
        mixing_ratio(alone)
    assert mixing_ratio(Dataset(GREY.images, LABELS, np.array([OVER] * 30))) == 1


# ---- samples and copies ----


def numbered(n=400, classes=8):
    """Examples that hold their own position, with classes of unequal size."""
    labels = np.minimum(RNG.geometric(0.3, n) - 1, classes - 1)
    return Dataset(np.arange(n, dtype=np.float32)[:, None].repeat(2, axis=1), labels, name="many")


def test_a_sample_is_balanced_in_order_and_of_the_data():
    many = numbered()
    drawn = balanced_sample(many, 9, seed=0)
    assert np.bincount(drawn.labels).tolist() == [9] * 8
    positions = drawn.images[:, 0].astype(int)
    assert (np.diff(positions) > 0).all()
    np.testing.assert_array_equal(many.labels[positions], drawn.labels)
    assert drawn.name == "many"


def test_a_sample_is_random_and_a_larger_one_holds_it():
    many = numbered()
    one, more, other = (
        set(balanced_sample(many, size, seed).images[:, 0])
        for size, seed in ((5, 0), (9, 0), (5, 1))
    )
    assert one < more
    assert len(one & other) < 30  # of 40
    assert np.mean(sorted(one)) == pytest.approx(200, abs=80)  # not the first of each class


def test_a_sample_of_some_classes_keeps_their_labels():
    drawn = balanced_sample(numbered(), 4, seed=0, classes=(5, 1, 3, 1))
    assert np.bincount(drawn.labels).tolist() == [0, 4, 0, 4, 0, 4]


@pytest.mark.parametrize(
    ("per_class", "classes", "message"),
    [
        (0, None, "per_class is 0, expected at least one"),
        (9, range(9), "per_class is 9, but class 8 of data has 0 examples"),
        (300, [0, 1], "per_class is 300, but class 0 of data has 1.. examples: ask for fewer"),
        (2, [], "classes is empty, expected two"),
        (2, [3], "a single class|single class 3"),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused(per_class, classes, message):
    with pytest.raises(ValueError, match=message):
        balanced_sample(numbered(), per_class, 0, classes)


@each_over
def test_copies_are_pixmix_of_a_balanced_sample_in_its_form(over):
    copies = augmented_copies(over, 2, seed=5)
    assert np.bincount(copies.labels).tolist() == [2] * 10
    assert copies.images.dtype == over.images.dtype
    assert copies.images.shape[1:] == over.images.shape[1:]
    everything = pixmix(over.inputs(), 5)
    step = 0.501 / 255 if over.images.dtype == np.uint8 else 0
    for image, label in zip(copies.inputs(), copies.labels, strict=True):
        apart = np.abs(everything - image).max(axis=(1, 2, 3))
        assert apart.min() <= step
        assert over.labels[apart.argmin()] == label
    assert copies == augmented_copies(over, 2, seed=5)
    assert copies != augmented_copies(over, 2, seed=6)


def test_copies_of_what_is_no_picture_are_refused():
    with pytest.raises(ValueError, match=r"images of shape \(400, 2\)"):
        augmented_copies(numbered(), 2, seed=0)


# ---- photographs ----


@each_over
def test_patches_come_in_every_form_with_equal_classes(over):
    patches = photo_patches(over, 1, seed=0)
    assert patches.images.dtype == over.images.dtype
    assert patches.images.shape[1:] == over.images.shape[1:]
    assert np.bincount(patches.labels).tolist() == [1] * 10
    assert np.ptp(patches.inputs()) > 0.5


def test_a_patch_is_where_its_class_says(monkeypatch):
    """On two photographs of which each pixel says where it is: the strip, in red."""
    across = np.arange(640) // 128
    first = np.zeros((427, 640, 3), np.uint8)
    first[..., 0] = 20 * across
    import sklearn.datasets

    def load():
        return type("Bunch", (), {"images": [first, first + np.array([100, 0, 0], np.uint8)]})

    monkeypatch.setattr(sklearn.datasets, "load_sample_images", load)
    monkeypatch.setattr(module, "_stretched", lambda patches: patches)
    like = data(RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8))
    patches = photo_patches(like, 5, seed=0)
    expected = 20 * (patches.labels % 5) + 100 * (patches.labels // 5)
    assert (patches.images[..., 0] == expected[:, None, None]).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_each_patch_is_stretched_by_its_own_pixels_and_a_flat_one_only_so_far(kind):
    white = 255 if kind is np.uint8 else 1
    images = np.zeros((3, 1, 2, 2), np.float64)
    images[0, 0, 0] = 0.4, 0.6
    images[0, 0, 1] = 0.4, 0.5
    images[1, 0, 0, 0] = 0.01  # less than is stretched in full
    images = images * white if kind is np.float32 else np.rint(images * white)[:, 0]
    given = data(images.astype(kind), labels=np.array([0, 1, 1]))
    stretched = module._stretched(given).images.reshape(3, 4) / white
    np.testing.assert_allclose(stretched[0], [0, 1, 0, 0.5], atol=0.02)
    assert 0.4 < stretched[1, 0] < 0.7
    assert not stretched[2].any()


def test_no_two_patches_share_a_pixel_of_a_photograph():
    strip = np.arange(427 * 128).reshape(427, 128)
    corners = []
    for part in ("train", "test"):
        places = np.stack([strip // 128 // 4, strip % 128 // 4, 0 * strip], axis=-1)
        squares = module._squares(places, 8, 8, part)
        assert (np.ptp(squares, axis=(1, 2)) == [7, 7, 0]).all()  # the whole square, nothing else
        corners += [tuple(each) for each in squares[:, 0, 0, :2]]
    assert len(set(corners)) == len(corners) == 13 * 4
    assert all(row % 8 == 0 and column % 8 == 0 for row, column in corners)


def test_patches_for_tests_are_others_and_a_seed_chooses():
    pool, _ = digits()
    train, test = (photo_patches(pool, 18, seed=0, part=part) for part in ("train", "test"))
    both = np.concatenate([train.images, test.images]).reshape(360, -1)
    assert len(np.unique(both, axis=0)) > 340  # a few pieces of blank sky are alike
    assert len(photo_patches(pool, 34, seed=0)) == 340
    assert train == photo_patches(pool, 18, seed=0)
    assert train != photo_patches(pool, 18, seed=1)
    mixed = mixture(pool, train, "digits-photos")
    assert mixing_ratio(mixed) == 1500 / 1680


@pytest.mark.parametrize(
    ("like", "per_class", "part", "message"),
    [
        (FLOAT_GREY, 35, "train", "per_class is 35, but a strip holds 34 patches of 8 x 8"),
        (FLOAT_GREY, 19, "test", "holds 18 patches of 8 x 8 for part='test': ask for fewer"),
        (FLOAT_GREY, 0, "train", "per_class is 0, expected at least one"),
        (FLOAT_GREY, 5, "validation", "part is 'validation', expected 'train' or 'test'"),
        (data(np.zeros((30, 40, 40), np.uint8)), 1, "train", "holds 0 patches of 40 x 40"),
        (data(FLOAT_GREY.images * 2), 1, "train", "like has pixels from"),
    ],
)
def test_patches_that_cannot_be_cut_are_refused(like, per_class, part, message):
    with pytest.raises(ValueError, match=message):
        photo_patches(like, per_class, 0, part)
