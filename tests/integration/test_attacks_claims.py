"""The claims about attacks on groups as a user runs them, on subjects of their own."""

import importlib
import json
import runpy
from pathlib import Path

import pytest
import torch

from benchsuite.attacks import shadow_classifier
from benchsuite.experiments import attack_bank
from benchsuite.subject import BUILT_IN

CLAIMS = Path(__file__).parents[2] / "claims" / "test_attacks.py"

LAB = """
from functools import partial

import numpy as np
from torch import nn

from benchsuite import Dataset, Recipe, Subject
from benchsuite.data import mixture
from benchsuite.models import mlp

RECIPE = Recipe(40, batch_size=32, learning_rate=0.05)

def spots(n, seed, row=0, wrong=0):
    \"\"\"Noise with a bright spot in this row that tells the class, but that of the last few.\"\"\"
    shown = np.arange(n) % 3
    images = np.random.default_rng(seed).random((n, 1, 12, 12), dtype=np.float32)
    images[np.arange(n), 0, row, shown] += 3
    return Dataset(images, (shown + (np.arange(n) >= n - wrong)) % 3)

def subject(name, pool, test):
    return Subject(name, pool, test, partial(mlp, 144, 64, 3), RECIPE)

def mixed():
    pool = mixture(spots(80, 0), spots(70, 1, row=5, wrong=14), "spots")
    return subject("lab-mixed", pool, mixture(spots(30, 2), spots(30, 3, row=5), "spots"))

def plain():
    return subject("lab-plain", spots(100, 0), spots(30, 2))
"""

SHARING = """
import pytest
from benchsuite.setting import Setting
from benchsuite.shadows.columns import COLUMNS

@pytest.mark.smoke
@pytest.mark.parametrize(
    "setting", [Setting("lab:mixed", "smoke")], ids=["lab"], indirect=True, scope="session"
)
def test_both_experiments_are_on_one_bank(trained_attacks, attacks, outliers, setting):
    assert trained_attacks.setting == setting
    assert trained_attacks.bank.models == 4 * 64 == len(attacks.membership)
    for experiment in (attacks, outliers):
        assert experiment.subject is trained_attacks.subject
        assert experiment.bank is trained_attacks.bank
        assert experiment.size is trained_attacks.size
        assert experiment.workshop is trained_attacks.workshop
        assert experiment.cache is trained_attacks.cache
        assert experiment.control == ""
    assert (attacks.references.stop, attacks.targets) == (64, slice(128, 256))
    assert outliers.memorization is attacks.memorization
    assert attacks.observations.logits.shape == (256, 150, 3)
"""


