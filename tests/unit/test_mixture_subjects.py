"""The membership paper's subjects: a laptop's with real digits, the paper's with tiny data sets."""

from dataclasses import replace

import numpy as np
import pytest

from benchsuite.data import mixtures, sources
from benchsuite.data.dataset import Dataset
from benchsuite.data.mixtures import OVER, UNDER, is_mixture
from benchsuite.shadows.design import Balanced
from benchsuite.subject import BUILT_IN, Subject, load_subject, miniature
from benchsuite.training import Augmentation, Recipe


def of_group(data, group):
    return data.subset(data.groups == group)


def counts(data):
    return np.bincount(data.labels).tolist()


def images(data):
    return set(map(bytes, data.images))


def weights(subject):
    return [tuple(each.shape) for each in subject.model().parameters() if each.ndim > 1]


# ---- a laptop's ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "over", "under", "of_test", "layers", "recipe"),
    [
        ("digits-pixmix", 1500, 30, 25, [(128, 64), (10, 128)], Recipe(epochs=50)),
        (
            "digits-photos",
            1500,
            15,
            15,
            [(128, 64), (10, 128)],
            Recipe(epochs=50, learning_rate=0.2),
        ),
        ("digits-mix-tiny", 200, 6, 6, [(32, 64), (10, 32)], Recipe(epochs=30)),
    ],
)
def test_the_digits_are_mixed_with_a_balanced_group(name, over, under, of_test, layers, recipe):
    loaded = load_subject(name)
    assert loaded.name == name
    pool, test = sources.digits()
    assert of_group(loaded.test, OVER).images.tobytes() == test.images.tobytes()
    if over == 1500:
        assert of_group(loaded.pool, OVER).images.tobytes() == pool.images.tobytes()
    else:
        assert counts(of_group(loaded.pool, OVER)) == [20] * 10
        assert images(of_group(loaded.pool, OVER)) <= images(pool)
    for part, each in ((loaded.pool, under), (loaded.test, of_test)):
        assert is_mixture(part)
        assert counts(of_group(part, UNDER)) == [each] * 10
        assert part.groups.tolist() == sorted(part.groups.tolist())  # over before under
        assert part.images.dtype == np.float32
        assert part.images.min() >= 0
        assert part.images.max() <= 1
    assert len(images(of_group(loaded.pool, UNDER))) == 10 * under
    assert not images(loaded.pool) & images(loaded.test)
    assert weights(loaded) == layers
    assert loaded.recipe == recipe
    assert loaded.share == 0.5
    assert Balanced(len(loaded.pool), 0.5).block == 64


@pytest.mark.parametrize("name", ["digits-pixmix", "digits-mix-tiny"])
def test_copies_are_of_the_digits_of_their_own_part(name):
    """One copy in ten is left as it was, and shows whose it is."""
    loaded = load_subject(name)
    pool, test = sources.digits()
    for data, own, other in ((loaded.pool, pool, test), (loaded.test, test, pool)):
        copies = images(of_group(data, UNDER))
        assert 0 < len(copies & images(own)) < 0.25 * len(copies)
        assert not copies & images(other)


@pytest.mark.parametrize("name", ["digits-pixmix", "digits-photos", "digits-mix-tiny"])
def test_a_miniature_keeps_both_groups_and_all_classes(name):
    cut = miniature(load_subject(name))
    for part in (cut.pool, cut.test):
        assert len(part) == 60
        for group in (OVER, UNDER):
            assert sum(part.groups == group) == 30
            assert min(counts(of_group(part, group))) >= 2
            assert len(of_group(part, group).labels) == 30
        assert len(np.unique(part.images.reshape(60, -1), axis=0)) > 50


def test_a_miniature_takes_what_a_small_group_has():
    whole = load_subject("digits-mix-tiny")
    few = whole.pool.subset([*range(200), *range(200, 208)])
    one = whole.test.subset([*range(297), 300])
    cut = miniature(replace(whole, pool=few, test=one))
    assert [sum(cut.pool.groups == group) for group in (OVER, UNDER)] == [52, 8]
    assert [sum(cut.test.groups == group) for group in (OVER, UNDER)] == [59, 1]
    many = whole.pool.subset([*range(10), *range(200, 260)])
    cut = miniature(replace(whole, pool=many))
    assert [sum(cut.pool.groups == group) for group in (OVER, UNDER)] == [10, 50]
    everything = miniature(replace(whole, pool=many.subset(range(0, 70, 2))))
    assert len(everything.pool) == 34


# ---- the papers', with tiny data sets of the right form ------------------------------------------

MNIST, CIFAR = (28, 28), (32, 32, 3)
CNN = Recipe(epochs=20, batch_size=128, learning_rate=0.1, weight_decay=5e-4)
FFCV = Recipe(
    epochs=24,
    batch_size=512,
    learning_rate=0.5,
    weight_decay=5e-4,
    augmentation=Augmentation(shift=2, flip=True),
)


