import os
import re
import tracemalloc
from functools import partial

import numpy as np
import pytest

from benchsuite.attacks import advantage, attack_success_rate, lira, privacy_score
from benchsuite.data import Dataset
from benchsuite.memorization import label_memorization
from benchsuite.models import mlp
from benchsuite.shadows import BankError, Execution, ShadowBank, shards
from benchsuite.shadows.design import Balanced
from benchsuite.shadows.shards import shard_path, write_shard
from benchsuite.subject import Subject
from benchsuite.training import Recipe

MODELS, EXAMPLES, BLOCK = 128, 600, 64
RNG = np.random.default_rng(0)
POOL = Dataset(RNG.standard_normal((EXAMPLES, 3), dtype=np.float32), np.arange(EXAMPLES) % 10)
SUBJECT = Subject("untrained", POOL, POOL, partial(mlp, 3, 2, 10), Recipe(epochs=2, batch_size=16))
EXECUTION = Execution("dense", 64, 1, "float32", "cpu")
VALUES = {
    "pool.confidence": RNG.standard_normal((MODELS, EXAMPLES), dtype=np.float32),
    "pool.correct": RNG.random((MODELS, EXAMPLES)) < 0.5,
    "pool.logits": RNG.standard_normal((MODELS, EXAMPLES, 10), dtype=np.float32),
    "pool.loss@2": RNG.standard_normal((MODELS, EXAMPLES), dtype=np.float32),
    "versions.divergence": RNG.standard_normal((MODELS, 2, EXAMPLES), dtype=np.float32),
    "membership": Balanced(EXAMPLES).rows(0, MODELS),
}


def write(bank, column, first):
    what = column.partition(".")[2].partition("@")[0] or column
    path = shard_path(bank.folder, column, first, first + BLOCK)
    write_shard(path, {what: VALUES[column][first : first + BLOCK]}, bank.header(column, first))
    return path


@pytest.fixture
def bank(tmp_path):
    """A bank of arrays that nobody trained."""
    empty = ShadowBank.for_subject(tmp_path, SUBJECT, Balanced(EXAMPLES), lambda: EXECUTION)
    for column in VALUES:
        for first in range(0, MODELS, BLOCK):
            write(empty, column, first)
    return ShadowBank.open(empty.folder)


def parts_of(column):
    probe, _, what = column.partition(".")
    what, _, epoch = what.partition("@")
    return probe, what, int(epoch) if epoch else None


COLUMNS = [column for column in VALUES if column != "membership"]


# ---- some examples ----


@pytest.mark.parametrize(
    "examples",
    [
        slice(None),
        slice(3, 7),
        slice(590, 10_000),
        slice(-5, None),
        slice(0, 600, 7),
        slice(9, 2, -3),
        slice(4, 4),
        [5],
        [599, 0, 17, 17],
        np.arange(0, 600, 3, dtype=np.uint16),
    ],
    ids=str,
)
@pytest.mark.parametrize("column", COLUMNS)
def test_some_examples_are_those_of_the_whole(bank, column, examples):
    got = bank.column(*parts_of(column), examples)
    whole = VALUES[column]
    expected = whole[:, :, examples] if "divergence" in column else whole[:, examples]
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == whole.dtype
    assert got.flags.writeable
    assert got.flags.owndata
    np.testing.assert_array_equal(
        bank.membership_of(examples), VALUES["membership"][:, examples], strict=True
    )


@pytest.mark.parametrize(
    "examples", [[600], [-1], [0.5], [[0, 1]], 3, np.zeros(600, bool), None, [], ["a"]]
)
def test_examples_that_are_not_there_are_named(bank, examples):
    message = "examples must be a slice or integers from 0 to 599, on one axis, but they are"
    for look in (partial(bank.column, "pool", "correct", None), bank.membership_of):
        with pytest.raises(ValueError, match=message):
            look(examples)


# ---- blocks ----


