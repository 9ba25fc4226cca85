"""Rendering the page of all findings in `reports/reference`, in words alone and with figures.

The figures' arrays are made up, a scatter of 1,500 examples for each finding: those of the
reference run are not kept.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchsuite.claim import OBSERVED
from benchsuite.report.artifacts import save_artifact
from benchsuite.report.build import build
from benchsuite.report.schema import RESULTS, read_results, record

REFERENCE = Path(__file__).parents[2] / "reports" / "reference"
EXAMPLES, SECONDS = 1500, 30

pytestmark = pytest.mark.benchmark(group="report")


def scatter(folder):
    rng = np.random.default_rng(0)
    memorization = rng.beta(0.3, 0.9, EXAMPLES)
    privacy = memorization + rng.gamma(2, 0.1, EXAMPLES)
    arrays = {"memorization": memorization, "privacy": privacy, "spearman": 0.7}
    return save_artifact(folder, "memorization-privacy", "made-up", **arrays)


@pytest.mark.parametrize("figures", [False, True], ids=["words", "figures"])
def test_page_of_the_reference_results(benchmark, tmp_path, figures):
    shutil.copy(REFERENCE / "benchmark.json", tmp_path)
    drawn = (scatter(tmp_path),) if figures else ()
    results = [
        replace(line, artifacts=drawn if line.arm == OBSERVED else ())
        for line in read_results(REFERENCE)
    ]
    record(tmp_path, results)
    findings = len({line.group for line in results if line.verdict != "plumbing"})
    page = benchmark.pedantic(build, args=(tmp_path,), rounds=3)
    html = page.read_text()
    benchmark.extra_info |= {
        "findings": findings,
        "figures": findings * len(drawn),
        "megabytes": round(len(html) / 1e6, 2),
        "results_megabytes": round((tmp_path / RESULTS).stat().st_size / 1e6, 2),
    }
    assert html.count("<article") == findings
    assert html.count('<svg class="plot"') >= findings * len(drawn)
    assert benchmark.stats.stats.median < SECONDS
