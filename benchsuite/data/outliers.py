"""Images of another origin: put into a pool with random labels, or shown to models alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.data import sources
from benchsuite.data.canaries import check_images, ink_range
from benchsuite.data.dataset import Dataset

_OTHER = {"cifar10": "cifar100", "cifar100": "cifar10"}
_MNIST, _CIFAR = (28, 28), (32, 32, 3)
_BORDER = 2  # pixels on each side, by which a CIFAR image is larger
_GREY = np.array([0.299, 0.587, 0.114])
_SHRINK = 4  # a patch is the means of squares of so many pixels of a photograph


def foreign_outliers(pool: Dataset, count: int, seed: int) -> Dataset:
    """Return the pool with `count` out-of-distribution images at its end, labelled at random.

    Of CIFAR-10 and CIFAR-100 each gets images of the other, as the paper does; every other pool
    gets patches of the two photographs that scikit-learn ships (a temple and a flower), shrunk by
    4, in the pool's shape and range.

    Args:
        pool: of images, uint8 [n, H, W] or [n, H, W, C], or float32 [n, C, H, W].
        count: images to add.
        seed: of what is drawn.

    Raises:
        ValueError: a pool that holds no images, or a count below 1.

    Source: N. Carlini et al., The Privacy Onion Effect (2022), Section 4.3.
    """
    if count < 1:
        raise ValueError(f"count is {count}, expected at least one image to add")
    check_images(pool, "foreign outliers")
    rng = np.random.default_rng([seed, 30])
    if pool.name in _OTHER and pool.images.shape[1:] == _CIFAR:  # as `sources.load` gives it
        train, _ = sources.load(_OTHER[pool.name])
        images = _drawn(train.images, count, rng)
    else:
        images = _photographs_like(pool, count, rng)
    labels = rng.integers(pool.classes, size=count)
    return Dataset(
        np.concatenate([pool.images, images]),
        np.concatenate([pool.labels, labels]),
        name=f"{pool.name} with foreign outliers",
    )


def out_of_distribution(like: Dataset, count: int, seed: int) -> NDArray[Any]:
    """Return images of another domain than a pool's, to score unique features on.

    For MNIST and Fashion-MNIST, CIFAR-10's test images in grey (0.299 red, 0.587 green, 0.114 blue)
    without their border of 2 pixels; for CIFAR-10, MNIST's test images with a border of 2 empty
    pixels, in three equal channels. Every other pool gets patches of photographs, as
    `foreign_outliers` draws them. The paper does not say how sizes are matched; its code resizes
    training images, bilinearly. Here no pixel is blurred.

    Args:
        like: the pool, of images as `sources.load` gives it, or uint8 or float32 of any other kind.
        count: images to draw, each at most once.
        seed: of what is drawn.

    Returns:
        [count, ...] in the pool's own dtype, layout and range.

    Raises:
        ValueError: a pool that holds no images, a count below 1 or above what there is to draw.
        DataUnavailable: CIFAR-10 or MNIST is needed, and neither here nor to be had.

    Source: J. Hartley and S. Tsaftaris, Measuring Unintended Memorisation of Unique Private
    Features in Neural Networks (2022), Section 3.3 and Figure 2.
    """
    if count < 1:
        raise ValueError(f"count is {count}, expected at least one image to draw")
    check_images(like, "those out of distribution")
    rng = np.random.default_rng([seed, 31])
    form = like.name, like.images.shape[1:]
    if like.images.dtype == np.uint8 and form in (("mnist", _MNIST), ("fashion-mnist", _MNIST)):
        _, test = sources.load("cifar10")
        inner = _drawn(test.images, count, rng)[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
        grey: NDArray[np.uint8] = (inner * _GREY).sum(axis=-1).round().astype(np.uint8)
        return grey
    if like.images.dtype == np.uint8 and form == ("cifar10", _CIFAR):
        _, test = sources.load("mnist")
        border = (_BORDER, _BORDER)
        padded = np.pad(_drawn(test.images, count, rng), ((0, 0), border, border))
        return np.repeat(padded[..., None], 3, axis=-1)
    return _photographs_like(like, count, rng)


def _drawn(images: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[Any]:
    if count > len(images):
        raise ValueError(f"count is {count}, but there are {len(images)} images: ask for fewer")
    return images[np.sort(rng.choice(len(images), count, replace=False))]


def _photographs_like(pool: Dataset, count: int, rng: np.random.Generator) -> NDArray[Any]:
    shape = pool.images.shape[1:]
    low, high = ink_range(pool)
    if pool.images.dtype == np.uint8:
        height, width, channels = (*shape, 1)[:3]
        patches = _patches(height, width, channels, count, rng) * high
        return patches.round().astype(np.uint8).reshape(count, *shape)
    channels, height, width = shape
    patches = _patches(height, width, channels, count, rng).transpose(0, 3, 1, 2)
    return (low + (high - low) * patches).astype(np.float32)


def _patches(
    height: int, width: int, channels: int, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Patches [count, height, width, channels] of the photographs, from 0 to 1."""
    from sklearn.datasets import load_sample_images  # a second to import: only for who asks

    photographs = load_sample_images().images
    tall, wide = height * _SHRINK, width * _SHRINK
    if any(photo.shape[0] < tall or photo.shape[1] < wide for photo in photographs):
        raise ValueError(
            f"pool has images of {height} x {width} pixels, too large for patches of scikit-learn's"
            " photographs: use images of at most 106 x 160"
        )
    patches = np.empty((count, height, width, channels))
    for number in range(count):
        photo = photographs[rng.integers(len(photographs))]
        top = rng.integers(photo.shape[0] - tall + 1)
        left = rng.integers(photo.shape[1] - wide + 1)
        crop = photo[top : top + tall, left : left + wide] / 255
        shrunk = crop.reshape(height, _SHRINK, width, _SHRINK, 3).mean(axis=(1, 3))
        patches[number] = shrunk if channels == 3 else shrunk.mean(-1, keepdims=True)
    return patches
