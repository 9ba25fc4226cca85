import numpy as np
import pytest

from benchsuite.data import outliers as module
from benchsuite.data.dataset import Dataset
from benchsuite.data.outliers import foreign_outliers, out_of_distribution

RNG = np.random.default_rng(0)
LABELS = np.arange(30) % 10
IMAGES = {
    "grey": RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8),
    "one channel": RNG.integers(0, 256, (30, 28, 20, 1), dtype=np.uint8),
    "colour": RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8),
    "with alpha": RNG.integers(0, 256, (30, 16, 16, 4), dtype=np.uint8),
    "float grey": RNG.random((30, 1, 8, 8), dtype=np.float32),
    "float colour": RNG.random((30, 3, 32, 24), dtype=np.float32) * 6 - 2,
}

every_kind = pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)


def pool(images, name="lab"):
    return Dataset(images, LABELS, name=name)


@every_kind
def test_outliers_come_after_the_pool_and_look_like_it(images):
    data = pool(images)
    more = foreign_outliers(data, 40, seed=3)
    assert len(more) == 70
    assert more.images.dtype == images.dtype
    assert more.images.shape[1:] == images.shape[1:]
    np.testing.assert_array_equal(more.images[:30], images)
    np.testing.assert_array_equal(more.labels[:30], LABELS)
    added = more.images[30:]
    assert added.min() >= images.min()
    assert added.max() <= images.max()
    assert more.inputs().shape[1:] == data.inputs().shape[1:]
    assert more.name == "lab with foreign outliers"


@every_kind
def test_outliers_are_pictures_of_their_own(images):
    added = foreign_outliers(pool(images), 40, seed=3).images[30:].reshape(40, -1)
    assert len(np.unique(added, axis=0)) == 40
    assert (added.std(axis=1) > 0).all()
    span = float(images.max()) - float(images.min())
    assert np.ptp(added) > 0.5 * span  # not of another scale


def test_pictures_are_the_same_in_every_form():
    """Channels last and first, from 0 to 255 and from -2 to 4."""
    first = np.full((30, 3, 32, 32), 4, dtype=np.float32)
    first[0] = -2
    floats = foreign_outliers(pool(first), 20, seed=0).images[30:]
    colours = foreign_outliers(pool(IMAGES["colour"]), 20, seed=0).images[30:]
    np.testing.assert_allclose(
        (floats.transpose(0, 2, 3, 1) + 2) / 6, colours / 255, atol=0.51 / 255
    )
    grey = np.zeros((30, 32, 32), dtype=np.uint8)
    greys = foreign_outliers(pool(grey), 20, seed=0).images[30:]
    np.testing.assert_allclose(greys, colours.mean(-1), atol=1.01)


def test_labels_are_drawn_from_all_classes_alike():
    labels = foreign_outliers(pool(IMAGES["float grey"]), 2000, seed=0).labels[30:]
    counts = np.bincount(labels)
    assert len(counts) == 10
    assert counts.min() > 140  # of 200 expected, 13 being the standard deviation
    assert counts.max() < 260


def test_labels_say_nothing_of_the_picture():
    data = foreign_outliers(pool(IMAGES["float grey"]), 2000, seed=0)
    brightness = data.images[30:].mean(axis=(1, 2, 3))
    means = [brightness[data.labels[30:] == each].mean() for each in range(10)]
    assert np.std(means) < 3 * brightness.std() / np.sqrt(200)


@every_kind
def test_a_seed_fixes_all(images):
    data = pool(images)
    assert foreign_outliers(data, 20, seed=1) == foreign_outliers(data, 20, seed=1)
    one, other = (foreign_outliers(data, 20, seed=seed) for seed in (1, 2))
    assert (one.images[30:] != other.images[30:]).any()
    assert (one.labels[30:] != other.labels[30:]).any()


@pytest.mark.parametrize(
    "images",
    [RNG.random((30, 8), dtype=np.float32), RNG.random((30, 8, 8), dtype=np.float32)],
    ids=["table", "sequence"],
)
def test_what_holds_no_pictures_is_refused(images):
    with pytest.raises(ValueError, match=r"pool has images of shape \(30, 8.*are images"):
        foreign_outliers(pool(images), 2, seed=0)


@pytest.mark.parametrize("count", [0, -1])
def test_none_to_add_are_refused(count):
    with pytest.raises(ValueError, match=f"count is {count}, expected at least one"):
        foreign_outliers(pool(IMAGES["grey"]), count, seed=0)


def test_pictures_larger_than_a_photograph_are_refused():
    images = np.zeros((30, 110, 110), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"110 x 110 pixels, too large.*at most 106 x 160"):
        foreign_outliers(pool(images), 2, seed=0)
    largest = np.zeros((30, 106, 160), dtype=np.uint8)
    assert len(foreign_outliers(pool(largest), 1, seed=0)) == 31


@pytest.mark.parametrize(("name", "other"), [("cifar10", "cifar100"), ("cifar100", "cifar10")])
def test_each_cifar_gets_images_of_the_other(monkeypatch, name, other):
    foreign = RNG.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    asked = []

    def load(which):
        asked.append(which)
        return Dataset(foreign, np.arange(50) % 2), None

    monkeypatch.setattr(module.sources, "load", load)
    added = foreign_outliers(pool(IMAGES["colour"], name), 20, seed=0).images[30:]
    assert asked == [other]
    places = [np.flatnonzero((foreign == each).all(axis=(1, 2, 3))).tolist() for each in added]
    assert all(len(place) == 1 for place in places)
    assert len({place[0] for place in places}) == 20


