"""Worker processes train what threads would, and leave nothing behind when something goes wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from benchsuite.data import Dataset
from benchsuite.models import mlp
from benchsuite.shadows import execution, local, train_shadows, work, workers
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject
from benchsuite.training import Privacy, Recipe

RNG = np.random.default_rng(0)


def data(examples):
    return Dataset(
        RNG.standard_normal((examples, 1, 4, 4)).astype(np.float32), RNG.integers(10, size=examples)
    )


SUBJECT = Subject(
    "tiny", data(32), data(8), partial(mlp, 16, 8, 10), Recipe(epochs=2), model_version="1"
)
MOMENT = "pool.correct@1"


@pytest.fixture
def processes(monkeypatch):
    """Workers from the first stack on that is trained after another, ended after the test."""
    monkeypatch.setattr(local, "WORTH_PROCESSES", 0.0)
    monkeypatch.setattr("benchsuite.shadows.execution.cores", lambda: 2)
    workers.kill_idle_workers()
    yield
    workers.kill_idle_workers()


@pytest.fixture
def answered(monkeypatch):
    """The first model of each stack that a worker trained."""
    firsts, real = [], workers.Worker.train

    def train(self, work, first, last):
        trained = real(self, work, first, last)
        firsts.append(first)
        return trained

    monkeypatch.setattr(workers.Worker, "train", train)
    return firsts


def contents(bank):
    return {path.name: path.read_bytes() for path in sorted(bank.folder.rglob("*.safetensors"))}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("model", "privacy"),
    [
        (SUBJECT.model, None),
        (SUBJECT.model, Privacy(1.0, 1.0)),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 10)), None),
    ],
    ids=["mlp", "private", "a lambda, stacked"],
)
def test_workers_write_the_bytes_that_threads_write(
    tmp_path, monkeypatch, answered, model, privacy
):
    subject = replace(SUBJECT, model=model, recipe=replace(SUBJECT.recipe, privacy=privacy))
    columns = ("pool.confidence", "test.logits", MOMENT)
    by_workers = train_shadows(
        subject, 64 * 6, folder=tmp_path / "w", columns=columns, device="cpu"
    )
    assert answered
    count = len(answered)
    monkeypatch.setattr(local, "WORTH_PROCESSES", float("inf"))
    workers.kill_idle_workers()
    by_threads = train_shadows(
        subject, 64 * 6, folder=tmp_path / "t", columns=columns, device="cpu"
    )
    assert len(answered) == count
    assert contents(by_workers) == contents(by_threads)


@pytest.mark.usefixtures("processes")
def test_workers_serve_the_next_bank_too(tmp_path, monkeypatch, answered):
    train_shadows(SUBJECT, 256, folder=tmp_path / "one", device="cpu")
    monkeypatch.setattr(local, "Worker", None)  # no more are started
    del answered[:]
    train_shadows(replace(SUBJECT, name="other"), 64, folder=tmp_path / "two", device="cpu")
    assert sorted(answered) in ([0], [32], [0, 32])


def test_a_short_training_starts_none(tmp_path, answered):
    train_shadows(SUBJECT, 256, folder=tmp_path, device="cpu")
    assert answered == []


class Unpicklable(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(16, 10))


@pytest.mark.usefixtures("processes")
def test_a_subject_that_cannot_be_pickled_is_trained_in_threads(tmp_path, answered):
    held = threading.Lock()

    def model():
        with held:
            return Unpicklable()

    bank = train_shadows(replace(SUBJECT, model=model), 256, folder=tmp_path, device="cpu")
    assert bank.fill.models_trained == 256
    assert answered == []


def explode(process):
    if os.getpid() != process:
        raise RuntimeError("only there")
    return OnlyHere()


class OnlyHere:
    def __call__(self):
        return mlp(16, 8, 10)

    def __reduce__(self):
        return explode, (os.getpid(),)


@pytest.mark.usefixtures("processes")
def test_what_a_worker_cannot_load_is_trained_in_threads(tmp_path, answered):
    bank = train_shadows(replace(SUBJECT, model=OnlyHere()), 256, folder=tmp_path, device="cpu")
    assert bank.fill.models_trained == 256
    assert answered == []
    assert workers._idle  # they live, for others


LAB = """
from benchsuite.models import mlp

