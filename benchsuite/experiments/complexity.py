"""How many models an attacker must see, by how memorized the example is: Corollary 1."""

import numpy as np
from numpy.typing import NDArray

from benchsuite.experiments.gaussians import gaussians, side_mean
from benchsuite.experiments.groups import SMALLEST_BIN
from benchsuite.experiments.split_bank import SplitBank
from benchsuite.stats.likelihood import gaussian_sample_complexity, sample_complexity
from benchsuite.stats.verdict import CannotResolveError

SURELY_MEMORIZED = 3.0
"""Standard errors above 0 from which sample complexity is regressed on memorization."""
MOST_CENSORED = 0.05
"""Share of those examples that may show no gain in a block without deciding the slope."""

Floats = NDArray[np.float64]


def models_needed(
    bank: SplitBank, models: NDArray[np.intp], target: float
) -> tuple[Floats, dict[str, Floats]]:
    """Memorization, and the models needed in each channel, of surely memorized examples.

    n is the number of independent models, all IN or all OUT, whose likelihood ratio reaches
    `target`, with what the block's models say as the truth: whether the label is
    predicted ("prediction"), or the confidence, a Gaussian on each side ("confidence").
    Examples are chosen on one half of the references, by memorization of at least
    `SURELY_MEMORIZED` standard errors, and memorization is measured on the other, so that
    neither shares its error with n.

    n is cut at what an advantage of 1 / (targets) needs, half an error of the OUT models where
    half are IN: a block that saw no gain knows no more.

    Raises:
        CannotResolveError: fewer than 15 such examples, or more than `MOST_CENSORED` of them
            reach that cut, which would then decide the slope.
    """
    chosen_on, measured_on = bank.halves()
    first_half = bank.memorization_of(chosen_on)
    chosen = np.flatnonzero(first_half.estimate > SURELY_MEMORIZED * first_half.stderr)
    if len(chosen) < SMALLEST_BIN:
        raise CannotResolveError(
            f"{len(chosen)} examples are surely memorized, of {SMALLEST_BIN} needed: this "
            "subject memorizes too little for this finding"
        )
    memorization = bank.memorization_of(measured_on).estimate[chosen]
    inside = bank.membership[models][:, chosen]
    correct = bank.correct[models][:, chosen]
    p_in, p_out = side_mean(correct, inside), side_mean(correct, ~inside)
    prediction = sample_complexity(
        np.stack([1 - p_out, p_out], -1), np.stack([1 - p_in, p_in], -1), target
    )
    fitted = gaussians(bank.confidence[models][:, chosen], ~inside, inside)
    needed = {
        "prediction": np.where(p_in > p_out, prediction, np.inf),
        "confidence": gaussian_sample_complexity(
            fitted.mean[0],
            fitted.variance[0],
            fitted.mean[1],
            fitted.variance[1],
            target,
        ),
    }
    most = np.log1p(-target) / np.log1p(-1 / len(models))
    censored = float(np.mean(needed["prediction"] >= most))
    if censored > MOST_CENSORED:
        raise CannotResolveError(
            f"{censored:.0%} of the surely memorized examples show no gain in a block of "
            f"{len(models)} models, more than {MOST_CENSORED:.0%}: this finding needs "
            "larger blocks"
        )
    return np.maximum(memorization, 1 / len(measured_on)), {
        channel: np.minimum(n, most) for channel, n in needed.items()
    }