@pytest.fixture(scope="module")
def banks(tmp_path_factory):
    """Where all tests here find what the first of them trained.

    pytester forgets what is imported within: that takes seconds each time, and torch's compiler
    cannot be imported twice.
    """
    for name in ("torch._dynamo", "sklearn.cluster", "sklearn.decomposition", "scipy.stats"):
        importlib.import_module(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine more of them wait for each other
    yield tmp_path_factory.mktemp("banks")
    torch.set_num_threads(threads)


@pytest.fixture
def session(pytester, banks, monkeypatch):
    """Run pytest on the claims' own file; returns the result, its text and what was recorded."""
    monkeypatch.setattr(shadow_classifier, "EPOCHS", 3)  # to save time
    monkeypatch.setattr(attack_bank, "DEALT", 100)
    pytester.makepyfile(test_attacks=CLAIMS.read_text(), lab=LAB, test_sharing=SHARING)
    pytester.syspathinsert()

    def run(*arguments):
        given = ("-p", "benchsuite.plugin", "-W", "error", "-m", "smoke", f"--banks={banks}")
        result = pytester.runpytest(*given, *arguments)
        file = pytester.path / "reports" / "results.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in lines]
        said = result.stdout.str() + result.stderr.str()
        assert "Traceback" not in said
        assert "Error" not in said
        return result, said, rows

    return run


def claims():
    tests = runpy.run_path(str(CLAIMS)).values()
    return {test.claim.id: test.claim for test in tests if hasattr(test, "claim")}


def test_ones_own_mixture_runs_through_all_claims(session):
    result, said, rows = session("test_attacks.py", "--subject", "lab:mixed")
    assert result.ret == 0
    assert "cannot be resolved" not in said
    result.stdout.fnmatch_lines(
        [
            "*lab-mixed: 512 shadow models trained in * s, 0 found*",
            "*lab-mixed-mislabelled: 256 shadow models trained*",
            "*lab-mixed-without-random: 128 shadow models trained*",
            "*lab-mixed-without-more-random: 128 shadow models trained*",
            "*lab-mixed-without-singletons: 128 shadow models trained*",
            "*lab-mixed: 0 shadow models trained in * s, 512 found*",  # for beyond-vision
        ]
    )
    declared = claims()
    arms = {(row["claim"], row["arm"]): row for row in rows}
    assert set(arms) == {
        (name, arm) for name, claim in declared.items() for arm in ("observed", *claim.controls)
    }
    for (name, _), row in arms.items():
        assert (row["subject"], row["tier"], row["verdict"]) == ("lab-mixed", "smoke", "plumbing")
        if row["arm"] == "observed":
            assert row["unresolved"] == ""
            assert len(row["units"]) == row["declared_units"] == declared[name].units["smoke"]
            assert row["rerun"].startswith("pytest test_attacks.py::test_")
            assert " -m smoke --subject lab:mixed" in row["rerun"]
            kinds = [Path(each["path"]).name for each in row["artifacts"]]
            assert len(kinds) == len(declared[name].figures)
    removal = arms["memorization-survives-removal", "observed"]
    assert removal["models_trained"] + removal["models_reused"] >= 512 + 3 * 128
    assert len(removal["provenance"]["banks"]) >= 4


def test_both_experiments_share_the_bank_the_cache_and_no_more_models_than_asked(session):
    """Of a folder that holds twice as many, if the tests before ran."""
    result, _, _ = session("test_sharing.py", "--shadows", "256")
    result.assert_outcomes(passed=1)


NEED_OUTLIERS = {"outliers-are-more-exposed", "not-all-outliers-are-exposed"}
NEED_SINGLETONS = {
    "memorized-beat-other-outliers",
    "lira-beats-other-attacks",
    "memorization-survives-removal",
}


def test_a_pool_of_one_group_that_memorizes_nothing_is_told_so(session):
    result, _, rows = session(
        "test_attacks.py", "--subject", "lab:plain", "--shadows", "256", "-k", "not beyond_vision"
    )
    assert result.ret == 0
    observed = {row["claim"]: row for row in rows if row["arm"] == "observed"}
    assert len(observed) == 7
    for name, row in observed.items():
        assert row["verdict"] == "plumbing"
        missing = "random OOD" if name in NEED_OUTLIERS else "singletons"
        expected = f"the group '{missing}'"
        if name not in NEED_OUTLIERS | NEED_SINGLETONS:
            expected = "examples have memorization above 0, of 15 needed"
        assert expected in row["unresolved"]
    result.stdout.fnmatch_lines(["*cannot be resolved: the group 'random OOD' has 0 examples, an*"])


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu"])
def test_built_in_subjects_of_each_tier(session, tier):
    _, said, _ = session("test_attacks.py", "--collect-only", "-q", "-m", tier)
    collected = {line.split("::")[1] for line in said.splitlines() if "::" in line}
    tests = runpy.run_path(str(CLAIMS)).items()
    assert collected == {
        f"{name}[{subject}-{tier}]"
        for name, test in tests
        if name.startswith("test_")
        for subject in test.claim.subjects[tier]
    }
    assert all(subject in BUILT_IN for c in claims().values() for subject in c.subjects[tier])


def test_too_few_models_are_refused_in_one_line(session):
    result, _, rows = session("test_attacks.py", "-k", "lira_beats", "--shadows", "255")
    assert result.ret == 1
    assert rows == []
    result.stdout.fnmatch_lines(
        ["*--shadows=255 is too few: one block of references, one for thresholds and two of*"]
    )
