"""Worker processes train what threads would, and leave nothing behind when something goes wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from torch import nn

from benchsuite.data import Dataset
from benchsuite.models import mlp
from benchsuite.shadows import BankError, fill, train_shadows, workers
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
    monkeypatch.setattr(fill, "WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(fill, "cores", lambda: 2)
    workers.kill_idle_workers()
    yield
    workers.kill_idle_workers()


@pytest.fixture
def answered(monkeypatch):
    """The first model of each stack that a worker trained."""
    firsts, real = [], workers.Worker.train

    def train(self, file, first, last):
        trained = real(self, file, first, last)
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
    monkeypatch.setattr(fill, "WORTH_PROCESSES", float("inf"))
    workers.kill_idle_workers()
    by_threads = train_shadows(
        subject, 64 * 6, folder=tmp_path / "t", columns=columns, device="cpu"
    )
    assert len(answered) == count
    assert contents(by_workers) == contents(by_threads)


@pytest.mark.usefixtures("processes")
def test_workers_serve_the_next_bank_too(tmp_path, monkeypatch, answered):
    train_shadows(SUBJECT, 256, folder=tmp_path / "one", device="cpu")
    monkeypatch.setattr(workers, "Worker", None)  # no more are started
    del answered[:]
    train_shadows(replace(SUBJECT, name="other"), 64, folder=tmp_path / "two", device="cpu")
    assert answered == [0]


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


def test_nothing_is_lost_where_a_worker_cannot_load_the_work(
    tmp_path, monkeypatch, processes, answered
):
    (tmp_path / "lab.py").write_text(
        "from benchsuite.models import mlp\n\ndef model():\n    return mlp(16, 8, 10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import lab

    sys.path.remove(str(tmp_path))
    bank = train_shadows(
        replace(SUBJECT, model=lab.model), 256, folder=tmp_path / "banks", device="cpu"
    )
    assert bank.fill.models_trained == 256
    assert answered == []
    sys.path.insert(0, str(tmp_path))  # a worker that runs already learns of it
    train_shadows(replace(SUBJECT, model=lab.model), 320, folder=tmp_path / "banks", device="cpu")
    assert answered == [256]


@pytest.mark.usefixtures("processes")
def test_an_error_in_a_worker_is_that_of_a_thread(tmp_path):
    train_shadows(SUBJECT, 256, folder=tmp_path, device="cpu")  # workers run from here on
    diverging = replace(SUBJECT, recipe=Recipe(epochs=4, batch_size=8, learning_rate=1e30))
    with pytest.raises(ValueError, match=r"model \d+ of tiny gives logits that are not finite"):
        train_shadows(diverging, 128, folder=tmp_path, device="cpu")


def ended(process):
    """Whether a process that somebody else started is gone, or soon will be."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def waiting_model(tmp_path):
    here, file = os.getpid(), tmp_path / "pid"

    def model():
        if os.getpid() != here:
            file.with_name("writing").write_text(str(os.getpid()))
            file.with_name("writing").rename(file)
            time.sleep(600)
        return mlp(16, 8, 10)

    return model, file


def written(file):
    for _ in range(400):
        if file.exists():
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError("no worker trains")


@pytest.mark.usefixtures("processes")
def test_a_worker_that_is_killed_is_named_and_the_same_call_goes_on(tmp_path):
    model, file = waiting_model(tmp_path)
    threading.Thread(target=lambda: os.kill(written(file), signal.SIGKILL)).start()
    message = r"a worker process died \(exit code -9\) while it trained models \d+ to \d+ of tiny"
    with pytest.raises(BankError, match=message):
        train_shadows(replace(SUBJECT, model=model), 256, folder=tmp_path, device="cpu")
    workers.kill_idle_workers()
    file.unlink()
    bank = train_shadows(replace(SUBJECT, model=SUBJECT.model), 256, folder=tmp_path, device="cpu")
    assert bank.models == 256


@pytest.mark.usefixtures("processes")
def test_an_error_here_ends_the_workers_that_train(tmp_path):
    model, file = waiting_model(tmp_path)

    def progress(done, total, trained, seconds):
        if done >= 128:  # each thread has trained a stack, and the first one asked a worker
            process.append(written(file))
            raise KeyboardInterrupt

    process = []
    with pytest.raises(KeyboardInterrupt):
        train_shadows(
            replace(SUBJECT, model=model), 256, folder=tmp_path, device="cpu", progress=progress
        )
    assert ended(process[0])


def test_they_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "script.py"  # with no guard of __main__, which they do not run
    script.write_text(
        "import time, torch\n"
        "from benchsuite.shadows import workers\n"
        "print('started', flush=True)\n"
        "worker = workers.Worker()\n"
        "print(worker._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        worker = int(process.stdout.readline())
        process.kill()
    assert ended(worker)
