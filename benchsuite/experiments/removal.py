"""Removals: which examples are taken out of a pool, and why."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.data.dataset import Dataset
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Removal:
    """Examples of one pool that are taken out of it.

    Two things can be done with it: ignore the examples, whose models stay as they were trained, or
    train without them. Both keep the same examples, `kept`, in the pool's order.

    Args:
        pool: they are removed from.
        why: a word for file names, such as "exposed".
        examples: positions in the pool, in any order.

    Raises:
        ValueError: no positions, an example twice or outside the pool.
        CannotResolveError: no example, or a removal that leaves a class without examples or nothing
            at all: the pool is too small for it.
    """

    pool: Dataset
    why: str
    examples: tuple[int, ...]

    def __init__(self, pool: Dataset, why: str, examples: ArrayLike | Iterable[int]) -> None:
        chosen = np.asarray(list(examples) if isinstance(examples, Iterable) else examples)
        if chosen.size == 0:
            raise CannotResolveError(
                f"removal {why!r} takes out no example: give at least one position"
            )
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise ValueError(
                f"removal {why!r} has examples of dtype {chosen.dtype} and shape {chosen.shape}, "
                "expected a list of integers: positions in the pool"
            )
        if chosen.size >= len(pool):
            raise CannotResolveError(
                f"removal {why!r} takes out {chosen.size} examples of a pool of {len(pool)}: leave "
                "some to train on"
            )
        found = np.unique(chosen)
        if found[0] < 0 or found[-1] >= len(pool):
            wrong = found[0] if found[0] < 0 else found[-1]
            raise ValueError(
                f"removal {why!r} takes out example {wrong}, expected positions from 0 to "
                f"{len(pool) - 1}"
            )
        if found.size < chosen.size:
            raise ValueError(f"removal {why!r} names an example twice: name each once")
        object.__setattr__(self, "pool", pool)
        object.__setattr__(self, "why", why)
        object.__setattr__(self, "examples", tuple(int(each) for each in found))
        emptied = set(pool.labels.tolist()) - set(pool.labels[self.kept].tolist())
        if emptied:
            raise CannotResolveError(
                f"removal {why!r} takes out every example of class {min(emptied)}: leave some of "
                "each class"
            )

    def __len__(self) -> int:
        """Number of examples removed."""
        return len(self.examples)

    @property
    def kept(self) -> Indices:
        """Positions that stay, ascending."""
        mask = np.ones(len(self.pool), dtype=np.bool_)
        mask[list(self.examples)] = False
        return np.flatnonzero(mask)

    @property
    def digest(self) -> str:
        """What is removed from what, 12 hexadecimal digits; why does not count."""
        text = f"{self.pool.digest} {self.examples}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def without(self, subject: Subject) -> Subject:
        """The subject whose models are trained without these examples.

        Raises:
            ValueError: a subject with another pool.
        """
        if subject.pool != self.pool:
            raise ValueError(
                f"removal {self.why!r} is from another pool than that of {subject.name}: make it "
                "from the subject's own"
            )
        name = f"{subject.name}-without-{self.why}"
        return replace(subject, name=name, pool=self.pool.subset(self.kept))

    def and_also(self, examples: ArrayLike) -> "Removal":
        """The same removal with further examples of the pool, for peeling layer by layer."""
        return Removal(self.pool, self.why, [*self.examples, *np.asarray(examples).tolist()])