def data_set(name, shape, per_class, seed, classes=10, lacking=0):
    """Random pixels in a shuffled order; class 3 lacks some examples."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    labels = rng.permutation(np.delete(labels, np.flatnonzero(labels == 3)[:lacking]))
    pixels = rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return Dataset(pixels, labels, name=name)


@pytest.fixture
def published(monkeypatch):
    """Data sets by name, to be set: shape, examples of a class, how many of them class 3 lacks."""
    forms, loaded, copied = {}, [], []

    def load(name):
        loaded.append(name)
        shape, per_class, *lacking = forms[name]
        classes = 100 if name == "cifar100" else 10
        return tuple(
            data_set(name, shape, per_class - part, [ord(name[0]), part], classes, *lacking)
            for part in (0, 2)
        )

    def copies(data, per_class, key):
        copied.append((data.digest, per_class, key))
        chosen = mixtures.balanced_sample(data, per_class, key)
        return Dataset(255 - chosen.images, chosen.labels, name="copies")

    monkeypatch.setattr(sources, "load", load)
    monkeypatch.setattr(mixtures, "augmented_copies", copies)  # as PixMix takes seconds
    return forms, loaded, copied


SMALL = (6, 6, 3)  # of any size: they are resized


@pytest.mark.parametrize(
    ("name", "over", "under", "each", "of_test", "first", "recipe"),
    [
        ("mnist-svhn-cnn32", (MNIST, 12), (SMALL, 112), 100, 100, 32, CNN),
        ("mnist-svhn-cnn32", (MNIST, 12), (SMALL, 112, 15), 97, 95, 32, CNN),
        ("mnist-usps-cnn32", (MNIST, 12), ((16, 16), 112), 100, 100, 32, CNN),
        ("mnist-cifar10-cnn64", (MNIST, 12), (SMALL, 601), 600, 599, 64, CNN),
        ("cifar10-cifar100-resnet9", (CIFAR, 12), (SMALL, 112), 100, 100, 64, FFCV),
    ],
)
def test_images_of_another_data_set_are_the_under_represented(
    published, name, over, under, each, of_test, first, recipe
):
    forms, loaded, copied = published
    data_sets = name.split("-")[:2]
    forms.update(zip(data_sets, (over, under), strict=True))
    subject = load_subject(name)
    assert sorted(loaded) == sorted(data_sets)
    assert copied == []
    parts, wholes = (subject.pool, subject.test), map(sources.load, data_sets)
    for part, whole, other, count in zip(parts, *wholes, (each, of_test), strict=True):
        assert of_group(part, OVER).images.tobytes() == whole.images.tobytes()
        assert counts(of_group(part, UNDER)) == [count] * 10
        assert part.groups.tolist() == [OVER] * len(whole) + [UNDER] * 10 * count
        chosen = of_group(part, UNDER)
        other = other.subset(other.labels < 10)
        resized = mixtures.in_the_form_of(whole, other)
        form = dict(zip(map(bytes, resized.images), other.labels, strict=True))
        assert [form[bytes(image)] for image in chosen.images] == chosen.labels.tolist()
        assert part.name == name
    check(subject, name, first, recipe)


@pytest.mark.parametrize(
    ("name", "form", "first", "recipe"),
    [
        ("mnist-augmnist-cnn32", (MNIST, 102), 32, CNN),
        ("cifar10-augcifar10-resnet18", (CIFAR, 102), 64, FFCV),
    ],
)
def test_copies_of_its_own_images_are_the_under_represented(published, name, form, first, recipe):
    forms, loaded, copied = published
    over = name.split("-")[0]
    forms[over] = form
    subject = load_subject(name)
    assert loaded == [over]
    train, test = sources.load(over)
    (of_train, each, key), (of_test, of_test_each, test_key) = copied
    assert (of_train, of_test) == (train.digest, test.digest)
    assert (each, of_test_each) == (100, 100)
    assert key != test_key
    for part, whole in ((subject.pool, train), (subject.test, test)):
        assert of_group(part, OVER).images.tobytes() == whole.images.tobytes()
        assert counts(of_group(part, UNDER)) == [100] * 10
        inverted = {bytes(255 - image) for image in whole.images}
        assert images(of_group(part, UNDER)) <= inverted
    check(subject, name, first, recipe)


@pytest.mark.parametrize(
    ("name", "form", "first", "recipe"),
    [("mnist-cnn32", (MNIST, 12), 32, CNN), ("cifar10-resnet9-70", (CIFAR, 12), 64, FFCV)],
)
def test_a_data_set_alone(published, name, form, first, recipe):
    over = name.split("-")[0]
    published[0][over] = form
    subject = load_subject(name)
    train, test = sources.load(over)
    assert (subject.pool, subject.test) == (train, test)
    assert not is_mixture(subject.pool)
    check(subject, name, first, recipe)


def check(subject: Subject, name, first, recipe):
    """What all subjects of the paper have in common, and the network."""
    assert subject.name == name
    assert name in BUILT_IN
    assert subject.share == 0.7
    assert subject.recipe == recipe
    assert subject.validation is None
    assert subject.pool.classes == 10
    shapes = weights(subject)
    assert shapes[0][:2] == (first, 1 if name.startswith("mnist") else 3)
    assert shapes[-1][0] == 10
    modules = [module.rpartition(".")[2] for module in subject.model_identity()["sources"]]
    network = name.removesuffix("-70").rpartition("-")[2].rstrip("0123456789")
    assert any(module.startswith(network) for module in modules)
    if "resnet" in name:
        assert (len(shapes) > 15) == name.endswith("resnet18")
    if name == "mnist-usps-cnn32":
        cut = miniature(subject)
        for part in (cut.pool, cut.test):
            assert [sum(part.groups == group) for group in (OVER, UNDER)] == [30, 30]
            assert min(counts(part)) >= 4


def test_the_data_sets_whole_sizes_can_be_balanced():
    """60,000 or 50,000, with 1,000 or 6,000: a share of 7 / 10 of each is a whole number."""
    for over, under in ((60_000, 1_000), (60_000, 6_000), (50_000, 1_000), (50_000, 0)):
        assert Balanced(over + under, 0.7).block == 80
