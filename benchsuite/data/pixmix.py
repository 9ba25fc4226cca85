"""PixMix: pictures mixed with fractals and with changed copies of themselves.

Source: D. Hendrycks, A. Zou et al., PixMix: Dreamlike Pictures Comprehensively Improve Safety
Measures (2022), Section 3; the operations are those of AugMix (Hendrycks et al. 2020). Severities
by default as in J. Li et al., the membership paper, Appendix C.1: 2 for mixing, 4 for operations,
4 rounds.

Kept of the authors' code: operations, magnitudes, weights, order and odds. Other here: fractals are
generated, and grey for colour images too; magnitudes are not cut to whole pixels and degrees, of
which 8 x 8 pixels would leave no motion at all.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import affine_transform

from benchsuite.stats.validation import as_finite

Floats = NDArray[np.float64]
Rng = np.random.Generator

_FRACTAL_KEY, _IMAGE_KEY = 40, 41  # streams of random numbers of their own
_FRACTALS = 256  # that the images of one call are mixed with
_MAPS = 2, 5  # of an iterated function system: from, and up to but without
_STRETCH = 0.25, 0.9  # singular values of its maps; below 1, so that its points stay bounded
_WALKERS, _WARM_UP, _POINTS_PER_PIXEL = 512, 16, 32
_LEAST_COVER, _LEAST_SPREAD = 0.25, 0.15  # of a fractal: share of pixels hit, standard deviation
_DARK, _BRIGHT = (0.0, 0.3), (0.7, 1.0)  # of paper and ink, either way round

_LEAST_LEVEL, _LEVELS = 0.1, 10  # severity s draws a level from 0.1 to s out of 10
_GREYS = 255
_BITS, _BITS_LOST, _DEGREES, _SHEAR, _SHIFT = 4, 4, 30, 0.3, 1 / 3  # at level 10
_LEAST_LIGHT = 1e-37  # a black pixel to a negative power


def fractals(count: int, size: int, seed: int) -> Floats:
    """Generate grey fractals: where random walkers of iterated function systems have been.

    Each system has two to four random contracting affine maps, each taken with odds in proportion
    to its determinant. Ink is the logarithm of how often a pixel was visited; systems whose points
    gather in a few pixels, or cover all alike, are drawn again. Paper and ink get random greys, for
    on black paper alone whatever is multiplied would turn black or white. The first fractals are
    the same however many are asked for.

    Args:
        count: of fractals, at least 1.
        size: of each side in pixels, at least 4.
        seed: of what is drawn, at least 0.

    Returns:
        [count, size, size], from 0 to 1, each with greys at least 0.4 apart.

    Raises:
        ValueError: a count, size or seed below the least.

    Source: M. Barnsley and S. Demko, Iterated function systems and the global construction of
    fractals (1985); the logarithm as in S. Draves and E. Reckase, The fractal flame algorithm.
    """
    for name, value, least in (("count", count, 1), ("size", size, 4), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}, expected {least} or more: raise it")
    return np.stack([_fractal(size, seed, number) for number in range(count)])


def pixmix(
    images: NDArray[Any],
    seed: int,
    *,
    mixing_severity: float = 2,
    operation_severity: float = 4,
    rounds: int = 4,
    positions: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Mix images with fractals and with changed copies of themselves.

    With even odds an image starts as it is or as a changed copy: one operation, its level uniform
    up to the severity. Then from 0 to `rounds` times, with even odds, a changed copy of the
    original or the fractal of this image is added or multiplied, and the result clipped to [0, 1].
    So one image in ten comes out as it was (half of one in five, at four rounds).

    Args:
        images: floats from 0 to 1, [n, channels, height, width].
        seed: of what is drawn, at least 0.
        mixing_severity: beta; weights are drawn from Beta(beta, 1) and Beta(1, beta). Above 0.
        operation_severity: the highest level of an operation, from 0.1 to 10.
        rounds: the most times that something is mixed in.
        positions: integers [n] from 0, which with the seed are all that a picture depends on beside
            its original; by default its place in `images`.

    Returns:
        float32 [n, channels, height, width] from 0 to 1.

    Raises:
        ValueError: images of another shape or range, severities or rounds out of range, other
            positions.
    """
    originals = _checked(images)
    keys = np.arange(len(originals)) if positions is None else np.asarray(positions)
    if keys.shape != (len(originals),) or keys.dtype.kind not in "iu" or keys.min() < 0:
        raise ValueError(
            f"positions have shape {keys.shape} and dtype {keys.dtype}, expected an integer from 0 "
            f"for each of the {len(originals)} images"
        )
    if not (mixing_severity > 0 and _LEAST_LEVEL <= operation_severity <= _LEVELS and rounds >= 0):
        raise ValueError(
            f"mixing_severity={mixing_severity}, operation_severity={operation_severity}, "
            f"rounds={rounds}, expected above 0, from {_LEAST_LEVEL} to {_LEVELS}, and 0 or more"
        )
    height, width = originals.shape[2:]
    mixed = np.empty(originals.shape, np.float32)
    for place, (image, key) in enumerate(zip(originals, keys.tolist(), strict=True)):
        rng = np.random.default_rng([seed, _IMAGE_KEY, key])
        number = int(rng.random() * _FRACTALS)
        result = _changed(image, operation_severity, rng) if rng.random() < 0.5 else image
        for _ in range(int(rng.random() * (rounds + 1))):
            if rng.random() < 0.5:
                other = _changed(image, operation_severity, rng)
            else:
                other = _fractal(max(height, width), seed, number)[:height, :width]
            mix = _added if rng.random() < 0.5 else _multiplied
            result = mix(result, other, *_weights(mixing_severity, rng)).clip(0, 1)
        mixed[place] = result
    return mixed


