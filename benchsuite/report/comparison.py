"""The membership paper's tables with ours beside them, and as a CSV file."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from benchsuite.claim import TIERS
from benchsuite.published import AttackRow, attack_rows
from benchsuite.report.artifacts import load_artifact
from benchsuite.report.counterparts import (
    COUNTERPARTS,
    Counterpart,
    attack_row,
    group_of,
    training_set,
)
from benchsuite.report.drawing import Arrays
from benchsuite.report.finding import Finding
from benchsuite.report.group_arrays import AttackTable, Mixture

TABLES = "membership-tables.csv"
MEASURES = ("auroc_all", "auroc_under", "tpr_all", "tpr_under")
COLUMNS = (
    *("attack", "training_set", "group", "subject", "tier", "comparison", "paper_table"),
    *("paper_row", "paper_half", "paper_group"),
    *(f"{name}{end}" for name in MEASURES for end in ("_paper", "", "_low", "_high")),
    *("fpr", "realised_fpr_all", "realised_fpr_under"),
    *("false_positives_all", "false_positives_under", "examples_all", "examples_under"),
    *("singletons_above_memorization", "note"),
)
"""Of the CSV file. `low` and `high` are our 95 % interval, and what ends in `_paper` is printed in
the paper; rates are shares, and what is not there is empty."""

TablePart = TypeVar("TablePart", AttackTable, Mixture)
Row = dict[str, str | int | float]
"""By the names of `COLUMNS`; of what is not there not even the name."""


@dataclass(frozen=True)
class Source(Generic[TablePart]):
    """Our numbers of one subject at one tier, and the finding that they were saved with."""

    table: TablePart
    finding: Finding

    @property
    def tier(self) -> str:
        """At which it was run."""
        return self.finding.observed.tier

    @property
    def place(self) -> Counterpart | None:
        """The training set of the paper that it stands for."""
        return COUNTERPARTS.get(self.table.subject)

    @property
    def comparison(self) -> str:
        """How near it comes to the paper's training set."""
        if self.place is None:
            return "not in the paper"
        return "stand-in at laptop scale" if self.place.stand_in else "the paper's data"

    @property
    def name(self) -> str:
        """Subject and tier."""
        return f"{self.table.subject}, {self.tier} tier"


@dataclass(frozen=True)
class Comparison:
    """Tables 1 to 4; `missing` says of which artifacts there is nothing, and why."""

    attacks: tuple[Source[AttackTable], ...]
    mixtures: tuple[Source[Mixture], ...]
    missing: tuple[str, ...]

    @cached_property
    def ours(self) -> list[Row]:
        """Rows of what was measured here."""
        return [
            _measured_row(source, a, k)
            for source in self.attacks
            for a in range(len(source.table.attacks))
            for k in range(1, len(source.table.groups))
        ]

    @cached_property
    def rest(self) -> list[Row]:
        """The paper's other rows, in its order."""
        keys = "paper_table", "paper_half", "paper_row"
        beside = {tuple(row.get(key) for key in keys) for row in self.ours}
        return [
            _papers_row(row, self._why_none(row))
            for row in attack_rows()
            if (row.table, row.half, row.row) not in beside
        ]

    def _why_none(self, paper: AttackRow) -> str:
        """Why nothing of ours stands beside a row of the paper."""
        name, group = training_set(paper.over, paper.under), group_of(paper)
        here = [each.table for each in self.attacks if each.place and each.place.name == name]
        if not here:
            return "not run here"
        if not any(group in table.groups for table in here):
            return "the result here lacks this group: run its claim again"
        return "attack not measured here"

    def csv(self) -> str:
        """All rows of Tables 1 and 4 under `COLUMNS`."""
        file = io.StringIO()
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.ours + self.rest)
        return file.getvalue()


def compare(folder: Path, decided: Iterable[Finding]) -> Comparison | None:
    """The paper's tables and those saved with `decided`; None where none of these has any."""
    findings = list(decided)
    if not any(
        artifact.kind == "attack-table"
        for finding in findings
        for artifact in finding.observed.artifacts
    ):
        return None
    attacks, broken = _sources(folder, findings, "attack-table", AttackTable.of)
    mixtures, lost = _sources(folder, findings, "mixture", Mixture.of)
    return Comparison(attacks, mixtures, (*broken, *lost))


def _sources(
    folder: Path, findings: Sequence[Finding], kind: str, read: Callable[[Arrays], TablePart]
) -> tuple[tuple[Source[TablePart], ...], list[str]]:
    """One source for each subject and tier, the newest where several findings have one."""
    found: dict[tuple[str, str], Source[TablePart]] = {}
    missing: list[str] = []
    for finding in sorted(findings, key=_time, reverse=True):
        for artifact in finding.observed.artifacts:
            if artifact.kind != kind:
                continue
            try:
                table = read(load_artifact(folder, artifact))
            except KeyError as error:
                missing.append(f"{artifact.path} lacks the array {error}")
            except (ValueError, OSError) as error:
                missing.append(f"{artifact.path}: {error}")
            else:
                found.setdefault((table.subject, finding.observed.tier), Source(table, finding))
    order = list(COUNTERPARTS)

    def place(source: Source[TablePart]) -> tuple[int, int, str]:
        name = source.table.subject
        rank = order.index(name) if name in order else len(order)
        return rank, TIERS.index(source.tier), name

    return tuple(sorted(found.values(), key=place)), missing


def _time(finding: Finding) -> str:
    return str(finding.observed.provenance.get("time", ""))


def _measured_row(source: Source[AttackTable], attack: int, group: int) -> Row:
    table = source.table
    name, against = table.attacks[attack], table.groups[group]
    paper = attack_row(source.place, name, against)
    notes = [] if paper or not source.place else ["not in the paper"]
    row: Row = {
        "attack": name,
        "group": against,
        "training_set": source.place.name if source.place else "",
        **(_of_paper(paper) if paper else {}),
        "subject": table.subject,
        "tier": source.tier,
        "comparison": source.comparison,
        "fpr": table.fpr,
        "singletons_above_memorization": table.threshold,
    }
    for k, side in ((0, "all"), (group, "under")):
        row[f"examples_{side}"] = table.examples[k]
        if table.lacks(k):
            notes.append(f"{table.groups[k]} {table.lacks(k)}")
            continue
        row[f"realised_fpr_{side}"] = float(table.realised_fpr[attack, k])
        row[f"false_positives_{side}"] = float(table.false_positives[k])
        if table.coarse(k):
            notes.append(f"coarse threshold of {table.groups[k]}")
        for measure, values in (("auroc", table.auroc), ("tpr", table.tpr)):
            # A t interval knows no such limits as 0 and 1, which both have.
            estimate, low, high = np.clip(values[attack, k], 0, 1).tolist()
            row |= {
                f"{measure}_{side}": estimate,
                f"{measure}_{side}_low": low,
                f"{measure}_{side}_high": high,
            }
    if source.finding.stale:
        notes.append(f"stale: {source.finding.stale}")
    return row | {"note": "; ".join(notes)}


def _papers_row(paper: AttackRow, why: str) -> Row:
    return _of_paper(paper) | {"group": group_of(paper), "note": why}


def _of_paper(paper: AttackRow) -> Row:
    row: Row = {
        "attack": paper.attack,
        "training_set": training_set(paper.over, paper.under),
        "paper_table": paper.table,
        "paper_row": paper.row,
        "paper_half": paper.half,
        "paper_group": paper.printed,
    }
    return row | {f"{name}_paper": getattr(paper, name) for name in MEASURES}
