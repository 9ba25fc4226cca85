"""The design of the game that differential privacy bounds: a canary joins, or it does not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchsuite.shadows.balanced import VERSION, check_examples, check_range, check_seed
from benchsuite.stats.validation import Bools
from benchsuite.training.randomness import Purpose, generator


@dataclass(frozen=True)
class Joining:
    """Every model trains on all examples that are no canaries, and on some of the canaries.

    In each block each canary is IN for exactly half of the rows; which ones is drawn anew for each
    canary and block, whatever the others do. So given the other canaries the training sets with and
    without one differ by that example alone, the neighbours of add/remove differential privacy
    (Dwork and Roth 2014, Definition 2.4), and rows have different sums: only a recipe with privacy,
    whose batches are sampled, can be trained on them alike.

    Rows of a canary depend on (seed, block, canary) alone: another canary changes none of them.

    Args:
        examples: size of the pool, at least 2.
        canaries: indices of the pool, each once; their order does not matter.
        seed: from 0 to 2^64 - 1.

    Raises:
        ValueError: no canaries, one that is no index of the pool or named twice, a seed out of
            range.
    """

    examples: int
    canaries: tuple[int, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        check_examples(self.examples)
        object.__setattr__(self, "canaries", _checked_canaries(self.canaries, self.examples))
        check_seed(self.seed)

    @property
    def block(self) -> int:
        """Rows per block."""
        return 64

    def rows(self, first: int, last: int) -> Bools:
        """Membership of models first, first + 1, ..., last - 1: bool [last - first, examples].

        Raises:
            ValueError: unless 0 <= first <= last.
        """
        check_range(first, last)
        rows = np.ones((last - first, self.examples), dtype=np.bool_)
        for index in range(first // self.block, math.ceil(last / self.block)):
            start = index * self.block
            low, high = max(first, start), min(last, start + self.block)
            for canary in self.canaries:
                stream = generator(self.seed, index, Purpose.DESIGN, canary).bit_generator
                order = np.argsort(stream.random_raw(self.block), kind="stable")
                joins = order < self.block // 2
                rows[low - first : high - first, canary] = joins[low - start : high - start]
        return rows

    def identity(self) -> dict[str, str | int | list[int]]:
        """What determines the rows, for hashing; ready for JSON."""
        return {
            "design": "joining",
            "version": VERSION,
            "examples": int(self.examples),
            "canaries": list(self.canaries),
            "seed": int(self.seed),
        }


def _checked_canaries(canaries: Sequence[int], examples: int) -> tuple[int, ...]:
    """The same canaries, ascending, so that one game has one identity."""
    if len(canaries) == 0:
        raise ValueError("canaries is empty, expected at least one index of the pool")
    known: set[int] = set()
    for canary in canaries:
        if not isinstance(canary, int | np.integer) or not 0 <= canary < examples:
            raise ValueError(
                f"canaries holds {canary!r}, expected indices of the pool, from 0 to {examples - 1}"
            )
        if canary in known:
            raise ValueError(f"canaries holds {canary} twice, expected each once")
        known.add(int(canary))
    return tuple(sorted(known))
