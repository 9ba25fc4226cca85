"""`index.html` from `results.jsonl`, its artifacts, `benchmark.json`: never trains or decides."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchsuite.claim import OBSERVED
from benchsuite.code_digest import code_digest
from benchsuite.report import figures, wording
from benchsuite.report.artifacts import load_artifact
from benchsuite.report.comparison import TABLES, compare
from benchsuite.report.comparison_lines import attack_lines, mixture_lines, rest_lines
from benchsuite.report.cost import read_cost
from benchsuite.report.cost_figures import growth_figure
from benchsuite.report.drawing import Drawing
from benchsuite.report.files import write_atomically
from benchsuite.report.finding import Finding, models_saved
from benchsuite.report.schema import RESULTS, Result, read_results

PAGE = "index.html"

# What asks for attention comes first.
ORDER = ("void", "surprise", "inconclusive", "declared", "supported")
SYMBOLS = {"supported": "✓", "refuted": "✗", "inconclusive": "?", "void": "⊘", "plumbing": "·"}


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it; `missing` says in words why there is none."""

    kind: str
    drawing: Drawing | None
    missing: str

    @property
    def panels(self) -> int:
        """How many pictures it has; 0 where it is missing."""
        return len(self.drawing.panels) if self.drawing else 0


def build(folder: Path | str, root: Path | None = None) -> Path:
    """Write `index.html` of the results saved in `folder`; its path.

    Where a decided finding has a table of attacks, the membership paper's tables with ours are
    written beside it, as `membership-tables.csv`. Where `benchmark.json` lies there, the page says
    what training costs.

    With `root`, the folder below which the claims lie, what other code decided is marked as stale:
    another state of this package or of the claim's own file, or a file that is gone. ValueError
    where nothing was recorded or `results.jsonl` cannot be understood, OSError where the folder
    cannot be written.
    """
    folder = Path(folder)
    results, cost = read_results(folder), read_cost(folder)
    if not results and cost is None:
        raise ValueError(f"{folder / RESULTS} holds no results yet; run pytest claims first")
    found = _findings(results, root)
    decided = sorted(
        (finding for finding in found if finding.status != "plumbing"),
        key=lambda finding: (ORDER.index(finding.status), finding.observed.as_expected),
    )
    comparison = compare(folder, decided)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": wording.number,
        "minus": wording.minus,
        "duration": wording.duration,
        "percent": wording.percent,
        "provenance": lambda value: value if isinstance(value, str) else json.dumps(value),
    }
    page = environment.get_template("index.html.j2").render(
        headline=_headline(decided) if results else "No verdicts yet: only benchmarks have run",
        decided=decided,
        plumbing=[finding for finding in found if finding.status == "plumbing"],
        figures={
            finding.anchor: _figures(folder, finding, f"figure-{k}")
            for k, finding in enumerate(decided)
        },
        subjects=_by_subject(decided),
        origin=_origin([finding.observed for finding in decided or found]),
        symbols=SYMBOLS,
        comparison=comparison,
        tables=TABLES,
        attack_lines=attack_lines,
        rest_lines=rest_lines,
        mixture_lines=mixture_lines,
        cost=cost,
        growth=growth_figure(cost.growth) if cost else None,
    )
    if comparison:
        write_atomically(folder / TABLES, comparison.csv().encode())
    else:
        (folder / TABLES).unlink(missing_ok=True)  # of results that were replaced since
    path = folder / PAGE
    write_atomically(path, page.encode())
    return path


