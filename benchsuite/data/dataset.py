"""The examples a subject is trained on, and what makes two sets of examples the same."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.stats.validation import as_finite

_IMAGE_SHAPES = "uint8 [n, H, W] or [n, H, W, C], or float32 [n, ...]"
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dataset:
    """Images (or feature vectors), their labels and their groups; frozen, arrays read-only.

    The arrays given are copied, so that nothing outside can change the data behind ``digest``.
    Two data sets are equal, and hash alike, when their digests are equal.

    Args:
        images: uint8 [n, H, W] (grey) or [n, H, W, C] (colour), or float32 [n, ...], which the
            model takes as it is (tabular data are float32 [n, features]).
        labels: integers [n] from 0; a class below the largest label may have no example.
        groups: the group of each example, integers or strings [n]; all in one group by default.
        name: shown to people; no part of the digest.

    Raises:
        ValueError: not NumPy arrays of these dtypes and shapes, different lengths, no examples,
            NaN or infinity, a negative label, a single class.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    groups: NDArray[Any]
    name: str

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        groups: NDArray[Any] | None = None,
        name: str = "",
    ) -> None:
        checked = _checked_images(images)
        n = len(checked)
        members = np.zeros(n, np.int64) if groups is None else _checked_groups(groups, n)
        object.__setattr__(self, "images", _read_only(checked))
        object.__setattr__(self, "labels", _read_only(_checked_labels(labels, n)))
        object.__setattr__(self, "groups", _read_only(members))
        object.__setattr__(self, "name", name)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes a model needs: the largest label + 1."""
        return int(self.labels.max()) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, over dtype, shape and bytes of images, labels and groups."""
        sha = hashlib.sha256()
        for array in (self.images, self.labels, self.groups):
            sha.update(f"{array.dtype.str} {array.shape}\n".encode())
            sha.update(array.view(np.uint8).data)
        return sha.hexdigest()

    def inputs(self) -> NDArray[np.float32]:
        """Return what a model is fed, as a new C-contiguous float32 array.

        uint8 images are scaled to [0, 1] and get their channels first: grey to [n, 1, H, W],
        colour to [n, C, H, W]. float32 images keep their values and shape.
        """
        if self.images.dtype == np.float32:
            return self.images.copy()
        grey = self.images.ndim == 3
        channels_first = self.images[:, None] if grey else self.images.transpose(0, 3, 1, 2)
        pixels = np.ascontiguousarray(channels_first, dtype=np.float32)
        pixels /= 255
        return pixels

    def subset(self, indices: NDArray[Any] | Sequence[int], name: str | None = None) -> "Dataset":
        """Return the chosen examples, in the order chosen, as a data set of its own.

        Args:
            indices: integers in [0, n), repeats allowed, or bool [n].
            name: of the result; this data set's by default.

        Raises:
            ValueError: nothing chosen, neither integers nor bool [n], a single class left.
            IndexError: an index outside [0, n).
        """
        chosen = _checked_indices(np.asarray(indices), len(self))
        return Dataset(
            self.images[chosen],
            self.labels[chosen],
            self.groups[chosen],
            self.name if name is None else name,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        shape = list(self.images.shape)
        return f"Dataset({self.name!r}, {self.images.dtype} {shape}, {self.classes} classes)"

    def __reduce__(self) -> tuple[type["Dataset"], tuple[Any, ...]]:
        # A pickled array forgets that it is read-only; building the copy anew does not.
        return Dataset, (self.images, self.labels, self.groups, self.name)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    copy = np.array(array, order="C")
    copy.flags.writeable = False
    return copy


def _checked_images(images: object) -> NDArray[Any]:
    array = _as_array("images", images, _IMAGE_SHAPES)
    if array.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"images has dtype {array.dtype}, expected uint8 (pixels from 0 to 255) or float32:"
            ' convert it, for instance with .astype("float32")'
        )
    if array.ndim < 2 or (array.dtype == np.uint8 and array.ndim not in (3, 4)):
        raise ValueError(
            f"images has dtype {array.dtype} and shape {array.shape}, expected {_IMAGE_SHAPES}:"
            " reshape it"
        )
    if not array.size:
        raise ValueError(
            f"images is empty, with shape {array.shape}, expected at least one example of each of"
            " two classes: check how it was selected"
        )
    if array.dtype == np.uint8 and array.ndim == 4:
        _check_channels_last(array.shape)
    if array.dtype == np.float32:
        as_finite("images", array)
    return array


def _check_channels_last(shape: tuple[int, ...]) -> None:
    if shape[1] in _CHANNELS and shape[3] not in _CHANNELS:
        raise ValueError(
            f"images has shape {shape}, which looks channels first, expected [n, H, W, C] for"
            " uint8: pass images.transpose(0, 2, 3, 1)"
        )


def _checked_labels(labels: object, n: int) -> NDArray[np.int64]:
    array = _as_array("labels", labels, "integers [n]")
    if array.dtype.kind not in "iu":
        raise ValueError(
            f'labels has dtype {array.dtype}, expected integers: convert it with .astype("int64")'
        )
    _check_length("labels", array, n)
    integers: NDArray[np.int64] = array.astype(np.int64)
    smallest = int(integers.min())
    if smallest < 0:
        raise ValueError(
            f"labels[{int(integers.argmin())}] is {smallest}, expected classes numbered from 0:"
            " renumber them"
        )
    if smallest == integers.max():
        raise ValueError(
            f"labels holds the single class {smallest}, expected at least two: add examples of"
            " another class"
        )
    return integers


def _checked_groups(groups: object, n: int) -> NDArray[Any]:
    array = _as_array("groups", groups, "integers or strings [n]")
    if array.dtype.kind not in "iuU":
        raise ValueError(
            f"groups has dtype {array.dtype}, expected integers or strings: pass one group per"
            ' example as numpy.array(["a", "b", ...]) or numpy.array([0, 1, ...])'
        )
    _check_length("groups", array, n)
    if array.dtype.kind == "U":
        return np.array(array.tolist())  # the narrowest dtype, so that the digest is of the words
    return array.astype(np.int64)


def _as_array(name: str, values: object, expected: str) -> NDArray[Any]:
    if not isinstance(values, np.ndarray):
        raise ValueError(
            f"{name} is a {type(values).__name__}, expected a NumPy array, {expected}: convert it"
            f" with numpy.asarray({name})"
        )
    return values


def _check_length(name: str, array: NDArray[Any], n: int) -> None:
    if array.shape != (n,):
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({n},): pass one entry for each of the {n}"
            " images"
        )


def _checked_indices(indices: NDArray[Any], n: int) -> NDArray[Any]:
    if not indices.size or (indices.dtype == np.bool_ and not indices.any()):
        raise ValueError("indices chooses no example, expected at least two: check the selection")
    if indices.dtype == np.bool_ and indices.shape == (n,):
        return indices
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        raise ValueError(
            f"indices has dtype {indices.dtype} and shape {indices.shape}, expected a list of"
            f" integers or bool [{n}]: pass positions in the data set"
        )
    outside = indices[(indices < 0) | (indices >= n)]
    if outside.size:
        raise IndexError(
            f"indices holds {outside[0]}, expected positions from 0 to {n - 1}: this data set has"
            f" {n} examples"
        )
    return indices
