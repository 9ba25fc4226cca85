"""Unique features: small patches of pixels, stamped onto images; an image with one is a canary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.data.dataset import Dataset
from benchsuite.data.glyphs import glyph

LETTER_A = glyph("A")
"""The unique feature of the paper, 5 x 5 (Hartley and Tsaftaris 2022, Section 3.4.1)."""
LETTER_A.setflags(write=False)

LETTERS = "ABCDEHKS"
"""Letters that differ by much, one for each of the eight places in an image of 28 x 28."""

_SIDE, _GAP, _A_SIDE = 5, 1, 4  # of a letter, around it, and how many stand along an edge


@dataclass(frozen=True, eq=False)
class Feature:
    """A patch that takes the place of the pixels under it.

    Args:
        glyph: ink of each pixel from 0 (the image's lowest value) to 1 (its highest), [height,
            width].
        row, column: where its top left corner lies, from 0; the paper's letter is one pixel from
            both edges.
        low, high: the values of no ink and full ink in the images that are stamped: 0 and 1 of
            float images in that range, 0 and 255 of uint8 ones; see `ink_range`.
        channel: the only channel that it is stamped on; None for all.

    Raises:
        ValueError: a glyph that is not two-dimensional, has ink outside [0, 1] or the same
            everywhere, so that it cannot be seen; a corner before the first pixel.
    """

    glyph: NDArray[np.float64] = field(default_factory=LETTER_A.copy)
    row: int = 1
    column: int = 1
    low: float = 0.0
    high: float = 1.0
    channel: int | None = None

    def __post_init__(self) -> None:
        ink = np.array(self.glyph, dtype=np.float64)
        if ink.ndim != 2 or not ink.size:
            raise ValueError(f"glyph has shape {ink.shape}, expected [height, width]")
        if not (np.isfinite(ink).all() and ink.min() >= 0 and ink.max() <= 1):
            raise ValueError("glyph has ink outside [0, 1]: scale it, 1 is the brightest value")
        if ink.min() == ink.max():
            raise ValueError(f"glyph is {ink.min():g} everywhere: such a feature cannot be seen")
        if self.low == self.high:
            raise ValueError(f"low and high are both {self.low:g}: such a feature cannot be seen")
        if self.row < 0 or self.column < 0:
            raise ValueError(
                f"row={self.row}, column={self.column} lie before the first pixel: count from 0"
            )
        ink.setflags(write=False)
        object.__setattr__(self, "glyph", ink)

    def stamped(self, images: NDArray[Any]) -> NDArray[Any]:
        """Copies of the images with this feature on each of them.

        Args:
            images: grey [n, height, width]; of several channels [n, height, width, channels] if
                uint8, else [n, channels, height, width]: as a `Dataset` holds them.

        Raises:
            ValueError: other shapes, a feature that reaches beyond the image, a channel that is
                not there, ink that uint8 cannot hold or show; no pixel of any image changes.
        """
        ink = np.broadcast_to(self.glyph, (len(images), *self.glyph.shape))
        result = self._written(images, ink)
        if np.array_equal(result, images):
            raise ValueError(
                "the feature changes no pixel of the images, as if it were there already: choose "
                "other images or another place"
            )
        return result

    def random_stamped(
        self, images: NDArray[Any], rng: np.random.Generator, kind: str = "uniform"
    ) -> NDArray[Any]:
        """Copies of the images with a random feature in its place, drawn anew for each.

        Args:
            images: as for `stamped`.
            rng: what draws.
            kind: "uniform" between no ink and full ink (Equation 4), or "bernoulli", ink or none
                with even odds, as in the authors' code.

        Raises:
            ValueError: as for `stamped`, but that pixels may stay; or an unknown kind.
        """
        shape = (len(images), *self.glyph.shape)
        if kind == "uniform":
            return self._written(images, rng.random(shape))
        if kind == "bernoulli":
            return self._written(images, rng.integers(2, size=shape).astype(np.float64))
        raise ValueError(f"kind={kind!r} is unknown: use 'uniform' or 'bernoulli'")

    def shuffled(self, rng: np.random.Generator, count: int) -> Iterator[Self]:
        """So many random glyphs of equal ink: its pixels in another order, in the same place."""
        for _ in range(count):
            pixels = self.glyph
            while np.array_equal(pixels, self.glyph):
                pixels = rng.permutation(self.glyph.ravel()).reshape(self.glyph.shape)
            yield replace(self, glyph=pixels)

    def _written(self, images: NDArray[Any], ink: NDArray[np.float64]) -> NDArray[Any]:
        result = np.array(images)
        if result.ndim not in (3, 4) or not len(result):
            raise ValueError(
                f"images have shape {result.shape}, expected [n, height, width], uint8 [n, height, "
                "width, channels] or float [n, channels, height, width]"
            )
        last = result.ndim == 4 and result.dtype == np.uint8
        seen = result.transpose(0, 3, 1, 2) if last else result  # a view: channels first
        height, width = self.glyph.shape
        bottom, right = self.row + height, self.column + width
        if bottom > seen.shape[-2] or right > seen.shape[-1]:
            raise ValueError(
                f"a feature of {height} x {width} at row {self.row}, column {self.column} reaches "
                f"beyond images of {seen.shape[-2]} x {seen.shape[-1]}: move it or make it smaller"
            )
        channels = seen.shape[1] if seen.ndim == 4 else 1
        if self.channel is not None and not 0 <= self.channel < channels:
            raise ValueError(f"channel={self.channel}, but the images have {channels}: from 0")
        if result.dtype == np.uint8 and not (0 <= self.low <= 255 and 0 <= self.high <= 255):
            raise ValueError(
                f"a feature from {self.low:g} to {self.high:g} does not fit into uint8 images: use "
                "low and high from 0 to 255"
            )
        if result.dtype == np.uint8 and max(self.low, self.high) <= 1:
            raise ValueError(
                f"the feature goes from {self.low:g} to {self.high:g}, but uint8 images from 0 to "
                "255, where it cannot be seen: give it low=0 and high=255, as ink_range(pool) does"
            )
        values = self.low + (self.high - self.low) * ink
        if np.issubdtype(result.dtype, np.integer):
            values = np.rint(values)
        place = np.s_[self.row : bottom, self.column : right]
        if seen.ndim == 3:
            seen[:, *place] = values
        elif self.channel is None:
            seen[:, :, *place] = values[:, None]
        else:
            seen[:, self.channel, *place] = values
        return result


def ink_range(data: Dataset) -> tuple[float, float]:
    """Return the values of no ink and full ink in a data set's images.

    0 and 255 of uint8 images; of float32 ones the least and the greatest value that occurs.
    """
    if data.images.dtype == np.uint8:
        return 0.0, 255.0
    return float(data.images.min()), float(data.images.max())


def places(height: int, width: int) -> list[tuple[int, int]]:
    """Return where letters of 5 x 5 can stand, as (row, column) of their top left corners.

    Evenly from top to bottom, at most four along the left edge, then as many along the right one
    where the image is wide enough. Each is at least one pixel from the edges and from the others.
    The first is (1, 1), the paper's.

    Raises:
        ValueError: an image of less than 7 x 7 pixels.
    """
    least = _SIDE + 2 * _GAP
    if height < least or width < least:
        raise ValueError(
            f"an image of {height} x {width} pixels is too small for a letter of {_SIDE} x {_SIDE} "
            f"one pixel from its edges: use images of {least} x {least} or more"
        )
    free = height - least
    count = min(_A_SIDE, 1 + free // (_SIDE + _GAP))
    rows = [_GAP + number * free // max(1, count - 1) for number in range(count)]
    left, right = _GAP, width - _SIDE - _GAP
    columns = [left, right] if right >= left + _SIDE + _GAP else [left]
    return [(row, column) for column in columns for row in rows]


def letters(height: int, width: int, low: float, high: float) -> list[Feature]:
    """Return up to eight features, each of `LETTERS` in its own one of `places`.

    Args:
        height: of the images.
        width: of the images.
        low: the value of no ink, see `ink_range`.
        high: the value of full ink.

    Raises:
        ValueError: as `places` and `Feature`.
    """
    there = places(height, width)
    return [
        Feature(glyph(letter), row, column, low, high)
        for letter, (row, column) in zip(LETTERS, there, strict=False)
    ]


def stamped_copies(pool: Dataset, examples: ArrayLike, feature: Feature) -> NDArray[Any]:
    """Return copies of the pool's images at these positions, with the feature on each.

    Args:
        pool: of images, uint8 [n, H, W] or [n, H, W, C], or float32 [n, C, H, W].
        examples: positions in the pool, integers [m] from 0.
        feature: its values of no ink and full ink are those of the pool's images, `ink_range`.

    Returns:
        [m, ...] in the pool's own dtype and layout.

    Raises:
        ValueError: a pool that holds no images; no positions, or one outside the pool; as
            `Feature.stamped`, or an example of which no pixel changes.
    """
    check_images(pool, "canaries")
    chosen = np.asarray(examples)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise ValueError(
            f"examples have shape {chosen.shape} and dtype {chosen.dtype}, expected positions in "
            "the pool: a list of one integer or more"
        )
    outside = chosen[(chosen < 0) | (chosen >= len(pool))]
    if outside.size:
        raise ValueError(
            f"examples hold {outside[0]}, expected positions from 0 to {len(pool) - 1}: the pool "
            f"has {len(pool)} examples"
        )
    original = pool.images[chosen]
    stamped = feature.stamped(original)
    same = (stamped == original).reshape(len(chosen), -1).all(axis=1)
    if same.any():
        raise ValueError(
            f"the feature changes no pixel of example {chosen[same.argmax()]}: choose another "
            "example or place"
        )
    return stamped


def with_canaries(pool: Dataset, canaries: Sequence[tuple[ArrayLike, Feature]]) -> Dataset:
    """Return the pool with stamped copies at its end, under the labels of their originals.

    Args:
        pool: as for `stamped_copies`; its name and the groups of its examples are kept.
        canaries: positions in the pool and the feature that each of their copies bears; the copies
            follow in this order, those of the first pair first.

    Raises:
        ValueError: as `stamped_copies`, or no canaries.
    """
    if not canaries:
        raise ValueError("canaries is empty, expected pairs of positions in the pool and a Feature")
    copies = [stamped_copies(pool, examples, feature) for examples, feature in canaries]
    originals = np.concatenate([np.asarray(examples) for examples, _ in canaries])
    return Dataset(
        np.concatenate([pool.images, *copies]),
        np.concatenate([pool.labels, pool.labels[originals]]),
        np.concatenate([pool.groups, pool.groups[originals]]),
        name=pool.name,
    )


def check_images(pool: Dataset, what: str) -> None:
    """Raise a ValueError where the pool holds no images, which `what` are."""
    shape = pool.images.shape
    if len(shape) != 4 and not (len(shape) == 3 and pool.images.dtype == np.uint8):
        raise ValueError(
            f"pool has images of shape {shape}, expected uint8 [n, H, W] or [n, H, W, C], or "
            f"float32 [n, C, H, W]: {what} are images"
        )
