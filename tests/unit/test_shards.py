import errno
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchsuite.shadows import shards
from benchsuite.shadows.shards import (
    BankError,
    check_shard,
    lock,
    open_shard,
    read_shard,
    remove_shards,
    shard_path,
    sync_folder,
    write_atomically,
    write_shard,
)

HEADER = {"key": "abc", "column": "pool.correct", "first": "64"}
ARRAYS = {"correct": np.arange(12).reshape(3, 4) % 3 == 0, "other": np.float32([1.5, -2])}


@pytest.fixture
def shard(tmp_path):
    path = shard_path(tmp_path, "pool.correct", 64, 128)
    write_shard(path, ARRAYS, HEADER)
    return path


def test_a_shard_is_read_as_it_was_written(shard):
    assert shard.name == "pool.correct.000064-000128.safetensors"
    got = read_shard(shard, HEADER)
    assert got.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(got[name], values)
        assert got[name].dtype == values.dtype
    check_shard(shard, HEADER)


def test_the_same_arrays_are_the_same_bytes_in_every_process(shard, tmp_path):
    code = (
        "import sys; from pathlib import Path; import numpy as np; "
        "from benchsuite.shadows.shards import write_shard; "
        "correct = np.arange(12).reshape(3, 4) % 3 == 0; "
        "arrays = {'other': np.float32([1.5, -2]), 'correct': correct}; "
        "write_shard(Path(sys.argv[1]), arrays, {'first': '64', 'column': 'pool.correct', "
        "'key': 'abc'})"
    )
    for i in range(3):
        path = tmp_path / f"{i}.safetensors"
        subprocess.run([sys.executable, "-c", code, path], check=True)
        assert path.read_bytes() == shard.read_bytes()


def test_every_truncation_is_refused_by_name(shard):
    whole = shard.read_bytes()
    for length in range(len(whole)):
        shard.write_bytes(whole[:length])
        for look in (read_shard, check_shard):
            with pytest.raises(BankError, match=f"shard .*{shard.name} is .*delete it and run ag"):
                look(shard, HEADER)


def test_every_flipped_bit_is_refused_by_name(shard):
    whole = shard.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            shard.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            with pytest.raises(BankError, match=f"shard .*{shard.name} is .*delete it and run ag"):
                read_shard(shard, HEADER)


@pytest.mark.parametrize(("name", "other"), [("key", "xyz"), ("column", "x.y"), ("first", "0")])
def test_foreign_shards_are_refused_by_name(shard, name, other):
    message = (
        f"{shard.name} is foreign: its {name} is {HEADER[name]!r}, this bank expects '{other}'"
    )
    for look in (read_shard, check_shard):
        with pytest.raises(BankError, match=message):
            look(shard, HEADER | {name: other})


def test_other_peoples_safetensors_are_refused(shard):
    save_file(ARRAYS, shard)
    with pytest.raises(BankError, match="is foreign: its key is None"):
        read_shard(shard, HEADER)
    save_file(ARRAYS, shard, metadata={"shard": "3"})
    with pytest.raises(BankError, match="is truncated or corrupt"):
        read_shard(shard, HEADER)


def failing(error):
    def fail(*_, **__):
        raise OSError(error, os.strerror(error))

    return fail


class FullFile:
    """A file on a disk that fills up after a few bytes."""

    def __init__(self, path, mode):
        self._file = open(path, mode)  # noqa: SIM115, PTH123

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, contents):
        self._file.write(contents[:20])
        self._file.flush()
        failing(errno.ENOSPC)()


@pytest.mark.parametrize("moment", ["open", "write", "fsync", "rename"])
def test_a_full_disk_leaves_what_was_there(shard, monkeypatch, moment):
    before = shard.read_bytes()
    with monkeypatch.context() as patch:
        if moment == "open":
            patch.setattr("pathlib.Path.open", failing(errno.ENOSPC))
        elif moment == "write":
            patch.setattr("pathlib.Path.open", lambda path, mode: FullFile(path, mode))
        elif moment == "fsync":
            patch.setattr("os.fsync", failing(errno.ENOSPC))
        else:
            patch.setattr("pathlib.Path.replace", failing(errno.ENOSPC))
        with pytest.raises(
            BankError, match=r"cannot write .* the disk is full.*same command again"
        ):
            write_shard(shard, {"correct": np.zeros(100)}, HEADER)
    assert list(shard.parent.iterdir()) == [shard]
    assert shard.read_bytes() == before
    write_shard(shard, {"correct": np.zeros(100)}, HEADER)
    assert read_shard(shard, HEADER)["correct"].shape == (100,)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, error):
    monkeypatch.setattr("pathlib.Path.open", failing(error))
    message = f"bank folder {tmp_path}: cannot write .*{os.strerror(error)}.*another.*--banks"
    with pytest.raises(BankError, match=message):
        write_atomically(tmp_path / "manifest.json", b"{}")
    with pytest.raises(BankError, match=message), lock(tmp_path, "000000", wait=False):
        pass


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(BankError, match=r"cannot write manifest\.json \(No such file"):
        write_atomically(tmp_path / "gone" / "manifest.json", b"{}")


