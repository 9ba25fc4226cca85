import numpy as np
import pytest

from benchsuite.data import outliers as module
from benchsuite.data.dataset import Dataset
from benchsuite.data.outliers import foreign_outliers

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
