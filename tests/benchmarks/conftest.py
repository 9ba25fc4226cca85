"""What pytest-benchmark writes of every benchmark: where it ran, and no raw rounds."""

import pytest

from tests.benchmarks.measured import where


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config, output_json):
    for benchmark in output_json["benchmarks"]:
        said = benchmark["extra_info"]
        benchmark["extra_info"] = where(said.get("device", "cpu")) | said
        if not config.getoption("benchmark_save_data"):
            benchmark["stats"].pop("data", None)  # up to 100,000 rounds of a short one
