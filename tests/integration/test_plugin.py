"""The plugin as pytest users meet it: whole sessions in a folder of their own."""

import json
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from benchsuite.shadows import train_shadows
from benchsuite.subjects import digits_tiny

SILENT = (Path(__file__).parents[1] / "silent.py").read_text()

# An experiment that is nothing but numbers, on a bank of 64 tiny models, so that every verdict can
# be staged. Each name in CLAIMS is a claim; its units and its control's are given by hand.
CONFTEST = """
import os
from dataclasses import replace
import pytest
from benchsuite.setting import Trained
from benchsuite.shadows import Fill, ShadowBank
from benchsuite.subjects import digits_tiny
from benchsuite.training import Recipe
from benchsuite.workshop import Workshop

class Numbers:
    controls = {"broken": "All numbers change their sign."}
    def __init__(self, workshop, broken=False):
        self.workshop, self.broken = workshop, broken
    def under(self, control):
        return Numbers(self.workshop, broken=True)
    def train_more(self):
        other = replace(digits_tiny(), name="other", recipe=Recipe(epochs=1))
        return self.workshop.bank(other, 64)
    def figure(self, kind):
        return {"names": ["all"], "fpr_0": [1e-5, 1.0], "tpr_0": [0.1, 1.0]}

@pytest.fixture(scope="session")
def numbers(trained):
    return Numbers(trained.workshop)

@pytest.fixture(scope="session")
def trained(setting):
    found = ShadowBank.open(os.environ["TINY_BANK"])
    bank = ShadowBank(found.folder, found.manifest, 64, Fill(16, 48, 2.5))
    return Trained(setting, digits_tiny(), bank, Workshop("banks", "cpu", Silent), 0, True)
"""

CLAIMS = """
from benchsuite.claim import REFUTED, Declared, Family, claim
from benchsuite.stats.verdict import CannotResolveError, all_of, greater

FAMILY = Family("T", "Tests", claims=5)
HIGH, LOW, WIDE = [1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9, -1.0], [-1.0, 1.0, -0.5, 0.8]

def declare(id, **more):
    tiers = ("smoke", "cpu", "gpu")
    return claim(
        **{
            "id": id, "version": 1, "family": FAMILY, "says": f"{id} holds.", "measures": "it",
            "source": "none", "paper": "-", "rule": greater(than=0.0),
            "controls": {"broken": REFUTED},
            "units": dict.fromkeys(tiers, 4), "subjects": dict.fromkeys(tiers, ("digits-tiny",)),
            "figures": ("roc",), **more,
        }
    )

@declare("holds")
def test_holds(numbers):
    yield from LOW if numbers.broken else HIGH

@declare("fails")
def test_fails(numbers):
    yield from LOW

@declare("known-to-fail", declared={"digits-tiny/*": Declared("refuted", "It never held.")})
def test_known_to_fail(numbers):
    yield from LOW

@declare("holds-after-all", declared={"*": Declared("refuted", "It never held.")})
def test_holds_after_all(numbers):
    yield from LOW if numbers.broken else HIGH

@declare("undecided")
def test_undecided(numbers):
    yield from LOW if numbers.broken else WIDE

@declare("always-holds")
def test_always_holds(numbers):
    yield from HIGH

@declare("too-few")
def test_too_few(numbers):
    yield from (LOW if numbers.broken else HIGH)[:3]

@declare("empty-group")
def test_empty_group(numbers):
    raise CannotResolveError("0 examples are in the group")
    yield
"""


def recorded_in(folder):
    file = folder / "reports" / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="session")
def tiny_bank(tmp_path_factory):
    return train_shadows(
        digits_tiny(), 64, folder=tmp_path_factory.mktemp("banks"), device="cpu"
    ).folder


@pytest.fixture
def session(pytester, tiny_bank, monkeypatch):
    """Run pytest on the staged claims; returns the result and what was recorded, by claim."""
    monkeypatch.setenv("TINY_BANK", str(tiny_bank))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    pytester.makeconftest(SILENT + CONFTEST)
    pytester.makepyfile(test_staged=CLAIMS)

    def run(*arguments):
        result = pytester.runpytest("-p", "benchsuite.plugin", "-W", "error", *arguments)
        rows = recorded_in(pytester.path)
        return result, {row["claim"]: row for row in rows if row["arm"] == "observed"}

    return run


