"""`--until-decided` as a user meets it: real models of a tiny subject, trained look by look."""

import json

import pytest
import torch._dynamo  # noqa: F401 (an optimizer's first step imports it, once a process at most)

from benchsuite.experiments.sizes import MEMBERSHIP_SIZES, MembershipSize
from benchsuite.shadows import ShadowBank

CLAIMS = """
from benchsuite.claim import REFUTED, Declared, Family, claim
from benchsuite.stats.verdict import greater

FAMILY = Family("T", "Tests", claims=2)
TIERS = ("smoke", "cpu", "gpu")

def declare(id, control="permuted-membership", figures=("roc",), **more):
    return claim(
        id=id, version=1, family=FAMILY, says=f"{id} holds.", measures="it", source="none",
        paper="-", rule=greater(than=0.0), controls={control: REFUTED},
        units=dict.fromkeys(TIERS, 4), subjects=dict.fromkeys(TIERS, ("digits-tiny",)),
        figures=figures, **more,
    )

@declare("clear")
def test_clear(membership):
    for block in membership.blocks():
        assert len(block.models) == 64
        yield (-1 if membership.control else 1) + block.number / 1000

@declare("unclear", declared={"*": Declared("inconclusive", "It comes and goes.")})
def test_unclear(membership):
    for block in membership.blocks():
        yield -1 - block.number / 1000 if membership.control else (-1) ** block.number

@declare("at-once", "random-layer", ())
def test_at_once(onion):
    for number in range(4):
        yield (-1 if onion.control else 1) + number / 1000
"""


@pytest.fixture
def session(pytester, monkeypatch):
    """Run pytest on these claims, with 64 references and 4 x 64 targets; result and rows."""
    monkeypatch.setitem(MEMBERSHIP_SIZES, "digits-tiny/cpu", MembershipSize(1, 4))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    pytester.makepyfile(test_looked=CLAIMS)

    def run(*arguments):
        result = pytester.runpytest("-p", "benchsuite.plugin", "-W", "error", *arguments)
        lines = (pytester.path / "reports" / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return result, {row["claim"]: row for row in rows if row["arm"] == "observed"}

    return run


def test_models_are_trained_until_the_verdict_is_decided(session, pytester):
    result, recorded = session("--until-decided", "-k", "test_clear[")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*digits-tiny: 128 shadow models trained*",
            "*digits-tiny: 64 shadow models trained*128 found*",
            "supported*clear*",
            "*decided after 2 of 4 units; 128 models not needed*",
            "models saved: 128*",
        ]
    )
    row = recorded["clear"]
    assert (row["look"], row["looks"], row["models_saved"]) == (2, 3, 128)
    assert (row["verdict"], len(row["units"]), row["declared_units"]) == ("supported", 2, 4)
    assert row["alpha"] == pytest.approx(0.025 * 3 / 16)
    assert (row["models_trained"], row["models_reused"]) == (192, 0)
    assert row["rerun"] == "pytest test_looked.py::test_clear -m cpu -k digits-tiny --until-decided"
    assert len(list((pytester.path / ".banks").glob("*/membership.*"))) == 3
    (folder,) = (pytester.path / ".banks").iterdir()
    of_all_three = ShadowBank.open(folder).column("test", "correct").mean()
    assert row["provenance"]["accuracy"] == pytest.approx(of_all_three, abs=1e-12)
    page = (pytester.path / "reports" / "index.html").read_text()
    assert "decided after 2 of 4 units; 128 models not needed, at look 2 of 3" in page
    assert "Models saved</dt><dd>128, which no finding needed" in page


def test_the_undecided_go_to_the_maximum_and_leave_others_as_they_are(session):
    # In both orders, for a bank that has grown shows a claim only what it asked for.
    for order in (("unclear", "clear"), ("clear", "unclear")):
        names = [f"test_looked.py::test_{name}[digits-tiny-cpu]" for name in order]
        result, recorded = session("--until-decided", *names)
        assert result.ret == 0
        clear, unclear = recorded["clear"], recorded["unclear"]
        assert (clear["verdict"], clear["look"], clear["models_saved"]) == ("supported", 2, 128)
        assert (unclear["verdict"], unclear["look"], unclear["models_saved"]) == (
            "inconclusive",
            3,
            0,
        )
        assert unclear["alpha"] == pytest.approx(0.025 * 12 / 16)
        result.stdout.fnmatch_lines(["*not decided before all 4 units*", "models saved: 0*"])


def test_an_experiment_that_takes_all_its_models_says_so(session):
    result, recorded = session("--until-decided", "-k", "test_at_once[")
    assert result.ret == 0
    row = recorded["at-once"]
    assert (row["look"], row["looks"], row["models_saved"]) == (1, 1, 0)
    assert row["alpha"] == 0.025
    result.stdout.fnmatch_lines(["*took all its models at once*"])
    result.stdout.no_fnmatch_line("*models saved*")


def test_without_the_option_nothing_is_looked_at(session):
    result, recorded = session("-k", "test_clear[")
    row = recorded["clear"]
    assert (row["look"], row["looks"], row["models_saved"], len(row["units"])) == (0, 0, 0, 4)
    assert row["alpha"] == 0.025
    assert "--until-decided" not in row["rerun"]
    result.stdout.no_fnmatch_line("*models saved*")


def test_fewer_shadows_than_declared_are_refused_beside_it(pytester):
    result = pytester.runpytest(
        "-p", "benchsuite.plugin", "--until-decided", "--shadows", "256", "--collect-only"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--until-decided decides on the declared models*--shadows=256*"])


def test_the_smoke_tier_decides_nothing_with_it_either(session):
    result, recorded = session("--until-decided", "-m", "smoke", "-k", "test_clear[")
    assert result.ret == 0
    assert (recorded["clear"]["verdict"], recorded["clear"]["looks"]) == ("plumbing", 0)
