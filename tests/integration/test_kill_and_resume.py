import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchsuite.shadows import ShadowBank

MODELS, BLOCK = 256, 64

# The command that is killed and then run again. `kill_at` is the fsync at which it kills itself:
# the temporary file is written then, and not yet renamed.
COMMAND = """
import os, signal, sys
from functools import partial
from benchsuite.data import sources
from benchsuite.models import mlp
from benchsuite.shadows import train_shadows
from benchsuite.subject import Subject
from benchsuite.training import Recipe

# Who is started in the background of a script ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder, models, epochs, kill_at = sys.argv[1], *map(int, sys.argv[2:])
fsync, calls = os.fsync, []

def dying(descriptor):
    calls.append(descriptor)
    if len(calls) == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = dying
pool, test = sources.digits()
subject = Subject(
    "killed",
    pool.subset(range(100)),
    test.subset(range(30)),
    partial(mlp, 64, 8, 10),
    Recipe(epochs=epochs, batch_size=16),
)
bank = train_shadows(
    subject,
    models,
    folder=folder,
    device="cpu",
    progress=lambda *call: print("progress", *call[:3], flush=True),
)
print("trained", bank.fill.models_trained, bank.fill.models_reused)
"""


def start(folder, models=MODELS, epochs=30, kill_at=0):
    arguments = [folder, models, epochs, kill_at]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def trained_by(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return int(out.split()[-2])


def files_of(folder):
    """Every file of the one bank below `folder` but its locks, by name."""
    (bank,) = folder.iterdir()
    return {p.name: p.read_bytes() for p in bank.iterdir() if not p.name.startswith(".lock.")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert trained_by(start(folder)) == MODELS
    files = files_of(folder)
    assert len(files) == 1 + 6 * MODELS // BLOCK
    return files


def test_killed_at_several_moments_a_bank_ends_as_if_it_never_was(tmp_path, uninterrupted):
    halves = 0
    # In the manifest, in the first weights, in a column, and in the last file of a shard.
    for kill_at in (1, 1, 3, 7):
        process = start(tmp_path, kill_at=kill_at)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        halves += any(name.endswith(".tmp") for name in files_of(tmp_path))
    # And in the middle of training, by someone else.
    process = start(tmp_path)
    assert process.stdout.readline().startswith("progress")
    process.kill()
    process.communicate(timeout=120)
    assert halves > 0
    assert files_of(tmp_path) != uninterrupted
    (bank,) = tmp_path.iterdir()
    whole = ShadowBank.open(bank).models  # what there is can be read
    assert whole < MODELS
    assert trained_by(start(tmp_path)) <= MODELS - whole
    assert files_of(tmp_path) == uninterrupted
    assert trained_by(start(tmp_path)) == 0


def test_two_processes_train_every_shard_once(tmp_path, uninterrupted):
    both = [start(tmp_path), start(tmp_path)]
    trained = [trained_by(process) for process in both]
    assert sum(trained) == MODELS
    assert files_of(tmp_path) == uninterrupted


def test_one_of_two_processes_is_killed_and_the_other_completes(tmp_path, uninterrupted):
    killed, other = start(tmp_path), start(tmp_path)
    assert killed.stdout.readline().startswith("progress")
    killed.kill()
    killed.communicate(timeout=120)
    trained_by(other)
    assert files_of(tmp_path) == uninterrupted


def test_ctrl_c_stops_within_seconds_and_loses_only_what_was_in_flight(tmp_path):
    process = start(tmp_path, models=64 * 100, epochs=1000)
    deadline = time.perf_counter() + 60
    while not list(Path(tmp_path).glob("*/.lock.000000")):  # training has begun
        assert time.perf_counter() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.perf_counter() - began < 5
    assert "KeyboardInterrupt" in err
    assert process.returncode != 0
    (bank,) = tmp_path.iterdir()
    assert not [path for path in bank.iterdir() if path.suffix == ".tmp"]
    assert ShadowBank.open(bank).models == 0