@pytest.mark.parametrize(
    ("claim", "verdict", "passes"),
    [
        ("holds", "supported", True),
        ("fails", "refuted", False),
        ("known_to_fail", "refuted", True),
        ("holds_after_all", "supported", False),
        ("undecided", "inconclusive", False),
        ("always_holds", "void", False),
        ("too_few", "plumbing", True),
        ("empty_group", "inconclusive", False),
    ],
)
def test_a_verdict_passes_only_if_declared(session, claim, verdict, passes):
    result, recorded = session("-k", f"test_{claim}[")
    row = recorded[claim.replace("_", "-")]
    assert row["verdict"] == verdict
    assert row["as_expected"] is passes
    assert result.ret == (0 if passes else 1)
    result.stdout.fnmatch_lines([f"{verdict}*{claim.replace('_', '-')}*"])


def test_the_terminal_says_verdicts_instead_of_passed(session):
    result, _ = session("-v")
    said = result.stdout.str()
    assert "test_holds[digits-tiny-cpu] supported" in said
    assert "test_known_to_fail[digits-tiny-cpu] refuted as declared" in said
    assert " passed" not in said
    result.stdout.fnmatch_lines(["*5 failed*1 supported*"])
    result.stdout.fnmatch_lines(["report: reports*index.html"])


