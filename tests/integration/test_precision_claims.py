"""The claims about precision as a user runs them."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch._dynamo

from benchsuite.shadows import ShadowBank

ROOT = Path(__file__).parents[2]
planted = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "planted.py")))


@pytest.fixture
def session(pytester):
    pytester.makepyfile(test_precision=(ROOT / "claims" / "test_precision.py").read_text())

    def run(*arguments):
        return pytester.runpytest("-p", "benchsuite.plugin", "--banks=kept", *arguments)

    return run


def test_smoke_trains_three_banks_and_records_what_each_cost(session, pytester):
    result = session("-m", "smoke")
    result.stdout.fnmatch_lines(["plumbing*bf16-keeps-scores*2 of 2 declared units*"])
    lines = (pytester.path / "reports" / "results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["arm"] for row in rows} == {"observed", "answers-in-bf16"}
    (own,) = [row for row in rows if row["arm"] == "observed"]
    costs = own["provenance"]["banks"]
    key = own["provenance"]["bank"]
    assert {key, f"{key}-bf16"} < set(costs)
    assert [cost[1:] for cost in costs.values()] == [[256, 0]] * 3
    folders = sorted(each.parent for each in pytester.path.glob("kept/**/manifest.json"))
    found = [ShadowBank.open(folder) for folder in folders]
    assert sorted((bank.execution.precision, bank.design.seed) for bank in found) == [
        ("bf16", 0),
        ("float32", 0),
        ("float32", 1),
    ]
    assert all((bank.membership == found[0].membership).all() for bank in found)
    (in_bf16,) = [bank for bank in found if bank.execution.precision == "bf16"]
    assert in_bf16.folder.parent.name == "bf16"
    assert in_bf16.key == key
    again = session("-m", "smoke")
    again.stdout.fnmatch_lines(["*digits-tiny: 0 shadow models trained in * s, 256 found*"] * 3)


def test_tf32_is_skipped_on_a_cpu_with_the_reason(session):
    result = session("--subject=digits-tiny", "-m", "smoke", "-k", "tf32", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*TF32 is a CUDA device's, and models are trained on cpu here*"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without CUDA")
def test_the_gpu_tier_needs_cuda(session):
    result = session("-m", "gpu", "-rs")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*SKIPPED*the gpu tier needs CUDA*"])


def test_banks_of_another_precision_are_not_taken_for_float32(session):
    session("-m", "smoke", "--precision=bf16").assert_outcomes()
    result = session("-m", "smoke")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*precision='float32', but the bank*precision='bf16'*"])
