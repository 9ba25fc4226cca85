"""The subjects of "The Privacy Onion Effect"."""

from functools import partial

from benchsuite.data import sources
from benchsuite.models import resnet9
from benchsuite.subject import Subject
from benchsuite.training import Augmentation, Recipe

FFCV = Recipe(
    epochs=24,
    batch_size=512,
    learning_rate=0.5,
    weight_decay=5e-4,
    augmentation=Augmentation(shift=2, flip=True),
)
"""Of the pipeline that the paper cites; `cifar10_resnet9` says what is left out."""


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
    return Subject(f"{name}-resnet9", pool, test, partial(resnet9, 3, 32, classes), FFCV)
