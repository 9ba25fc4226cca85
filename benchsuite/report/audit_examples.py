"""Which examples an audit lists: pictures of the most exposed, and tables of all of them.

What the recipe exposes and whom one model gives away are two lists: an example may be memorized by
most models of a recipe and not have been among the training data of this one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from benchsuite.auditing.result import Audit
from benchsuite.report.audit_words import share
from benchsuite.report.canvas import picture, short_share
from benchsuite.report.wording import minus

MOST_PICTURES = 40
MOST_ROWS = 2000
"""Of a table; the page stays small enough to be sent."""
COLLAPSED = 200
"""Rows that are seen before one asks for all."""
LARGEST = 160
"""Pixels of a picture's longer side: larger ones are thinned out."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Cell:
    """What is printed, and what its column is sorted by where that is a number."""

    text: str
    sort: float | None = None


@dataclass(frozen=True)
class Table:
    """Examples in print: titles of columns, rows, and how many examples the list has in all."""

    heads: list[str]
    lines: list[list[Cell]]
    listed: int

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [
            all(line[k].sort is not None for line in self.lines) for k in range(len(self.heads))
        ]


def recipe_table(audit: Audit) -> Table:
    """Every example that is memorized or exposed, the most exposed first."""
    examples = audit.examples
    which = _most_exposed(examples, examples["memorized"] | examples["exposed"])
    heads = ["Example", "Label", "Found", "False alarms", "Memorization", "List"]
    if audit.target is not None:
        heads.append("This model")
    heads += _features(audit)
    lines = []
    for k in which[:MOST_ROWS]:
        row = examples.iloc[k]
        line = [*_who(row), _found(row), _alarms(row), _memorization(row), Cell(_lists(row))]
        if audit.target is not None:
            line.append(Cell("accused" if row["accused"] else "–"))
        lines.append([*line, *_values(audit, k)])
    return Table(heads, lines, len(which))


def accused_table(audit: Audit) -> Table:
    """Every example that is accused in the audited model, the highest score first."""
    examples = audit.examples
    which = _highest_score(examples)
    heads = ["Example", "Label", "Score", "Found", "False alarms", "Memorization", "By the recipe"]
    heads += _features(audit)
    lines = []
    for k in which[:MOST_ROWS]:
        row = examples.iloc[k]
        score = Cell(_score(row), float(row["score"]))
        recipe = [_found(row), _alarms(row), _memorization(row), Cell(_lists(row))]
        lines.append([*_who(row), score, *recipe, *_values(audit, k)])
    return Table(heads, lines, len(which))


def recipe_pictures(audit: Audit) -> list[Markup]:
    """Pictures of the most exposed examples; none where they are no images."""
    return _pictures(audit, _most_exposed(audit.examples, audit.examples["exposed"]), _mark)


def accused_pictures(audit: Audit) -> list[Markup]:
    """Pictures of those accused in the audited model; none where they are no images."""
    return _pictures(audit, _highest_score(audit.examples), lambda row: f"score {_score(row)}")


def _most_exposed(examples: pd.DataFrame, among: "pd.Series[bool]") -> Indices:
    gap = (examples["found"] - examples["false_alarms"]).to_numpy()
    order = np.lexsort((-examples["memorization"].to_numpy(), -gap))
    return _among(among, order)


def _among(which: "pd.Series[bool]", order: Indices) -> Indices:
    chosen: Indices = order[which.to_numpy(dtype=bool)[order]]
    return chosen


def _highest_score(examples: pd.DataFrame) -> Indices:
    return _among(examples["accused"], np.argsort(-examples["score"].to_numpy(), kind="stable"))


def _mark(row: "pd.Series[Any]") -> str | Markup:
    accused = bool(row.get("accused", False))
    return Markup('<span class="mark">accused in this model</span>') if accused else ""


def _score(row: "pd.Series[Any]") -> str:
    return minus(f"{row['score']:.3g}")


def _pictures(
    audit: Audit, which: Indices, says: Callable[["pd.Series[Any]"], str | Markup]
) -> list[Markup]:
    if audit.images is None:
        return []
    shown = []
    for k in which[:MOST_PICTURES]:
        row = audit.examples.iloc[k]
        shown.append(picture(_thinned(audit.images[k]), *_caption(row, says(row))))
    return shown


def _caption(row: "pd.Series[Any]", says: str | Markup) -> tuple[str, Markup]:
    """What is read out in place of a picture, and what stands below it."""
    low, high = (short_share(row[f"memorization_{end}"]) for end in ("low", "high"))
    lines = (
        says,
        f"found\u00a0{_whole(row['found'])}\u00a0% "
        f"[{_whole(row['found_low'])},\u00a0{_whole(row['found_high'])}]",
        f"false\u00a0alarms {share(round(row['false_alarms'], 3))}",
        f"mem.\u00a0{short_share(row['memorization'])} [{low},\u00a0{high}]",
    )
    who = Markup("<b>{}</b> · label {}").format(row["example"], row["label"])
    below = Markup("<br>").join([who, *(line for line in lines if line)])
    return f"example {row['example']}, label {row['label']}", below


def _whole(value: float) -> str:
    return f"{100 * value:.0f}"


def _thinned(image: NDArray[Any]) -> NDArray[Any]:
    step = -(-max(image.shape[:2]) // LARGEST)
    return image[::step, ::step]


def _features(audit: Audit) -> list[str]:
    return [] if audit.rows is None else [f"Column {k}" for k in range(audit.rows.shape[1])]


def _values(audit: Audit, k: int) -> list[Cell]:
    values = [] if audit.rows is None else audit.rows[k].tolist()
    return [Cell(minus(f"{value:.3g}"), float(value)) for value in values]


def _who(row: "pd.Series[Any]") -> list[Cell]:
    name, label = row["example"], int(row["label"])
    by = float(name) if isinstance(name, int | np.integer) else None
    return [Cell(f"{name}", by), Cell(f"{label}", label)]


def _found(row: "pd.Series[Any]") -> Cell:
    found, low, high = (f"{100 * row[f'found{end}']:.1f}" for end in ("", "_low", "_high"))
    return Cell(f"{found}\u00a0% [{low}, {high}]", float(row["found"]))


def _alarms(row: "pd.Series[Any]") -> Cell:
    return Cell(f"{100 * row['false_alarms']:.1f}\u00a0%", float(row["false_alarms"]))


def _memorization(row: "pd.Series[Any]") -> Cell:
    shown, low, high = (
        f"{round(row[f'memorization{end}'], 2) + 0.0:.2f}" for end in ("", "_low", "_high")
    )
    return Cell(minus(f"{shown} [{low}, {high}]"), float(row["memorization"]))


def _lists(row: "pd.Series[Any]") -> str:
    return " and ".join(each for each in ("exposed", "memorized") if row[each]) or "neither"