def _checked(images: NDArray[Any]) -> Floats:
    values = as_finite("images", images, ndim=4).astype(np.float64)
    if min(values.shape[2:]) < 4:
        raise ValueError(
            f"images have shape {values.shape}, expected [n, channels, height, width] of 4 x 4 "
            "pixels or more"
        )
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"images go from {values.min():g} to {values.max():g}, expected from 0 to 1: scale them"
        )
    return values


# ---- fractals ----


@lru_cache(maxsize=2 * _FRACTALS)
def _fractal(size: int, seed: int, number: int) -> Floats:
    rng = np.random.default_rng([seed, _FRACTAL_KEY, number])
    while True:
        points = _attractor(_POINTS_PER_PIXEL * size**2, rng)
        low, high = points.min(axis=0), points.max(axis=0)
        pixels = np.minimum((points - low) / (high - low) * size, size - 1).astype(np.int64)
        visits = np.bincount(pixels[:, 0] * size + pixels[:, 1], minlength=size**2)
        ink: Floats = np.log1p(visits.reshape(size, size))
        ink = (ink - ink.min()) / np.ptp(ink)
        if (visits > 0).mean() >= _LEAST_COVER and ink.std() >= _LEAST_SPREAD:
            tones = rng.uniform(*_DARK), rng.uniform(*_BRIGHT)
            paper, full = tones if rng.random() < 0.5 else tones[::-1]
            return paper + (full - paper) * ink


