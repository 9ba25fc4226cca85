"""The built-in subjects: a laptop's, and the papers' data, networks and recipes."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from benchsuite.data import mixtures, sources
from benchsuite.data.dataset import Dataset
from benchsuite.data.tabular import breast_cancer
from benchsuite.data.texts import docstrings
from benchsuite.models import cnn1, cnn2, cnn32, densenet, mlp, resnet9, resnet18
from benchsuite.models import digits_cnn as small_cnn
from benchsuite.subject import Subject
from benchsuite.training import Augmentation, ModelFactory, Recipe

_VALIDATION = 5_000
_VALIDATION_KEY, _SMALL_KEY = 1, 2
_MIXTURE_KEY, _TEST_KEY = 20, 21

_SHARE = 0.7
"""Of the pool that the membership paper trains each model on (its Table 2 and Appendix E; the same
caption says that each example is in half of the training sets, which cannot be true too)."""

_ADAM = Recipe(optimizer="adam", schedule="constant")
_DIGITS28 = replace(_ADAM, epochs=10, batch_size=128, learning_rate=1e-3)
_CNN = Recipe(epochs=20, batch_size=128, learning_rate=0.1, weight_decay=5e-4)
_FFCV = Recipe(
    epochs=24,
    batch_size=512,
    learning_rate=0.5,
    weight_decay=5e-4,
    augmentation=Augmentation(shift=2, flip=True),
)
_paper_mlp = partial(mlp, 784, (512, 256), 10)


def digits_mlp() -> Subject:
    """scikit-learn's handwritten digits and a 64-128-10 MLP: the laptop's subject."""
    pool, test = sources.digits()
    return Subject("digits-mlp", pool, test, partial(mlp, 64, 128, 10), Recipe(epochs=50))


def digits_cnn() -> Subject:
    """scikit-learn's handwritten digits and a small convolutional network."""
    pool, test = sources.digits()
    return Subject("digits-cnn", pool, test, small_cnn, Recipe(epochs=20, learning_rate=0.1))


def digits_tiny() -> Subject:
    """300 digits and a 64-32-10 MLP: for smoke runs, which decide nothing."""
    pool, test = sources.digits()
    return Subject(
        "digits-tiny", pool.subset(range(300)), test, partial(mlp, 64, 32, 10), Recipe(epochs=30)
    )


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


def digits28_mlp() -> Subject:
    """scikit-learn's digits at MNIST's size and the unique-feature paper's MLP: the laptop's."""
    pool, validation, test = sources.enlarged_digits()
    return Subject("digits28-mlp", pool, test, _paper_mlp, _DIGITS28, validation=validation)


def digits28_tiny() -> Subject:
    """300 enlarged digits and a 784-32-10 MLP: for smoke runs, which decide nothing."""
    pool, validation, test = sources.enlarged_digits()
    return Subject(
        "digits28-tiny",
        pool.subset(range(300)),
        test,
        partial(mlp, 784, (32,), 10),
        replace(_DIGITS28, epochs=2),
        validation=validation.subset(range(60)),
    )


def mnist_mlp_small() -> Subject:
    """2,000 images of MNIST with the network and the recipe of `digits28_mlp`.

    They, the 500 for validation and the 1,000 that are held out are fixed and stratified; the last
    come from MNIST's test images, the others from its training images.
    """
    train, test = sources.load("mnist")
    _, small = sources.hold_out(train, 2_500, _SMALL_KEY)
    pool, validation = sources.hold_out(small, 500, _VALIDATION_KEY)
    _, held_out = sources.hold_out(test, 1_000, _SMALL_KEY)
    return Subject("mnist-mlp-small", pool, held_out, _paper_mlp, _DIGITS28, validation=validation)


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
    return _mixed("cifar10-augcifar10-resnet18", (pool, test), _copies(pool, test), network, _FFCV)


def cifar10_cifar100_resnet9() -> Subject:
    """CIFAR-10 with 1,000 images of CIFAR-100's first ten classes, and ResNet-9."""
    train, test = sources.load("cifar10")
    others = sources.load("cifar100")
    under = (
        mixtures.balanced_sample(data, _least(data, 100), _MIXTURE_KEY, classes=range(10))
        for data in others
    )
    network = partial(resnet9, 3, 32, 10)
    return _mixed("cifar10-cifar100-resnet9", (train, test), under, network, _FFCV)