WIDTH = 8


def model():
    print("is no answer")
    return mlp(16, WIDTH, 10)
"""


@pytest.mark.usefixtures("processes")
def test_workers_train_what_a_users_module_is_now(tmp_path, monkeypatch, answered):
    """Not what they imported for an earlier bank, nor what its file says."""
    (tmp_path / "lab.py").write_text(LAB)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        import lab
    try:
        for width in (8, 12):
            lab.WIDTH = width
            bank = train_shadows(
                replace(SUBJECT, model=lab.model), 256, folder=tmp_path / str(width), device="cpu"
            )
            assert answered
            del answered[:]
            for path in bank.folder.rglob("weights.*"):
                with safe_open(path, "numpy") as weights:
                    assert weights.get_tensor("1.weight").shape == (64, width, 16)
    finally:
        del sys.modules["lab"]


@pytest.mark.usefixtures("processes")
def test_an_error_in_a_worker_is_that_of_a_thread(tmp_path):
    train_shadows(SUBJECT, 256, folder=tmp_path, device="cpu")  # workers run from here on
    diverging = replace(SUBJECT, recipe=Recipe(epochs=4, batch_size=8, learning_rate=1e30))
    with pytest.raises(ValueError, match=r"model \d+ of tiny gives logits that are not finite"):
        train_shadows(diverging, 128, folder=tmp_path, device="cpu")


class TwoArgumentsError(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("error", [TwoArgumentsError("a", "b"), SystemExit(3), RuntimeError("c")])
def test_no_error_breaks_the_workers(tmp_path, answered, error):
    calls = []

    def model():
        calls.append(0)
        if len(calls) > 76:  # here after two stacks, there after one part more
            raise error
        return mlp(16, 8, 10)

    with pytest.raises(type(error)):
        train_shadows(replace(SUBJECT, model=model), 640, folder=tmp_path / "a", device="cpu")
    train_shadows(SUBJECT, 256, folder=tmp_path / "b", device="cpu")
    assert answered


def waiting_model(tmp_path):
    """Waits in a worker, for ever, once it has said which one in a folder; trains here."""
    here, waiting = os.getpid(), tmp_path / "waiting"
    waiting.mkdir()

    def model():
        if os.getpid() != here:
            (waiting / str(os.getpid())).touch()
            time.sleep(600)
        return mlp(16, 8, 10)

    return model, waiting


def waits(waiting):
    """A worker that waits, once there is one."""
    for _ in range(400):
        for file in waiting.iterdir():
            return int(file.name)
        time.sleep(0.05)
    raise AssertionError("no worker trains")


def ended(process):
    """Whether a process that somebody else started is gone, or soon will be."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # nobody waits for it here
            return True
        time.sleep(0.05)
    return False


@pytest.mark.usefixtures("processes")
def test_where_a_worker_is_killed_threads_go_on(tmp_path):
    model, waiting = waiting_model(tmp_path)
    killed, filled = [], threading.Event()

    def kill():
        while not filled.wait(0.05):
            for file in waiting.iterdir():
                file.unlink()
                killed.append(int(file.name))
                os.kill(killed[-1], signal.SIGKILL)

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    bank = train_shadows(replace(SUBJECT, model=model), 192, folder=tmp_path, device="cpu")
    filled.set()
    killing.join()
    assert killed
    assert bank.fill.models_trained == 192
    alone = train_shadows(SUBJECT, 192, folder=tmp_path / "alone", device="cpu")
    assert alone.fill.models_trained == 192  # it is no second look at the same bank
    assert contents(bank) == contents(alone)


