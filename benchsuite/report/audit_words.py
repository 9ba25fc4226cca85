"""Shares, points and intervals of an audit in print."""

import re
from dataclasses import dataclass
from typing import Any

from benchsuite.auditing.result import Audit
from benchsuite.report.wording import measured, percent
from benchsuite.stats.intervals import Interval


@dataclass(frozen=True)
class AttackRow:
    """One attack in print, with the numbers that its columns are sorted by."""

    name: str
    tpr: str
    auroc: str
    fpr: str


def share(value: float) -> str:
    """A share as a percentage that does not break over lines."""
    return percent(value).replace(" ", "\u00a0")


def rate(value: float) -> str:
    """A realised false alarm rate, which few false alarms tell to two digits at best: 0.099 %."""
    return share(float(f"{value:.2g}"))


def share_interval(estimate: float, low: float, high: float) -> str:
    """A share with its interval, which ends at 0 and 1 as shares do: 3.15 % [3.06, 3.24]."""
    limits = max(low, 0.0), min(high, 1.0)
    if estimate == limits[0] == limits[1]:
        return share(estimate)
    text = measured(estimate, limits, share=True).replace(" %", "\u00a0%")
    return re.sub(r"(?<![\d.,])0\.0+(?!\d)", "0", text)


def points(of: Interval) -> str:
    """A difference of shares with its interval, in percentage points: 3.47 [3.37, 3.58]."""
    scaled = [100 * value for value in of]
    return measured(scaled[0], (scaled[1], scaled[2]))


def attack_rows(audit: Audit) -> list[AttackRow]:
    """The attacks, the strongest first."""
    ordered = audit.attacks.sort_values("tpr", ascending=False, kind="stable")
    rows: list[dict[Any, Any]] = ordered.to_dict("records")
    return [
        AttackRow(
            str(row["attack"]),
            share_interval(row["tpr"], row["tpr_low"], row["tpr_high"]),
            f"{row['auroc']:.3f}",
            rate(row["fpr"]),
        )
        for row in rows
    ]