def test_temporary_files_of_the_killed_are_cleaned_and_no_others(shard):
    left = shard.with_name(f".{shard.name}.12345.tmp")
    others = shard.with_name(".pool.correct.000000-000064.safetensors.12345.tmp")
    for path in (left, others):
        path.write_bytes(b"half")
    write_shard(shard, ARRAYS, HEADER)
    assert set(shard.parent.iterdir()) == {shard, others}


def test_a_lock_is_held_by_one_and_goes_with_its_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from benchsuite.shadows.shards import lock\n"
        "with lock(Path(sys.argv[1]), '000000', wait=False): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        with lock(tmp_path, "000000", wait=False) as mine:
            assert not mine
        with lock(tmp_path, "000064", wait=False) as other:
            assert other
        process.kill()
        process.wait()
    with lock(tmp_path, "000000", wait=True) as mine:
        assert mine


# ---- files as the safetensors library has them ----


@pytest.mark.parametrize("kind", sorted(shards._NAMES, key=str), ids=str)
def test_the_safetensors_library_reads_a_shard(tmp_path, kind):
    path = tmp_path / "shard"
    arrays = {
        "odd": np.arange(3).astype(np.int8),
        "some": np.arange(24).reshape(2, 3, 4).astype(kind),
        "single": np.array(1).astype(kind),
        "none": np.zeros((0, 4), kind),
    }
    write_shard(path, arrays, HEADER)
    for got in (load_file(path), read_shard(path, HEADER)):
        assert got.keys() == arrays.keys()
        for name, values in arrays.items():
            np.testing.assert_array_equal(got[name], values, strict=True)
    assert all(array.flags.aligned for array in open_shard(path, {}, check_values=True).values())


def test_an_array_that_is_not_dense_is_written_by_its_values(tmp_path):
    path, values = tmp_path / "shard", np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"turned": values.T, "every other": values[:, :, ::2], "back": values[::-1]}
    write_shard(path, arrays, HEADER)
    for got in (load_file(path), read_shard(path, HEADER)):
        for name, expected in arrays.items():
            np.testing.assert_array_equal(got[name], expected)


def test_what_is_read_can_be_changed_and_outlives_the_file(shard):
    got = read_shard(shard, HEADER)
    shard.unlink()
    got["other"][0] = 7
    np.testing.assert_array_equal(got["other"], [7, -2])


def test_writing_needs_no_memory_for_the_values_again(tmp_path):
    values = np.zeros(2_000_000, np.float32)
    path = tmp_path / "shard"
    tracemalloc.start()
    write_shard(path, {"values": values}, HEADER)
    open_shard(path, HEADER, check_values=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 10


def test_half_written_files_of_a_removed_range_go_with_it(shard):
    others = shard_path(shard.parent, "pool.correct", 0, 64)
    write_shard(others, ARRAYS, HEADER)
    for path in (shard, others):
        path.with_name(f".{path.name}.elsewhere.123.tmp").write_bytes(b"half")
    remove_shards(shard.parent, 64, 128)
    left = {others.name, f".{others.name}.elsewhere.123.tmp"}
    assert {path.name for path in shard.parent.iterdir()} == left


def test_a_folder_s_list_of_files_is_made_to_last(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda file: synced.append(os.fstat(file).st_ino))
    sync_folder(tmp_path)
    assert synced == [tmp_path.stat().st_ino]
    monkeypatch.setattr("os.fsync", failing(errno.EIO))
    with pytest.raises(BankError, match=r"cannot write its list of files \(Input/output error"):
        sync_folder(tmp_path)