@pytest.mark.parametrize("memory", [1, 2000, 10_000, 2**28])
@pytest.mark.parametrize("column", COLUMNS)
def test_blocks_are_the_whole_in_bounded_memory(bank, column, memory):
    blocks = list(bank.blocks(*parts_of(column), memory=memory))
    whole, axis = VALUES[column], 2 if "divergence" in column else 1
    np.testing.assert_array_equal(np.concatenate([v for _, v in blocks], axis), whole, strict=True)
    ends = [0, *(examples.stop for examples, _ in blocks)]
    assert [examples.start for examples, _ in blocks] == ends[:-1]
    assert ends[-1] == EXAMPLES
    of_one = whole.nbytes // EXAMPLES
    sizes = [values.nbytes for _, values in blocks]
    assert max(sizes) <= max(memory, of_one)
    assert len(blocks) == -(-EXAMPLES // max(1, memory // of_one))  # and no more than needed


def test_a_column_is_streamed_without_being_held(bank):
    whole = VALUES["pool.logits"].nbytes
    list(bank.blocks("pool", "logits", memory=whole // 20))  # whatever is imported first
    tracemalloc.start()
    for _, _values in bank.blocks("pool", "logits", memory=whole // 20):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 8


def streamed(bank, estimate, column):
    """As a user writes it."""
    return np.concatenate(
        [
            np.atleast_2d(estimate(values, bank.membership_of(examples)))
            for examples, values in bank.blocks("pool", column, memory=30_000)
        ],
        axis=1,
    )


TARGETS = np.arange(8)


@pytest.mark.parametrize(
    ("column", "estimate"),
    [
        ("correct", label_memorization),
        ("confidence", privacy_score),
        ("confidence", attack_success_rate),
        ("confidence", advantage),
        ("confidence", partial(lira, targets=TARGETS, variant="paper/online")),
        ("confidence", partial(lira, targets=TARGETS, variant="paper/offline")),
    ],
)
def test_estimates_of_blocks_are_those_of_the_whole(bank, column, estimate):
    whole = estimate(VALUES[f"pool.{column}"], VALUES["membership"])
    np.testing.assert_array_equal(streamed(bank, estimate, column), np.atleast_2d(whole))


@pytest.mark.parametrize("variant", ["residual-fixed", "tf-privacy/online-fixed"])
def test_what_shares_a_deviation_among_examples_is_not_for_blocks(bank, variant):
    estimate = partial(lira, targets=TARGETS, variant=variant)
    whole = estimate(VALUES["pool.confidence"], VALUES["membership"])
    assert not np.allclose(streamed(bank, estimate, "confidence"), whole)


# ---- nothing that is damaged is given out ----


def flip(path, at):
    """Flip a bit in place, and keep the length."""
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(at, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


PARTIAL_READS = {
    "whole": lambda bank: bank.column("pool", "confidence"),
    "examples": lambda bank: bank.column("pool", "confidence", examples=[0]),
    "blocks": lambda bank: next(bank.blocks("pool", "confidence", memory=1)),
}


@pytest.mark.parametrize("look", PARTIAL_READS.values(), ids=PARTIAL_READS)
@pytest.mark.parametrize("first", [0, 64])
def test_a_value_that_changed_is_refused_even_where_others_are_asked_for(bank, look, first):
    path = shard_path(bank.folder, "pool.confidence", first, first + BLOCK)
    flip(path, -1)  # of the last example
    with pytest.raises(BankError, match=f"shard {path} is corrupt"):
        look(bank)


@pytest.mark.parametrize("look", PARTIAL_READS.values(), ids=PARTIAL_READS)
def test_a_file_that_changes_after_it_was_read_is_refused(bank, look):
    look(bank)
    path = shard_path(bank.folder, "pool.confidence", 0, BLOCK)
    flip(path, -1)
    for _ in range(2):  # and not taken for checked because it was refused before
        with pytest.raises(BankError, match=f"shard {path} is corrupt"):
            look(bank)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(BankError, match=f"shard {path} is truncated"):
        look(bank)


def test_a_file_s_values_are_checked_once_for_each_opened_bank(bank, monkeypatch):
    checked, digest = [], shards._digest

    def counted(arrays, header):
        checked.append(header["column"])
        return digest(arrays, header)

    monkeypatch.setattr(shards, "_digest", counted)
    for _ in range(2):
        list(bank.blocks("pool", "correct", memory=10_000))
        bank.column("pool", "correct")
    assert checked == ["pool.correct"] * (MODELS // BLOCK)
    ShadowBank.open(bank.folder).column("pool", "correct")
    assert checked == ["pool.correct"] * (MODELS // BLOCK) * 2


def test_a_bank_that_grows_while_it_is_read_keeps_its_models(bank):
    shard_path(bank.folder, "membership", 64, 128).unlink()
    opened = ShadowBank.open(bank.folder)
    write(bank, "membership", 64)
    assert opened.models == 64
    assert opened.column("pool", "correct").shape == (64, EXAMPLES)
    assert opened.membership.shape == (64, EXAMPLES)
    assert ShadowBank.open(bank.folder).models == 128


# ---- what a bank holds ----


def test_a_bank_says_what_it_holds(bank):
    first, *lines = str(bank).splitlines()
    size = sum(path.stat().st_size for path in bank.folder.glob("*.safetensors"))
    assert first == f"bank {bank.folder}: 128 models, {size / 1e6:.4g} MB"
    size = sum(path.stat().st_size for path in bank.folder.glob("pool.logits.*"))
    assert f"  pool.logits: 128 models, {size / 1e6:.4g} MB" in lines
    assert len(lines) == len(VALUES)
    assert "lacks" not in str(bank)


def test_a_bank_says_what_it_lacks_and_what_is_damaged(bank):
    shard_path(bank.folder, "pool.logits", 0, 64).unlink()
    size = shard_path(bank.folder, "pool.logits", 64, 128).stat().st_size
    shard_path(bank.folder, "pool.correct", 64, 128).unlink()
    path = shard_path(bank.folder, "pool.confidence", 64, 128)
    os.truncate(path, 200)
    left = bank.folder / f".{path.name}.elsewhere.123.tmp"
    left.write_bytes(b"half")
    said = str(bank).splitlines()
    assert f"  pool.logits: 64 models, {size / 1e6:.4g} MB; lacks models 0 to 63" in said
    assert any(
        re.fullmatch(r"  pool.correct: 64 models, .* kB; lacks models 64 to 127", line)
        for line in said
    )
    assert any(line.startswith(f"  shard {path} is truncated or corrupt") for line in said)
    assert f"  half-written, or being written: {left.name} (4 bytes)" in said


def test_an_empty_bank_says_that_it_is_empty(tmp_path):
    bank = ShadowBank.for_subject(tmp_path, SUBJECT, Balanced(EXAMPLES), lambda: EXECUTION)
    assert str(bank) == f"bank {bank.folder}: 0 models, 0 bytes"
    with pytest.raises(BankError, match="holds no models yet: run train_shadows"):
        next(bank.blocks("pool", "correct"))
