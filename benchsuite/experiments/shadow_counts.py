"""How many shadow models an attack needs: where its AUROC curve comes near its end."""

from collections.abc import Sequence

import numpy as np
from sklearn.isotonic import isotonic_regression

SHARE_OF_FULL = 0.95
"""Of the full bank's AUROC above chance: what "enough shadow models" means."""


def shadow_counts(references: int) -> list[int]:
    """2, 4, 8, ... and the number of references itself."""
    counts = [2**k for k in range(1, references.bit_length()) if 2**k < references]
    return [*counts, references]


def count_needed(counts: Sequence[int], aurocs: Sequence[float]) -> float:
    """The count that first gives `SHARE_OF_FULL` of the last AUROC's gain over chance.

    On the AUROC made monotone in the count (a noisy curve crosses early), log-interpolated between
    the counts tried; the last count where even it does no better than chance.

    Args:
        counts: of shadow models, ascending, above 0.
        aurocs: with so many, in [0, 1].
    """
    gain = isotonic_regression(np.array(aurocs)) - 0.5
    if gain[-1] <= 0:
        return float(counts[-1])
    enough = SHARE_OF_FULL * gain[-1]
    at = int(np.argmax(gain >= enough))
    if at == 0:
        return float(counts[0])
    part = (enough - gain[at - 1]) / (gain[at] - gain[at - 1])
    return float(counts[at - 1] * (counts[at] / counts[at - 1]) ** part)
