"""How a model is trained: frozen, hashable, printable, and part of a bank's identity."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal


@dataclass(frozen=True)
class Augmentation:
    """Random shift and mirror image of every training image, drawn anew each epoch.

    Args:
        shift: largest shift in pixels, each way and along both axes; the border is filled with 0.
        flip: whether half of the images are mirrored left to right.

    Raises:
        ValueError: negative shift, or an augmentation that changes nothing.
    """

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.shift, Integral) or self.shift < 0:
            raise ValueError(f"shift={self.shift!r} must be an int, of 0 or more pixels")
        object.__setattr__(self, "shift", int(self.shift))
        if self.shift == 0 and not self.flip:
            raise ValueError("Augmentation() changes nothing: set shift or flip, or use None")


@dataclass(frozen=True)
class Privacy:
    """DP-SGD: each example's gradient clipped, their sum with Gaussian noise, batches by chance.

    In each step each example of a model's training subset takes part with probability batch size /
    subset size (at most 1), whatever the others do. The sum of the clipped gradients and the noise
    is divided by the expected number of examples.

    Args:
        noise: multiplier sigma: the noise has standard deviation noise * clip; 0 clips alone.
        clip: largest l2 norm of an example's gradient, over all parameters together.

    Raises:
        ValueError: a value that is no number or outside its range.

    Source: M. Abadi et al., Deep Learning with Differential Privacy (2016), Algorithm 1.
    """

    noise: float
    clip: float

    def __post_init__(self) -> None:
        _as_floats(self, "noise", "clip")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise={self.noise} must be 0 or more and finite")
        if not 0 < self.clip < math.inf:
            raise ValueError(f"clip={self.clip} must be above 0 and finite")


@dataclass(frozen=True)
class Recipe:
    """The training recipe of every shadow model of a subject.

    Cross-entropy on minibatches of a fresh order each epoch; the last, smaller batch is used too.

    Args:
        epochs: passes over the model's own training subset.
        batch_size: examples a step.
        optimizer: "sgd" (with `momentum`) or "adam" (torch's defaults for its betas).
        learning_rate: at the first step.
        momentum: of SGD; ignored by Adam.
        weight_decay: L2 penalty as torch's optimizers define it.
        schedule: "constant", or "cosine" from `learning_rate` to 0 over all steps.
        augmentation: random changes of the training images, or None.
        early_stopping: patience in epochs. Training ends once the loss on the subject's validation
            set has not fallen for so many epochs, and the best weights are kept. None: never.
        label_smoothing: e in the target (1 - e) one-hot + e / classes of the training loss; the
            validation loss of early stopping is without it.
        privacy: DP-SGD, whose batches are of another size each, or None.

    Raises:
        ValueError: a value of another kind or outside its range.
    """

    epochs: int = 50
    batch_size: int = 64
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    augmentation: Augmentation | None = None
    early_stopping: int | None = None
    label_smoothing: float = 0.0
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name}={value!r} must be an int of at least 1")
            object.__setattr__(self, name, int(value))  # a NumPy number is no JSON
        _as_floats(self, "learning_rate", "momentum", "weight_decay", "label_smoothing")
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer={self.optimizer!r} is unknown: use 'sgd' or 'adam'")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule={self.schedule!r} is unknown: use 'constant' or 'cosine'")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0 and finite")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum} must be in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay} must be 0 or more and finite")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing} must be in [0, 1)")
        if not isinstance(self.privacy, Privacy | None):
            raise ValueError(
                f"privacy={self.privacy!r} must be a Privacy, such as Privacy(noise=1.0, "
                "clip=1.0), or None"
            )
        if not isinstance(self.augmentation, Augmentation | None):
            raise ValueError(
                f"augmentation={self.augmentation!r} must be an Augmentation, such as "
                "Augmentation(shift=2), or None"
            )
        patience = self.early_stopping
        if patience is not None:
            if not isinstance(patience, Integral) or patience < 1:
                raise ValueError(
                    f"early_stopping={patience!r} is a patience in epochs: use an int of at least "
                    "1, or None"
                )
            object.__setattr__(self, "early_stopping", int(patience))

    def steps_of_epoch(self, examples: int) -> int:
        """Optimizer steps of one epoch for a training subset of `examples`."""
        return math.ceil(examples / self.batch_size)

    def steps(self, examples: int) -> int:
        """Optimizer steps for a training subset of `examples`."""
        return self.epochs * self.steps_of_epoch(examples)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (from 0) of `steps`."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def _as_floats(values: Privacy | Recipe, *names: str) -> None:
    """Make numbers of any kind Python's own, for a NumPy number is no JSON."""
    for name in names:
        value = getattr(values, name)
        if not isinstance(value, Real):
            raise ValueError(f"{name}={value!r} must be a number")
        object.__setattr__(values, name, float(value))
