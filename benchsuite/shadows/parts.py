"""Designs made of balanced ones: pairs of examples tied together, and blocks that lack examples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchsuite.shadows.balanced import (
    VERSION,
    Balanced,
    Identity,
    check_examples,
    check_range,
    check_seed,
    check_share,
)
from benchsuite.stats.validation import Bools

Twins = tuple[tuple[int, int], ...]
Removals = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Tied:
    """Pairs of examples share a column: a twin is IN exactly when the other is.

    For duplicates in step, where a model has both copies of an example or neither (Carlini et al.
    2022, The Privacy Onion Effect, Sec. 6).

    Two balanced designs make it up: one over the pairs, each as one example, and one over the
    singles, the examples without a twin. So each row has exactly 2 x share x pairs + share x
    singles ones, and what `Balanced` says of blocks and of growth holds here. The pairs are drawn
    with the seed itself, the singles with its highest bit flipped: a Philox key of their own, hence
    an independent stream, and one that no seed below 2^63 has for its pairs.

    Args:
        examples: size of the pool, at least 2.
        twins: pairs of indices of the pool, each index in one pair at most; neither the order of
            pairs nor the order in a pair matters.
        share: as for `Balanced`.
        seed: as for `Balanced`.

    Raises:
        ValueError: no pairs; a pair that is not two different indices of the pool; an index in two
            pairs; a share or seed that `Balanced` refuses; or share x pairs or share x singles is
            not whole.
    """

    examples: int
    twins: Twins
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_examples(self.examples)
        object.__setattr__(self, "twins", _checked_twins(self.twins, self.examples))
        check_share(self.share)
        check_seed(self.seed)
        _ = self._pairs, self._singles  # each refuses what it cannot balance

    @property
    def block(self) -> int:
        """Rows per block."""
        return self._pairs.block

    def rows(self, first: int, last: int) -> Bools:
        """Membership of models first, first + 1, ..., last - 1: bool [last - first, examples].

        Raises:
            ValueError: unless 0 <= first <= last.
        """
        of_pairs, singles = self._pairs.rows(first, last), self._singles
        rows = np.empty((last - first, self.examples), dtype=np.bool_)
        rows[:, np.array(self.twins)] = of_pairs[:, :, None]
        if singles is not None:
            alone = np.setdiff1d(np.arange(self.examples), self.twins)
            rows[:, alone] = singles.rows(first, last)
        return rows

    def identity(self) -> Identity:
        """What determines the rows, for hashing; ready for JSON."""
        return {
            "design": "tied",
            "version": VERSION,
            "examples": int(self.examples),
            "twins": [list(pair) for pair in self.twins],
            "share": float(self.share),
            "seed": int(self.seed),
        }

    @property
    def _pairs(self) -> Balanced:
        return self._part("pairs of twins", len(self.twins), int(self.seed))

    @property
    def _singles(self) -> Balanced | None:
        singles = int(self.examples) - 2 * len(self.twins)
        if singles == 0:
            return None
        return self._part("examples without a twin", singles, int(self.seed) ^ 2**63)

    def _part(self, name: str, size: int, seed: int) -> Balanced:
        try:
            return Balanced(size, self.share, seed)
        except ValueError as error:
            raise ValueError(f"the {name} are balanced on their own: {error}") from None


@dataclass(frozen=True)
class Lacking:
    """Several balanced designs over one pool, each without some examples, in one bank.

    For many small removals, whose models are then trained together (Carlini et al. 2022, The
    Privacy Onion Effect, Sec. 5.1). Blocks take turns: block 0 lacks the first removal, block 1 the
    second, and after the last the first has its turn again. What is lacking is OUT; over the others
    a block is that of `Balanced` with the same number, and what is said there holds.

    Args:
        examples: size of the pool, at least 2.
        removals: of each part the indices of the pool that it lacks.
        share: as for `Balanced`, of what a part does not lack.
        seed: as for `Balanced`.

    Raises:
        ValueError: no removals; one that is empty, names an index twice or one outside the pool; a
            share or seed that `Balanced` refuses; or share x what stays is not whole.
    """

    examples: int
    removals: Removals
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_examples(self.examples)
        object.__setattr__(self, "removals", _checked_removals(self.removals, self.examples))
        check_share(self.share)
        check_seed(self.seed)
        for part in range(len(self.removals)):
            self._part(part)  # which refuses what it cannot balance

    @property
    def block(self) -> int:
        """Rows per block."""
        return self._part(0).block

    def rows(self, first: int, last: int) -> Bools:
        """Membership of models first, first + 1, ..., last - 1: bool [last - first, examples].

        Raises:
            ValueError: unless 0 <= first <= last.
        """
        check_range(first, last)
        rows = np.zeros((last - first, self.examples), dtype=np.bool_)
        for index in range(first // self.block, math.ceil(last / self.block)):
            low, high = max(first, index * self.block), min(last, (index + 1) * self.block)
            part = index % len(self.removals)
            rows[low - first : high - first, self.kept(part)] = self._part(part).rows(low, high)
        return rows

    def kept(self, part: int) -> NDArray[np.intp]:
        """Indices of the pool that this part does not lack, ascending."""
        return np.setdiff1d(np.arange(self.examples), self.removals[part])

    def models_of(self, part: int, models: int) -> NDArray[np.intp]:
        """Which of the first `models` models are of this part, ascending."""
        return np.flatnonzero(np.arange(models) // self.block % len(self.removals) == part)

    def identity(self) -> Identity:
        """What determines the rows, for hashing; ready for JSON."""
        return {
            "design": "lacking",
            "version": VERSION,
            "examples": int(self.examples),
            "removals": [list(each) for each in self.removals],
            "share": float(self.share),
            "seed": int(self.seed),
        }

    def _part(self, part: int) -> Balanced:
        stay = int(self.examples) - len(self.removals[part])
        try:
            return Balanced(stay, self.share, self.seed)
        except ValueError as error:
            raise ValueError(f"what stays of removal {part} is balanced: {error}") from None


def _checked_twins(twins: Sequence[Sequence[int]], examples: int) -> Twins:
    """The same pairs in one order, so that one relation has one identity."""
    if len(twins) == 0:
        raise ValueError(
            "twins is empty, expected at least one pair: use Balanced where no examples are tied"
        )
    known: set[int] = set()
    for pair in twins:
        if np.shape(pair) != (2,) or not all(isinstance(i, int | np.integer) for i in pair):
            raise ValueError(f"twins holds {pair!r}, expected pairs of indices of the pool")
        for index in pair:
            if not 0 <= index < examples:
                raise ValueError(
                    f"twins holds {index}, expected indices of the pool, from 0 to {examples - 1}"
                )
        if pair[0] == pair[1]:
            raise ValueError(
                f"twins pairs example {pair[0]} with itself, expected two different examples"
            )
        again = known.intersection(pair)
        if again:
            raise ValueError(
                f"twins holds example {min(again)} in two pairs, expected each in one at most"
            )
        known.update(pair)
    ordered = (sorted((int(one), int(other))) for one, other in twins)
    return tuple(sorted((low, high) for low, high in ordered))


def _checked_removals(removals: Sequence[Sequence[int]], examples: int) -> Removals:
    """The same removals, each ascending."""
    if len(removals) == 0:
        raise ValueError("removals is empty, expected at least one: use Balanced where none lacks")
    for number, removal in enumerate(removals):
        found = np.unique(np.asarray(removal))
        if found.size == 0 or found.dtype.kind not in "iu":
            raise ValueError(
                f"removals holds {removal!r} as number {number}, expected indices of the pool"
            )
        if found.size < len(removal):
            raise ValueError(f"removal {number} names an example twice, expected each once")
        if found[0] < 0 or found[-1] >= examples:
            wrong = found[0] if found[0] < 0 else found[-1]
            raise ValueError(
                f"removal {number} holds {wrong}, expected indices of the pool, from 0 to "
                f"{examples - 1}"
            )
    return tuple(tuple(sorted(map(int, each))) for each in removals)
