import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchsuite.data import sources
from benchsuite.models import mlp
from benchsuite.shadows import BankError, Execution, ShadowBank
from benchsuite.shadows import bank as bank_module
from benchsuite.shadows import train_shadows as on_any_device
from benchsuite.shadows.design import Balanced, Tied
from benchsuite.shadows.execution import execution_for
from benchsuite.subject import Subject
from benchsuite.training import Recipe

train_shadows = partial(on_any_device, device="cpu")
POOL, TEST = sources.digits()
SUBJECT = Subject(
    "tiny",
    POOL.subset(range(60)),
    TEST.subset(range(30)),
    partial(mlp, 64, 4, 10),
    Recipe(epochs=1, batch_size=16),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return train_shadows(SUBJECT, 128, folder=tmp_path_factory.mktemp("banks"))


@pytest.fixture
def copied(made, tmp_path):
    """A bank of its own for a test that breaks it."""
    folder = tmp_path / made.folder.name
    folder.mkdir()
    for path in made.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bank_shows_its_models(made):
    bank = ShadowBank.open(made.folder)
    assert bank.models == 128
    assert bank.fill is None
    assert bank.columns == ("pool.confidence", "pool.correct", "pool.gap", "test.correct")
    assert bank.membership.shape == (128, 60)
    assert bank.membership.dtype == np.bool_
    np.testing.assert_array_equal(bank.membership, Balanced(60).rows(0, 128))
    assert bank.column("pool", "confidence").shape == (128, 60)
    assert bank.column("pool", "confidence").dtype == np.float32
    assert bank.column("test", "correct").shape == (128, 30)
    assert bank.column("test", "correct").dtype == np.bool_
    assert bank.design == Balanced(60)
    assert bank.execution == execution_for(SUBJECT, "cpu")
    assert bank.execution.strategy == "dense"
    assert bank.folder.name == f"tiny-{bank.key[:12]}"


def test_a_bank_of_before_an_execution_had_all_its_fields_is_read_and_goes_on(tmp_path):
    fewer = asdict(Execution("stacked", 32, 1, "float32", "cpu"))
    for later in ("layout", "launch", "matmul"):
        del fewer[later]
    with pytest.MonkeyPatch.context() as before:
        before.setattr(bank_module, "asdict", lambda execution: fewer)
        train_shadows(SUBJECT, 64, folder=tmp_path)
    bank = train_shadows(SUBJECT, 128, folder=tmp_path)
    assert bank.fill.models_trained == 64
    assert bank.manifest["execution"] == fewer
    assert bank.execution == Execution(**fewer)
    assert bank.column("pool", "gap").shape == (128, 60)


def test_the_manifest_says_what_the_models_depend_on(made):
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["identity"]["subject"] == SUBJECT.identity()
    assert manifest["identity"]["design"] == Balanced(60).identity()
    assert manifest["made_with"]["torch"]


def test_a_bank_shows_the_models_asked_for_whatever_else_it_holds(made):
    few = train_shadows(SUBJECT, 64, folder=made.folder.parent)
    assert few.folder == made.folder
    assert (few.fill.models_trained, few.fill.models_reused) == (0, 64)
    assert few.models == 64
    for probe, what in (("pool", "confidence"), ("test", "correct")):
        np.testing.assert_array_equal(few.column(probe, what), made.column(probe, what)[:64])
    np.testing.assert_array_equal(few.membership, made.membership[:64])


def test_a_column_of_some_models_is_read_by_those_who_asked_for_as_many(copied):
    few = train_shadows(SUBJECT, 64, folder=copied.parent, columns=["pool.logits"])
    assert few.column("pool", "logits").shape == (64, 60, 10)
    assert "pool.logits" in few.columns
    every = ShadowBank.open(copied)
    assert "pool.logits" not in every.columns
    with pytest.raises(
        BankError, match=r"no column 'pool\.logits' for models 64 to 127; it has pool"
    ):
        every.column("pool", "logits")


def test_a_column_of_a_moment_is_read_by_its_epoch(copied):
    columns = ["pool.loss", "pool.loss@1"]
    bank = train_shadows(SUBJECT, 64, folder=copied.parent, columns=columns)
    assert bank.columns == ("pool.loss", "pool.loss@1")
    assert bank.column("pool", "loss", epoch=1).shape == (64, 60)
    assert bank.column("pool", "loss", 1).dtype == np.float32
    np.testing.assert_allclose(
        bank.column("pool", "loss", 1), bank.column("pool", "loss"), rtol=1e-4, atol=1e-6
    )  # SUBJECT has but one epoch
    message = r"no column 'pool\.loss@2' for models 0 to 63; it has pool\.loss, pool\.loss@1: name"
    with pytest.raises(BankError, match=message):
        bank.column("pool", "loss", epoch=2)


def test_each_part_of_the_identity_has_a_bank_of_its_own(made):
    execution = made.execution
    keys = {made.key}
    for subject, design in (
        (replace(SUBJECT, recipe=replace(SUBJECT.recipe, epochs=2)), Balanced(60)),
        (replace(SUBJECT, pool=POOL.subset(range(1, 61))), Balanced(60)),
        (replace(SUBJECT, model=partial(mlp, 64, 5, 10)), Balanced(60)),
        (SUBJECT, Balanced(60, seed=1)),
        (replace(SUBJECT, share=0.25), Balanced(60, 0.25)),
        (SUBJECT, Tied(60, ((0, 1), (2, 3)))),
        (SUBJECT, Tied(60, ((0, 2), (1, 3)))),
    ):
        bank = ShadowBank.for_subject(made.folder.parent, subject, design, lambda: execution)
        assert bank.folder != made.folder
        assert bank.models == 0
        assert bank.design == design
        keys.add(bank.key)
    assert len(keys) == 8


def test_an_empty_bank_says_so(tmp_path):
    execution = Execution("stacked", 32, 1, "float32", "cpu")
    bank = ShadowBank.for_subject(tmp_path, SUBJECT, Balanced(60), lambda: execution)
    assert bank.columns == ()
    with pytest.raises(BankError, match="holds no models yet: run train_shadows"):
        _ = bank.membership


def test_whoever_goes_on_obeys_the_execution_of_the_bank(tmp_path):
    first = Execution("looped", 1, 1, "float32", "cpu")
    ShadowBank.for_subject(tmp_path, SUBJECT, Balanced(60), lambda: first)
    other = Execution("stacked", 64, 1, "float32", "cpu")
    assert ShadowBank.for_subject(tmp_path, SUBJECT, Balanced(60), lambda: other).execution == first
    bank = train_shadows(SUBJECT, 64, folder=tmp_path)
    assert bank.execution == first


# ---- refusals ----


def test_a_folder_without_a_bank_is_named(tmp_path):
    with pytest.raises(BankError, match=f"no bank in {tmp_path}.*make one with train_shadows"):
        ShadowBank.open(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "\x00", "[1]", "{}", '{"schema": 0}'])
