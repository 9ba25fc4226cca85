import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchsuite import workshop as module
from benchsuite.shadows import BankError, Fill
from benchsuite.shadows.design import Balanced, Tied
from benchsuite.workshop import Workshop

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "planted.py")))
SUBJECT = planted.subject(20)


class Watcher:
    """Writes down what it is told."""

    def __init__(self, told, name):
        self.told, self.name = told, name

    def __call__(self, done, total, trained, seconds):
        self.told.append((self.name, done, total, trained))

    def say(self, text):
        pass

    def finish(self, fill):
        self.told.append((self.name, fill))


@pytest.fixture
def told():
    return []


@pytest.fixture
def workshop(tmp_path, told):
    return Workshop(tmp_path, "cpu", lambda name: Watcher(told, name))


@pytest.fixture
def trained(monkeypatch):
    """What would be trained: the arguments of each call, in place of training."""
    calls = []

    def train(subject, models, **more):
        calls.append((subject, models, more))
        return SimpleNamespace(fill=Fill(models, 0, 1.5), number=len(calls))

    monkeypatch.setattr(module, "train_shadows", train)
    return calls


def test_a_bank_is_trained_once_a_session(workshop, told, tmp_path):
    bank = workshop.bank(SUBJECT, 64)
    assert (bank.models, bank.fill.models_trained, bank.fill.models_reused) == (64, 64, 0)
    assert bank.folder.parent == tmp_path
    assert bank.execution.device == "cpu"
    assert workshop.bank(SUBJECT, 64) is bank
    assert workshop.bank(planted.subject(20), 64) is bank  # the same, made anew
    *progress, finished = told
    assert finished == ("planted", bank.fill)
    assert progress[-1] == ("planted", 64, 64, 64)
    np.testing.assert_array_equal(bank.membership, Balanced(20).rows(0, 64))


def test_another_session_finds_what_one_trained(workshop, tmp_path, told):
    first = workshop.bank(SUBJECT, 64)
    again = Workshop(tmp_path, "cpu", lambda name: Watcher(told, name)).bank(SUBJECT, 64)
    assert again is not first
    assert (again.fill.models_trained, again.fill.models_reused) == (0, 64)


TIED = Tied(20, ((0, 1), (2, 3)))
OTHERS = {
    "size": ((SUBJECT, 128), {}),
    "design": ((SUBJECT, 64), {"design": TIED}),
    "seed": ((SUBJECT, 64), {"design": Balanced(20, seed=1)}),
    "pool": ((planted.subject(20, seed=1), 64), {}),
    "recipe": ((replace(SUBJECT, recipe=replace(SUBJECT.recipe, epochs=2)), 64), {}),
    "name": ((replace(SUBJECT, name="other"), 64), {}),
    "held-out": ((replace(SUBJECT, test=SUBJECT.pool.subset(range(5))), 64), {}),
    "columns": ((SUBJECT, 64), {"columns": ["pool.logits"]}),
    "probe": ((SUBJECT, 64), {"probes": {"more": SUBJECT.pool.subset(range(5))}}),
    "precision": ((SUBJECT, 64), {"precision": "bf16"}),
    "other probe": ((SUBJECT, 64), {"probes": {"more": SUBJECT.pool.subset(range(6))}}),
}


@pytest.mark.parametrize("one", [None, *OTHERS])
def test_what_differs_is_another_bank(workshop, trained, one):
    banks = {None: workshop.bank(SUBJECT, 64)}
    for name, (given, more) in OTHERS.items():
        banks[name] = workshop.bank(*given, **more)
    assert len({bank.number for bank in banks.values()}) == len(trained) == len(OTHERS) + 1
    given, more = OTHERS.get(one, ((SUBJECT, 64), {}))
    assert workshop.bank(*given, **more) is banks[one]
    assert len(trained) == len(OTHERS) + 1


def test_the_design_that_is_taken_is_the_one_that_is_given(workshop, trained):
    workshop.bank(SUBJECT, 64, design=Balanced(20))
    workshop.bank(SUBJECT, 64)
    assert len(trained) == 1  # Balanced is the default
    workshop.bank(SUBJECT, 64, design=TIED)
    assert trained[-1][2]["design"] == TIED
    assert trained[-1][2]["device"] == "cpu"


def test_another_precision_has_a_folder_of_its_own(workshop, trained, tmp_path):
    def asked(of, precision):
        of.bank(SUBJECT, 64, precision=precision)
        return Path(trained[-1][2]["folder"]), trained[-1][2]["precision"]

    assert asked(workshop, None) == (tmp_path, None)  # a bank's own
    assert asked(workshop, "bf16") == (tmp_path / "bf16", "bf16")
    in_bf16 = Workshop(tmp_path, "cpu", lambda name: Watcher([], name), precision="bf16")
    assert asked(in_bf16, None) == (tmp_path, "bf16")
    assert asked(in_bf16, "bf16") == (tmp_path, "bf16")
    assert asked(in_bf16, "float32") == (tmp_path / "float32", "float32")


def test_float32_that_is_asked_for_is_no_bank_of_bf16(tmp_path):
    Workshop(tmp_path, "cpu", lambda name: Watcher([], name), precision="bf16").bank(SUBJECT, 64)
    plain = Workshop(tmp_path, "cpu", lambda name: Watcher([], name))
    assert plain.bank(SUBJECT, 64).execution.precision == "bf16"
    with pytest.raises(BankError, match="precision='float32', but the bank"):
        plain.bank(SUBJECT, 64, precision="float32")
    assert plain.bank(SUBJECT, 128, precision="bf16").execution.precision == "bf16"


def test_noting_lists_what_is_asked_for_within(workshop, trained):
    before = workshop.bank(SUBJECT, 64)
    with workshop.noting() as noted:
        assert noted == []
        assert workshop.bank(SUBJECT, 64) is before  # trained earlier, and noted all the same
        tied = workshop.bank(SUBJECT, 64, design=TIED)
        assert noted == [before, tied]
    workshop.bank(SUBJECT, 128)
    assert noted == [before, tied]
    with workshop.noting() as again:
        workshop.bank(SUBJECT, 64, design=TIED)
    assert again == [tied]
    assert len(trained) == 3


def test_noting_ends_where_a_claim_fails(workshop, trained):
    with pytest.raises(RuntimeError), workshop.noting() as noted:
        raise RuntimeError
    workshop.bank(SUBJECT, 64)
    assert noted == []
    assert trained


def test_what_cannot_be_trained_is_refused_and_not_remembered(workshop):
    for _ in range(2):
        with pytest.raises(ValueError, match="models=65 is not a multiple of 64"):
            workshop.bank(SUBJECT, 65)
