"""The design of canaries: a stamped copy of an example takes the place of its original."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from benchsuite.shadows.balanced import (
    VERSION,
    Identity,
    check_examples,
    check_range,
    check_seed,
)
from benchsuite.stats.validation import Bools
from benchsuite.training.randomness import Purpose, generator

Pair = tuple[int, int]
Groups = tuple[tuple[Pair, ...], ...]

_BLOCK_WITHOUT_GROUPS = 12


@dataclass(frozen=True)
class Replacing:
    """Every model trains on the whole pool, with a copy in an original's place here and there.

    A pair is an original and its copy, a group the pairs of which a model has at most one copy. For
    canaries: the copies of a group bear the same feature, so that in every model it is on one image
    or on none (Hartley and Tsaftaris 2022, Section 3.4.1; there with one group).

    In each block each copy is IN once, and a group is wholly absent from half of the rows; which
    rows is drawn anew for each group and block. Rows depend on (seed, block) alone.

    Args:
        examples: size of the pool, originals and copies, at least 2.
        groups: of (original, copy), indices of the pool; all groups of one size. Without groups all
            models train on the whole pool.
        seed: from 0 to 2^64 - 1.

    Raises:
        ValueError: a pair that is not two indices of the pool, an index in two pairs, groups that
            are empty or differ in size, a seed out of range.
    """

    examples: int
    groups: Groups = ()
    seed: int = 0

    def __post_init__(self) -> None:
        check_examples(self.examples)
        object.__setattr__(self, "groups", _checked_groups(self.groups, self.examples))
        check_seed(self.seed)

    @property
    def block(self) -> int:
        """Rows per block: two for each pair of a group."""
        return 2 * len(self.groups[0]) if self.groups else _BLOCK_WITHOUT_GROUPS

    def rows(self, first: int, last: int) -> Bools:
        """Membership of models first, first + 1, ..., last - 1: bool [last - first, examples].

        Raises:
            ValueError: unless 0 <= first <= last.
        """
        rows = np.ones((last - first, self.examples), dtype=np.bool_)
        which = self.present(first, last)
        for number, group in enumerate(self.groups):
            original, copy = np.array(group).T
            rows[:, copy] = False
            stamped = np.flatnonzero(which[:, number] >= 0)
            pair = which[stamped, number]
            rows[stamped, original[pair]], rows[stamped, copy[pair]] = False, True
        return rows

    def present(self, first: int, last: int) -> NDArray[np.int64]:
        """Which pair of each group has its copy IN: int64 [last - first, groups], -1 for none.

        Raises:
            ValueError: unless 0 <= first <= last.
        """
        check_range(first, last)
        which = np.full((last - first, len(self.groups)), -1, dtype=np.int64)
        for index in range(first // self.block, math.ceil(last / self.block)):
            start = index * self.block
            low, high = max(first, start), min(last, start + self.block)
            for number, group in enumerate(self.groups):
                stream = generator(self.seed, index, Purpose.DESIGN, number).bit_generator
                order = np.argsort(stream.random_raw(self.block), kind="stable")
                slots = np.where(order < len(group), order, -1)
                which[low - first : high - first, number] = slots[low - start : high - start]
        return which

    def identity(self) -> Identity:
        """What determines the rows, for hashing; ready for JSON."""
        return {
            "design": "replacing",
            "version": VERSION,
            "examples": int(self.examples),
            "groups": [[list(pair) for pair in group] for group in self.groups],
            "seed": int(self.seed),
        }


def _checked_groups(groups: Sequence[Sequence[Sequence[int]]], examples: int) -> Groups:
    for number, group in enumerate(groups):
        if np.shape(group) != (len(group), 2) or len(group) == 0:
            raise ValueError(
                f"groups holds {group!r} as number {number}, expected pairs (original, copy)"
            )
        if len(group) != len(groups[0]):
            raise ValueError(
                f"groups have {len(groups[0])} and {len(group)} pairs, expected as many in each"
            )
    every = list(chain.from_iterable(chain.from_iterable(groups)))
    for index in every:
        if not isinstance(index, int | np.integer) or not 0 <= index < examples:
            raise ValueError(
                f"groups hold {index!r}, expected indices of the pool, from 0 to {examples - 1}"
            )
    if len(set(every)) < len(every):
        twice = next(index for index in every if every.count(index) > 1)
        raise ValueError(f"groups hold example {twice} twice, expected each in one pair at most")
    return tuple(tuple((int(one), int(other)) for one, other in group) for group in groups)