def test_a_broken_manifest_is_named(copied, content):
    (copied / "manifest.json").write_text(content)
    with pytest.raises(
        BankError, match=r"bank manifest .*manifest.json (cannot be read|is of ano)"
    ):
        ShadowBank.open(copied)


def test_a_manifest_of_another_version_is_refused(copied):
    change_manifest(copied, schema=999)
    for look in (
        lambda: ShadowBank.open(copied),
        lambda: train_shadows(SUBJECT, 64, folder=copied.parent),
    ):
        with pytest.raises(BankError, match="is of another version than this benchsuite's"):
            look()


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": {"subject": "other"}},
        {"identity": None},
        {"key": "0" * 64},
        {"execution": {"stack": 3}},
        {"execution": None},
    ],
)
def test_a_changed_manifest_is_refused(copied, changes):
    change_manifest(copied, **changes)
    with pytest.raises(BankError, match=r"manifest\.json was changed: its key does not match"):
        ShadowBank.open(copied)


@pytest.mark.parametrize("design", [Balanced(40), Tied(62, ((0, 1), (2, 3)))])
def test_a_design_over_another_pool_is_refused(tmp_path, design):
    execution = Execution("stacked", 32, 1, "float32", "cpu")
    message = rf"design is over {design.examples} examples, but the pool of tiny has 60"
    with pytest.raises(ValueError, match=message):
        ShadowBank.for_subject(tmp_path, SUBJECT, design, lambda: execution)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["key", "identity", "execution"])
