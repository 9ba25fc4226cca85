"""Examples grouped by how memorized they are."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchsuite.stats.verdict import CannotResolveError

EDGES = (0.1, 0.25, 0.5, 0.7)
"""Lower ends, exclusive, of the fixed bins of memorization; the last one ends at 1."""
SMALLEST_BIN = 15
HIGHLY_MEMORIZED = 0.5
TOP = "top"

Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Groups:
    """Examples by how memorized they are.

    Args:
        memorization: what decides the groups, [examples].
    """

    memorization: NDArray[np.float64]

    @cached_property
    def bins(self) -> dict[str, Indices]:
        """Members of the fixed bins, from least to most memorized, named by their range.

        The most memorized is named "top", .7 to 1. A bin with fewer than 15 examples is merged
        downward, so that "top" may begin lower; the least one, if too small, is left out.

        Raises:
            CannotResolveError: fewer than 15 examples lie above the lowest edge.
        """
        bins: dict[str, Indices] = {}
        upper = np.inf
        for lower in reversed(EDGES):
            inside = (self.memorization > lower) & (self.memorization <= upper)
            members = np.flatnonzero(inside)
            if len(members) >= SMALLEST_BIN:
                name = TOP if upper == np.inf else f"mem {_short(lower)}-{_short(upper)}"
                bins[name], upper = members, lower
        if not bins:
            raise CannotResolveError(
                f"{int((self.memorization > EDGES[0]).sum())} examples have memorization above "
                f"{EDGES[0]}, fewer than the {SMALLEST_BIN} of a bin: this subject memorizes too "
                "little for this finding"
            )
        return dict(reversed(bins.items()))

    @cached_property
    def highly_memorized(self) -> Indices:
        """Examples with memorization above one half."""
        return self.above(HIGHLY_MEMORIZED)

    def above(self, threshold: float) -> Indices:
        """Examples with memorization above the threshold.

        Raises:
            CannotResolveError: there are fewer than two.
        """
        members = np.flatnonzero(self.memorization > threshold)
        if len(members) < 2:
            raise CannotResolveError(
                f"{len(members)} examples have memorization above {threshold:g}, and 2 are the "
                "least: this subject memorizes too little for this finding"
            )
        return members


def _short(edge: float) -> str:
    return f"{edge:g}".removeprefix("0")
