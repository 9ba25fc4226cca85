"""Reading columns from shards, for some of the examples; nothing unchecked is given out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.shadows.shards import Arrays, Header, open_shard

Shards = Sequence[tuple[Path, Header]]
"""Where a column lies, by ascending models, and what each file's header is expected to say."""


class Reader:
    """Checks a file's values against its digest once, for as long as the file stays as it is."""

    def __init__(self) -> None:
        self._intact: dict[Path, tuple[int, ...]] = {}

    def read(self, shards: Shards, name: str, examples: slice | ArrayLike) -> NDArray[Any]:
        """The values of all models and of some examples, in an array of their own.

        Args:
            shards: that hold the column, each of as many models.
            name: what the column says, as in `ShadowBank.column`.
            examples: a slice or integers from 0.

        Raises:
            ValueError: examples that are not there.
            BankError: a shard is refused.
        """
        before = (slice(None),) * axis_of_examples(name)
        place: tuple[slice | NDArray[np.intp], ...] = ()
        whole: NDArray[Any] = np.empty(0)
        for i, (path, header) in enumerate(shards):
            part = self._checked(path, header)[name]
            if i == 0:
                place = (*before, _existing(examples, part.shape[len(before)]))
                models, *shape = part[place].shape
                whole = np.empty((models * len(shards), *shape), dtype=part.dtype)
            # Shard by shard into place: a large column is never held twice.
            whole[i * models : (i + 1) * models] = part[place]
        return whole

    def _checked(self, path: Path, header: Header) -> Arrays:
        now = _state(path)
        known = now is not None and self._intact.get(path) == now
        arrays = open_shard(path, header, check_values=not known)
        if now is not None:
            self._intact[path] = now
        return arrays


def shape_of(shards: Shards, name: str) -> tuple[tuple[int, ...], int]:
    """A column's shape [models, examples, ...] and its bytes; no values are read."""
    path, header = shards[0]
    array = open_shard(path, header, check_values=False)[name]
    return (len(shards) * len(array), *array.shape[1:]), len(shards) * array.nbytes


def axis_of_examples(name: str) -> int:
    """1, but 2 of a divergence, which is of versions of examples."""
    return 2 if name == "divergence" else 1


def _state(path: Path) -> tuple[int, ...] | None:
    """Another one once the file is another; None where there is none, as `open_shard` says."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _existing(examples: slice | ArrayLike, count: int) -> slice | NDArray[np.intp]:
    """Examples that a column of so many has; a slice is so whatever it says."""
    if isinstance(examples, slice):
        return examples
    given = np.asarray(examples)
    if (
        given.ndim != 1
        or given.dtype.kind not in "iu"
        or not np.all((given >= 0) & (given < count))
    ):
        raise ValueError(
            f"examples must be a slice or integers from 0 to {count - 1}, on one axis, but they "
            f"are {np.array2string(given, threshold=8)}: use np.flatnonzero for a mask"
        )
    return given.astype(np.intp)
