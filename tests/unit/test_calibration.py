import itertools
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchsuite.data import Dataset, sources
from benchsuite.models import digits_cnn, mlp
from benchsuite.shadows import BankError, ShadowBank, calibration, train_shadows
from benchsuite.shadows.calibration import Timed, fastest, time_all, time_one
from benchsuite.shadows.design import Balanced
from benchsuite.shadows.execution import Execution, executions
from benchsuite.subject import Subject
from benchsuite.training import Recipe
from benchsuite.training.flop import flop_per_example

POOL, TEST = sources.digits()
SMALL = Dataset(POOL.images[:60], POOL.labels[:60], name="small")
SUBJECT = Subject("tiny", SMALL, TEST, partial(mlp, 64, 12, 10), Recipe(epochs=2, batch_size=16))
CNN = replace(SUBJECT, name="tiny-cnn", model=digits_cnn)
DESIGN = Balanced(60)
WAYS = executions(CNN, "cpu")
MANY = 10**9
"""Models, so many that it is worth to time."""


@pytest.fixture
def told():
    return []


@pytest.fixture
def speeds(monkeypatch):
    """Models per second by way, 1 where nothing is set, as if they had been timed."""
    known, calls = {}, []

    def time_one(subject, design, way, best=0.0, say=lambda _: None):
        calls.append(way)
        return Timed(way, known.get(way, 1.0))

    monkeypatch.setattr(calibration, "time_one", time_one)
    known["calls"] = calls
    return known


def choose(folder, told, models=MANY, ways=WAYS):
    return fastest(CNN, DESIGN, ways, models, folder, told.append)


def test_the_fastest_is_taken_and_said(tmp_path, told, speeds):
    speeds[WAYS[2]] = 3.0
    speeds[WAYS[1]] = 2.0
    assert choose(tmp_path, told) == WAYS[2]
    (line,) = told
    assert line.startswith(f"trained {WAYS[2]}: 1.5 times as fast as {WAYS[1]}, the next of")


@pytest.mark.parametrize(("ratio", "at"), [(1.09, 0), (1.12, 3)])
def test_less_than_a_tenth_is_noise(tmp_path, told, speeds, ratio, at):
    speeds[WAYS[3]] = ratio
    assert choose(tmp_path, told) == WAYS[at]


def test_little_work_is_not_timed_at_all(tmp_path, told, speeds):
    assert choose(tmp_path, told, models=64) == WAYS[0]
    assert speeds["calls"] == []
    assert list(tmp_path.iterdir()) == []


def test_where_the_first_is_fast_enough_no_other_is_timed(tmp_path, told, speeds):
    speeds[WAYS[0]], speeds[WAYS[1]] = 1e9, 1e12
    assert choose(tmp_path, told) == WAYS[0]
    assert speeds["calls"] == [WAYS[0]]


def test_it_is_compiled_only_for_long_trainings(speeds):
    for models, expected in ((599, False), (601, True)):
        speeds["calls"].clear()
        time_all(CNN, DESIGN, WAYS, models, print)
        assert any(way.launch == "compiled" for way in speeds["calls"]) == expected


def test_times_are_kept_for_the_same_models_and_recipe(tmp_path, told, speeds):
    speeds[WAYS[1]] = 2.0
    assert choose(tmp_path, told) == WAYS[1]
    count = len(speeds["calls"])
    assert choose(tmp_path, told) == WAYS[1]
    assert len(speeds["calls"]) == count
    assert len(told) == 1
    other = replace(CNN, recipe=replace(CNN.recipe, batch_size=8))
    fastest(other, DESIGN, WAYS, MANY, tmp_path, told.append)
    assert len(speeds["calls"]) > count
    assert len(json.loads((tmp_path / "calibration.json").read_text())) == 2


@pytest.mark.parametrize("library", [torch, np])
def test_times_of_another_version_are_not_used(tmp_path, told, speeds, monkeypatch, library):
    choose(tmp_path, told)
    count = len(speeds["calls"])
    monkeypatch.setattr(library, "__version__", "2.99.0")
    choose(tmp_path, told)
    assert len(speeds["calls"]) > count
    assert "another machine or other versions" in told[1]