@pytest.mark.usefixtures("processes")
def test_an_error_here_ends_the_workers_that_train(tmp_path):
    model, waiting = waiting_model(tmp_path)
    process = []

    def progress(done, total, trained, seconds):
        if done >= 64:  # each thread has trained a stack of 32, and the first one asked a worker
            process.append(waits(waiting))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_shadows(
            replace(SUBJECT, model=model), 256, folder=tmp_path, device="cpu", progress=progress
        )
    assert ended(process[0])


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("setting", "other", "usual"),
    [
        (torch.set_float32_matmul_precision, "medium", "highest"),
        (torch.set_flush_denormal, True, False),
        (torch.use_deterministic_algorithms, True, False),
    ],
    ids=["precision", "denormals", "deterministic"],
)
def test_torch_set_otherwise_is_left_to_threads(tmp_path, answered, setting, other, usual):
    setting(other)
    try:
        train_shadows(SUBJECT, 256, folder=tmp_path, device="cpu")
    finally:
        setting(usual)
    assert answered == []


@pytest.mark.usefixtures("processes")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forks beside threads
def test_a_forked_process_leaves_the_workers_of_its_parent_alone(tmp_path, monkeypatch, answered):
    train_shadows(SUBJECT, 256, folder=tmp_path, device="cpu")
    child = os.fork()
    if not child:
        os._exit(len(workers._idle))
    assert os.waitpid(child, 0)[1] == 0
    monkeypatch.setattr(local, "Worker", None)  # no more are started
    del answered[:]
    train_shadows(SUBJECT, 320, folder=tmp_path, device="cpu")
    assert sorted(answered) in ([256], [288], [256, 288])


SCRIPT = """
import sys
from pathlib import Path

import numpy as np

from benchsuite.data import Dataset
from benchsuite.models import mlp
from benchsuite.shadows import execution, work, workers
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject
from benchsuite.training import Recipe

data = Dataset(np.ones((32, 1, 4, 4), "float32"), np.arange(32) % 10)
recipe = Recipe(epochs=10**9)
subject = Subject("tiny", data, data, lambda: mlp(16, 8, 10), recipe, model_version="1")
worker = workers.Worker()
print(worker._process.pid, flush=True)
endless = work.Work(subject, Balanced(32), execution.execution_for(subject, "cpu"), {}, ())
worker.train(workers.pickled(endless), 0, 64)
"""


def test_workers_end_with_the_process_that_started_them_whatever_they_do(tmp_path):
    script = tmp_path / "script.py"  # with no guard of __main__, which they do not run
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        worker = int(process.stdout.readline())
        time.sleep(6)  # it trains
        process.kill()
    assert ended(worker)


IMPORTED = """
from functools import partial

import numpy as np

from benchsuite.data import Dataset
from benchsuite.models import mlp
from benchsuite.shadows import execution, local, train_shadows
from benchsuite.subject import Subject
from benchsuite.training import Recipe

local.WORTH_PROCESSES, execution.cores = 0.0, lambda: 2


def model():
    return mlp(16, 8, 10)


data = Dataset(np.ones((32, 1, 4, 4), "float32"), np.arange(32) % 10)
subject = Subject("tiny", data, data, model, Recipe(epochs=2))
bank = train_shadows(subject, 256, folder="banks", device="cpu")
"""


def test_a_module_that_trains_as_it_is_imported_trains_once(tmp_path):
    (tmp_path / "lab.py").write_text(IMPORTED)
    said = subprocess.run(
        [sys.executable, "-c", "import lab; print(lab.bank.fill.models_trained)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert said.stdout == "256\n"


def test_two_calls_at_once_pickle_a_users_module_by_value_both(tmp_path, monkeypatch):
    (tmp_path / "lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    import lab

    registered, real = [], cloudpickle.dumps

    def slow(work, protocol):
        time.sleep(0.1)  # so that the calls overlap
        registered.append("lab" in cloudpickle.list_registry_pickle_by_value())
        return real(work, protocol)

    monkeypatch.setattr(cloudpickle, "dumps", slow)
    subject = replace(SUBJECT, model=lab.model)
    some = work.Work(subject, Balanced(32), execution.execution_for(subject, "cpu"), {}, ())
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(workers.pickled, [some] * 4))
    finally:
        del sys.modules["lab"]
    assert registered == [True] * 4
    assert "lab" not in cloudpickle.list_registry_pickle_by_value()
