"""What every estimate checks first: a wrong array is named, and never becomes a silent NaN.

Each message is one sentence: the argument, what it holds, what was expected, what to do.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NUMBERS = "pass a NumPy array of numbers"
PROBABILITY_TOLERANCE = 1e-9

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Float64s = NDArray[np.float64]


def as_membership(membership: ArrayLike, ndim: int | None = 2) -> Bools:
    """Return ``membership`` as bool, True where the example was IN the model's training set.

    Args:
        membership: bool, or integers that are all 0 or 1; [models, examples].
        ndim: the number of axes required; None accepts any.

    Returns:
        The same values as bool, same shape; not a copy where they were bool already.

    Raises:
        ValueError: another dtype, an integer other than 0 and 1, no elements, other axes.
    """
    array = _as_array("membership", membership)
    _check_axes("membership", array, ndim, axes=" [models, examples]" if ndim == 2 else "")
    if array.dtype == np.bool_:
        return array
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"membership has dtype {array.dtype}, expected bool (or integers 0 and 1): pass"
            " True where the example was in the model's training set"
        )
    if array.min() < 0 or array.max() > 1:
        strange = array.min() if array.min() < 0 else array.max()
        raise ValueError(
            f"membership holds the value {strange}, expected only 0 (OUT) and 1 (IN): pass a"
            " matrix with one row per model, not a list of indices"
        )
    return array.astype(np.bool_)


def as_finite(name: str, values: ArrayLike, ndim: int | None = None) -> Floats:
    """Return ``values`` as a floating array without NaN or infinity.

    Args:
        name: what the caller calls this argument; the message repeats it.
        values: numbers or bools of any shape, at least one.
        ndim: the number of axes required; None accepts any.

    Returns:
        float32 stays float32 (float16 becomes it); integers, bools and wider floats become
        float64. Same shape; not a copy where no conversion was needed.

    Raises:
        ValueError: NaN or infinity (with the first place and how many), not real numbers, no
            elements, another number of axes.
    """
    array = _as_array(name, values)
    _check_axes(name, array, ndim)
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.kind in "iub"):
        raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers: {_NUMBERS}")
    narrow = array.dtype in (np.float16, np.float32)
    floats: Floats = array.astype(np.float32 if narrow else np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        finite = bool(np.isfinite(floats.min()) and np.isfinite(floats.max()))  # NaN propagates
    if not finite:
        bad = ~np.isfinite(floats)
        place = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), floats.shape))
        where = f"{name}[{', '.join(map(str, place))}]" if place else name
        raise ValueError(
            f"{name} must be finite but {int(bad.sum())} of its {floats.size} values are not (first"
            f" {where} = {floats[place]}): remove or repair them where they are made"
        )
    return floats


def as_probabilities(name: str, values: ArrayLike) -> Float64s:
    """Return ``values`` as float64 distributions over the outcomes of the last axis.

    Args:
        name: what the caller calls this argument; the message repeats it.
        values: [..., outcomes], each in [0, 1], summing to 1 within 1e-9 along the last axis.

    Returns:
        The same values as float64, same shape, not renormalised.

    Raises:
        ValueError: a value outside [0, 1], a sum that is not 1, no axis, or as `as_finite`.
    """
    array: Float64s = as_finite(name, values).astype(np.float64, copy=False)
    if array.ndim == 0:
        raise ValueError(
            f"{name} is a single number, expected probabilities along the last axis"
            " [..., outcomes]: for an event of probability p pass [1 - p, p]"
        )
    if array.min() < 0 or array.max() > 1:
        strange = array.min() if array.min() < 0 else array.max()
        raise ValueError(
            f"{name} holds {strange!s}, expected probabilities between 0 and 1 along the last"
            " axis: pass probabilities, not logits or counts"
        )
    error = np.abs(array.sum(axis=-1) - 1)
    if error.max() > PROBABILITY_TOLERANCE:
        worst = int(error.argmax())
        raise ValueError(
            f"{name}: distribution {worst} of {error.size} sums to"
            f" {array.reshape(-1, array.shape[-1])[worst].sum():.12g}, expected 1 within"
            f" {PROBABILITY_TOLERANCE:g} along the last axis: normalise it in float64"
        )
    return array


def as_distributions(**pair: ArrayLike) -> list[Float64s]:
    """Return two or more distributions over the same outcomes, given by their arguments' names.

    Raises:
        ValueError: as `as_probabilities`, or numbers of outcomes that differ.
    """
    checked = {name: as_probabilities(name, values) for name, values in pair.items()}
    outcomes = {name: values.shape[-1] for name, values in checked.items()}
    if len(set(outcomes.values())) > 1:
        counts = " and ".join(f"{name} has {count} outcomes" for name, count in outcomes.items())
        raise ValueError(
            f"{counts}: expected the same outcomes in the same order along the last axis"
        )
    return list(checked.values())


def same_shape(**arrays: NDArray[Any]) -> None:
    """Require that all arrays, given by the names of their arguments, have one shape.

    Raises:
        ValueError: names the first two arguments that differ, with both shapes.
    """
    (first, expected), *others = arrays.items()
    for name, array in others:
        if array.shape != expected.shape:
            raise ValueError(
                f"{first} has shape {list(expected.shape)} and {name} has shape"
                f" {list(array.shape)}: expected one shape, with the same models and examples in"
                " the same order"
            )


def both_sides(membership: Bools, at_least: int = 1) -> None:
    """Require that each example is IN and OUT for ``at_least`` models.

    Args:
        membership: bool [models, examples].
        at_least: models needed on each side.

    Raises:
        ValueError: names the first example that falls short, its count and the side.
    """
    models = membership.shape[0]
    n_in = np.count_nonzero(membership, axis=0)
    for side, count in (("IN", n_in), ("OUT", models - n_in)):
        short = count < at_least
        if short.any():
            example = int(short.argmax())
            never = f" (never {side})" if count[example] == 0 else ""
            alike = int(short.sum())
            first_of = f", the first of {alike} such examples" if alike > 1 else ""
            raise ValueError(
                f"membership: example {example} is {side} for {int(count[example])} of {models}"
                f" models{never}{first_of}, expected at least {at_least}: train more models, use a"
                " balanced design, or leave these examples out"
            )


def _as_array(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} is not a rectangular array ({error}): {_NUMBERS}") from error
    if array.size == 0:
        raise ValueError(
            f"{name} is empty (shape {list(array.shape)}), expected at least one value: check what"
            " selected it"
        )
    return array


def _check_axes(name: str, array: NDArray[Any], ndim: int | None, axes: str = "") -> None:
    if ndim is not None and array.ndim != ndim:
        raise ValueError(
            f"{name} has shape {list(array.shape)}, expected {ndim}"
            f" {'axis' if ndim == 1 else 'axes'}{axes}: reshape it or pass the whole array"
        )
