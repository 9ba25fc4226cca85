"""Alpha spending: how much of a claim's alpha each of several looks at growing data may use.

Looking again and again at full alpha errs more often than alpha. Here look k is decided at a level
of its own, a(t_k) - a(t_(k-1)), t being the share of the declared units that it sees and a(t) what
is spent until then. The levels add up to alpha, so by the union bound the intervals of all looks
hold at once with probability 1 - alpha at least: for any statistic, however the looks depend on
each other, and whenever one stops. That is conservative, for looks at growing data agree with each
other: Lan and DeMets' boundaries for normal statistics would make up for it, but units are few here
and their intervals are Student's.

What is spent is alpha t^2. A function of the O'Brien-Fleming type keeps more for the last look, but
its first levels are beyond Student's t of a few units: at alpha 0.00625 a mean over 4 of 16 units
would have to lie 180 standard deviations from a bound to be decided, and one over 4 of 8 units 13;
with t^2 it is 9 and 6.

Source: Lan & DeMets (1983), Biometrika 70, 659-663 (spending); Kim & DeMets (1987), Biometrika 74,
149-154 (alpha t^rho); O'Brien & Fleming (1979), Biometrics 35, 549-556.
"""

from collections.abc import Sequence
from itertools import pairwise

from benchsuite.stats.intervals import check_alpha

POWER = 2
"""Rho of Kim and DeMets."""


def spent(share: float, alpha: float) -> float:
    """Return how much of alpha may be used until this share of the units was seen.

    Args:
        share: of the declared units, from 0 to 1.
        alpha: of all looks together.

    Raises:
        ValueError: a share outside [0, 1], alpha outside (0, 1).
    """
    check_alpha(alpha)
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected a number from 0 to 1, of the declared units")
    return alpha * float(share) ** POWER


def levels(shares: Sequence[float], alpha: float) -> tuple[float, ...]:
    """Return the alpha of each look's two-sided interval; together they are alpha.

    Args:
        shares: of the declared units that each look sees, increasing, the last one 1.
        alpha: of all looks together.

    Raises:
        ValueError: shares that do not increase from above 0 to 1, alpha outside (0, 1).
    """
    if (
        not shares
        or any(one >= next_ for one, next_ in pairwise((0.0, *shares)))
        or shares[-1] != 1
    ):
        raise ValueError(
            f"shares is {list(shares)}, expected them to increase from above 0 to 1, such as "
            "[0.25, 0.5, 1]"
        )
    return tuple(
        spent(later, alpha) - spent(earlier, alpha) for earlier, later in pairwise((0.0, *shares))
    )
