"""The example of a user's repository whose own test fails when its model memorizes more."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]
EXAMPLE = CLONE / "tests" / "example_repository"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """Exit status and output of pytest in two copies: as it is, and trained for 60 epochs.

    Both run at once, each on one core.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    paths = [str(CLONE), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    running = {}
    for name, epochs in (("as it is", 10), ("longer", 60)):
        folder = tmp_path_factory.mktemp("example") / "repository"
        ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
        shutil.copytree(EXAMPLE, folder, ignore=ignored)
        lab = folder / "lab.py"
        source = lab.read_text()
        assert source.count("epochs=10,") == 1
        lab.write_text(source.replace("epochs=10,", f"epochs={epochs},"))
        running[name] = subprocess.Popen(
            [sys.executable, "-m", "pytest"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    said = {name: process.communicate()[0] for name, process in running.items()}
    return {name: (process.returncode, said[name]) for name, process in running.items()}


def test_the_example_passes_as_it_is(sessions):
    status, said = sessions["as it is"]
    assert status == 0, said
    assert "1 passed" in said


def test_the_example_fails_when_its_model_memorizes_more(sessions):
    status, said = sessions["longer"]
    assert status == 1, said
    assert "1 failed" in said
    highly = re.search(r"AssertionError: (\d+) examples are highly memorized:", said)
    assert highly, said
    assert int(highly[1]) > 0.005 * 600
    assert "our-digits: 600 examples, 128 shadow models." in said


@pytest.mark.parametrize("name", ["lab.py", "tests/test_memorization.py"])
def test_the_readme_shows_the_example_as_it_is(name):
    readme = (CLONE / "README.md").read_text()
    assert (EXAMPLE / name).read_text().strip() in readme
