"""Lines on the terminal, on made-up results: every number here is synthetic."""

import math
from dataclasses import replace

import pytest

from benchsuite.report.schema import SCHEMA, Part, Result
from benchsuite.report.terminal import WIDTH, verdict_lines

NOTHING = {"estimate": None, "interval": (-math.inf, math.inf), "parts": (), "units": ()}


def finding(claim, estimate, low, high, rule="> 0", name="", needed=None, **changes):
    verdict = changes.get("verdict", "supported")
    plumbing = verdict == "plumbing"
    own = verdict if verdict != "void" else "supported"
    decided = Part(name, rule, estimate, (low, high), own, needed)
    given = {
        "schema": SCHEMA,
        "claim": claim,
        "version": 1,
        "family": "A1",
        "says": "It holds.",
        "measures": "a number",
        "source": "a paper",
        "paper": "-",
        "subject": "digits-mlp",
        "tier": "smoke" if plumbing else "cpu",
        "arm": "observed",
        "verdict": verdict,
        "expected": "supported",
        "reason": "",
        "as_expected": verdict in ("supported", "plumbing"),
        "unresolved": "",
        "rule": f"each {rule}" if name else rule,
        "estimate": estimate,
        "interval": (low, high),
        "alpha": 0.00625,
        "parts": (decided,),
        "units": ({"seed": "0/0", "value": 0.5}, {"seed": "0/1", "value": 0.5}),
        "declared_units": 2,
        "artifacts": (),
        "seconds": 1.0,
        "train_seconds": 1.0,
        "models_trained": 2,
        "models_reused": 0,
        "rerun": "pytest claims",
        "provenance": {},
    }
    return Result(**(given | changes))


def control(observed, arm, estimate, low, high, verdict="refuted", **changes):
    rule = observed.parts[0].rule
    plumbing = observed.verdict == "plumbing"
    given = {
        "arm": arm,
        "estimate": estimate,
        "interval": (low, high),
        "parts": (Part("", rule, estimate, (low, high), verdict, None),),
        "rule": rule,
        "verdict": "plumbing" if plumbing else verdict,
        "expected": "refuted",
        "as_expected": plumbing or verdict == "refuted",
    }
    return replace(observed, **(given | changes))


def test_columns_align_over_findings_and_controls():
    one = finding("advantage", 0.083, 0.077, 0.089, "> -0.02", name="top")
    other = finding("pair", 0.9598, 0.9507, 0.9689, "> 0.9", subject="lab:mine")
    lines = [one, control(one, "permuted", -0.9212, -1.0228, -0.8197), other]
    assert verdict_lines(lines).splitlines() == [
        "supported       advantage  digits-mlp  0.0830 [0.0770, 0.0890]  top > −0.02",
        "  refuted       control permuted       −0.92 [−1.02, −0.82]     > −0.02  as required",
        "supported       pair       lab:mine    0.960 [0.951, 0.969]     > 0.9",
    ]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"verdict": "refuted", "expected": "refuted", "as_expected": True}, "as declared"),
        ({"verdict": "refuted"}, "supported was declared"),
        ({"expected": "refuted", "as_expected": False}, "refuted was declared"),
        ({"verdict": "inconclusive", "needed": 1240}, "1,240 units would decide, 2 were run"),
        ({"verdict": "inconclusive"}, "no practicable number would decide, 2 were run"),
    ],
)
def test_a_line_begins_with_the_verdict_and_ends_with_what_to_add(changes, note):
    line = verdict_lines([finding("a", 0.1, 0.0, 0.2, **changes)])
    assert line.startswith(changes.get("verdict", "supported") + " ")
    assert line.endswith(f"  > 0  {note}")
    assert "\n" not in line


def test_plumbing_is_one_line_without_numbers_and_without_its_controls():
    ran = finding("a", 0.123, 0.0, 0.2, verdict="plumbing")
    lines = verdict_lines([ran, control(ran, "shuffled", 0.456, 0, 1)])
    assert lines == "plumbing        a  digits-mlp  ran on 2 of 2 declared units; decides nothing"


def test_plumbing_that_could_not_be_resolved_says_why():
    ran = finding("a", 0.1, 0.0, 0.2, verdict="plumbing")
    lines = verdict_lines([replace(ran, unresolved="1 units show no spread", **NOTHING)])
    assert lines.endswith(
        "a  digits-mlp  cannot be resolved: 1 units show no spread; decides nothing"
    )


def test_a_control_that_did_not_come_out_is_loud():
    void = finding("a", 0.5, 0.4, 0.6, verdict="void")
    lines = verdict_lines([void, control(void, "shuffled", 0.1, -0.1, 0.3, "inconclusive")])
    first, second = lines.splitlines()
    assert first.startswith("void ")
    assert second.startswith("  inconclusive  control shuffled")
    assert second.endswith("NOT refuted as required")


def test_what_cannot_be_resolved_says_why():
    lost = {"verdict": "inconclusive", "unresolved": "3 examples are memorized", **NOTHING}
    observed = replace(finding("a", 0.5, 0.4, 0.6), as_expected=False, **lost)
    shuffled = replace(observed, arm="shuffled", expected="refuted")
    first, second = verdict_lines([observed, shuffled]).splitlines()
    assert first.endswith("cannot be resolved  > 0  3 examples are memorized")
    assert second.endswith("> 0  NOT refuted as required: 3 examples are memorized")


def test_what_is_too_long_for_the_line_goes_below():
    why = "3 examples have memorization above 0.5, and 15 are the least: " * 3
    lost = {"verdict": "inconclusive", "unresolved": why.strip(), **NOTHING}
    observed = replace(finding("a", 0.5, 0.4, 0.6), as_expected=False, **lost)
    first, *below = verdict_lines([observed]).splitlines()
    assert first.endswith("cannot be resolved  > 0")
    assert len(below) > 1
    assert all(line.startswith(" " * 16) and len(line) <= WIDTH for line in below)
    assert " ".join(line.strip() for line in below) == why.strip()


def test_the_longest_names_of_the_first_family_fit_in_the_width():
    observed = finding(
        "advantage-bounds-memorization", -0.9212, -1.0228, -0.8197, "within ±0.693 of 0"
    )
    lines = verdict_lines([observed, control(observed, "shuffled-memorization", 0.0342, -0.1, 0.2)])
    assert max(map(len, lines.splitlines())) <= WIDTH
    assert lines.count("\n") == 1


@pytest.mark.parametrize(
    ("looked", "said"),
    [
        ({}, None),
        ({"looks": 1, "look": 1}, "took all its models at once"),
        (
            {"looks": 3, "look": 2, "models_saved": 1512, "declared_units": 4},
            "decided after 2 of 4 units; 1,512 models not needed",
        ),
        ({"looks": 3, "look": 3}, "not decided before all 2 units"),
    ],
)
def test_a_line_says_after_how_many_units_it_was_decided(looked, said):
    line = verdict_lines([finding("a", 1.0, 0.5, 1.5, **looked)])
    assert (said in line) if said else not any(word in line for word in ("units", "models"))
