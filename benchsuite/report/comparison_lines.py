"""The rows of the membership paper's tables and of ours as the page prints them."""

from dataclasses import dataclass

from benchsuite.published import MixtureRow, mixture_rows
from benchsuite.report.comparison import MEASURES, Comparison, Row, Source
from benchsuite.report.counterparts import papers_accuracy, training_set
from benchsuite.report.group_arrays import COARSE, Mixture
from benchsuite.report.group_tables import estimate_and_interval

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """A number in print; `sort` is what its column is sorted by, None where there is no number."""

    text: str = NOTHING
    small: str = ""
    sort: float | None = None


@dataclass(frozen=True)
class Line:
    """One row on the page: texts, each with what stands small below it, then numbers."""

    texts: tuple[tuple[str, str], ...]
    cells: tuple[Cell, ...]


def attack_lines(comparison: Comparison) -> list[Line]:
    """What was measured here, each number with the paper's before it."""
    return [
        Line(
            texts=(
                (str(row["attack"]), ""),
                (str(row["training_set"] or NOTHING), f"here {row['subject']}, {row['tier']}"),
                (str(row["group"]), _papers_group(row)),
            ),
            cells=tuple(
                cell for name in MEASURES for cell in (_printed(row, name), _measured(row, name))
            ),
        )
        for row in comparison.ours
    ]


def rest_lines(comparison: Comparison) -> list[Line]:
    """The paper's numbers where there are none of ours, and why there are none."""
    return [
        Line(
            texts=(
                (str(row["attack"]), ""),
                (str(row["training_set"]), ""),
                (str(row["group"]), _papers_group(row)),
            ),
            cells=(*(_printed(row, name) for name in MEASURES), Cell(str(row["note"]))),
        )
        for row in comparison.rest
    ]


def mixture_lines(comparison: Comparison) -> list[Line]:
    """Tables 2 and 3: the paper's rows with ours, ours alone, the paper's alone."""
    found, others = [], []
    for row in mixture_rows():
        place = row.over, row.under
        sources = [each for each in comparison.mixtures if each.place and each.place[:2] == place]
        found += [_mixture_line(row, source) for source in sources]
        others += [] if sources else [_mixture_line(row, None)]
    own = [_mixture_line(None, source) for source in comparison.mixtures if not source.place]
    return found + own + others


def _papers_group(row: Row) -> str:
    printed = row.get("paper_group", "")
    return f"paper: {printed}" if printed and printed != row["group"] else ""


def _printed(row: Row, name: str) -> Cell:
    value = row.get(f"{name}_paper")
    if not isinstance(value, float):
        return Cell()
    return Cell(f"{100 * value:.4g} %" if name.startswith("tpr") else f"{value:.2f}", sort=value)


def _measured(row: Row, name: str) -> Cell:
    measure, _, side = name.partition("_")
    numbers = [float(row[f"{name}{end}"]) for end in ("", "_low", "_high") if name in row]
    if not numbers:
        count = row[f"examples_{side}"]
        return Cell("too small" if count else "empty", f"{count:,} examples")
    text, small = estimate_and_interval(numbers, share=measure == "tpr")
    coarse = measure == "tpr" and float(row[f"false_positives_{side}"]) < COARSE
    return Cell(text + "†" * coarse, small, numbers[0])


def _mixture_line(paper: MixtureRow | None, source: Source[Mixture] | None) -> Line:
    ours = source.table if source else None
    memorized = paper is not None and paper.table == 3
    # The models of Table 3 are trained without the other outliers: only their number compares.
    trained = None if memorized else ours
    cells = [
        _count(paper.n_under if paper else None),
        _count((ours.singletons if memorized else sum(ours.examples[1:])) if ours else None),
        _alpha(paper.alpha if paper else None),
        _alpha(trained.alpha if trained else None),
    ]
    for which in ("train", "test"):
        for k in range(2):
            cells += [_papers_accuracy(paper, which, k), _our_accuracy(trained, which, k)]
    return Line(
        texts=(
            (
                training_set(paper.over, paper.under) if paper else NOTHING,
                f"here {source.name}" if source else "not run here",
            ),
            (f"Table {paper.table}" if paper else "not in the paper", ""),
            (paper.model if paper else NOTHING, f"here {trained.network}" if trained else ""),
        ),
        cells=tuple(cells),
    )


def _count(value: int | None) -> Cell:
    return Cell() if value is None else Cell(f"{value:,}", sort=value)


def _alpha(value: float | None) -> Cell:
    return Cell() if value is None else Cell(f"{value:.2f}", sort=value)


def _papers_accuracy(paper: MixtureRow | None, which: str, group: int) -> Cell:
    printed = papers_accuracy(paper, which, group)
    if printed is None:
        return Cell()
    return Cell(f"{100 * printed[0]:.2f} %", f"± {100 * printed[1]:.4g}", printed[0])


def _our_accuracy(ours: Mixture | None, which: str, group: int) -> Cell:
    if ours is None or group >= len(ours.groups):
        return Cell()
    values = (ours.train if which == "train" else ours.test)[group]
    return Cell(*estimate_and_interval(values, share=True), float(values[0]))