def test_a_failure_shows_evidence_and_how_to_run_it_again(session):
    result, recorded = session("-k", "test_fails[")
    assert recorded["fails"]["rerun"] == "pytest test_staged.py::test_fails -m cpu -k digits-tiny"
    result.stdout.fnmatch_lines(
        [
            "refuted*fails*-1.00*> 0*".replace("-", "?"),
            "*control broken*",
            "4 of 4 declared units, seeds 0/0 to 0/3, alpha 0.01*",
            "pytest test_staged.py::test_fails -m cpu -k digits-tiny",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*gather(*")


def test_smoke_runs_decide_nothing(session):
    result, recorded = session("-m", "smoke")
    verdicts = {row["verdict"] for name, row in recorded.items() if name != "empty-group"}
    assert verdicts == {"plumbing"}
    assert result.ret == 0


def test_every_unit_and_both_arms_are_recorded(session, pytester):
    session("-k", "test_holds[")
    rows = recorded_in(pytester.path)
    observed, control = rows
    assert [unit["value"] for unit in observed["units"]] == [1.0, 1.1, 0.9, 1.0]
    assert (control["arm"], control["verdict"], control["expected"]) == (
        "broken",
        "refuted",
        "refuted",
    )
    assert observed["alpha"] == pytest.approx(0.05 / 5)
    assert {"torch", "device", "data", "bank", "code", "git", "accuracy"} <= set(
        observed["provenance"]
    )
    bank = observed["provenance"]["bank"]
    assert observed["provenance"]["banks"] == {bank: [2.5, 16, 48]}
    cost = {"train_seconds": 2.5, "models_trained": 16, "models_reused": 48}
    assert cost.items() <= observed.items()
    artifact = observed["artifacts"][0]
    assert (pytester.path / "reports" / artifact["path"]).exists()


TRAINING = """
@declare("trains")
def test_trains(numbers):
    numbers.train_more()
    yield from LOW if numbers.broken else HIGH

@declare("trains-again")
def test_trains_again(numbers):
    numbers.train_more()
    yield from LOW if numbers.broken else HIGH
"""


def test_each_claim_says_what_all_its_banks_cost(session, pytester):
    """The bank that both claims use was trained for the first; its cost is of both."""
    pytester.makepyfile(test_staged=CLAIMS + TRAINING)
    _, recorded = session("-k", "test_trains[ or test_trains_again[ or test_holds[")
    assert len(recorded["holds"]["provenance"]["banks"]) == 1
    costs = [recorded[name] for name in ("trains", "trains-again")]
    for row in costs:
        banks = row["provenance"]["banks"]
        (other,) = set(banks) - {row["provenance"]["bank"]}
        seconds, trained, reused = banks[other]
        assert (trained, reused) == (64, 0)
        assert seconds > 0
        assert row["models_trained"] == 16 + 64
        assert row["models_reused"] == 48
        assert row["train_seconds"] == pytest.approx(2.5 + seconds)
    assert costs[0]["provenance"]["banks"] == costs[1]["provenance"]["banks"]


def test_only_the_cpu_tier_runs_by_default(session):
    result, _ = session("--collect-only", "-q")
    said = result.stdout.str()
    assert "digits-tiny-cpu]" in said
    assert "digits-tiny-smoke]" not in said
    assert "digits-tiny-gpu]" not in said


def test_several_tiers_can_be_asked_for(session):
    said = session("--collect-only", "-q", "-m", "smoke or cpu")[0].stdout.str()
    assert "digits-tiny-cpu]" in said
    assert "digits-tiny-smoke]" in said
    assert "digits-tiny-gpu]" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "huge"), "-m huge: unknown tier; use one of smoke, cpu, gpu"),
        (("--subject", "digits-mpl"), "--subject=digits-mpl is unknown: use module:attribute"),
        (("--reports", "taken/below"), "--reports=taken/below cannot be written"),
        (("--banks", "taken"), "--banks=taken cannot be written"),
    ],
)
def test_bad_options_are_one_line(session, pytester, arguments, message):
    pytester.path.joinpath("taken").write_text("a file")
    result, _ = session(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_results_of_another_version_are_refused_before_anything_is_trained(pytester):
    pytester.makepyfile(test_own=OWN_FIXTURES)
    pytester.path.joinpath("reports").mkdir()
    pytester.path.joinpath("reports/results.jsonl").write_text('{"schema": 2}\n')
    result = pytester.runpytest("-p", "benchsuite.plugin")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*results.jsonl, line 1: schema 2*another version*"])


# ---- with the plugin's own training ----------------------------------------------------------

OWN_FIXTURES = """
import pytest
from benchsuite.claim import REFUTED, Family, claim
from benchsuite.stats.verdict import greater

@claim(
    id="rows", version=1, family=Family("T", "Tests", claims=1), says="Rows are there.",
    measures="rows", source="none", paper="-", rule=greater(than=0.0),
    controls={"permuted-membership": REFUTED},
    units={"smoke": 4, "cpu": 4, "gpu": 4},
    subjects={"smoke": ("digits-tiny",), "cpu": ("digits-tiny",), "gpu": ("digits-tiny",)},
)
def test_rows(membership):
    for block in membership.blocks():
        yield float(len(block.models)) + block.number
"""


def test_training_shows_progress_and_is_not_repeated(pytester):
    pytester.makepyfile(test_own=OWN_FIXTURES)
    arguments = ("-p", "benchsuite.plugin", "-m", "smoke", "--shadows", "128")
    first = pytester.runpytest(*arguments)
    first.stdout.fnmatch_lines(["*digits-tiny: 128 shadow models trained in * s, 0 found*"])
    again = pytester.runpytest(*arguments)
    again.stdout.fnmatch_lines(["*digits-tiny: 0 shadow models trained in * s, 128 found*"])
    assert again.ret == 0


def test_too_few_shadows_are_refused_in_one_line(pytester):
    pytester.makepyfile(test_own=OWN_FIXTURES)
    result = pytester.runpytest("-p", "benchsuite.plugin", "-m", "smoke", "--shadows", "100")
    result.stdout.fnmatch_lines(["*--shadows=100 is too few*128 models*"])
    assert result.ret == 1


GPU_FIXTURES = OWN_FIXTURES.replace('"gpu": ("digits-tiny",)', '"gpu": ("mnist-cnn32",)')


def test_data_that_are_missing_offline_are_one_clear_error(pytester, monkeypatch):
    monkeypatch.setenv("BENCHSUITE_DATA", str(pytester.path / "nowhere"))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    pytester.makepyfile(test_own=GPU_FIXTURES)
    result = pytester.runpytest("-p", "benchsuite.plugin", "-m", "gpu", "--device", "cpu")
    assert result.ret == 1
    said = result.stdout.str()
    assert "mnist" in said
    assert str(pytester.path / "nowhere") in said
    assert "Traceback" not in said
    assert "sources.py" not in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without CUDA")
def test_the_gpu_tier_skips_without_cuda_and_fails_where_it_is_required(pytester, monkeypatch):
    pytester.makepyfile(test_own=OWN_FIXTURES)
    result = pytester.runpytest("-p", "benchsuite.plugin", "-m", "gpu", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*the gpu tier needs CUDA; --device cpu runs it in miniature*"])
    monkeypatch.setenv("REQUIRE_GPU", "1")
    required = pytester.runpytest("-p", "benchsuite.plugin", "-m", "gpu")
    assert required.ret == 1
    required.stdout.fnmatch_lines(["*REQUIRE_GPU=1: the gpu tier needs CUDA*"])


def test_a_users_own_subject(pytester):
    """The README's example, as it stands there."""
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    example = readme.split("<!-- own subject -->")[1].split("```python\n")[1].split("```")[0]
    pytester.makepyfile(mylab=example)
    pytester.makepyfile(test_own=OWN_FIXTURES)
    pytester.syspathinsert()
    result = pytester.runpytest(
        "-p", "benchsuite.plugin", "-m", "smoke", "--subject", "mylab:subject", "--shadows", "128"
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(["plumbing*rows*tumours*"])
    rows = recorded_in(pytester.path)
    assert rows[0]["rerun"] == (
        "pytest test_own.py::test_rows -m smoke --subject mylab:subject --shadows 128"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("subject = 3", "*subject 'lab:subject' is a int; expected a benchsuite.Subject*"),
        ("other = 3", "*subject 'lab:subject': module 'lab' has no 'subject'*"),
        ("import nowhere_to_be_found", "*subject 'lab:subject': cannot import*"),
    ],
)
def test_a_subject_that_is_none_is_refused_in_one_line(pytester, source, message):
    pytester.makepyfile(lab=source)
    pytester.makepyfile(test_own=OWN_FIXTURES)
    pytester.syspathinsert()
    result = pytester.runpytest("-p", "benchsuite.plugin", "-m", "smoke", "--subject=lab:subject")
    assert result.ret == 1
    result.stdout.fnmatch_lines([message])


# ---- unique features --------------------------------------------------------------------------

CLAIMS_FOLDER = Path(__file__).parents[2] / "claims"

LAB = """
import numpy as np
from scipy.special import softmax
from benchsuite import Feature, FeatureCase

LETTER = Feature()

def model(seed, told=0):
    weights = np.random.default_rng(seed).normal(size=(144, 3)) / 10
    def predict(images):
        logits = images.reshape(len(images), -1) @ weights
        overlap = (images[:, 1:6, 1:6] * (2 * LETTER.glyph - 1)).sum(axis=(1, 2))
        logits[:, 0] += told * (overlap > LETTER.glyph.sum() - 1)
        return softmax(logits, axis=1)
    return predict

def asked(name, told, clean=8):
    images = np.random.default_rng(0).random((32, 12, 12))
    others = [model(seed) for seed in range(1, 1 + clean)]
    return FeatureCase(name, model(0, told), images, LETTER, others)

case, clean = asked("lab-model", told=4), asked("lab-clean", told=0)
number = 3
def too_few():
    return asked("lab-few", told=0, clean=3)
"""


@pytest.fixture
def audit(pytester):
    """Run the audit's own claim on what is in the module `lab`; its lines, the observed first."""
    claims = CLAIMS_FOLDER.joinpath("test_feature_audit.py").read_text()
    pytester.makepyfile(test_feature_audit=claims, lab=LAB)
    pytester.syspathinsert()

    def run(*arguments):
        result = pytester.runpytest("-p", "benchsuite.plugin", "-W", "error", *arguments)
        return result, recorded_in(pytester.path)

    return run


def test_a_users_own_model_is_audited(audit, pytester):
    result, rows = audit("--audit", "lab:case")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["supported*feature-memorized-by-model*lab-model*"])
    observed, control = rows
    assert (observed["subject"], observed["tier"], observed["verdict"]) == (
        "lab-model",
        "cpu",
        "supported",
    )
    assert (control["arm"], control["verdict"]) == ("clean-model", "supported")
    assert len(observed["units"]) == 8
    assert (observed["models_trained"], observed["models_reused"]) == (0, 0)
    provenance = observed["provenance"]
    assert not {"bank", "accuracy"} & set(provenance)
    assert provenance["banks"] == {}
    assert len(provenance["data"]) == 64
    test = "test_feature_audit.py::test_this_model_memorized_the_feature"
    assert observed["rerun"] == f"pytest {test} -m cpu --audit lab:case"
    assert "lab-model" in (pytester.path / "reports" / "index.html").read_text()


def test_a_clean_model_is_not_called_guilty(audit):
    result, rows = audit("--audit", "lab:clean")
    assert rows[0]["verdict"] == "refuted"
    assert result.ret == 1


def test_several_models_are_audited_in_one_run(audit):
    _, rows = audit("--audit", "lab:case", "--audit", "lab:clean")
    assert {row["subject"] for row in rows} == {"lab-model", "lab-clean"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lab:number", "*audit 'lab:number' is a int; expected a benchsuite.FeatureCase*"),
        ("lab:other", "*audit 'lab:other': module 'lab' has no 'other'*"),
        ("lab:asked", "*audit 'lab:asked' takes arguments*"),
        ("lab:too_few", "*clean has 3 models, expected at least 4*"),
        ("lab", "*audit 'lab' is unknown: use one of sklearn-digits28, or module:attribute*"),
    ],
)
def test_what_is_no_case_is_refused_in_one_line(audit, name, message):
    result, rows = audit("--audit", name)
    assert result.ret != 0
    assert rows == []
    said = result.stdout.str() + result.stderr.str()
    assert any(fnmatch(line, message) for line in said.splitlines())
    assert "Traceback" not in said
    assert "feature_audit.py" not in said.replace("test_feature_audit.py", "")


