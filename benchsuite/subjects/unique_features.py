"""The subjects of "Measuring Unintended Memorisation of Unique Private Features"."""

from dataclasses import replace
from functools import partial

from benchsuite.data import sources
from benchsuite.models import cnn1, cnn2, densenet, mlp
from benchsuite.subject import Subject
from benchsuite.training import ModelFactory, Recipe

_VALIDATION = 5_000
_VALIDATION_KEY, _SMALL_KEY = 1, 2

_ADAM = Recipe(optimizer="adam", schedule="constant")
_DIGITS28 = replace(_ADAM, epochs=10, batch_size=128, learning_rate=1e-3)
_paper_mlp = partial(mlp, 784, (512, 256), 10)


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