def test_a_manifest_with_a_part_missing_is_refused(copied, missing):
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[missing]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BankError, match="or parts are missing"):
        ShadowBank.open(copied)


def test_a_bank_of_another_manifest_in_the_same_folder_is_refused(copied):
    other = ShadowBank.for_subject(
        copied.parent,
        replace(SUBJECT, share=0.25),
        Balanced(60, 0.25),
        lambda: Execution("dense", 1, 1, "float32", "cpu"),
    )
    (copied / "manifest.json").write_bytes((other.folder / "manifest.json").read_bytes())
    with pytest.raises(BankError, match=f"bank folder {copied} holds another bank"):
        train_shadows(SUBJECT, 64, folder=copied.parent)


def test_shards_made_by_another_execution_are_refused(copied):
    bank = ShadowBank.open(copied)
    change_manifest(copied, execution=asdict(replace(bank.execution, stack=8)))
    for look in (
        lambda: ShadowBank.open(copied).membership,
        lambda: train_shadows(SUBJECT, 64, folder=copied.parent),
    ):
        with pytest.raises(BankError, match="is foreign: its execution is"):
            look()


def shards_of(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def read(bank, column, examples=slice(None)):
    if column == "membership":
        return bank.membership_of(examples)
    return bank.column(*column.split("."), examples=examples)


@pytest.mark.parametrize("damage", ["truncate", "flip", "rename", "other bank", "other column"])
@pytest.mark.parametrize("column", ["pool.confidence", "membership"])
def test_a_bad_shard_is_refused_by_name_and_filled_anew_once_deleted(copied, column, damage):
    before = {path.name: path.read_bytes() for path in copied.glob("*.safetensors")}
    name = f"{column}.000064-000128.safetensors"
    path = copied / name
    whole = before[name]
    if damage == "truncate":
        path.write_bytes(whole[:-1])
    elif damage == "flip":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    elif damage == "rename":
        path.write_bytes(before[f"{column}.000000-000064.safetensors"])
    elif damage == "other column":
        path.write_bytes(before["pool.correct.000064-000128.safetensors"])
    else:
        other = train_shadows(SUBJECT, 128, folder=copied.parent, seed=1)
        path.write_bytes((other.folder / name).read_bytes())
    damaged = ShadowBank.open(copied)
    for look in (lambda: read(damaged, column), lambda: read(damaged, column, slice(0, 1))):
        with pytest.raises(BankError, match=rf"shard {path} is .*delete it and run again"):
            look()
    path.unlink()
    bank = train_shadows(SUBJECT, 128, folder=copied.parent)
    assert bank.fill.models_trained == 0  # the weights are kept
    assert {path.name: path.read_bytes() for path in copied.glob("*.safetensors")} == before


def test_bad_kept_weights_are_refused_by_name(copied):
    path = copied / "weights.000000-000064.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BankError, match=rf"shard {path} is corrupt"):
        train_shadows(SUBJECT, 64, folder=copied.parent, columns=["pool.logits"])


def test_a_full_bank_needs_no_writing(copied, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("wrote")

    monkeypatch.setattr("benchsuite.shadows.bank.write_atomically", refuse)
    monkeypatch.setattr("benchsuite.shadows.fill.write_shard", refuse)
    monkeypatch.setattr("benchsuite.shadows.bank.lock", refuse)
    monkeypatch.setattr("benchsuite.shadows.fill.lock", refuse)
    assert train_shadows(SUBJECT, 128, folder=copied.parent).models == 128


@pytest.mark.parametrize("at", ["root", "bank"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, made, at):
    root = tmp_path / "banks"
    if at == "root":
        root.write_text("a file")
    else:
        root.mkdir()
        (root / made.folder.name).write_text("a file")
    with pytest.raises(BankError, match=f"bank folder {root}.* cannot be made .*--banks"):
        train_shadows(SUBJECT, 64, folder=root)
    assert sorted(path for path in Path(tmp_path).rglob("*") if path.is_file()) == [
        root if at == "root" else root / made.folder.name
    ]
