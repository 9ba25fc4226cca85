"""A disk that is really full, and what a machine leaves on it that dies while it writes."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchsuite.data import sources
from benchsuite.models import mlp
from benchsuite.shadows import BankError, ShadowBank
from benchsuite.shadows import train_shadows as on_any_device
from benchsuite.shadows.shards import shard_path
from benchsuite.subject import Subject
from benchsuite.training import Recipe

train_shadows = partial(on_any_device, device="cpu")
POOL, TEST = sources.digits()
SUBJECT = Subject(
    "small",
    POOL.subset(range(600)),
    TEST.subset(range(30)),
    partial(mlp, 64, 4, 10),
    Recipe(epochs=1, batch_size=128),
)
MODELS, COLUMNS = 256, ("pool.logits", "pool.correct")


def files_of(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".lock.")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bank that nothing happened to."""
    return train_shadows(
        SUBJECT, MODELS, folder=tmp_path_factory.mktemp("whole"), columns=COLUMNS
    ).folder


# ---- a full disk ----

# In a namespace of its own, where it may mount a disk of a few megabytes that no one else sees.
OWN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
ON_A_SMALL_DISK = """
import json, os, subprocess, sys
from pathlib import Path

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # one shard at a time
disk, size = Path(sys.argv[1]), sys.argv[2]
sys.path.append(sys.argv[3])
from test_disk import COLUMNS, MODELS, SUBJECT, BankError, ShadowBank, files_of, train_shadows

def fill():
    return train_shadows(SUBJECT, MODELS, folder=disk, columns=COLUMNS)

subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
said = {"errors": []}
for _ in range(2):  # the second time it is full from the beginning
    try:
        fill()
    except BankError as error:
        said["errors"].append(str(error))
(folder,) = disk.iterdir()
bank = ShadowBank.open(folder)
said |= {"models": bank.models, "says": str(bank), "before": list(files_of(folder))}
said["read"] = bank.models and len(bank.column("pool", "logits"))
kept = files_of(folder)
subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
said["trained"] = fill().fill.models_trained
after = files_of(folder)
said["kept"] = kept.items() <= after.items()
said["after"] = {name: contents.hex() for name, contents in after.items()}
print(json.dumps(said))
"""


@pytest.mark.parametrize("size", ["100k", "200k", "3m", "5m"])
def test_a_disk_that_fills_up_costs_the_shard_in_flight(tmp_path, whole, size):
    if shutil.which("unshare") is None or run(*OWN_NAMESPACE, "mount").returncode:
        pytest.skip("this system lets nobody mount a disk of his own")
    disk = tmp_path / "disk"
    disk.mkdir()
    here = Path(__file__).parent
    done = run(*OWN_NAMESPACE, sys.executable, "-c", ON_A_SMALL_DISK, disk, size, here)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["errors"]) == 2
    for error in said["errors"]:
        assert re.search(r"cannot write .* because the disk is full: free space, or choose", error)
    room = {"100k": 0, "200k": 0, "3m": 1, "5m": 3}[size]
    assert said["models"] == said["read"] == 64 * room
    assert not [name for name in said["before"] if name.endswith(".tmp")]
    assert said["kept"]
    assert said["trained"] <= MODELS - 64 * room
    assert said["after"] == {name: contents.hex() for name, contents in files_of(whole).items()}


def run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


# ---- a machine that dies ----


@pytest.mark.parametrize("column", ["weights", "pool.logits", "pool.correct", "membership"])
def test_what_a_dead_machine_left_half_written_is_no_part_of_the_bank(tmp_path, whole, column):
    """It had written a part of one file, and none of those that come after it in a shard."""
    folder = tmp_path / whole.name
    shutil.copytree(whole, folder)
    order = ["weights", "pool.logits", "pool.correct", "membership"]
    for lost in order[order.index(column) :]:
        path = shard_path(folder, lost, 128, 192)
        contents = path.read_bytes()
        path.unlink()
        if lost == column:
            left = folder / f".{path.name}.4194305.tmp"  # a process of another machine
            left.write_bytes(contents[: len(contents) // 2])
    bank = ShadowBank.open(folder)
    assert bank.models == 128
    assert bank.column("pool", "logits").shape == (128, 600, 10)
    assert f"half-written, or being written: {left.name}" in str(bank)
    assert "lacks models 128 to 191" in str(bank)
    again = train_shadows(SUBJECT, MODELS, folder=tmp_path, columns=COLUMNS)
    assert again.fill.models_trained == (64 if column == "weights" else 0)
    assert files_of(folder) == files_of(whole)


@pytest.mark.parametrize("column", ["weights", "pool.logits", "pool.correct", "membership"])
def test_a_shard_whose_values_a_dead_machine_lost_is_named_and_filled_anew(tmp_path, whole, column):
    """A disk that keeps a file's name but not its values: what fsync is there to prevent."""
    folder = tmp_path / whole.name
    shutil.copytree(whole, folder)
    path = shard_path(folder, column, 128, 192)
    for size in (0, path.stat().st_size // 2):
        os.truncate(path, size)
        assert f"shard {path} is truncated or corrupt" in str(ShadowBank.open(folder))
    if column != "weights":  # which are read only where a column is lacking
        with pytest.raises(BankError, match=f"shard {path} is truncated.* run again, which fills"):
            train_shadows(SUBJECT, MODELS, folder=tmp_path, columns=COLUMNS)
    path.unlink()
    bank = train_shadows(SUBJECT, MODELS, folder=tmp_path, columns=COLUMNS)
    assert bank.fill.models_trained == 0
    if column != "weights":
        assert files_of(folder) == files_of(whole)


def test_a_finished_shard_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    """Every file's values before its name is given, and the names before the next shard."""
    events, fsync, replace = [], os.fsync, Path.replace

    def synced(descriptor):
        events.append(("synced", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renamed(path, target):
        events.append(("name", target.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    bank = train_shadows(SUBJECT, 64, folder=tmp_path, columns=COLUMNS)
    paths = list(bank.folder.glob("*.safetensors"))
    assert len(paths) == 4
    for path in paths:
        assert events.index(("synced", path.stat().st_ino)) < events.index(("name", path.name))
    assert events[-2:] == [
        ("name", "membership.000000-000064.safetensors"),
        ("synced", bank.folder.stat().st_ino),
    ]
