"""Unique features: small patches of pixels, stamped onto images; an image with one is a canary."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

LETTER_A = (
    (0, 1, 1, 1, 0),
    (1, 0, 0, 0, 1),
    (1, 1, 1, 1, 1),
    (1, 0, 0, 0, 1),
    (1, 0, 0, 0, 1),
)
"""The unique feature of the paper, 5 x 5 (Hartley and Tsaftaris 2022, Section 3.4.1)."""


@dataclass(frozen=True, eq=False)
class Feature:
    """A patch that takes the place of the pixels under it.

    Args:
        glyph: ink of each pixel from 0 (the image's lowest value) to 1 (its highest), [height,
            width].
        row, column: where its top left corner lies, from 0; the paper's letter is one pixel from
            both edges.
        low, high: the values of no ink and full ink: 0 and 1 of float images in that range, 0 and
            255 of uint8 ones.
        channel: the only channel that it is stamped on; None for all.

    Raises:
        ValueError: a glyph that is not two-dimensional, has ink outside [0, 1] or the same
            everywhere, so that it cannot be seen; a corner before the first pixel.
    """

    glyph: NDArray[np.float64]
    row: int = 1
    column: int = 1
    low: float = 0.0
    high: float = 1.0
    channel: int | None = None

    def __init__(
        self,
        glyph: ArrayLike = LETTER_A,
        row: int = 1,
        column: int = 1,
        low: float = 0.0,
        high: float = 1.0,
        channel: int | None = None,
    ) -> None:
        ink = np.array(glyph, dtype=np.float64)
        if ink.ndim != 2 or not ink.size:
            raise ValueError(f"glyph has shape {ink.shape}, expected [height, width]")
        if not (np.isfinite(ink).all() and ink.min() >= 0 and ink.max() <= 1):
            raise ValueError("glyph has ink outside [0, 1]: scale it, 1 is the brightest value")
        if ink.min() == ink.max():
            raise ValueError(f"glyph is {ink.min():g} everywhere: such a feature cannot be seen")
        if low == high:
            raise ValueError(f"low and high are both {low:g}: such a feature cannot be seen")
        if row < 0 or column < 0:
            raise ValueError(f"row={row}, column={column} lie before the first pixel: count from 0")
        ink.setflags(write=False)
        for name, value in (
            ("glyph", ink),
            ("row", row),
            ("column", column),
            ("low", low),
            ("high", high),
            ("channel", channel),
        ):
            object.__setattr__(self, name, value)

    def stamped(self, images: NDArray[Any]) -> NDArray[Any]:
        """Copies of the images with this feature on each of them.

        Args:
            images: grey [n, height, width] or with channels first [n, channels, height, width].

        Raises:
            ValueError: other shapes, a feature that reaches beyond the image, a channel that is
                not there.
        """
        return self._written(images, np.broadcast_to(self.glyph, (len(images), *self.glyph.shape)))

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
            ValueError: as for `stamped`, or an unknown kind.
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
        given = np.asarray(images)
        if given.ndim not in (3, 4) or not len(given):
            raise ValueError(
                f"images have shape {given.shape}, expected [n, height, width] or [n, channels, "
                "height, width]"
            )
        height, width = self.glyph.shape
        bottom, right = self.row + height, self.column + width
        if bottom > given.shape[-2] or right > given.shape[-1]:
            raise ValueError(
                f"a feature of {height} x {width} at row {self.row}, column {self.column} reaches "
                f"beyond images of {given.shape[-2]} x {given.shape[-1]}: move it or make it "
                "smaller"
            )
        channels = given.shape[1] if given.ndim == 4 else 1
        if self.channel is not None and not 0 <= self.channel < channels:
            raise ValueError(f"channel={self.channel}, but the images have {channels}: from 0")
        values = self.low + (self.high - self.low) * ink
        if np.issubdtype(given.dtype, np.integer):
            values = np.rint(values)
        result = given.copy()
        place = np.s_[self.row : bottom, self.column : right]
        if given.ndim == 3:
            result[:, *place] = values
        elif self.channel is None:
            result[:, :, *place] = values[:, None]
        else:
            result[:, self.channel, *place] = values
        return result