def test_times_of_another_machine_are_not_used(tmp_path, told, speeds, monkeypatch):
    elsewhere = {"processor": "Abacus 9000"}
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "machine", lambda _: elsewhere)
        speeds[WAYS[1]] = 2.0
        assert choose(tmp_path, told) == WAYS[1]
    told.clear()
    speeds[WAYS[3]] = 3.0
    assert choose(tmp_path, told) == WAYS[3]
    assert "timings of another machine or other versions (Abacus 9000): timed anew" in told[0]
    assert len(told) == 2
    assert choose(tmp_path, told) == WAYS[3]
    assert len(told) == 2  # both machines' times are kept


@pytest.mark.parametrize("contents", ["{", "[]", '{"a": {"execution": {"stack": 1}}}', '{"a": 1}'])
def test_a_broken_file_of_times_is_said_and_written_anew(tmp_path, told, speeds, contents):
    (tmp_path / "calibration.json").write_text(contents)
    speeds[WAYS[1]] = 2.0
    assert choose(tmp_path, told) == WAYS[1]
    assert "cannot be read" in told[0]
    assert choose(tmp_path, told) == WAYS[1]
    assert len([line for line in told if "cannot be read" in line]) == 1
    json.loads((tmp_path / "calibration.json").read_text())


# ---- timing ----


def test_a_stack_is_timed_faster_than_a_loop_of_tiny_models():
    stack = Execution("dense", 64, 1, "float32", "cpu")
    loop = Execution("looped", 1, 1, "float32", "cpu")
    fast, slow = (time_one(SUBJECT, DESIGN, way).models_per_second for way in (stack, loop))
    assert fast > 3 * slow > 0


def test_what_is_much_slower_is_not_timed_to_the_end():
    loop = Execution("looped", 1, 1, "float32", "cpu")
    with pytest.raises(calibration._TooSlowError):
        time_one(SUBJECT, DESIGN, loop, best=1e9)
    ways = [Execution("dense", 64, 1, "float32", "cpu"), loop]
    timed = time_all(SUBJECT, DESIGN, ways, MANY, print)
    assert [each.execution for each in timed] == ways[:1]


@pytest.mark.parametrize("stall", [0.0, 0.2])
def test_a_machine_that_is_busy_for_a_moment_changes_no_choice(monkeypatch, stall):
    seconds = itertools.accumulate(0.01 + stall * (step == 7) for step in itertools.count())

    def train(job, engine):
        while True:
            job.before_epoch()

    monkeypatch.setattr(calibration, "train", train)
    monkeypatch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    way = Execution("dense", 32, 2, "float32", "cpu")
    steps = SUBJECT.recipe.steps(int(DESIGN.rows(0, 1).sum()))
    expected = 32 / (0.01 * steps)
    assert time_one(SUBJECT, DESIGN, way).models_per_second == pytest.approx(expected)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError])
def test_a_stack_that_does_not_fit_is_halved_and_that_is_said(monkeypatch, told, kind):
    def train(job, engine):
        if len(job.models) > 8:
            raise kind("no memory")
        while True:
            job.before_epoch()

    monkeypatch.setattr(calibration, "train", train)
    way = Execution("dense", 32, 1, "float32", "cpu")
    assert time_one(SUBJECT, DESIGN, way, say=told.append).execution == replace(way, stack=8)
    assert told[0] == f"{way} does not fit the memory of cpu: {replace(way, stack=16)} is tried"
    assert len(told) == 2


def test_a_model_that_does_not_fit_alone_is_said(monkeypatch):
    def train(job, engine):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(calibration, "train", train)
    with pytest.raises(BankError, match="one model of tiny does not fit the memory of cpu: use"):
        time_one(SUBJECT, DESIGN, Execution("dense", 4, 1, "float32", "cpu"))


def test_a_way_that_needs_a_compiler_that_is_not_there_is_left_out(monkeypatch, told):
    def time_one(subject, design, way, best, say):
        if way.launch == "compiled":
            raise RuntimeError("no C++ compiler\nat all")
        return Timed(way, 1.0)

    monkeypatch.setattr(calibration, "time_one", time_one)
    timed = time_all(CNN, DESIGN, WAYS, MANY, told.append)
    assert {each.execution.launch for each in timed} == {"eager"}
    assert told[0].endswith("is left out: no C++ compiler")


