"""Balanced designs: every example IN for the same share of models, every model on as many."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from benchsuite.stats.validation import Bools
from benchsuite.training.randomness import Purpose, generator

VERSION = 1  # of what a seed draws
_LEAST_BLOCK = 64
_BLOCK_STEP = 16
_LARGEST_DENOMINATOR = 100  # a block then has 1,600 rows at most
_KEYS_AT_ONCE = 2**22  # 32 MB

UInt64s = NDArray[np.uint64]
Identity = dict[str, str | int | float | list[list[int]] | list[list[list[int]]]]


@dataclass(frozen=True)
class Balanced:
    """Every model trains on the same share of examples, every example is IN for that share.

    Rows come in blocks. Each row has exactly share x examples ones, and within a block each column
    has exactly share x block ones. Apart from these sums rows are random: not complementary or
    cyclic, for models on complementary halves can double the variance of a difference in means, and
    a target's complement among its references would give its membership away.

    The block is the smallest multiple of 16 from 64 in which share x block is whole: 64 rows for
    0.5, 80 for 0.7. A block depends on (seed, its index) alone, so a longer design begins with the
    shorter one; it is drawn from the raw Philox stream, which no NumPy version changes.

    Args:
        examples: size of the pool, at least 2.
        share: of the pool that each model trains on, above 0 and below 1; a fraction with a
            denominator up to 100.
        seed: of subsets and of training, from 0 to 2^64 - 1.
        rows_seed: of subsets, where they shall be those of another seed, so that models differ
            from its in initial weights and order alone; None takes `seed`.

    Raises:
        ValueError: a value outside these ranges, or share x examples is not whole.
    """

    examples: int
    share: float = 0.5
    seed: int = 0
    rows_seed: int | None = None

    def __post_init__(self) -> None:
        check_examples(self.examples)
        check_share(self.share)
        check_seed(self.seed)
        if self.rows_seed is not None:
            check_seed(self.rows_seed, "rows_seed")
        fraction = self._fraction
        extra = self.examples % fraction.denominator
        if extra:
            raise ValueError(
                f"examples is {self.examples}, which cannot be balanced: a share of {fraction} of"
                f" it is not a whole number; drop {extra} example{'s' if extra > 1 else ''} or take"
                " another share"
            )

    @property
    def block(self) -> int:
        """Rows per block."""
        step = math.lcm(_BLOCK_STEP, self._fraction.denominator)
        return step * math.ceil(_LEAST_BLOCK / step)

    def rows(self, first: int, last: int) -> Bools:
        """Membership of models first, first + 1, ..., last - 1: bool [last - first, examples].

        Raises:
            ValueError: unless 0 <= first <= last.
        """
        check_range(first, last)
        rows = np.empty((last - first, self.examples), dtype=np.bool_)
        for index in range(first // self.block, math.ceil(last / self.block)):
            start = index * self.block
            low, high = max(first, start), min(last, start + self.block)
            rows[low - first : high - first] = self._draw(index)[low - start : high - start]
        return rows

    def identity(self) -> Identity:
        """What determines the rows, for hashing; ready for JSON."""
        return {
            "design": "balanced",
            "version": VERSION,
            "examples": int(self.examples),
            "share": float(self.share),
            "seed": int(self.seed),
            # Left out where it says nothing, so that such banks keep the key that they had.
            **({} if self._rows_seed == self.seed else {"rows_seed": self._rows_seed}),
        }

    @property
    def _rows_seed(self) -> int:
        return int(self.seed if self.rows_seed is None else self.rows_seed)

    @property
    def _fraction(self) -> Fraction:
        return _fraction_of(self.share)

    def _draw(self, index: int) -> Bools:
        """Draw random columns with the right sums, then move ones between rows to right theirs."""
        stream = generator(self._rows_seed, index, Purpose.DESIGN).bit_generator
        ones = self._fraction.numerator * self.block // self._fraction.denominator
        rows = np.empty((self.block, self.examples), dtype=np.bool_)
        own = np.arange(self.block, dtype=np.uint64)  # in the low bits: no two keys tie
        low_bits = np.uint64((1 << int(self.block - 1).bit_length()) - 1)
        step = max(1, _KEYS_AT_ONCE // self.block)
        for first in range(0, self.examples, step):
            columns = min(step, self.examples - first)
            raw: UInt64s = stream.random_raw(columns * self.block).reshape(columns, self.block)
            keys = (raw & ~low_bits) | own
            bound = np.partition(keys, ones - 1, axis=1)[:, ones - 1, None]
            rows[:, first : first + columns] = (keys <= bound).T
        excess = np.count_nonzero(rows, axis=1) - (
            self._fraction.numerator * self.examples // self._fraction.denominator
        )
        while excess.any():
            giver, taker = int(excess.argmax()), int(excess.argmin())
            moves = int(min(excess[giver], -excess[taker]))
            # More columns have a one to give than moves are needed: the giver has more ones.
            able = np.flatnonzero(rows[giver] & ~rows[taker])
            order = np.argsort(stream.random_raw(len(able)), kind="stable")
            moved = able[order[:moves]]
            rows[giver, moved], rows[taker, moved] = False, True
            excess[giver] -= moves
            excess[taker] += moves
        return rows


def _fraction_of(share: float) -> Fraction:
    return Fraction(share).limit_denominator(_LARGEST_DENOMINATOR)


def check_examples(examples: int) -> None:
    """Raise a ValueError unless it is the size of a pool."""
    if not isinstance(examples, int | np.integer) or examples < 2:
        raise ValueError(f"examples is {examples}, expected an integer, a pool of at least 2")


def check_share(share: float) -> None:
    """Raise a ValueError unless it is a fraction that a block can have exactly."""
    if not 0 < share < 1:
        raise ValueError(
            f"share is {share}, expected a fraction above 0 and below 1, so that each example is IN"
            " for some models and OUT for others"
        )
    fraction = _fraction_of(share)
    if abs(float(fraction) - share) > 1e-12:
        raise ValueError(
            f"share is {share}, expected a fraction with a denominator up to"
            f" {_LARGEST_DENOMINATOR}: the nearest is {fraction}"
        )


def check_seed(seed: int, name: str = "seed") -> None:
    """Raise a ValueError unless it is a key of Philox."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ValueError(f"{name} is {seed}, expected an integer from 0 to 2^64 - 1")


def check_range(first: int, last: int) -> None:
    """Raise a ValueError unless it is a range of models."""
    if not 0 <= first <= last:
        raise ValueError(
            f"rows({first}, {last}) asks for no range of models, expected 0 <= first <= last"
        )
