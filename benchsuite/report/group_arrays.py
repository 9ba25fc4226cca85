"""What tables of attacks by group, and of mixtures, are made from, checked."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchsuite.report.drawing import Arrays, numbers
from benchsuite.report.wording import number

COARSE = 20
"""False positives below which a calibrated threshold is called coarse."""
ALL = "all"

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AttackTable:
    """How well each attack does on each group of one subject's examples.

    Attributes:
        subject: whose examples.
        attacks: A names.
        groups: G names, `ALL` first.
        examples: of each group, [G].
        auroc: estimate, low and high, [A, G, 3]; NaN where a group is too small.
        tpr: the same above the calibrated threshold.
        realised_fpr: of the targets above it, [A, G].
        false_positives: that it rests on, [G].
        fpr: that it allows.
        threshold: memorization above which an example is a singleton.
        models: that fit the attacks, that set thresholds, and that are attacked.
    """

    subject: str
    attacks: list[str]
    groups: list[str]
    examples: list[int]
    auroc: Numbers
    tpr: Numbers
    realised_fpr: Numbers
    false_positives: Numbers
    fpr: float
    threshold: float
    models: list[int]

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """The table in an artifact; KeyError or ValueError where it holds none."""
        attacks, groups = _names(arrays, "attacks"), _names(arrays, "groups")
        if groups[0] != ALL or len(groups) < 2:
            raise ValueError(f"groups is {groups}, expected {ALL!r} and others after it")
        shape = len(attacks), len(groups)
        table = cls(
            subject=str(arrays["subject"]),
            attacks=attacks,
            groups=groups,
            examples=_counts(arrays, "examples", len(groups)),
            auroc=_cells(arrays, "auroc", (*shape, 3)),
            tpr=_cells(arrays, "tpr", (*shape, 3)),
            realised_fpr=_cells(arrays, "realised_fpr", shape),
            false_positives=numbers(arrays, "false_positives", shape[1:]),
            fpr=float(numbers(arrays, "fpr", ())),
            threshold=float(numbers(arrays, "threshold", ())),
            models=_counts(arrays, "models", 3),
        )
        missing = np.isnan(table.auroc)
        for name, values in (("tpr", table.tpr), ("realised_fpr", table.realised_fpr[..., None])):
            if (np.isnan(values) != missing[..., : values.shape[-1]]).any():
                raise ValueError(f"{name} is missing in other places than auroc")
        if (missing.any((0, 2)) != missing.all((0, 2))).any():
            raise ValueError("auroc has numbers of some attacks on a group and not of others")
        return table

    def lacks(self, group: int) -> str:
        """Why there is no number of that group: too small: 7 examples; or ""."""
        count = self.examples[group]
        if not np.isnan(self.auroc[0, group, 0]):
            return ""
        return f"too small: {count:,} example{'s' * (count != 1)}" if count else "empty: no example"

    def coarse(self, group: int) -> bool:
        """Whether a threshold at that group rests on few false positives."""
        return not self.lacks(group) and bool(self.false_positives[group] < COARSE)

    @property
    def coarse_groups(self) -> str:
        """Such groups with what their thresholds rest on: subpopulation (4.2)."""
        return ", ".join(
            f"{group} ({number(float(self.false_positives[k]))})"
            for k, group in enumerate(self.groups)
            if self.coarse(k)
        )


@dataclass(frozen=True, eq=False)
class Mixture:
    """What a subject's models are trained on, and how accurate they are.

    `train` and `test` are mean and range of the accuracy by group, [groups, 3].
    """

    subject: str
    groups: list[str]
    examples: list[int]
    singletons: int
    alpha: float
    share: float
    train: Numbers
    test: Numbers
    network: str

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """The mixture in an artifact; KeyError or ValueError where it holds none."""
        groups = _names(arrays, "groups")
        if len(groups) > 2:
            raise ValueError(f"groups is {groups}, expected one or two")
        return cls(
            subject=str(arrays["subject"]),
            groups=groups,
            examples=_counts(arrays, "examples", len(groups)),
            singletons=_counts(arrays, "singletons", None)[0],
            alpha=float(numbers(arrays, "alpha", ())),
            share=float(numbers(arrays, "share", ())),
            train=numbers(arrays, "train", (len(groups), 3)),
            test=numbers(arrays, "test", (len(groups), 3)),
            network=str(arrays["network"]),
        )


def _names(arrays: Arrays, name: str) -> list[str]:
    if arrays[name].ndim != 1 or not arrays[name].size:
        raise ValueError(f"{name} has shape {arrays[name].shape}, expected a list of names")
    return [str(each) for each in arrays[name]]


def _counts(arrays: Arrays, name: str, length: int | None) -> list[int]:
    shape = () if length is None else (length,)
    counts = np.atleast_1d(numbers(arrays, name, shape))
    if (counts < 0).any() or (counts != counts.round()).any():
        raise ValueError(f"{name} holds {counts.tolist()}, expected counts")
    return [int(count) for count in counts]


def _cells(arrays: Arrays, name: str, shape: tuple[int, ...]) -> Numbers:
    """Numbers of which some may be NaN, for a group that is too small."""
    values: Numbers = arrays[name].astype(float)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
    estimate = values[..., 0] if len(shape) == 3 else values
    if np.isinf(values).any() or (estimate < 0).any() or (estimate > 1).any():
        raise ValueError(f"{name} holds values that are not shares between 0 and 1")
    if len(shape) == 3 and not (np.isnan(values).all(-1) | _ordered(values)).all():
        raise ValueError(f"{name} holds values that do not lie within their intervals")
    return values


def _ordered(values: Numbers) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = (values[..., 1] <= values[..., 0]) & (
        values[..., 0] <= values[..., 2]
    )
    return within