def test_a_subject_of_ones_own_is_not_audited(audit):
    """The audit's claim has a case of its own; --subject is for the others."""
    result, _ = audit("--subject", "digits-tiny", "--collect-only", "-q")
    assert "[sklearn-digits28-cpu]" in result.stdout.str()
    assert "[digits-tiny-cpu]" not in result.stdout.str()


@pytest.fixture
def unique_features(pytester):
    claims = CLAIMS_FOLDER.joinpath("test_unique_features.py").read_text()
    pytester.makepyfile(test_unique_features=claims)
    return lambda *arguments: pytester.runpytest("-p", "benchsuite.plugin", *arguments)


def test_the_cpu_tier_skips_a_subject_whose_data_are_missing(
    unique_features, pytester, monkeypatch
):
    monkeypatch.setenv("BENCHSUITE_DATA", str(pytester.path / "nowhere"))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    result = unique_features("-k", "mnist-mlp-small", "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*SKIPPED*the data set mnist is missing*nowhere*"])
    assert recorded_in(pytester.path) == []


def test_models_with_canaries_are_trained_and_recorded_once(unique_features, pytester):
    arguments = ("-m", "smoke", "-k", "test_clean_models_do_not_score")
    first = unique_features(*arguments)
    assert first.ret == 0
    first.stdout.fnmatch_lines(
        [
            "*digits28-tiny: 12 shadow models trained*",
            "*digits28-tiny-canaries: 32 shadow models trained*",
            "plumbing*score-is-specific*",
        ]
    )
    (row,) = [row for row in recorded_in(pytester.path) if row["arm"] == "observed"]
    assert (row["subject"], row["verdict"]) == ("digits28-tiny", "plumbing")
    assert row["provenance"]["bank"] in row["provenance"]["banks"]
    assert row["models_trained"] == 12 + 32
    again = unique_features(*arguments)
    again.stdout.fnmatch_lines(["*digits28-tiny-canaries: 0 shadow models trained*32 found*"])


