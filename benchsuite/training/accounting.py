"""What a private recipe spends, and the noise that keeps to a budget: Opacus counts.

Neighbours differ by one example more or less, and batches are those of `TrainingJob.epoch`: in each
step each example is sampled with one probability, whatever the others do (Poisson sampling).
"""

import math
import warnings
from numbers import Integral
from typing import Literal, NamedTuple

import numpy as np

from benchsuite.training.recipe import Recipe

Accountant = Literal["rdp", "prv"]
"""By Rényi divergences, an upper bound; or by the privacy loss's distribution on a grid, tighter
and slower. The third, Gaussian, is left out: its limit of many steps may lie below the truth."""

_LEAST_NOISE, _LARGEST_NOISE = 1e-3, 1e3
_LARGEST_LOSS = 100  # of the grid, which grows with it and with the root of the steps
_GRID_ERROR = 4000  # of delta this part is lost at the ends of Opacus's grid
_CLOSENESS = 1e-3


class Spent(NamedTuple):
    """A guarantee, (epsilon, delta), and the accountant that counted it."""

    epsilon: float
    delta: float
    accountant: Accountant

    def __str__(self) -> str:
        return (
            f"epsilon {self.epsilon:.3g} at delta {self.delta:g} (Opacus's "
            f"{self.accountant.upper()} accountant)"
        )


def privacy_spent(
    recipe: Recipe, examples: int, delta: float, accountant: Accountant = "rdp"
) -> Spent:
    """The differential privacy of each example of a model that a private recipe trains.

    Training that stops early has spent no more than this. What else the data decide, such as a
    learning rate tuned on them, is not counted.

    Args:
        recipe: with privacy.
        examples: size of a model's training subset; of a `Joining` design that of the whole pool.
        delta: at which epsilon is asked, above 0 and below 1; usual is below 1 / examples.
        accountant: "rdp" or "prv".

    Returns:
        Epsilon 0 or more, infinite for a noise below 0.001.

    Raises:
        ValueError: a value of another kind or outside its range, a recipe without privacy, or one
            that spends more than "prv" computes.
        ImportError: Opacus is not installed.

    Source: I. Mironov, K. Talwar and L. Zhang, Rényi Differential Privacy of the Sampled Gaussian
        Mechanism (2019); S. Gopi, Y. T. Lee and L. Wutschitz, Numerical Composition of
        Differential Privacy (2021).
    """
    _check(recipe, examples, delta, accountant)
    if recipe.privacy is None:
        raise ValueError(
            "recipe.privacy is None, which no epsilon describes: give the recipe a Privacy, such "
            "as Privacy(noise=1.0, clip=1.0)"
        )
    noise = recipe.privacy.noise
    epsilon = _epsilon(noise, recipe, examples, delta, accountant)
    if math.isinf(epsilon) and noise >= _LEAST_NOISE:
        raise ValueError(
            f"accountant={accountant!r} computes no privacy loss above {_LARGEST_LOSS}, which "
            f"noise={noise} exceeds in {recipe.steps(examples)} steps: use more noise, or 'rdp'"
        )
    return Spent(epsilon, float(delta), accountant)


def noise_for(
    epsilon: float, recipe: Recipe, examples: int, delta: float, accountant: Accountant = "rdp"
) -> float:
    """The smallest noise multiplier that spends at most `epsilon`, up to 0.1 % too large.

    Args:
        epsilon: to spend, above 0 and finite.
        recipe: whose epochs and batch size count; its own privacy does not, and may be None.
        examples: as of `privacy_spent`.
        delta: as of `privacy_spent`.
        accountant: as of `privacy_spent`.

    Returns:
        Between 0.001 and 1,000.

    Raises:
        ValueError: as of `privacy_spent`, or an epsilon for which the noise would lie outside.
        ImportError: Opacus is not installed.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon={epsilon} must be above 0 and finite")
    _check(recipe, examples, delta, accountant)
    low, high, of_low = _LEAST_NOISE, _LARGEST_NOISE, math.inf
    least = _epsilon(high, recipe, examples, delta, accountant)
    if least > epsilon:
        raise ValueError(
            f"epsilon={epsilon} is out of reach: accountant={accountant!r} gives {least:.3g} for a "
            f"noise of {high:g} at delta={delta}; ask for more, or train fewer steps"
        )
    while high > low * (1 + _CLOSENESS):
        middle = math.sqrt(low * high)
        of_middle = _epsilon(middle, recipe, examples, delta, accountant)
        if of_middle <= epsilon:
            high = middle
        else:
            low, of_low = middle, of_middle
    if math.isinf(of_low):
        raise ValueError(
            f"epsilon={epsilon} is more than accountant={accountant!r} computes of this recipe: "
            "ask for less"
        )
    return high


def _check(recipe: Recipe, examples: int, delta: float, accountant: str) -> None:
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe is a {type(recipe).__name__}, expected a benchsuite.Recipe")
    if not isinstance(examples, Integral) or examples < 1:
        raise ValueError(
            f"examples={examples!r} must be an int of at least 1, the size of a training subset"
        )
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta} must be above 0 and below 1, such as 1e-5")
    if accountant not in ("rdp", "prv"):
        raise ValueError(f"accountant={accountant!r} is unknown: use 'rdp' or 'prv'")


def _epsilon(
    noise: float, recipe: Recipe, examples: int, delta: float, accountant: Accountant
) -> float:
    """Infinite where the noise is too small to compute with."""
    if noise < _LEAST_NOISE:
        return math.inf
    try:
        from opacus.accountants import PRVAccountant, RDPAccountant
    except ImportError as error:
        raise ImportError("counting privacy needs Opacus: pip install 'benchsuite[dp]'") from error
    rate = min(recipe.batch_size, examples) / examples
    spent = [(float(noise), rate, recipe.steps(examples))]
    with warnings.catch_warnings():
        # Opacus's orders end at 63; a better bound may lie beyond, but this one is valid.
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        by_orders = RDPAccountant()
        by_orders.history = spent
        if accountant == "rdp":
            return max(0.0, float(by_orders.get_epsilon(delta)))
        if by_orders.get_epsilon(delta / _GRID_ERROR) > _LARGEST_LOSS:
            return math.inf
        by_grid = PRVAccountant()
        by_grid.history = spent
        with np.errstate(divide="ignore"):  # log(1 - rate) is taken of a rate of 1 too
            try:
                return max(0.0, float(by_grid.get_epsilon(delta)))
            except (RuntimeError, ValueError) as error:
                raise ValueError(
                    f"accountant='prv' fails at noise={noise:g} and delta={delta} ({error}): use "
                    "'rdp'"
                ) from error
