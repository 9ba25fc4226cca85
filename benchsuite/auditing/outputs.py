"""Outputs of models that others trained, checked and turned into observations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchsuite.attacks.observations import Observations
from benchsuite.memorization.unique_feature import FLOOR, SUMS_TO_ONE
from benchsuite.stats.validation import Bools, Floats

KINDS = ("logits", "probabilities", "probability", "confidence")
"""What outputs may be; the first two have an axis of classes."""
STEMS = {"logits": "logit_", "probabilities": "probability_"}
"""How the columns of each class begin in a table."""


@dataclass(frozen=True)
class Source:
    """Where outputs come from: what a message says, and what it says to do.

    Attributes:
        name: a file's path, or "target".
        form: "arrays" of an .npz, "columns" of a table, or "returned" by a callable.
    """

    name: str
    form: str

    def part(self, kind: str) -> str:
        """Name the outputs of this kind."""
        if self.form == "returned":
            return self.name
        return f"{self.name}, {self._noun(kind)}"

    def rename(self, kind: str) -> str:
        """Say what to do where the outputs are of this kind, and were taken for another."""
        if self.form == "returned":
            return f'pass outputs="{kind}"'
        return f"name the {self._noun(kind)}"

    def _noun(self, kind: str) -> str:
        if self.form == "arrays":
            return f"array {kind}"
        stem = STEMS.get(kind)
        return f"columns {stem}0, {stem}1, ..." if stem else f"column {kind}"


def observations_of(
    source: Source,
    kind: str,
    values: NDArray[Any],
    *,
    labels: ArrayLike,
    membership: Bools | None = None,
    ids: NDArray[Any] | None = None,
    models: NDArray[Any] | None = None,
) -> tuple[Observations, int]:
    """Return what attacks read, and how many probabilities were raised to 1e-12 for it.

    Args:
        source: where they come from.
        kind: one of `KINDS`.
        values: [models, examples, classes], or [models, examples] without classes.
        labels: [examples].
        membership: [models, examples]; or None.
        ids: of the examples, for messages; their positions where None.
        models: of the models, for messages; their positions where None.

    Raises:
        ValueError: other than finite numbers, fewer than two classes, values that are of another
            kind, labels that are no classes of theirs.
    """
    floats = _finite(source, kind, values, ids, models)
    if kind in STEMS and floats.shape[-1] < 2:
        raise ValueError(
            f"{source.part(kind)}: 1 class, expected at least 2: for a binary model of one logit z "
            "give [0, z], of one probability p [1 - p, p]"
        )
    raised = 0
    if kind == "logits":
        _are_logits(source, floats)
    elif kind == "confidence":
        if floats.min() >= 0 and floats.max() <= 1:
            raise ValueError(
                f"{source.part(kind)}: all values from {floats.min():.3g} to {floats.max():.3g}, "
                "expected scaled confidences log p - log(1 - p), on both sides of 0 or above 1: it "
                f"looks like probabilities of the label: {source.rename('probability')}"
            )
    elif kind == "probabilities":
        _are_distributions(source, floats)
        raised = int(np.count_nonzero(floats < FLOOR))
        floats = np.maximum(floats, FLOOR)
        np.log(floats, out=floats)
    else:
        floats, raised = _log_odds(source, floats)
    try:
        observations = Observations(
            labels=labels,
            membership=membership,
            **{"logits" if kind in STEMS else "confidence": floats},
        )
    except ValueError as error:
        if source.form == "returned":
            raise
        raise ValueError(f"{source.name}: {error}") from error
    return observations, raised


def _finite(
    source: Source,
    kind: str,
    values: NDArray[Any],
    ids: NDArray[Any] | None,
    models: NDArray[Any] | None,
) -> Floats:
    if values.dtype.kind not in "fiu" or values.size == 0:
        raise ValueError(
            f"{source.part(kind)}: {values.dtype} of shape {list(values.shape)}, expected at least "
            "one real number: write it as float32 or float64"
        )
    narrow = values.dtype in (np.float16, np.float32)
    floats: Floats = values.astype(np.float32 if narrow else np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        finite = bool(np.isfinite(floats.min()) and np.isfinite(floats.max()))  # NaN propagates
    if not finite:
        bad = ~np.isfinite(floats)
        model, example = np.unravel_index(int(bad.argmax()), floats.shape)[:2]
        of = f"model {model if models is None else models[model]}, " if len(floats) > 1 else ""
        raise ValueError(
            f"{source.part(kind)}: {int(bad.sum())} of {floats.size} values are NaN or infinite "
            f"(first of {of}example {example if ids is None else ids[example]}), expected finite "
            "numbers: repair them where they are made"
        )
    return floats


def _are_logits(source: Source, values: Floats) -> None:
    if values.min() >= 0 and np.abs(values.sum(axis=-1) - 1).max() <= SUMS_TO_ONE:
        raise ValueError(
            f"{source.part('logits')}: no value below 0 and all rows sum to 1, expected logits, "
            f"before the softmax: it looks like probabilities: {source.rename('probabilities')}"
        )


def _are_distributions(source: Source, values: Floats) -> None:
    sums = values.sum(axis=-1)
    worst = float(sums.ravel()[np.abs(sums - 1).argmax()])
    least, most = float(values.min()), float(values.max())
    if least >= 0 and abs(worst - 1) <= SUMS_TO_ONE:
        return
    found = (
        f"{source.part('probabilities')}: values from {least:.3g} to {most:.3g} with a row that "
        f"sums to {worst:.4g}, expected probabilities that sum to 1 within {SUMS_TO_ONE:g}"
    )
    if least < 0 or most > 1:
        raise ValueError(f"{found}: it looks like logits: {source.rename('logits')}")
    raise ValueError(
        f"{found}: give them over all classes and after a softmax; if it looks like logits to you, "
        f"{source.rename('logits')}"
    )


def _log_odds(source: Source, values: Floats) -> tuple[Floats, int]:
    if values.min() < 0 or values.max() > 1:
        strange = values.min() if values.min() < 0 else values.max()
        raise ValueError(
            f"{source.part('probability')}: the value {strange:.4g}, expected probabilities of the "
            "label between 0 and 1: if it is scaled, log p - log(1 - p), "
            f"{source.rename('confidence')}"
        )
    p = values.astype(np.float64)
    q = 1 - p
    raised = int(np.count_nonzero(p < FLOOR) + np.count_nonzero(q < FLOOR))
    odds: Floats = np.log(np.maximum(p, FLOOR)) - np.log(np.maximum(q, FLOOR))
    return odds, raised
