"""Near-duplicates in a pool: planting them, finding them, and what to remove.

Pixels suffice as the embedding for digits of 8 x 8: the image library that the paper uses compares
ImageNet features, which say little of 64 grey levels and need a download. Photographs are better
compared by features of the subject's own network, `experiments.features.penultimate_features`.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchsuite.data.dataset import Dataset
from benchsuite.stats.validation import as_finite

PIXELS_ALIKE: Final = 0.998
"""Cosine similarity of pixels above which two 8 x 8 digits are duplicates.

Of the 1.1 million natural pairs of the digits pool the most alike have 0.9956 (across classes
0.9628). A copy that `plant_duplicates` makes with noise 0.1, six pixels moved by 1/16 at most, has
0.9986 or more whatever the draw, for no digit has a norm below 2.92: all are found, and no natural
pair is.
"""

_FLOAT_STEP, _GREY_STEP = 1 / 16, 8  # one of the digits' 17 grey levels; 8 of 256
_ROUNDING = 1e-6  # of a float32 cosine: exact copies are found at a threshold of 1
_PAIRS_PER_BLOCK = 2**20  # 4 MB of similarities

Indices = NDArray[np.intp]
Clusters = tuple[tuple[int, ...], ...]


def plant_duplicates(data: Dataset, originals: ArrayLike, noise: float, seed: int) -> Dataset:
    """Append a copy of each of the originals, with their label and group, at the end of the pool.

    The first half of the copies (the larger half of an odd number) is exact. Of the others a share
    `noise` of the pixels is moved, up or down at random: by 1/16 for float32 images and by 8 grey
    levels for uint8, cut at black and white. Which pixels and which way depends on `seed` alone:
    raw draws of a Philox counter, which never change between versions of NumPy.

    Args:
        data: uint8 images, or float32 images from 0 to 1.
        originals: positions in the pool [copies], each once.
        noise: share of the pixels that are moved, above 0 and at most 1; at least one pixel is.
        seed: of the draws.

    Returns:
        A data set of n + copies examples; example n + i is the copy of `originals[i]`.

    Raises:
        ValueError: an original outside the pool or repeated, noise out of range, float32 images
            outside [0, 1].
    """
    chosen = _as_originals(originals, len(data))
    if not 0 < noise <= 1:
        raise ValueError(
            f"noise is {noise}, expected a share of the pixels above 0 and at most 1: pass 0.1 to"
            " move a tenth of them"
        )
    if data.images.dtype == np.float32 and (data.images.min() < 0 or data.images.max() > 1):
        raise ValueError(
            f"images run from {data.images.min():g} to {data.images.max():g}, expected float32"
            " between 0 and 1, where noise of 1/16 is small: scale them"
        )
    exact = len(chosen) - len(chosen) // 2
    copies = data.images[chosen]
    copies[exact:] = _moved(copies[exact:], noise, seed)
    return Dataset(
        np.concatenate([data.images, copies]),
        np.concatenate([data.labels, data.labels[chosen]]),
        np.concatenate([data.groups, data.groups[chosen]]),
        data.name,
    )


def find_duplicates(embedding: ArrayLike, threshold: float) -> Clusters:
    """Find the clusters of examples whose embeddings point the same way.

    Two examples are alike where the cosine of their embeddings is `threshold` or more, to 1e-6;
    what is alike, directly or through others, is one cluster (single linkage). The similarities
    are computed and dropped block by block: beside a float32 copy of the embedding the work takes
    some 100 MB, however many examples there are and however many of them are alike.

    Args:
        embedding: features or pixels, real [examples, ...]; axes after the first are flattened.
        threshold: of the cosine similarity, above 0 and at most 1.

    Returns:
        Clusters of two or more positions, each ascending, in order of their first.

    Raises:
        ValueError: a value that is not finite, an embedding of zeros, a threshold out of range.

    Source: The Privacy Onion Effect, Appendix C: imagededup's CNN method, cosine similarity of
        0.85 or more between ImageNet features.
    """
    unit = _unit_rows(embedding)
    if not 0 < threshold <= 1:
        raise ValueError(
            f"threshold is {threshold}, expected a cosine similarity above 0 and at most 1: pass"
            " 1 for exact copies"
        )
    n = len(unit)
    component = np.arange(n)
    step = max(1, _PAIRS_PER_BLOCK // n)
    for first in range(0, n, step):
        block = slice(first, first + step)
        alike = unit[block] @ unit[first:].T >= threshold - _ROUNDING
        alike &= component[block, None] != component[None, first:]
        row, column = np.nonzero(alike)
        if row.size:
            component = _joined(component, row + first, column + first)
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return tuple(tuple(part.tolist()) for part in parts if len(part) > 1)


def straddling(clusters: Sequence[Sequence[int]], labels: ArrayLike) -> Clusters:
    """Return the clusters whose members have different labels, in the order given.

    Raises:
        ValueError: labels that do not reach to every member.
    """
    of = np.asarray(labels)
    last = max((max(cluster) for cluster in clusters), default=-1)
    if of.ndim != 1 or last >= len(of):
        raise ValueError(
            f"labels has shape {list(of.shape)} and clusters reach to example {last}: pass one"
            " label for each example of the pool that was searched"
        )
    return tuple(tuple(c) for c in clusters if np.any(of[list(c)] != of[c[0]]))


def duplicates_to_remove(
    clusters: Sequence[Sequence[int]], labels: ArrayLike | None = None
) -> Indices:
    """Return the positions of all but the first of each cluster, ascending.

    Args:
        clusters: as `find_duplicates` returns them.
        labels: integers [examples]; where given, no cluster may hold two classes.

    Raises:
        ValueError: clusters straddle classes, so that keeping one member would choose its label.
    """
    if labels is not None and (mixed := straddling(clusters, labels)):
        found = np.asarray(labels)[list(mixed[0])].tolist()
        raise ValueError(
            f"clusters: examples {list(mixed[0])} are duplicates with labels {found}, the first of"
            f" {len(mixed)} clusters that straddle classes, expected one label in each: raise the"
            " threshold, or correct or leave out these examples"
        )
    return np.array(sorted(i for cluster in clusters for i in sorted(cluster)[1:]), dtype=np.intp)


def _joined(component: Indices, row: Indices, column: Indices) -> Indices:
    """The components, each named by its first member, with the pairs (row, column) joined too."""
    n = len(component)
    # What was joined before is one edge an example, so that edges never pile up.
    ends = np.concatenate([row, np.arange(n)]), np.concatenate([column, component])
    graph = coo_array((np.ones(len(ends[0]), np.bool_), ends), shape=(n, n))
    _, found = connected_components(graph, directed=False)
    _, first_member = np.unique(found, return_index=True)
    return first_member[found]


def _as_originals(originals: ArrayLike, n: int) -> Indices:
    chosen = np.asarray(originals)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise ValueError(
            f"originals has dtype {chosen.dtype} and shape {list(chosen.shape)}, expected integers"
            " [copies]: pass the positions of the examples to copy"
        )
    outside = chosen[(chosen < 0) | (chosen >= n)]
    if outside.size:
        raise ValueError(
            f"originals holds {outside[0]}, expected positions from 0 to {n - 1}: the pool has {n}"
            " examples"
        )
    values, counts = np.unique(chosen, return_counts=True)
    if counts.max() > 1:
        raise ValueError(
            f"originals holds {values[counts.argmax()]} {counts.max()} times, expected each example"
            " once: a second copy would make it a cluster of three"
        )
    return chosen.astype(np.intp)


def _moved(images: NDArray[Any], noise: float, seed: int) -> NDArray[Any]:
    """The images [n, ...], each with a share `noise` of its pixels moved one step."""
    flat = images.reshape(len(images), math.prod(images.shape[1:]))  # also where there are none
    draws = np.random.Philox(key=seed).random_raw(flat.size).reshape(flat.shape)
    pixels = max(1, round(noise * flat.shape[1]))
    chosen = np.argsort(draws, axis=1, kind="stable")[:, :pixels]
    up = np.take_along_axis(draws, chosen, axis=1) & np.uint64(1)
    step, white = (_GREY_STEP, 255) if flat.dtype == np.uint8 else (_FLOAT_STEP, 1)
    values = np.take_along_axis(flat, chosen, axis=1) + np.where(up, 1.0, -1.0) * step
    values = np.clip(values, 0, white)
    changed = flat.copy()
    np.put_along_axis(changed, chosen, values.astype(flat.dtype), axis=1)
    return changed.reshape(images.shape)


def _unit_rows(embedding: ArrayLike) -> NDArray[np.float32]:
    """The embedding as rows of norm 1, float32 [examples, features]."""
    rows = as_finite("embedding", embedding)
    if rows.ndim < 2:
        raise ValueError(
            f"embedding has shape {list(rows.shape)}, expected [examples, features]: pass one row"
            " of features or pixels for each example"
        )
    rows = rows.reshape(len(rows), -1)
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))[:, None]
    zero = np.flatnonzero(largest == 0)
    if zero.size:
        raise ValueError(
            f"embedding[{zero[0]}] is all zeros, the first of {zero.size} such rows, expected a"
            " direction to compare: leave these examples out or use another embedding"
        )
    # The largest becomes 1 before anything is squared, so that nothing overflows.
    scaled: NDArray[np.float32] = (rows / largest).astype(np.float32, copy=False)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled
