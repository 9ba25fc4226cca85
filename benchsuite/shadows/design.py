"""Designs: which examples each shadow model trains on; rows never change as a bank grows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.stats.validation import Bools
from benchsuite.training.randomness import Purpose, generator

_LEAST_BLOCK = 64
_BLOCK_STEP = 16
_LARGEST_DENOMINATOR = 100  # a block then has 1,600 rows at most
_KEYS_AT_ONCE = 2**22  # 32 MB
_VERSION = 1  # of what a seed draws

UInt64s = NDArray[np.uint64]
Identity = dict[str, str | int | float | list[list[int]]]
Twins = tuple[tuple[int, int], ...]
Removals = tuple[tuple[int, ...], ...]


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
        seed: from 0 to 2^64 - 1.

    Raises:
        ValueError: a value outside these ranges, or share x examples is not whole.
    """

    examples: int
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        _check_examples(self.examples)
        _check_share(self.share)
        _check_seed(self.seed)
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
        _check_range(first, last)
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
            "version": _VERSION,
            "examples": int(self.examples),
            "share": float(self.share),
            "seed": int(self.seed),
        }

    @property
    def _fraction(self) -> Fraction:
        return _fraction_of(self.share)

    def _draw(self, index: int) -> Bools:
        """Draw random columns with the right sums, then move ones between rows to right theirs."""
        stream = generator(self.seed, index, Purpose.DESIGN).bit_generator
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
        _check_examples(self.examples)
        object.__setattr__(self, "twins", _checked_twins(self.twins, self.examples))
        _check_share(self.share)
        _check_seed(self.seed)
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
            "version": _VERSION,
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
        _check_examples(self.examples)
        object.__setattr__(self, "removals", _checked_removals(self.removals, self.examples))
        _check_share(self.share)
        _check_seed(self.seed)
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
        _check_range(first, last)
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
            "version": _VERSION,
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


Design = Balanced | Tied | Lacking
"""Who is IN, as a rule."""

_DESIGNS: dict[str, Callable[..., Design]] = {
    "balanced": Balanced,
    "tied": Tied,
    "lacking": Lacking,
}


def design_of(identity: Mapping[str, Any]) -> Design:
    """Rebuild the design that has this identity, be it from `identity()` or from JSON.

    Raises:
        ValueError: it is of no design that is known here.
    """
    name = identity["design"]
    if name not in _DESIGNS:
        raise ValueError(
            f"identity is of the design {name!r}, expected one of {', '.join(_DESIGNS)}: it is of"
            " another version of benchsuite"
        )
    given = {key: each for key, each in identity.items() if key not in ("design", "version")}
    return _DESIGNS[name](**given)


def _fraction_of(share: float) -> Fraction:
    return Fraction(share).limit_denominator(_LARGEST_DENOMINATOR)


def _check_examples(examples: int) -> None:
    if not isinstance(examples, int | np.integer) or examples < 2:
        raise ValueError(f"examples is {examples}, expected an integer, a pool of at least 2")


def _check_share(share: float) -> None:
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


def _check_seed(seed: int) -> None:
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}, expected an integer from 0 to 2^64 - 1")


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


def _check_range(first: int, last: int) -> None:
    if not 0 <= first <= last:
        raise ValueError(
            f"rows({first}, {last}) asks for no range of models, expected 0 <= first <= last"
        )