def test_a_cifar_of_another_form_gets_photographs(monkeypatch):
    def load(which):
        raise AssertionError(which)

    monkeypatch.setattr(module.sources, "load", load)
    images = RNG.random((30, 3, 32, 32), dtype=np.float32)
    assert foreign_outliers(pool(images, "cifar10"), 5, seed=0).images.shape == (35, 3, 32, 32)


def test_the_same_seed_adds_the_same_pictures_as_ever():
    added = foreign_outliers(pool(IMAGES["grey"]), 3, seed=3).images[30:]
    assert added.sum(axis=(1, 2)) == pytest.approx([70692, 80047, 51493], rel=1e-3)


def test_more_than_there_are_is_refused(monkeypatch):
    small = Dataset(np.zeros((5, 32, 32, 3), dtype=np.uint8), np.arange(5)), None
    monkeypatch.setattr(module.sources, "load", lambda name: small)
    with pytest.raises(ValueError, match="count is 6, but there are 5 images: ask for fewer"):
        foreign_outliers(pool(IMAGES["colour"], "cifar10"), 6, seed=0)


# ---- shown to models alone ----

COLOURS = RNG.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
DIGITS = RNG.integers(0, 256, (50, 28, 28), dtype=np.uint8)


@pytest.fixture
def published(monkeypatch):
    """Loads of CIFAR-10 and MNIST, whose test images alone are of use."""
    tests = {"cifar10": COLOURS, "mnist": DIGITS}

    def load(name):
        test = Dataset(tests[name], np.arange(50) % 2)
        return test.subset([0, 1]), test

    monkeypatch.setattr(module.sources, "load", load)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_grey_pools_are_shown_the_middle_of_grey_cifar(name):
    shown = out_of_distribution(pool(IMAGES["grey"], name), 20, seed=0)
    assert (shown.dtype, shown.shape) == (np.uint8, (20, 28, 28))
    red, green, blue = np.moveaxis(COLOURS[:, 2:30, 2:30].astype(float), -1, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    assert len(set(_places(shown, grey))) == 20


@pytest.mark.usefixtures("published")
def test_cifar_is_shown_framed_digits_in_three_channels():
    shown = out_of_distribution(pool(IMAGES["colour"], "cifar10"), 20, seed=0)
    assert (shown.dtype, shown.shape) == (np.uint8, (20, 32, 32, 3))
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], shown[..., 0])
    assert len(set(_places(shown[:, 2:30, 2:30, 0], DIGITS))) == 20
    assert shown.sum() == shown[:, 2:30, 2:30].sum(dtype=np.uint64)


def _places(shown, originals):
    """Which of the originals each image is, within the rounding of grey levels."""
    apart = np.abs(shown[:, None].astype(float) - originals[None]).max(axis=(2, 3))
    assert (apart.min(axis=1) < 0.501).all()
    return apart.argmin(axis=1).tolist()


@every_kind
@pytest.mark.parametrize("name", ["lab", "cifar100", "digits"])
def test_every_other_pool_is_shown_photographs_in_its_form(images, name, monkeypatch):
    monkeypatch.setattr(module.sources, "load", None)
    shown = out_of_distribution(pool(images, name), 40, seed=3)
    assert (shown.dtype, shown.shape) == (images.dtype, (40, *images.shape[1:]))
    assert images.min() <= shown.min() < shown.max() <= images.max()
    assert len(np.unique(shown.reshape(40, -1), axis=0)) == 40
    added = foreign_outliers(pool(images), 40, seed=3).images[30:]
    assert not (shown == added).all(axis=tuple(range(1, images.ndim))).any()
    spread = [float(each.std(axis=0).mean()) for each in (shown, added)]
    assert spread[0] == pytest.approx(spread[1], rel=0.2)


def test_a_pool_of_another_form_than_published_is_shown_photographs(monkeypatch):
    monkeypatch.setattr(module.sources, "load", None)
    floats = RNG.random((30, 1, 28, 28), dtype=np.float32)
    assert out_of_distribution(pool(floats, "mnist"), 3, seed=0).shape == (3, 1, 28, 28)
    small = IMAGES["grey"][:, :20, :20]
    assert out_of_distribution(pool(small, "mnist"), 3, seed=0).shape == (3, 20, 20)
    assert out_of_distribution(pool(IMAGES["grey"], "cifar10"), 3, seed=0).shape == (3, 28, 28)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("kind", "name"), [("grey", "mnist"), ("float grey", "digits")])
def test_a_seed_fixes_what_is_shown(kind, name):
    data = pool(IMAGES[kind], name)
    one, again, other = (out_of_distribution(data, 20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_what_is_not_to_be_had_is_said(monkeypatch):
    def load(name):
        raise module.sources.DataUnavailable(f"the data set {name} is missing")

    monkeypatch.setattr(module.sources, "load", load)
    with pytest.raises(module.sources.DataUnavailable, match="the data set cifar10 is missing"):
        out_of_distribution(pool(IMAGES["grey"], "mnist"), 3, seed=0)
    with pytest.raises(module.sources.DataUnavailable, match="the data set mnist is missing"):
        out_of_distribution(pool(IMAGES["colour"], "cifar10"), 3, seed=0)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("like", "count", "message"),
    [
        (pool(IMAGES["grey"]), 0, "count is 0, expected at least one image to draw"),
        (pool(IMAGES["grey"], "mnist"), 51, "count is 51, but there are 50 images"),
        (pool(RNG.random((30, 8), dtype=np.float32)), 2, r"pool has images of shape \(30, 8\)"),
    ],
)
def test_what_cannot_be_shown_is_named(like, count, message):
    with pytest.raises(ValueError, match=message):
        out_of_distribution(like, count, seed=0)
