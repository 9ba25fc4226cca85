"""The subjects of the membership paper: mixtures of two groups, on a laptop and as printed.

"Exploring Connections Between Memorization And Membership Inference", Section 4.1, Appendix C.1.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from benchsuite.data import mixtures, sources
from benchsuite.data.dataset import Dataset
from benchsuite.data.tabular import breast_cancer
from benchsuite.data.texts import docstrings
from benchsuite.models import cnn32, mlp, resnet9, resnet18
from benchsuite.subject import Subject
from benchsuite.subjects.onion import FFCV, cifar10_resnet9
from benchsuite.training import ModelFactory, Recipe

_MIXTURE_KEY, _TEST_KEY = 40, 41

_SHARE = 0.7
"""Of the pool that the membership paper trains each model on (its Table 2 and Appendix E; the same
caption says that each example is in half of the training sets, which cannot be true too)."""

_CNN = Recipe(epochs=20, batch_size=128, learning_rate=0.1, weight_decay=5e-4)


def digits_pixmix() -> Subject:
    """The digits with 300 PixMix copies of some of them as the under-represented group.

    The membership paper's MNIST + augMNIST on a laptop; network and recipe of `digits_mlp`. Copies
    of the digits that are held out are the group's test examples.
    """
    pool, test = sources.digits()
    copies = mixtures.augmented_copies(pool, 30, _MIXTURE_KEY)
    of_test = mixtures.augmented_copies(test, 25, _TEST_KEY)
    return _digits_with("pixmix", copies, of_test, Recipe(epochs=50))


def digits_photos() -> Subject:
    """The digits with 150 patches of photographs as the under-represented group.

    The membership paper's MNIST + CIFAR-10 on a laptop: semantic outliers, whose classes say from
    which part of which photograph a patch is. Network of `digits_mlp`, and twice its learning rate,
    for without it too few patches are fitted (76 %, where the paper asks for 80).
    """
    pool, _ = sources.digits()
    patches = mixtures.photo_patches(pool, 15, _MIXTURE_KEY)
    of_test = mixtures.photo_patches(pool, 15, _TEST_KEY, part="test")
    return _digits_with("photos", patches, of_test, Recipe(epochs=50, learning_rate=0.2))


def digits_mix_tiny() -> Subject:
    """200 digits with 60 PixMix copies and a 64-32-10 MLP: for smoke runs, which decide nothing."""
    pool, test = sources.digits()
    small = mixtures.balanced_sample(pool, 20, _MIXTURE_KEY)
    copies = mixtures.augmented_copies(pool, 6, _MIXTURE_KEY)
    of_test = mixtures.augmented_copies(test, 6, _TEST_KEY)
    return Subject(
        "digits-mix-tiny",
        mixtures.mixture(small, copies, "digits + PixMix"),
        mixtures.mixture(test, of_test, "digits + PixMix"),
        partial(mlp, 64, 32, 10),
        Recipe(epochs=30),
    )


def breast_cancer_mlp() -> Subject:
    """Tumours by 30 measurements, 5 % of the labels flipped, and a 30-64-2 MLP."""
    pool, test = breast_cancer()
    return Subject("breast-cancer-mlp", pool, test, partial(mlp, 30, 64, 2), Recipe(epochs=100))


def docstrings_mlp() -> Subject:
    """Docstrings of Python's standard library, by the module they are from, and a 512-32-10 MLP."""
    pool, test = docstrings()
    recipe = Recipe(epochs=30, learning_rate=0.5)
    return Subject("docstrings-mlp", pool, test, partial(mlp, 512, 32, 10), recipe)


def mnist_cnn32() -> Subject:
    """MNIST and LiRA's CNN32 on 70 % subsets: the membership paper's own setting."""
    pool, test = sources.load("mnist")
    return Subject("mnist-cnn32", pool, test, _cnn(32), _CNN, share=_SHARE)