# ---- in banks ----


def test_a_new_bank_s_manifest_has_the_winner_and_a_resume_obeys_it(tmp_path, speeds, monkeypatch):
    way = replace(WAYS[0], stack=8)
    monkeypatch.setattr(calibration, "WORTH_SECONDS", 1e-9)
    monkeypatch.setattr("benchsuite.shadows.fill.executions", lambda *_: (WAYS[0], way))
    speeds[way] = 2.0
    told = []
    bank = train_shadows(CNN, 64, folder=tmp_path, device="cpu", say=told.append)
    assert bank.execution == way
    assert len(told) == 1
    speeds["calls"].clear()
    speeds[WAYS[0]] = 100.0
    assert train_shadows(CNN, 128, folder=tmp_path, device="cpu").execution == way
    assert speeds["calls"] == []


def test_a_strategy_is_obeyed_and_another_than_the_bank_s_refused(tmp_path):
    bank = train_shadows(SUBJECT, 64, folder=tmp_path, device="cpu", strategy="looped")
    assert ShadowBank.open(bank.folder).execution.strategy == "looped"
    with pytest.raises(BankError, match=r"strategy='dense', but the bank .* strategy='looped'"):
        train_shadows(SUBJECT, 128, folder=tmp_path, device="cpu", strategy="dense")
    with pytest.raises(BankError, match=r"precision='bf16', but the bank .* precision='float32'"):
        train_shadows(SUBJECT, 128, folder=tmp_path, device="cpu", precision="bf16")


def test_memory_that_runs_out_once_a_bank_is_made_says_how_to_go_on(tmp_path, monkeypatch):
    train_shadows(SUBJECT, 64, folder=tmp_path, device="cpu")

    def train(job, engine):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("benchsuite.shadows.work.train", train)
    with pytest.raises(BankError, match=r"memory of cpu .* stacks of 32: free .* same command"):
        train_shadows(SUBJECT, 128, folder=tmp_path, device="cpu")
    monkeypatch.undo()
    assert train_shadows(SUBJECT, 128, folder=tmp_path, device="cpu").fill.models_trained == 64


class Shifted(torch.nn.Module):
    """Its mean is no buffer, so that it stays on the CPU; it looks at numbers; it draws."""

    def __init__(self):
        super().__init__()
        self.mean, self.layer = torch.full((64,), 0.5), torch.nn.Linear(64, 10)

    def forward(self, x):
        x = x.flatten(1) - self.mean
        if x.max() > 3:
            x = x / 2
        return self.layer(torch.nn.functional.dropout(x, 0.5, self.training))


def normalised():
    norm = torch.nn.BatchNorm1d(64, track_running_stats=False)
    return torch.nn.Sequential(torch.nn.Flatten(), norm, torch.nn.Linear(64, 10))


@pytest.mark.parametrize(("model", "counted"), [(Shifted, None), (normalised, 3 * 2 * 640)])
def test_models_that_cannot_be_counted_are_trained_all_the_same(tmp_path, model, counted):
    assert flop_per_example(model, (1, 8, 8)) == counted
    subject = replace(SUBJECT, model=model, model_version="1")
    assert train_shadows(subject, 64, folder=tmp_path, device="cpu").fill.models_trained == 64


def test_what_draws_by_itself_while_it_trains_is_drawn_for_eagerly():
    ways = executions(replace(SUBJECT, model=Shifted, model_version="1"), "cpu")
    assert {(way.layout, way.launch) for way in ways} == {("contiguous", "eager")}


def test_where_every_way_fails_the_first_error_is_raised(monkeypatch, told):
    def time_one(subject, design, way, best, say):
        raise KeyError(f"a bug of {way.strategy}")

    monkeypatch.setattr(calibration, "time_one", time_one)
    with pytest.raises(KeyError, match="a bug of stacked"):
        time_all(CNN, DESIGN, WAYS, 64, told.append)
