"""TracIn's self-influence: how much a model's training on an example lowers its own loss on it.

From what was observed while models trained: the bank's columns "pool.squared_gradient@epoch" and
"pool.loss@epoch".
"""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.stats.validation import Float64s, as_finite


class Checkpoints(NamedTuple):
    """Epochs at whose ends gradients are taken.

    Attributes:
        epochs: from 1, ascending, int64.
        fell: whether the loss fell as far as was asked for; if not, they run to the last epoch.
    """

    epochs: NDArray[np.int64]
    fell: bool


def checkpoints(
    losses: ArrayLike, count: int = 10, fall: float = 0.95, *, initial: float
) -> Checkpoints:
    """Return epochs, evenly spaced until the training loss has fallen by `fall` of `initial`.

    The last of them is the first epoch at whose end the loss is no more than (1 - fall) x initial.
    Where that comes sooner than `count` epochs, every epoch up to it is one.

    Args:
        losses: mean training loss at the end of each epoch from the first, [epochs].
        count: how many checkpoints, at least 1.
        fall: share of the loss to be rid of, above 0 and up to 1.
        initial: loss of an untrained model, above 0, such as log(classes) in nats.

    Raises:
        ValueError: losses that are not finite or below 0, an argument outside its range.

    Source: Hartley & Tsaftaris (2022), Sec. 3.4.2: 10 evenly spaced checkpoints which account for
        a 95 % reduction in the training loss.
    """
    values = as_finite("losses", losses, ndim=1)
    if values.min() < 0:
        raise ValueError(
            f"losses[{int(values.argmin())}] is {values.min()}, expected losses of 0 or more: pass "
            "the mean cross-entropy of each epoch"
        )
    if not isinstance(count, Integral) or count < 1:
        raise ValueError(f"count={count!r} must be an int of at least 1, the paper's is 10")
    if not 0 < fall <= 1:
        raise ValueError(f"fall={fall!r} must be above 0 and no more than 1, the paper's is 0.95")
    if not 0 < initial < np.inf:
        raise ValueError(
            f"initial={initial!r} must be above 0 and finite: the loss of an untrained model, such "
            "as log(classes)"
        )
    low = values <= (1 - fall) * initial
    fell = bool(low.any())
    last = int(low.argmax()) + 1 if fell else len(values)
    steps = np.arange(1, count + 1, dtype=np.int64)
    return Checkpoints(np.unique(-(-steps * last // count)), fell)


def self_influence(squared_gradients: ArrayLike, learning_rates: ArrayLike) -> Float64s:
    """Return TracInCP of each example on itself: the sum of eta_i |gradient_i|^2 over checkpoints.

    Args:
        squared_gradients: squared norms of the gradients of each example's loss at each
            checkpoint, [checkpoints, examples] or [checkpoints, models, examples].
        learning_rates: eta at each checkpoint, above 0, [checkpoints]; one number for all alike.

    Returns:
        float64 [examples] or [models, examples], 0 or more.

    Raises:
        ValueError: values that are not finite or negative, another shape, other numbers of
            checkpoints and rates. Of a model that had stopped before a checkpoint the columns hold
            NaN: leave it out.

    Source: Hartley & Tsaftaris (2022), Equation 5; Pruthi et al. (2020), Estimating Training Data
        Influence by Tracing Gradient Descent, TracInCP.
    """
    squares = as_finite("squared_gradients", squared_gradients)
    if squares.ndim not in (2, 3):
        raise ValueError(
            f"squared_gradients has shape {list(squares.shape)}, expected [checkpoints, examples] "
            "or [checkpoints, models, examples]: stack one array a checkpoint"
        )
    if squares.min() < 0:
        raise ValueError(
            f"squared_gradients holds {squares.min()}, expected squared norms of 0 or more: square "
            "the norms"
        )
    rates = as_finite("learning_rates", learning_rates)
    if rates.shape not in ((), (len(squares),)):
        raise ValueError(
            f"learning_rates has shape {list(rates.shape)} and squared_gradients "
            f"{len(squares)} checkpoints: pass one rate a checkpoint, or one number for all"
        )
    if rates.min() <= 0:
        raise ValueError(
            f"learning_rates holds {rates.min()}, expected rates above 0: pass those of the epochs"
        )
    each = np.broadcast_to(rates.astype(np.float64), (len(squares),))
    return np.tensordot(each, squares.astype(np.float64), axes=1)
