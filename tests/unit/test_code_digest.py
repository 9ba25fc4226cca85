"""What makes a recorded verdict stale, and what does not."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite import code_digest
from benchsuite.claim import REFUTED, Claim, Family
from benchsuite.evidence import gather
from benchsuite.recording import Ground, record_evidence
from benchsuite.report.artifacts import load_artifact
from benchsuite.report.build import build
from benchsuite.report.schema import read_results
from benchsuite.shadows import Fill
from benchsuite.stats.verdict import greater


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one file that decides and one that only shows; gives the digest."""
    for folder in ("stats", "report"):
        (tmp_path / folder).mkdir()
    for file in ("stats/verdict.py", "report/build.py", "plugin.py", "__init__.py", "stats/a.txt"):
        (tmp_path / file).write_text("1\n")
    monkeypatch.setattr(code_digest, "_PACKAGE", tmp_path)
    uncached = code_digest._package_digest.__wrapped__
    monkeypatch.setattr(code_digest, "_package_digest", uncached)
    return tmp_path, code_digest.code_digest


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("stats/verdict.py", True),
        ("stats/__init__.py", True),
        ("report/build.py", False),
        ("plugin.py", False),
        ("__init__.py", False),
        ("stats/a.txt", False),
    ],
)
def test_only_code_that_decides_matters(package, file, matters):
    folder, digest = package
    before = digest()
    (folder / file).write_text("2\n")
    assert (digest() != before) is matters


def test_a_renamed_file_is_other_code(package):
    folder, digest = package
    before = digest()
    (folder / "stats" / "verdict.py").rename(folder / "stats" / "verdicts.py")
    assert digest() != before


def test_the_digest_is_short_and_the_same_twice():
    assert code_digest.code_digest() == code_digest.code_digest()
    assert len(code_digest.code_digest()) == 16


def test_the_claims_own_file_matters_as_the_package_does(package):
    folder, digest = package
    own = folder / "report" / "test_mine.py"
    own.write_text("1\n")
    before = digest(own)
    assert before != digest()
    (folder / "stats" / "verdict.py").write_text("2\n")
    after = digest(own)
    assert after != before
    own.write_text("2\n")
    assert digest(own) != after


# ---- from a claim's file to the page -------------------------------------------------------------

CLAIM = """
def numbers(experiment):
    yield from experiment.numbers
"""


class Experiment:
    def __init__(self, count, level=1.0):
        self.controls = {"broken": "Everything."}
        self.count, self.level = count, level
        self.numbers = [level + 0.01 * k for k in range(count)]

    def under(self, control):
        return Experiment(self.count, -1.0)

    def figure(self, kind):
        return {"names": ["all"], "count": self.count}


def recorded(folder, clone, count=4, root=None):
    """Run a claim that lies in the file `claims/test_mine.py` of the clone, and save it."""
    file = clone / "claims" / "test_mine.py"
    module = {}
    exec(compile(file.read_text(), file, "exec"), module)
    claim = Claim(
        id="mine",
        version=1,
        family=Family("M", "Mine", claims=1),
        says="It holds.",
        measures="a number",
        source="-",
        paper="-",
        rule=greater(than=0.0),
        controls={"broken": REFUTED},
        units={"smoke": 4, "cpu": 4, "gpu": 4},
        subjects={"smoke": (), "cpu": (), "gpu": ()},
        numbers=module["numbers"],
        figures=("roc",),
    )
    bank = SimpleNamespace(
        execution=SimpleNamespace(device="cpu", precision="float32"),
        design=SimpleNamespace(seed=0),
        key="ba2c",
        fill=Fill(models_trained=0, models_reused=8, seconds=0.0),
        column=lambda *names: np.ones(2),
    )
    ground = Ground("digits-mlp", "cpu", "da7a", bank)
    fill = Fill(models_trained=64, models_reused=0, seconds=2.5)
    other = SimpleNamespace(key="07e4", fill=fill, execution=bank.execution)
    more = [bank, other, other]  # a claim may ask for a bank several times
    experiment = Experiment(count)
    evidence = gather(claim, experiment, "digits-mlp", "cpu")
    return record_evidence(
        folder, claim, experiment, evidence, ground, more, rerun="", clone=root or clone
    )


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "clone" / "claims").mkdir(parents=True)
    (tmp_path / "clone" / "claims" / "test_mine.py").write_text(CLAIM)
    return tmp_path / "clone"


def test_a_line_says_where_its_claim_lies_and_in_which_state(tmp_path, clone):
    (line, _) = recorded(tmp_path, clone)
    assert line.verdict == "supported"
    assert (line.train_seconds, line.models_trained, line.models_reused) == (2.5, 64, 8)
    assert line.provenance["banks"] == {"ba2c": [0.0, 0, 8], "07e4": [2.5, 64, 0]}
    assert line.provenance["file"] == "claims/test_mine.py"
    assert line.provenance["code"] == code_digest.code_digest(clone / "claims" / "test_mine.py")


def test_a_claim_outside_the_clone_is_known_by_its_whole_path(tmp_path, clone):
    (tmp_path / "other").mkdir()
    results = recorded(tmp_path, clone, root=tmp_path / "other")
    assert results[0].provenance["file"] == (clone / "claims" / "test_mine.py").as_posix()
    build(tmp_path, root=tmp_path / "other")
    assert "stale:" not in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda file: None, ""),
        (lambda file: file.write_text(CLAIM + "# other\n"), "the code has changed since"),
        (Path.unlink, "claims/test_mine.py is no longer here"),
    ],
)
def test_a_page_compares_with_the_claims_file_as_it_is_now(tmp_path, clone, harm, said):
    recorded(tmp_path, clone)
    harm(clone / "claims" / "test_mine.py")
    page = build(tmp_path, root=clone).read_text()
    assert ("stale: " in page) is bool(said)
    assert f"stale: {said}" in page or not said


def test_plumbing_leaves_the_decided_line_and_its_figure(tmp_path, clone):
    decided = recorded(tmp_path, clone)
    few = recorded(tmp_path, clone, count=3)
    assert few[0].verdict == "plumbing"
    assert read_results(tmp_path) == decided
    assert load_artifact(tmp_path, decided[0].artifacts[0])["count"] == 4
    assert load_artifact(tmp_path, few[0].artifacts[0])["count"] == 3
