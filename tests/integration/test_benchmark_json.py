"""What pytest-benchmark writes of this project's benchmarks, and that it can compare with it."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = """
def test_in_many_rounds(benchmark):
    benchmark.extra_info["models_per_second"] = 3.5
    benchmark.pedantic(sum, args=([1, 2],), rounds=200)

def test_elsewhere(benchmark):
    benchmark.extra_info["device"] = "cuda"
    benchmark.pedantic(lambda: None, rounds=1)
"""


@pytest.fixture
def bench(pytester, monkeypatch):
    """Run tiny benchmarks with the conftest of ours; what the run said."""
    monkeypatch.syspath_prepend(ROOT)
    pytester.makeconftest((ROOT / "tests" / "benchmarks" / "conftest.py").read_text())
    pytester.makepyfile(test_tiny=TINY)

    def run(*arguments):
        result = pytester.runpytest(
            "-p", "benchsuite.plugin", "--benchmark", "--benchmark-storage=saved", *arguments
        )
        assert result.ret == 0
        result.assert_outcomes(passed=2)
        return result.stdout.str()

    return run


def test_the_json_says_where_and_can_be_compared_with(pytester, bench):
    bench("--benchmark-json=benchmark.json", "--benchmark-autosave")
    many, elsewhere = json.loads((pytester.path / "benchmark.json").read_text())["benchmarks"]
    assert many["extra_info"]["models_per_second"] == 3.5
    for name in ("machine", "python", "torch", "numpy", "benchsuite"):
        assert many["extra_info"][name], name
    assert many["extra_info"]["cores"] >= 1
    assert many["extra_info"]["device"] == "cpu"
    assert elsewhere["extra_info"]["device"] == "cuda"
    assert many["stats"]["rounds"] == 200
    assert "data" not in many["stats"]
    # A file as `make bench` leaves it, and what pytest-benchmark saved by itself.
    for before, shown in (("benchmark.json", "benchmark)"), ("0001", "0001_")):
        said = bench(f"--benchmark-compare={before}")
        for name in ("test_in_many_rounds", "test_elsewhere"):
            assert f"{name} (NOW)" in said
            assert f"{name} ({shown}" in said


def test_raw_rounds_are_kept_where_they_are_asked_for(pytester, bench):
    bench("--benchmark-json=benchmark.json", "--benchmark-save-data", "--benchmark-autosave")
    many, _ = json.loads((pytester.path / "benchmark.json").read_text())["benchmarks"]
    assert len(many["stats"]["data"]) == 200
