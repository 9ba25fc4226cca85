"""Foreign outliers: images of another origin, with random labels, put into a pool."""

import numpy as np
from numpy.typing import NDArray

from benchsuite.data import sources
from benchsuite.data.dataset import Dataset

_OTHER = {"cifar10": "cifar100", "cifar100": "cifar10"}
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
    if pool.images.ndim not in (3, 4) or (pool.images.ndim == 3 and pool.images.dtype != np.uint8):
        raise ValueError(
            f"pool has images of shape {pool.images.shape}, expected uint8 [n, H, W] or "
            "[n, H, W, C], or float32 [n, C, H, W]: foreign outliers are images"
        )
    rng = np.random.default_rng([seed, 30])
    images = _images_like(pool, count, rng)
    labels = rng.integers(pool.classes, size=count)
    return Dataset(
        np.concatenate([pool.images, images]),
        np.concatenate([pool.labels, labels]),
        name=f"{pool.name} with foreign outliers",
    )


def _images_like(pool: Dataset, count: int, rng: np.random.Generator) -> NDArray[np.generic]:
    shape = pool.images.shape[1:]
    if pool.name in _OTHER and shape == (32, 32, 3):  # as `sources.load` gives it
        train, _ = sources.load(_OTHER[pool.name])
        return train.images[np.sort(rng.choice(len(train), count, replace=False))]
    if pool.images.dtype == np.uint8:
        height, width, channels = (*shape, 1)[:3]
        patches = _patches(height, width, channels, count, rng) * 255
        return patches.round().astype(np.uint8).reshape(count, *shape)
    channels, height, width = shape
    patches = _patches(height, width, channels, count, rng).transpose(0, 3, 1, 2)
    low, high = float(pool.images.min()), float(pool.images.max())
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