def mnist_mlp() -> Subject:
    """MNIST and the unique-feature paper's MLP, 784-512-256-10.

    Of the paper's Sections 3.4.3 and 4.1: Adam, learning rate 1e-4, batch 128. For 60 epochs, where
    the paper takes up to 500 and stops early; with 5,000 of the training images for validation,
    fixed and stratified.
    """
    return _unique_feature_mlp("mnist")


def fashion_mnist_mlp() -> Subject:
    """Fashion-MNIST with the network and the recipe of `mnist_mlp`."""
    return _unique_feature_mlp("fashion-mnist")


def mnist_cnn1() -> Subject:
    """MNIST and the unique-feature paper's CNN-1.

    Of the paper's Appendix A: Adam, learning rate 3e-4, batch 128. For 30 epochs, where the paper
    stops early; with the validation images of `mnist_mlp`.
    """
    return _unique_feature_cnn1("mnist")


def fashion_mnist_cnn1() -> Subject:
    """Fashion-MNIST with the network and the recipe of `mnist_cnn1`."""
    return _unique_feature_cnn1("fashion-mnist")


def cifar10_cnn2() -> Subject:
    """CIFAR-10 and the unique-feature paper's CNN-2.

    Of the paper's Appendix A: Adam, learning rate 3e-4, batch 512. For 40 epochs, where the paper
    stops early; with 5,000 of the training images for validation, fixed and stratified.
    """
    recipe = replace(_ADAM, epochs=40, batch_size=512, learning_rate=3e-4)
    return _with_validation("cifar10", "cnn2", partial(cnn2, 3, 32, 10), recipe)


def cifar10_densenet() -> Subject:
    """CIFAR-10 and DenseNet-BC of 100 layers, as the unique-feature paper trains last.

    The paper takes its parameters from R. Atienza's densenet-cifar10-2.4.1.py. Kept of it: network,
    learning rate 1e-3 at the start, inputs from 0 to 1, neither dropout nor weight decay. Otherwise
    here: Adam, as the paper trains all its models, for RMSprop; batch 64 for 32; 60 epochs under a
    cosine for 200 with falls after 80, 120, 160 and 180. Left out: shift and mirror image, for
    augmentation is an arm of its own; the paper's code has dropout of 0.2 in their stead.
    """
    recipe = replace(_ADAM, epochs=60, batch_size=64, learning_rate=1e-3, schedule="cosine")
    return _with_validation("cifar10", "densenet", partial(densenet, 3, 32, 10), recipe)


def cifar10_resnet9() -> Subject:
    """CIFAR-10 and ffcv's ResNet-9 on 50 % subsets: the pipeline that the onion paper cites.

    Kept of ffcv's recipe: epochs, batch, momentum, weight decay, shift and mirror image, and the
    learning rate 0.5, there the peak of a triangle after 5 epochs, here where a cosine begins.
    Left out: normalised inputs, cutout, label smoothing, half precision, test-time mirror images.
    """
    return _on_cifar("cifar10", 10)


def cifar100_resnet9() -> Subject:
    """CIFAR-100 with the network and the recipe of `cifar10_resnet9`."""
    return _on_cifar("cifar100", 100)


def _on_cifar(name: str, classes: int) -> Subject:
    pool, test = sources.load(name)
    return Subject(f"{name}-resnet9", pool, test, partial(resnet9, 3, 32, classes), _FFCV)


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


def _unique_feature_mlp(data: str) -> Subject:
    recipe = replace(_ADAM, epochs=60, batch_size=128, learning_rate=1e-4)
    return _with_validation(data, "mlp", _paper_mlp, recipe)


def _unique_feature_cnn1(data: str) -> Subject:
    recipe = replace(_ADAM, epochs=30, batch_size=128, learning_rate=3e-4)
    return _with_validation(data, "cnn1", partial(cnn1, 1, 28, 10), recipe)


def _with_validation(data: str, network: str, model: ModelFactory, recipe: Recipe) -> Subject:
    train, test = sources.load(data)
    pool, validation = sources.hold_out(train, _VALIDATION, _VALIDATION_KEY)
    return Subject(f"{data}-{network}", pool, test, model, recipe, validation=validation)
