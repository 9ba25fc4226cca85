"""Findings as lines on a terminal."""

from collections.abc import Sequence

from benchsuite.report.schema import OBSERVED, Result
from benchsuite.report.wording import measured


def verdict_lines(results: Sequence[Result]) -> str:
    """One line per finding: verdict, estimate, interval and bound; one more per control."""
    width = max(len(result.claim) for result in results)
    return "\n".join(
        _finding(result, width) if result.arm == OBSERVED else _control(result, width)
        for result in results
    )


def _finding(result: Result, width: int) -> str:
    verdict = result.verdict
    if verdict == "plumbing":
        outcome = f"ran with {len(result.units)} units: decides nothing"
    else:
        declared = "" if result.expected == "supported" else f" (declared {result.expected})"
        outcome = f"{measured(result.estimate, result.interval)}  {result.rule}{declared}"
        needed = [p.units_needed for p in result.parts if p.verdict == "inconclusive"]
        if verdict == "inconclusive" and all(needed) and needed:
            most = max(n for n in needed if n is not None)
            outcome += f"; {most} units would decide, {len(result.units)} were run"
    return f"{verdict:<13}{result.claim:<{width}}  {result.subject}  {outcome}"


def _control(result: Result, width: int) -> str:
    if result.verdict == "plumbing":
        return f"{'':<13}  control {result.arm}: ran"
    word = "as it must" if result.as_expected else f"NOT {result.expected} as it must"
    return (
        f"{'':<13}  control {result.arm}: {measured(result.estimate, result.interval)}  "
        f"{result.rule}: {result.verdict}, {word}"
    )
