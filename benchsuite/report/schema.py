"""What a run leaves behind: `results.jsonl`, one line per (claim, version, subject, tier, arm)."""

import fcntl
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from benchsuite.claim import OBSERVED, TIERS
from benchsuite.report.files import unwritable, write_atomically
from benchsuite.report.rows import from_row, to_row
from benchsuite.stats.verdict import Verdict

SCHEMA = 1
RESULTS = "results.jsonl"
PLUMBING = "plumbing"

_DECIDED = get_args(Verdict)
_ALL = (-math.inf, math.inf)


@dataclass(frozen=True)
class Part:
    """One decided, or merely reported, number; a claim with a single number has one part, "".

    `interval` is two-sided at level 1 - alpha; an end that is unbounded is infinite.
    """

    name: str
    rule: str  # "> 0.693", "within ±0.223 of 0"; "" for a number that is reported, not decided
    estimate: float
    interval: tuple[float, float]
    verdict: str  # "" when reported only
    units_needed: int | None  # inconclusive only; None when unknown

    def __post_init__(self) -> None:
        _check_choice("verdict", self.verdict, (*_DECIDED, PLUMBING, ""))
        _check_numbers(f"part {self.name!r}", self.estimate, self.interval)


@dataclass(frozen=True)
class Artifact:
    """Arrays that a figure is drawn from; `path` is relative to the reports folder."""

    kind: str
    path: str
    digest: str  # sha256 of the file, hexadecimal

    def __post_init__(self) -> None:
        if Path(self.path).is_absolute() or ".." in Path(self.path).parts:
            raise ValueError(
                f"artifact path is {self.path!r}; give a path inside the reports folder, "
                'relative to it ("artifacts/….npz")'
            )


@dataclass(frozen=True)
class Result:
    """One arm of one claim on one subject at one tier: what was decided, from what, at what cost.

    `estimate`, `interval` and `rule` are those of the deciding part, the one closest to failing.
    `verdict` of a control is that of its own rule, and `expected` is what it has to be.
    `says` is the finding or, of a control, what it breaks. Where the sample cannot answer,
    `unresolved` says why; estimate, parts and units are missing.
    `train_seconds` and `models_trained` count this run alone; `seconds` is deciding, not training.
    Under --until-decided it was decided at `look` of `looks`, at that look's `alpha`, on
    `models_saved` models fewer than declared; `looks` is 1 where all were taken at once, and 0
    without that option.
    """

    schema: int
    claim: str
    version: int
    family: str
    says: str
    measures: str
    source: str
    paper: str
    subject: str
    tier: str
    arm: str
    verdict: str
    expected: str
    reason: str
    as_expected: bool
    unresolved: str
    rule: str
    estimate: float | None
    interval: tuple[float, float]
    alpha: float
    parts: tuple[Part, ...]
    units: tuple[dict[str, Any], ...]
    declared_units: int
    artifacts: tuple[Artifact, ...]
    seconds: float
    train_seconds: float
    models_trained: int
    models_reused: int
    rerun: str
    provenance: dict[str, Any]
    look: int = 0
    looks: int = 0
    models_saved: int = 0

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema!r}; this benchsuite writes {SCHEMA}")
        verdicts = (*_DECIDED, PLUMBING, *(["void"] if self.arm == OBSERVED else []))
        _check_choice("tier", self.tier, TIERS)
        _check_choice("verdict", self.verdict, verdicts)
        _check_choice("expected", self.expected, _DECIDED)
        where, numbers = f"{self.claim} ({self.arm})", (self.interval, self.parts, self.units)
        if (self.estimate is None) != bool(self.unresolved):
            raise ValueError(
                f"{where}: estimate is {self.estimate} and unresolved {self.unresolved!r}; give one"
            )
        if self.estimate is not None:
            _check_numbers(where, self.estimate, self.interval)
        elif self.verdict not in ("inconclusive", PLUMBING) or numbers != (_ALL, (), ()):
            raise ValueError(
                f"{where} has no estimate but verdict {self.verdict!r} and {numbers}; expected "
                "'inconclusive', an unbounded interval, no parts and no units"
            )

    @property
    def group(self) -> tuple[str, str, str]:
        """What is run, replaced and shown together: (claim, subject, tier)."""
        return (self.claim, self.subject, self.tier)


def read_results(folder: Path | str) -> list[Result]:
    """Every saved line of `folder`, in file order; an empty list where nothing was recorded.

    ValueError, with file and line, for a broken line, another schema, or a repeated line.
    """
    path = Path(folder) / RESULTS
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror}; check --reports") from error
    results: list[Result] = []
    line_of: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(raw.removesuffix(b"\n").split(b"\n") if raw else [], start=1):
        try:
            result = _parse(line)
            key = (*result.group, result.version, result.arm)
            if key in line_of:
                raise ValueError(
                    f"the same claim, version, subject, tier and arm as line {line_of[key]}"
                )
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: {error}; delete the line, or move the file away, "
                "and run its claim again"
            ) from error
        line_of[key] = number
        results.append(result)
    return results


def record(folder: Path | str, results: Iterable[Result]) -> None:
    """Save all arms of one or more (claim, subject, tier), in place of what was saved of them.

    Lines of the same or an older version go, controls that no longer exist among them. What was
    decided, in whatever version, outlives plumbing: a run that decides nothing is then not saved.
    The file is exchanged whole, under a lock: a reader sees the old or the new one, and of two
    processes that record at once neither loses a line. ValueError for a value that JSON cannot hold
    (NaN), and OSError naming `--reports` where the folder cannot be written.
    """
    folder = Path(folder)
    new: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        group = new.setdefault(result.group, [])
        if any(result.arm == other.arm for other in group):
            raise ValueError(
                f"results hold arm {result.arm!r} of {result.claim} twice; pass it once"
            )
        if group and result.version != group[0].version:
            raise ValueError(f"results hold two versions of {result.claim}; pass one")
        group.append(result)
    lines = {key: [_line(result) for result in group] for key, group in new.items()}
    with _locked(folder):
        saved = read_results(folder)
        decided = {old.group for old in saved if old.verdict != PLUMBING}
        new = {
            key: group
            for key, group in new.items()
            if key not in decided or any(result.verdict != PLUMBING for result in group)
        }
        merged: dict[tuple[str, str, str], list[str]] = {}
        for old in saved:
            kept = merged.setdefault(old.group, [])
            if old.group not in new or old.version > new[old.group][0].version:
                kept.append(_line(old))
        for key in new:
            merged.setdefault(key, []).extend(lines[key])
        text = "".join(line + "\n" for group in merged.values() for line in group)
        write_atomically(folder / RESULTS, text.encode())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".results.lock").open("a")
    except OSError as error:
        raise unwritable(folder, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _line(result: Result) -> str:
    return json.dumps(to_row(result.claim, result), allow_nan=False, ensure_ascii=False)


def _parse(line: bytes) -> Result:
    try:
        row = json.loads(line.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a JSON {type(row).__name__}, expected an object")
    if row.get("schema") != SCHEMA:
        raise ValueError(
            f"schema {row.get('schema')!r}, and this benchsuite reads schema {SCHEMA}: the file is "
            "another version's"
        )
    result: Result = from_row(Result, row)
    return result


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} where JSON has no such number")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")


def _check_numbers(where: str, estimate: float, interval: tuple[float, float]) -> None:
    if not math.isfinite(estimate):
        raise ValueError(f"{where}: estimate is {estimate}; expected a finite number")
    if len(interval) != 2 or not interval[0] <= interval[1]:
        raise ValueError(f"{where}: interval is {interval}; expected (low, high), low <= high")