def _findings(results: Sequence[Result], root: Path | None) -> list[Finding]:
    """One finding per (claim, subject, tier), its newest version, in the file's order."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    found = []
    for (claim, subject, tier), arms in groups.items():
        newest = max(arm.version for arm in arms)
        observed = [arm for arm in arms if arm.version == newest and arm.arm == OBSERVED]
        if not observed:
            raise ValueError(
                f"{RESULTS} holds controls of {claim} on {subject} ({tier}) but not its observed "
                "arm; run the claim again"
            )
        controls = [arm for arm in arms if arm.version == newest and arm.arm != OBSERVED]
        why = _why_stale(observed[0], results, root)
        found.append(Finding(observed[0], tuple(controls), why))
    return found


def _why_stale(result: Result, results: Iterable[Result], root: Path | None) -> str:
    mine = result.provenance
    if root is not None:
        file = str(mine.get("file", ""))
        if not (root / file).is_file():
            return f"{file or 'the claim'} is no longer here"
        if mine.get("code") != code_digest(root / file):
            return "the code has changed since"
    same = [other.provenance for other in results if other.group[1:] == result.group[1:]]
    if any(
        other.get("time", "") > mine.get("time", "") and other.get("data") != mine.get("data")
        for other in same
    ):
        return "the data have changed since"
    return ""


def _figures(folder: Path, finding: Finding, name: str) -> list[Shown]:
    shown = []
    for k, artifact in enumerate(finding.observed.artifacts):
        try:
            arrays = load_artifact(folder, artifact)
            drawing = figures.draw(artifact.kind, arrays, f"{name}-{k}")
        except KeyError as error:
            shown.append(Shown(artifact.kind, None, f"{artifact.path} lacks the array {error}"))
        except (ValueError, OSError) as error:
            shown.append(Shown(artifact.kind, None, str(error)))
        else:
            shown.append(Shown(artifact.kind, drawing, ""))
    return shown


def _tally(findings: Iterable[Finding]) -> str:
    """How many came out how: 1 void, 7 supported, 1 refuted as declared."""
    counts = Counter(
        (finding.status, finding.observed.verdict, finding.note) for finding in findings
    )
    order = ("void", "surprise", "inconclusive", "supported", "declared")
    return ", ".join(
        f"{count}\u00a0{verdict}"
        + (f" ({note})" if status == "surprise" else f" {note}" * bool(note))
        for (status, verdict, note), count in sorted(
            counts.items(), key=lambda item: (order.index(item[0][0]), item[0])
        )
    )


def _by_subject(findings: Iterable[Finding]) -> dict[str, str]:
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        key = f"{finding.observed.subject} ({finding.observed.tier} tier)"
        groups.setdefault(key, []).append(finding)
    return {subject: _tally(group) for subject, group in sorted(groups.items())}


def _headline(findings: Sequence[Finding]) -> str:
    if not findings:
        return "No verdicts yet: only plumbing has run"
    subjects = sorted({finding.observed.subject for finding in findings})
    on = subjects[0] if len(subjects) == 1 else f"{len(subjects)} subjects"
    many = f"{len(findings)} finding{'s' * (len(findings) != 1)}"
    return f"{many} on {on}: {_tally(findings)}"


def _origin(results: Sequence[Result]) -> dict[str, str]:
    """When, where and with what; several values where results come from several runs."""
    if not results:
        return {}

    def values(*names: str) -> str:
        seen = {
            " ".join(str(result.provenance[name]) for name in names if name in result.provenance)
            for result in results
        }
        return " / ".join(sorted(seen - {""}))

    times = sorted(
        str(result.provenance.get("time", ""))[:16].replace("T", " ") for result in results
    )
    banks: dict[str, list[float]] = {}
    for result in results:
        # Claims that share a bank each report what it cost in their run: counted once.
        for key, cost in result.provenance.get("banks", {}).items():
            banks[key] = max(cost, banks.get(key, [0.0, 0, 0]))
    seconds, trained = (math.fsum(cost[k] for cost in banks.values()) for k in (0, 1))
    saved = models_saved(results)
    facts = {
        "Recorded": times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}",
        "Machine": values("machine"),
        "Device": values("device"),
        "Versions": ", ".join(
            f"{name} {values(name)}"
            for name in ("benchsuite", "python", "torch", "numpy")
            if values(name)
        ),
        "Commit": values("git"),
        "Training": f"{trained:,.0f} models in {wording.duration(seconds)}" if trained else "",
        "Models saved": "" if saved is None else f"{saved:,}, which no finding needed",
    }
    return {name: fact for name, fact in facts.items() if fact}