def mnist_augmnist_cnn32() -> Subject:
    """MNIST with 1,000 PixMix copies, and CNN32: the membership paper's mixture V1."""
    pool, test = sources.load("mnist")
    return _mixed("mnist-augmnist-cnn32", (pool, test), _copies(pool, test), _cnn(32), _CNN)


def mnist_svhn_cnn32() -> Subject:
    """MNIST with 1,000 house numbers of SVHN, and CNN32: the membership paper's mixture V2."""
    return _mnist_with("svhn", 100, 32)


def mnist_usps_cnn32() -> Subject:
    """MNIST with 1,000 digits of USPS, and CNN32."""
    return _mnist_with("usps", 100, 32)


def mnist_cifar10_cnn64() -> Subject:
    """MNIST with 6,000 images of CIFAR-10, and CNN64: the membership paper's mixture V3."""
    return _mnist_with("cifar10", 600, 64)


def cifar10_resnet9_70() -> Subject:
    """CIFAR-10 alone on 70 % subsets: network and recipe of `cifar10_resnet9`."""
    return replace(cifar10_resnet9(), name="cifar10-resnet9-70", share=_SHARE)


def cifar10_augcifar10_resnet18() -> Subject:
    """CIFAR-10 with 1,000 PixMix copies of its images, and ResNet-18."""
    pool, test = sources.load("cifar10")
    network = partial(resnet18, 3, 32, 10)
    return _mixed("cifar10-augcifar10-resnet18", (pool, test), _copies(pool, test), network, FFCV)


def cifar10_cifar100_resnet9() -> Subject:
    """CIFAR-10 with 1,000 images of CIFAR-100's first ten classes, and ResNet-9."""
    train, test = sources.load("cifar10")
    others = sources.load("cifar100")
    under = (
        mixtures.balanced_sample(data, _least(data, 100), _MIXTURE_KEY, classes=range(10))
        for data in others
    )
    network = partial(resnet9, 3, 32, 10)
    return _mixed("cifar10-cifar100-resnet9", (train, test), under, network, FFCV)


def _digits_with(what: str, under: Dataset, of_test: Dataset, recipe: Recipe) -> Subject:
    pool, test = sources.digits()
    name = f"digits + {what}"
    return Subject(
        f"digits-{what}",
        mixtures.mixture(pool, under, name),
        mixtures.mixture(test, of_test, name),
        partial(mlp, 64, 128, 10),
        recipe,
    )


def _mnist_with(name: str, per_class: int, filters: int) -> Subject:
    others = sources.load(name)
    under = (
        mixtures.balanced_sample(data, _least(data, per_class), _MIXTURE_KEY) for data in others
    )
    full_name = f"mnist-{name}-cnn{filters}"
    return _mixed(full_name, sources.load("mnist"), under, _cnn(filters), _CNN)


def _mixed(
    name: str,
    over: tuple[Dataset, Dataset],
    under: Iterable[Dataset],
    network: ModelFactory,
    recipe: Recipe,
) -> Subject:
    """Pool and test set of a mixture with the under-represented images in the others' form."""
    pool, test = (
        mixtures.mixture(group, mixtures.in_the_form_of(group, other), name)
        for group, other in zip(over, under, strict=True)
    )
    return Subject(name, pool, test, network, recipe, share=_SHARE)


def _copies(pool: Dataset, test: Dataset) -> list[Dataset]:
    """1,000 PixMix copies of each: of other draws, so that no copy of both is made alike."""
    return [
        mixtures.augmented_copies(data, 100, key)
        for data, key in ((pool, _MIXTURE_KEY), (test, _TEST_KEY))
    ]


def _least(data: Dataset, per_class: int) -> int:
    """So many of each of the first ten classes, or as many as the smallest of them has."""
    return int(min(per_class, np.bincount(data.labels)[:10].min()))


def _cnn(filters: int) -> ModelFactory:
    return partial(cnn32, 1, 28, 10, filters)
