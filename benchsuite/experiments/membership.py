"""The membership paper's set-up: LiRA with one part of a bank against blocks of the other."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchsuite.experiments import membership_figures
from benchsuite.experiments.split_bank import SplitBank
from benchsuite.experiments.target_block import TargetBlock
from benchsuite.stats.verdict import CannotResolveError


class MembershipExperiment(SplitBank):
    """A split bank whose targets come in blocks: what the claims of family A1 are given."""

    def blocks(self, models: int | None = None) -> Iterator[TargetBlock]:
        """Disjoint blocks of at least `models` targets; of one design block each unless given."""
        return self._blocks(self.references, models)

    def blocks_of_all_models(self, models: int) -> Iterator[TargetBlock]:
        """The same over references too, for what neither selects nor attacks."""
        return self._blocks(0, models)

    def _blocks(self, start: int, models: int | None) -> Iterator[TargetBlock]:
        size = self.block * -(-(models or self.block) // self.block)
        for number, first in enumerate(range(start, len(self.membership) - size + 1, size)):
            yield TargetBlock(self, np.arange(first, first + size), number)

    def figure(self, kind: str) -> dict[str, Any] | None:
        """Arrays of a figure of this kind, or None where this subject has none.

        There is none either of one block, which has no band, and where the sample cannot answer.

        Raises:
            KeyError: an unknown kind.
        """
        arrays = membership_figures.ARRAYS[kind]
        if len(self.membership) - self.references < 2 * self.block:
            return None
        try:
            return arrays(self, self.blocks())
        except CannotResolveError:
            return None
