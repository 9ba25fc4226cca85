"""Findings as lines on a terminal."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from benchsuite.report.finding import Finding
from benchsuite.report.schema import Result
from benchsuite.report.wording import measured

WIDTH = 120
_VERDICT = len("  inconclusive")


def verdict_lines(results: Sequence[Result]) -> str:
    """One line per finding: verdict, claim, subject, estimate, rule; one more per control.

    The observed arm of each comes first, its controls after it. A run that decides nothing has one
    line. Notes that would lead beyond 120 columns go below.
    """
    findings = [
        Finding(observed, tuple(controls), stale="")
        for _, group in groupby(results, key=lambda result: result.group)
        for observed, *controls in [list(group)]
    ]
    claims = max(len(finding.observed.claim) for finding in findings)
    rows = [row for finding in findings for row in _rows(finding, claims)]
    heads = max(len(head) for head, *_ in rows)
    numbers = max(len(measures) for _, measures, *_ in rows)
    return "\n".join(
        _line(f"{head:<{heads}}  {measures:<{numbers}}  {rule}".rstrip(), note)
        for head, measures, rule, note in rows
    )


def _rows(finding: Finding, claims: int) -> list[tuple[str, str, str, str]]:
    """Of the finding and of each control: who, the numbers, the rule, and what else to say."""
    result = finding.observed
    named = f"{result.verdict:<{_VERDICT}}  {result.claim:<{claims}}  {result.subject}"
    if result.verdict == "plumbing":
        units = f"{len(result.units)} of {result.declared_units} declared units"
        ran = f"cannot be resolved: {result.unresolved}" if result.unresolved else f"ran on {units}"
        return [(named, "", "", f"{ran}; decides nothing")]
    rule = f"{finding.part} {finding.rule}".strip()
    return [
        (named, finding.numbers, rule, "; ".join(_notes(finding))),
        *(
            (
                f"  {control.verdict:<{_VERDICT - 2}}  control {control.arm}",
                measured(control.estimate, control.interval),
                Finding(control, (), stale="").rule,
                _of_control(control),
            )
            for control in finding.controls
        ),
    ]


def _notes(finding: Finding) -> list[str]:
    result = finding.observed
    notes = [finding.note, result.unresolved]
    needed = [part.units_needed for part in finding.undecided]
    if result.verdict == "inconclusive" and needed:
        most = max((units for units in needed if units is not None), default=0)
        would = f"{most:,} units would" if None not in needed else "no practicable number would"
        notes.append(f"{would} decide, {len(result.units)} were run")
    return [note for note in (*notes, finding.looked) if note]


def _of_control(control: Result) -> str:
    if control.as_expected:
        return "as required"
    why = f": {control.unresolved}" if control.unresolved else ""
    return f"NOT {control.expected} as required{why}"


def _line(text: str, note: str) -> str:
    """`text` with its note beside it where that fits, else below."""
    beside = f"{text}  {note}".rstrip()
    if len(beside) <= WIDTH:
        return beside
    indent = " " * (_VERDICT + 2)
    below = textwrap.wrap(
        note, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )
    return "\n".join([text, *below])


def failure(results: Sequence[Result]) -> str:
    """What to say of a claim that did not come out as declared: evidence, and how to run it again.

    Args:
        results: all arms of one claim on one subject, the observed one first.
    """
    observed = results[0]
    units = observed.units
    seeds = f", seeds {units[0]['seed']} to {units[-1]['seed']}" if units else ""
    return (
        f"{verdict_lines(results)}\n"
        f"{len(units)} of {observed.declared_units} declared units{seeds}, "
        f"alpha {observed.alpha:.3g}; run it again:\n"
        f"{observed.rerun}"
    )
