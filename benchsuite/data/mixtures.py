"""Mixtures of an over-represented and an under-represented group, of one form and its labels.

Source: J. Li et al., the membership paper, Section 4.1, Appendices A and C.1: the under-represented
images are resized to the others' size, greyed where those are grey, and the classes of both are
numbered alike (a 3 of SVHN is a 3 of MNIST; the fourth class of CIFAR-10 is one too).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.data.canaries import check_images
from benchsuite.data.dataset import Dataset
from benchsuite.data.pixmix import pixmix

OVER, UNDER = "over-represented", "under-represented"

_GREY = np.array([0.2989, 0.5870, 0.1140])  # red, green, blue: the paper's footnote 10
_WHITE = 255
_DECIMALS = 6
_FLAT = 0.02  # a patch of fewer shades is stretched as if it had these: the rest is noise
_SHRINK = 4  # a patch is the means of squares of so many pixels of a photograph
_TEST_SHARE = 3  # one patch in so many is for tests


def mixture(over: Dataset, under: Dataset, name: str) -> Dataset:
    """Return both groups as one data set, the under-represented examples at its end.

    Args:
        over: the over-represented examples.
        under: the under-represented ones, `in_the_form_of` the others; their classes are numbered
            as those of `over`.
        name: of the result.

    Returns:
        A data set with groups `OVER` and `UNDER`, strings, whatever groups there were.

    Raises:
        ValueError: images of another shape or dtype, a label beyond the classes of `over`.
    """
    forms = [f"{data.images.dtype} {list(data.images.shape[1:])}" for data in (over, under)]
    if forms[0] != forms[1]:
        raise ValueError(
            f"under has images of {forms[1]}, but over of {forms[0]}: pass "
            "in_the_form_of(over, under)"
        )
    if under.classes > over.classes:
        raise ValueError(
            f"under has labels up to {under.classes - 1}, but over has {over.classes} classes: "
            "number the classes of both alike, or pass balanced_sample(under, ..., "
            f"classes=range({over.classes}))"
        )
    return Dataset(
        np.concatenate([over.images, under.images]),
        np.concatenate([over.labels, under.labels]),
        np.array([OVER] * len(over) + [UNDER] * len(under)),
        name=name,
    )


def is_mixture(data: Dataset) -> bool:
    """Whether the examples are in the groups `OVER` and `UNDER`, and some in each."""
    return set(np.unique(data.groups).tolist()) == {OVER, UNDER}


def mixing_ratio(data: Dataset) -> float:
    """Return the share of over-represented examples of a `mixture`, the paper's alpha.

    Of 60,000 and 1,000 it is 0.984, where the paper's Table 2 has 0.99.

    Raises:
        ValueError: other groups than `OVER` and `UNDER`, or none of the former.
    """
    is_over = data.groups == OVER
    strange = data.groups[~is_over & (data.groups != UNDER)]
    if strange.size or not is_over.any():
        group = (strange if strange.size else data.groups).tolist()[0]
        raise ValueError(
            f"data has examples in group {group!r}, expected {OVER!r} and {UNDER!r}: pass a mixture"
        )
    return float(is_over.mean())


def in_the_form_of(over: Dataset, under: Dataset) -> Dataset:
    """Return the images of `under` in the size, layout and dtype of `over`'s, with their labels.

    Colours become grey as .2989 red + .5870 green + .1140 blue, grey becomes three equal channels.
    Sizes are matched bilinearly with antialiasing, as torch's `interpolate(antialias=True)` does.

    Args:
        over: uint8 [n, H, W], [n, H, W, 1] or [n, H, W, 3], or float32 [n, 1 or 3, H, W] from 0
            to 1.
        under: any of these, of any size.

    Returns:
        As many examples as `under`, with its labels, groups and name.

    Raises:
        ValueError: data that hold no images, of 2 or 4 channels, or floats outside [0, 1].
    """
    channels, *size = _form("over", over)
    under_channels, *under_size = _form("under", under)
    pixels = _channels_first(under).astype(np.float64)
    if under.images.dtype == np.uint8:
        pixels /= _WHITE
    if channels < under_channels:
        pixels = (pixels * _GREY[:, None, None]).sum(axis=1, keepdims=True)
    for axis, (before, after) in enumerate(zip(under_size, size, strict=True), start=2):
        if before != after:
            weights = _bilinear(before, after)
            pixels = np.moveaxis(np.moveaxis(pixels, axis, -1) @ weights.T, -1, axis)
    pixels = np.broadcast_to(pixels, (len(under), channels, *size))
    if over.images.dtype == np.uint8:
        # First to fewer decimals, so that a tie is one on every processor.
        levels = np.rint(np.round(pixels * _WHITE, _DECIMALS)).astype(np.uint8)
        images = levels.transpose(0, 2, 3, 1).reshape(len(under), *over.images.shape[1:])
    else:
        images = pixels.astype(np.float32).clip(0, 1)
    return Dataset(images, under.labels, under.groups, under.name)


def balanced_sample(
    data: Dataset, per_class: int, seed: int, classes: Iterable[int] | None = None
) -> Dataset:
    """Return as many examples of each class, drawn at random, in the order of the data.

    A larger sample of the same seed holds the smaller one.

    Args:
        data: what is drawn from.
        per_class: examples of each class, at least 1.
        seed: of the raw draws of a Philox counter, which never change between versions of NumPy.
        classes: labels to draw from, which stay as they are; by default all.

    Raises:
        ValueError: fewer examples in a class than asked for, or fewer than two classes.
    """
    return data.subset(_balanced(data, per_class, seed, classes))


def augmented_copies(data: Dataset, per_class: int, seed: int) -> Dataset:
    """Return PixMix copies of a balanced sample, with its labels: the paper's augMNIST.

    An example's copy depends on the seed and its place in the data, not on which others are drawn.
    PixMix leaves one image in ten as it was, see `pixmix`.

    Args:
        data: images, uint8 [n, H, W] or [n, H, W, C], or float32 [n, C, H, W] from 0 to 1.
        per_class: copies of each class, at least 1.
        seed: of the sample and of the copies.

    Raises:
        ValueError: as `balanced_sample`; data that hold no images, or floats outside [0, 1].
    """
    _form("data", data)
    chosen = _balanced(data, per_class, seed)
    originals = data.subset(chosen, name=f"{data.name} by PixMix")
    mixed = pixmix(originals.inputs(), seed, positions=chosen)
    copies = Dataset(mixed, originals.labels, originals.groups, originals.name)
    return in_the_form_of(data, copies)


def photo_patches(like: Dataset, per_class: int, seed: int, part: str = "train") -> Dataset:
    """Return patches of photographs, labelled by the part of the photograph that they are from.

    Each of scikit-learn's two (a temple and a flower) is cut into vertical strips, one for each
    class: the first half of the classes are the temple's, from left to right. Strips are cut into
    squares of 4 times the size of the images, of which the means of 4 x 4 pixels become one. No two
    squares overlap, and each third of a row, displaced from row to row, is for tests: no patch
    shares a pixel of a photograph with another, of its part or of the other. Each patch is
    stretched to the full range, as digits fill it: most of a photograph is nearly one shade, and a
    network that has digits to learn fits hardly half of such patches.

    Args:
        like: images in whose form the patches come, with as many classes.
        per_class: patches of each class, at least 1; of ten classes at 8 x 8 there are 34 for
            training and 18 for tests.
        seed: of which patches.
        part: "train" or "test".

    Returns:
        A data set in one group, with labels from 0 to the last class of `like`.

    Raises:
        ValueError: as `in_the_form_of`; fewer patches than asked for, as of images too large for
            the strips; another part.
    """
    if part not in ("train", "test"):
        raise ValueError(f"part is {part!r}, expected 'train' or 'test'")
    _, height, width = _form("like", like)
    from sklearn.datasets import load_sample_images  # a second to import: only for who asks

    photographs = load_sample_images().images
    strips = -(-like.classes // len(photographs))
    by_class = []
    for label in range(like.classes):
        photograph = photographs[label // strips]
        across = photograph.shape[1] // strips
        strip = photograph[:, label % strips * across :][:, :across]
        by_class.append(_squares(strip, height, width, part))
    fewest = min(map(len, by_class))
    if per_class > fewest:
        raise ValueError(
            f"per_class is {per_class}, but a strip holds {fewest} patches of {height} x {width} "
            f"for part={part!r}: ask for fewer, or use smaller images or fewer classes"
        )
    everything = Dataset(
        np.concatenate(by_class),
        np.repeat(np.arange(like.classes), [len(each) for each in by_class]),
        name="photographs",
    )
    return _stretched(in_the_form_of(like, balanced_sample(everything, per_class, seed)))


def _squares(strip: NDArray[Any], height: int, width: int, part: str) -> NDArray[np.uint8]:
    """Those squares of a strip that are for this part, shrunk: uint8 [n, height, width, 3]."""
    tall, wide = height * _SHRINK, width * _SHRINK
    rows, columns = strip.shape[0] // tall, strip.shape[1] // wide
    cut = strip[: rows * tall, : columns * wide]
    fine = cut.reshape(rows, height, _SHRINK, columns, width, _SHRINK, 3)
    shrunk = np.rint(fine.mean(axis=(2, 5))).astype(np.uint8).transpose(0, 2, 1, 3, 4)
    for_tests = np.add.outer(np.arange(rows), np.arange(columns)) % _TEST_SHARE == 0
    squares: NDArray[np.uint8] = shrunk[for_tests if part == "test" else ~for_tests]
    return squares


def _stretched(data: Dataset) -> Dataset:
    """The images, each from its own darkest and brightest pixel to the full range."""
    whole = data.images.dtype == np.uint8
    pixels = data.images.astype(np.float64) / (_WHITE if whole else 1)
    axes = tuple(range(1, pixels.ndim))
    low, high = pixels.min(axis=axes, keepdims=True), pixels.max(axis=axes, keepdims=True)
    pixels = (pixels - low) / np.maximum(high - low, _FLAT)
    images = np.rint(_WHITE * pixels).astype(np.uint8) if whole else pixels.astype(np.float32)
    return Dataset(images, data.labels, data.groups, data.name)


def _balanced(
    data: Dataset, per_class: int, seed: int, classes: Iterable[int] | None = None
) -> NDArray[np.intp]:
    """Positions of as many examples of each class, ascending: those with the smallest draws."""
    if per_class < 1:
        raise ValueError(f"per_class is {per_class}, expected at least one example of each class")
    draws = np.random.Philox(key=seed).random_raw(len(data))
    chosen = []
    for label in range(data.classes) if classes is None else sorted(set(classes)):
        members = np.flatnonzero(data.labels == label)
        if len(members) < per_class:
            raise ValueError(
                f"per_class is {per_class}, but class {label} of data has {len(members)} examples: "
                "ask for fewer, or leave the class out with classes=..."
            )
        chosen.append(members[np.argsort(draws[members], kind="stable")[:per_class]])
    if not chosen:
        raise ValueError("classes is empty, expected two labels or more to draw from")
    return np.sort(np.concatenate(chosen))


def _form(role: str, data: Dataset) -> tuple[int, int, int]:
    """Channels (1 or 3), height and width of a data set of images that can take another form."""
    check_images(data, "mixtures")
    images = data.images
    channels, height, width = _channels_first(data).shape[1:]
    if channels not in (1, 3):
        raise ValueError(f"{role} has images of {channels} channels, expected 1 or 3")
    if images.dtype == np.float32 and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"{role} has pixels from {images.min():g} to {images.max():g}, expected from 0 to 1: "
            "scale them"
        )
    return channels, height, width


def _channels_first(data: Dataset) -> NDArray[Any]:
    """The images as [n, channels, height, width]; no copy."""
    if data.images.dtype == np.float32:
        return data.images
    grey = data.images.ndim == 3
    return data.images[:, None] if grey else data.images.transpose(0, 3, 1, 2)


def _bilinear(before: int, after: int) -> NDArray[np.float64]:
    """Weights [after, before] of pixels: triangles as wide as a new pixel, or an old if wider."""
    scale = before / after
    centres = (np.arange(after)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - centres) / max(scale, 1)
    weights = np.maximum(0, 1 - distance)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
