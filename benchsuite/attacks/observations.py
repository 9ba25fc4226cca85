"""What models say of the same examples: what every attack but LiRA's own function reads."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.stats.confidence import scaled_confidence
from benchsuite.stats.validation import Bools, Floats, as_finite, as_membership, same_shape

Labels = NDArray[np.integer[Any]]

_VALUES_PER_BLOCK = 2**18  # 2 MB in float64: what stays in a core's cache


class Observations:
    """What models say of the same examples: their logits, or their scaled confidences alone.

    ``confidence`` and ``loss`` follow from the logits on first use, in blocks, and are kept: 512
    models x 60,000 examples x 10 classes in float32 (1.2 GB) are never copied as a whole. No array
    given in the right dtype is copied: leave them unchanged.

    Attributes:
        labels: int [examples].
        membership: bool [models, examples]; or None where it is what is to be found out.
        logits: float32 or float64 [models, examples, classes]; or None.
        confidence: phi, the scaled confidence in the label, [models, examples], nats, the dtype of
            the logits.
        loss: cross-entropy log(1 + exp(-phi)) = -log p_y, [models, examples], nats, same dtype.
    """

    labels: Labels
    membership: Bools | None
    logits: Floats | None

    def __init__(
        self,
        *,
        labels: ArrayLike,
        membership: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
    ):
        """Check the arrays against each other.

        Args:
            labels: class of each example, integers [examples].
            membership: bool [models, examples]; None only for targets whose membership is unknown.
            logits: before the softmax, finite, [models, examples, classes], at least 2 classes.
            confidence: instead of logits: phi [models, examples], finite, in nats, as
                `scaled_confidence` returns it. Attacks that read output vectors then refuse.

        Raises:
            ValueError: both or neither of logits and confidence, shapes that do not match, NaN or
                infinite values, labels that are not classes.
        """
        if (logits is None) == (confidence is None):
            raise ValueError(
                f"logits and confidence are {'both missing' if logits is None else 'both given'},"
                " expected exactly one: pass logits [models, examples, classes], or phi [models,"
                " examples] where only that was kept"
            )
        self.labels = _as_labels(labels)
        self.logits = None
        if logits is not None:
            kind, self.logits = "logits", _as_logits(logits, self.labels)
            observed = self.logits[:, :, 0]
        else:
            kind, observed = "confidence", as_finite("confidence", np.asarray(confidence), ndim=2)
            self.__dict__["confidence"] = observed  # what the cached property holds
        if len(self.labels) != observed.shape[1]:
            raise ValueError(
                f"labels has {len(self.labels)} values and {kind} has {observed.shape[1]} examples:"
                " expected one label for each example, in the same order"
            )
        self.membership = None
        if membership is not None:
            self.membership = as_membership(membership)
            same_shape(**{kind: observed, "membership": self.membership})

    def __repr__(self) -> str:
        models, examples = self.shape
        kind = "confidence" if self.classes is None else f"logits of {self.classes} classes"
        return f"Observations({models} models, {examples} examples, {kind})"

    @property
    def shape(self) -> tuple[int, int]:
        """(models, examples)."""
        models, examples = (self.confidence if self.logits is None else self.logits).shape[:2]
        return models, examples

    @property
    def classes(self) -> int | None:
        """Classes of the logits; None where only the confidence is known."""
        return None if self.logits is None else self.logits.shape[2]

    @cached_property
    def confidence(self) -> Floats:
        """Phi [models, examples], nats."""
        assert self.logits is not None  # the confidence was given otherwise
        phi = np.empty(self.shape, dtype=self.logits.dtype)
        for rows, columns in blocks(*self.logits.shape):
            phi[rows, columns] = scaled_confidence(self.logits[rows, columns], self.labels[columns])
        return phi

    @cached_property
    def loss(self) -> Floats:
        """Cross-entropy log(1 + exp(-phi)) [models, examples], nats."""
        # exp(-|phi|) never overflows, and log1p keeps losses far below 1.
        loss = np.abs(self.confidence)
        np.negative(loss, out=loss)
        np.exp(loss, out=loss)
        np.log1p(loss, out=loss)
        loss -= np.minimum(self.confidence, 0)
        return loss


def blocks(models: int, examples: int, classes: int) -> list[tuple[slice, slice]]:
    """Cut models x examples into rectangles whose logits fit in a core's cache."""
    height = max(1, _VALUES_PER_BLOCK // (examples * classes))
    width = min(examples, max(1, _VALUES_PER_BLOCK // classes))
    return [
        (slice(row, row + height), slice(column, column + width))
        for row in range(0, models, height)
        for column in range(0, examples, width)
    ]


def _as_labels(labels: ArrayLike) -> Labels:
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"labels has shape {list(array.shape)}, expected one axis [examples] with at least one"
            " label: pass the class index of each example"
        )
    if array.dtype.kind not in "iu":
        raise ValueError(f"labels has dtype {array.dtype}, expected integers: pass class indices")
    if array.min() < 0:
        raise ValueError(
            f"labels holds {array.min()}, expected class indices from 0: leave unlabelled examples"
            " out"
        )
    return array


def _as_logits(logits: ArrayLike, labels: Labels) -> Floats:
    values = as_finite("logits", logits)
    if values.ndim != 3 or values.shape[2] < 2:
        raise ValueError(
            f"logits has shape {list(values.shape)}, expected [models, examples, classes] with at"
            " least 2 classes: for one model pass logits[None]"
        )
    if labels.max() >= values.shape[2]:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}, expected indices of the"
            f" {values.shape[2]} classes of logits: check the order of classes"
        )
    return values