def _attractor(count: int, rng: Rng) -> Floats:
    """At least so many points [points, 2] of a random system's attractor."""
    maps = int(rng.integers(*_MAPS))
    stretch = rng.uniform(*_STRETCH, (maps, 2)) * rng.choice([-1, 1], (maps, 2))
    turns = _rotation(rng.uniform(0, 2 * np.pi, (2, maps)))
    linear = turns[0] * stretch[:, None, :] @ turns[1]
    shift = rng.uniform(-1, 1, (maps, 2))
    odds = np.abs(stretch.prod(axis=1))
    steps = _WARM_UP + -(-count // _WALKERS)
    choices = rng.choice(maps, (steps, _WALKERS), p=odds / odds.sum())
    at = np.zeros((_WALKERS, 2))
    visited = np.empty((steps, _WALKERS, 2))
    for step, chosen in enumerate(choices):
        at = np.einsum("wij,wj->wi", linear[chosen], at) + shift[chosen]
        visited[step] = at
    return visited[_WARM_UP:].reshape(-1, 2)


def _rotation(angle: ArrayLike) -> Floats:
    """Matrices [..., 2, 2] that turn by angles [...] in radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)


# ---- operations on one image [channels, height, width] ----


def _changed(image: Floats, severity: float, rng: Rng) -> Floats:
    """The image after one operation of a random kind and level."""
    operation = _OPERATIONS[int(rng.random() * len(_OPERATIONS))]
    level = rng.uniform(_LEAST_LEVEL, severity) / _LEVELS
    return operation(image, level, 1 if rng.random() < 0.5 else -1)


# Those without a level or a direction take both, so that all are called alike.
def _autocontrast(image: Floats, _level: float, _sign: int) -> Floats:
    low = image.min(axis=(1, 2), keepdims=True)
    span = np.ptp(image, axis=(1, 2), keepdims=True)
    return np.where(span > 0, (image - low) / np.where(span > 0, span, 1), image)


def _equalize(image: Floats, _level: float, _sign: int) -> Floats:
    """Each pixel becomes the number of pixels that are darker, over that of the brightest."""
    greys = np.rint(image * _GREYS).reshape(len(image), -1)
    darker = np.stack([np.searchsorted(np.sort(each), each) for each in greys])
    most = darker.max(axis=1)[:, None, None]
    return np.where(most > 0, darker.reshape(image.shape) / np.maximum(most, 1), image)


def _posterize(image: Floats, level: float, _sign: int) -> Floats:
    """The greys of 8 bits, of which only the highest four or fewer stay."""
    step = 2 ** (8 - _BITS + int(_BITS_LOST * level))
    kept: Floats = np.rint(image * _GREYS) // step * step
    return kept / _GREYS


def _solarize(image: Floats, level: float, _sign: int) -> Floats:
    """Bright pixels become dark."""
    return np.where(image < 1 - level, image, 1 - image)


def _rotate(image: Floats, level: float, sign: int) -> Floats:
    """Turned about the centre."""
    matrix = _rotation(np.deg2rad(sign * _DEGREES * level))
    centre = (np.array(image.shape[1:]) - 1) / 2
    return _moved(image, matrix, centre - matrix @ centre)


def _shear_x(image: Floats, level: float, sign: int) -> Floats:
    return _moved(image, np.array([[1, 0], [sign * _SHEAR * level, 1]]), np.zeros(2))


def _shear_y(image: Floats, level: float, sign: int) -> Floats:
    return _moved(image, np.array([[1, sign * _SHEAR * level], [0, 1]]), np.zeros(2))


def _translate_x(image: Floats, level: float, sign: int) -> Floats:
    return _moved(image, np.eye(2), np.array([0, sign * _SHIFT * level * image.shape[2]]))


def _translate_y(image: Floats, level: float, sign: int) -> Floats:
    return _moved(image, np.eye(2), np.array([sign * _SHIFT * level * image.shape[1], 0]))


def _moved(image: Floats, matrix: Floats, offset: Floats) -> Floats:
    """Each pixel (row, column) takes what lies at matrix @ it + offset, bilinearly, or black."""
    moved = [
        affine_transform(channel, matrix, offset, order=1, mode="grid-constant")
        for channel in image
    ]
    return np.stack(moved)


_OPERATIONS: tuple[Callable[[Floats, float, int], Floats], ...] = (
    _autocontrast,
    _equalize,
    _posterize,
    _solarize,
    _rotate,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)


# ---- mixing ----


def _weights(beta: float, rng: Rng) -> tuple[float, float]:
    """Weights of the image and of what is mixed in, by the inverses of the Beta distributions."""
    one, two = rng.random(2)
    small = 1 - two ** (1 / beta)  # Beta(1, beta)
    if rng.random() < 0.5:
        return one ** (1 / beta), small  # Beta(beta, 1)
    return 2 - one ** (1 / beta), -small


def _added(image: Floats, other: Floats, a: float, b: float) -> Floats:
    """The weighted sum of pixels counted from grey, from -1 to 1."""
    return (a * (2 * image - 1) + b * (2 * other - 1) + 1) / 2


def _multiplied(image: Floats, other: Floats, a: float, b: float) -> Floats:
    """The product of powers of pixels counted from black, from 0 to 2."""
    return (2 * image) ** a * np.maximum(2 * other, _LEAST_LIGHT) ** b / 2