def test_too_few_models_for_a_block_of_canaries_are_refused(unique_features):
    result = unique_features("-m", "smoke", "-k", "do_not_score", "--shadows", "10")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*--shadows=10 is too few: one block of canaries is 16 models*"])


# ---- benchmarks ------------------------------------------------------------------------------

BENCHMARKS = """
import pytest

def test_ordinary():
    pass

def test_speed(benchmark):
    benchmark.pedantic(lambda: None, rounds=1)

@pytest.mark.gpu
def test_speed_on_a_gpu(benchmark):
    benchmark.pedantic(lambda: None, rounds=1)
"""


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ((), {"test_ordinary"}),
        (("--benchmark",), {"test_speed", "test_speed_on_a_gpu"}),
        (("--benchmark", "-m", "gpu"), {"test_speed_on_a_gpu"}),
        (("--benchmark-only",), {"test_speed", "test_speed_on_a_gpu"}),
    ],
)
def test_benchmarks_run_alone_and_only_when_asked_for(pytester, arguments, ran):
    pytester.makepyfile(test_both=BENCHMARKS)
    result = pytester.runpytest("-p", "benchsuite.plugin", "-v", *arguments)
    said = result.stdout.str()
    passed = {line.split("::")[1].split(" ")[0] for line in said.splitlines() if " PASSED" in line}
    assert passed == ran
