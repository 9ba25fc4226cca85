"""What remedies would change, as rows and in sentences that follow from the numbers alone."""

import math
from typing import Any, NamedTuple

import pandas as pd

from benchsuite.report.audit_words import share, share_interval


class Remedy(NamedTuple):
    """One row of a remedy table, see `benchsuite.auditing.remedies.remedy_table`."""

    remedy: str
    examples: int
    found: float
    found_low: float
    found_high: float
    memorization: float
    accuracy: float

    @property
    def finds(self) -> str:
        """What the attack finds, with its interval, in print."""
        return share_interval(self.found, self.found_low, self.found_high)


def remedy_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows in print."""
    return [
        {
            "remedy": row.remedy,
            "examples": f"{row.examples:,}",
            "found": row.finds,
            "memorization": f"{row.memorization:.3f}",
            "accuracy": _accuracy(row.accuracy),
        }
        for row in _remedies(table)
    ]


def remedy_sentences(table: pd.DataFrame, fpr: float) -> list[str]:
    """One sentence or two on differential privacy, and on removing the most exposed.

    Raises:
        ValueError: other rows than the recipe as it is, DP-SGD, the most exposed ignored, and
            models trained without them.
    """
    rows = _remedies(table)
    if len(rows) != 4:
        raise ValueError(
            f"remedies has {len(rows)} rows, expected four as remedy_table returns them: pass its "
            "table unchanged"
        )
    as_it_is, private, ignored, without = rows
    return [_of_privacy(as_it_is, private, fpr), _of_removal(as_it_is, ignored, without)]


def _remedies(table: pd.DataFrame) -> list[Remedy]:
    rows: list[dict[Any, Any]] = table.to_dict("records")
    return [
        Remedy(
            str(row["remedy"]),
            int(row["examples"]),
            *(float(row[each]) for each in Remedy._fields[2:]),
        )
        for row in rows
    ]


def _of_privacy(before: Remedy, after: Remedy, fpr: float) -> str:
    change = _compared(before, after)
    if change:
        what = (
            f"With {after.remedy}, the attack finds {'fewer' if change < 0 else 'more'} members: "
            f"{after.finds} instead of {before.finds}."
        )
    else:
        what = (
            f"With {after.remedy}, the attack finds {after.finds} of the members, as it is "
            f"{before.finds}: the intervals overlap, so that these models do not tell whether that "
            "helps."
        )
    guessing = f"Guessing would find {share(fpr)}"
    if after.found_low <= fpr:
        guessing += ", from which it cannot be told"
    return f"{what} {guessing}. {_cost(before, after, 'It')} Nothing was tuned for it."


def _of_removal(all_of_them: Remedy, ignored: Remedy, without: Remedy) -> str:
    removed = all_of_them.examples - without.examples
    kept = f"the {without.examples:,} examples that stay"
    what = (
        f"Among {kept}, the attack finds {ignored.finds} of the members while the {removed:,} "
        f"most exposed are in the data, and {without.finds} once models are trained without them: "
    )
    change = _compared(ignored, without)
    if change > 0:
        what += (
            "those who stay become more exposed, so that removal moves the exposure on to others "
            "(the privacy onion effect)."
        )
    elif change < 0:
        what += "those who stay become less exposed, so that removal helps them as well."
    else:
        what += (
            "the intervals overlap, so that these models do not tell whether those who stay become "
            "more exposed."
        )
    return f"{what} {_cost(all_of_them, without, 'Removal')}"


def _compared(before: Remedy, after: Remedy) -> int:
    """-1 where less is found after, 1 where more is, 0 where the intervals overlap."""
    if after.found_high < before.found_low:
        return -1
    return int(after.found_low > before.found_high)


def _cost(before: Remedy, after: Remedy, subject: str) -> str:
    if math.isnan(before.accuracy) or math.isnan(after.accuracy):
        return "What it costs in accuracy is unknown: there are no held-out examples."
    points = 100 * (before.accuracy - after.accuracy)
    ends = f"({_accuracy(before.accuracy)} to {_accuracy(after.accuracy)} on held-out examples)"
    if abs(points) < 0.05:
        return f"{subject} leaves accuracy as it is {ends}."
    verb = "costs" if points > 0 else "gains"
    return f"{subject} {verb} {abs(points):.1f} points of accuracy {ends}."


def _accuracy(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{100 * value:.1f}\u00a0%"
