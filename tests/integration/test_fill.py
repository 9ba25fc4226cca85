import contextlib
import os
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.data import Dataset, sources
from benchsuite.models import digits_cnn, mlp
from benchsuite.provenance import provenance
from benchsuite.shadows import (
    COLUMNS,
    Balanced,
    BankError,
    Lacking,
    ShadowBank,
    Tied,
    fill,
    shards,
    work,
)
from benchsuite.shadows import columns as columns_module
from benchsuite.shadows import train_shadows as on_any_device
from benchsuite.subject import Subject
from benchsuite.training import Recipe

train_shadows = partial(on_any_device, device="cpu")
POOL, TEST = sources.digits()
SUBJECT = Subject(
    "tiny",
    POOL.subset(range(60)),
    TEST.subset(range(30)),
    partial(mlp, 64, 4, 10),
    Recipe(epochs=2, batch_size=16),
)


def with_dropout():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 10)
    )


def not_stacked():
    return nn.Sequential(*with_dropout(), nn.ELU())


TIED = Tied(60, ((0, 59), (7, 3)), seed=5)
LACKING = Lacking(60, ((0, 59), (7, 3)), seed=5)
STACKED = replace(SUBJECT, name="stacked", model=digits_cnn, recipe=Recipe(epochs=1))
WITH_DROPOUT = replace(SUBJECT, name="dropout", model=with_dropout, recipe=Recipe(epochs=1))
LOOPED = replace(SUBJECT, name="looped", model=not_stacked, recipe=Recipe(epochs=1))


def shards_of(bank):
    return {path.name: path.read_bytes() for path in bank.folder.glob("*.safetensors")}


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.suffix == ".tmp"]


# ---- growing ----


@pytest.mark.parametrize(
    ("subject", "strategy"),
    [(SUBJECT, "dense"), (STACKED, "stacked"), (WITH_DROPOUT, "stacked"), (LOOPED, "looped")],
    ids=["dense", "stacked", "dropout", "looped"],
)
def test_a_bank_that_grew_equals_one_made_at_once(tmp_path, subject, strategy):
    train_shadows(subject, 64, folder=tmp_path / "grown")
    grown = train_shadows(subject, 128, folder=tmp_path / "grown")
    assert (grown.fill.models_trained, grown.fill.models_reused) == (64, 64)
    once = train_shadows(subject, 128, folder=tmp_path / "once")
    assert (once.fill.models_trained, once.fill.models_reused) == (128, 0)
    assert shards_of(grown) == shards_of(once)
    assert grown.execution.strategy == strategy


def test_a_full_bank_trains_nothing(tmp_path, monkeypatch):
    before = train_shadows(SUBJECT, 64, folder=tmp_path)
    monkeypatch.setattr("benchsuite.shadows.work.train", lambda *_: pytest.fail("trained"))
    again = train_shadows(SUBJECT, 64, folder=tmp_path)
    assert (again.fill.models_trained, again.fill.models_reused) == (0, 64)
    assert shards_of(again) == shards_of(before)


def test_models_learn_what_they_are_in_for(tmp_path):
    subject = replace(
        SUBJECT, recipe=Recipe(epochs=60, batch_size=8), model=partial(mlp, 64, 32, 10)
    )
    bank = train_shadows(subject, 64, folder=tmp_path)
    correct, membership = bank.column("pool", "correct"), bank.membership
    assert correct[membership].mean() > 0.99
    assert 0.3 < correct[~membership].mean() < 0.95
    confidence = bank.column("pool", "confidence")
    assert confidence[membership].mean() > confidence[~membership].mean() + 1


# ---- designs ----


@pytest.mark.parametrize("design", [TIED, LACKING])
def test_a_bank_is_opened_with_its_design(tmp_path, design):
    made = train_shadows(SUBJECT, 128, folder=tmp_path, design=design)
    bank = ShadowBank.open(made.folder)
    assert bank.design == design
    np.testing.assert_array_equal(bank.membership, design.rows(0, 128))
    assert bank.models == 128
    again = train_shadows(SUBJECT, 128, folder=tmp_path, design=design, seed=5)
    assert (again.folder, again.fill.models_trained) == (made.folder, 0)


@pytest.mark.parametrize("design", [TIED, LACKING])
def test_a_design_decides_what_each_model_trains_on_and_its_seed(tmp_path, monkeypatch, design):
    jobs, train = [], work.train

    def watched(job, strategy):
        jobs.append(job)
        return train(job, strategy)

    monkeypatch.setattr("benchsuite.shadows.work.train", watched)
    train_shadows(SUBJECT, 128, folder=tmp_path, design=design)
    rows = design.rows(0, 128)
    assert {job.seed for job in jobs} == {5}
    assert sum(len(job.models) for job in jobs) == 128
    for job in jobs:
        for model, subset in zip(job.models, job.subsets, strict=True):
            np.testing.assert_array_equal(subset, np.flatnonzero(rows[model]))


@pytest.mark.parametrize("seed", [0, 3])
def test_a_balanced_design_is_the_one_of_its_seed(tmp_path, seed):
    folder = train_shadows(SUBJECT, 64, folder=tmp_path, seed=seed).folder
    given = train_shadows(SUBJECT, 64, folder=tmp_path, design=Balanced(60, seed=seed))
    assert (given.folder, given.fill.models_trained) == (folder, 0)


def test_no_seed_is_seed_0(tmp_path):
    bank = train_shadows(SUBJECT, 64, folder=tmp_path)
    assert bank.design == Balanced(60, seed=0)


# ---- columns ----


def test_columns_are_views_of_the_logits(tmp_path):
    columns = [*COLUMNS, "pool.logits", "test.gap", "test.logits", "test.confidence"]
    bank = train_shadows(SUBJECT, 64, folder=tmp_path, columns=columns)
    for probe, data in (("pool", SUBJECT.pool), ("test", SUBJECT.test)):
        said = bank.column(probe, "logits").astype(np.float64)
        np.testing.assert_array_equal(bank.column(probe, "correct"), said.argmax(2) == data.labels)
        p = np.exp(said - said.max(2, keepdims=True))
        p /= p.sum(2, keepdims=True)
        of_label = p[:, np.arange(len(data)), data.labels]
        expected = np.log(of_label / (1 - of_label))
        np.testing.assert_allclose(bank.column(probe, "confidence"), expected, rtol=1e-4, atol=1e-4)
        ordered = np.sort(said, axis=2)
        gap = ordered[:, :, -1] - ordered[:, :, -2]
        np.testing.assert_allclose(bank.column(probe, "gap"), gap, rtol=1e-5, atol=1e-5)


def test_a_later_column_needs_no_training_where_weights_are_kept(tmp_path, monkeypatch):
    train_shadows(SUBJECT, 64, folder=tmp_path / "later")
    at_once = train_shadows(
        SUBJECT, 64, folder=tmp_path / "once", columns=[*COLUMNS, "test.logits"]
    )
    monkeypatch.setattr("benchsuite.shadows.work.train", lambda *_: pytest.fail("trained"))
    later = train_shadows(SUBJECT, 64, folder=tmp_path / "later", columns=["test.logits"])
    assert (later.fill.models_trained, later.fill.models_reused) == (0, 64)
    assert shards_of(later) == shards_of(at_once)


def test_the_weights_of_the_laptops_small_models_are_kept():
    for model in (mlp(64, 128, 10), digits_cnn()):
        size = sum(4 * parameter.numel() for parameter in model.parameters())
        assert size <= fill.KEEP_WEIGHTS_BELOW


@pytest.fixture
def trainings_that_differ(monkeypatch):
    """Weights are not kept, and each stack is trained to other weights than ever before."""
    monkeypatch.setattr(fill, "KEEP_WEIGHTS_BELOW", 0)
    train, trained = work.train, []

    def differing(job, strategy):
        trained.append(job.models)
        return train(replace(job, seed=1000 + len(trained)), strategy)

    monkeypatch.setattr("benchsuite.shadows.work.train", differing)
    return trained


def assert_of_one_training(bank, data):
    said, correct = bank.column("pool", "logits"), bank.column("pool", "correct")
    np.testing.assert_array_equal(correct, said.argmax(2) == data.labels)


def test_a_later_column_is_retrained_where_weights_are_not_kept_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "KEEP_WEIGHTS_BELOW", 0)
    train_shadows(SUBJECT, 64, folder=tmp_path / "later")
    every = [*COLUMNS, "test.logits"]
    at_once = train_shadows(SUBJECT, 64, folder=tmp_path / "once", columns=every)
    later = train_shadows(SUBJECT, 64, folder=tmp_path / "later", columns=every)
    assert (later.fill.models_trained, later.fill.models_reused) == (64, 0)
    assert shards_of(later) == shards_of(at_once)
    assert not [name for name in shards_of(later) if name.startswith("weights")]


def test_what_other_models_said_is_removed_when_a_shard_is_trained_again(
    tmp_path, trainings_that_differ
):
    bank = train_shadows(SUBJECT, 128, folder=tmp_path)
    others = {name: text for name, text in shards_of(bank).items() if "000064-000128" in name}
    later = train_shadows(SUBJECT, 64, folder=tmp_path, columns=["pool.logits", "pool.correct"])
    assert later.columns == ("pool.correct", "pool.logits")
    assert_of_one_training(later, SUBJECT.pool)
    assert others.items() <= shards_of(later).items()  # of the shard that was not trained again


@pytest.mark.parametrize("written", range(3))
@pytest.mark.parametrize("before", [False, True], ids=["empty", "with another column"])
def test_a_shard_is_of_one_training_wherever_it_was_stopped(
    tmp_path, monkeypatch, trainings_that_differ, written, before
):
    if before:
        train_shadows(STACKED, 64, folder=tmp_path, columns=["pool.correct"])
        trainings_that_differ.clear()
    write, calls = fill.write_shard, []

    def stopping(*arguments):
        if len(calls) == written:
            raise KeyboardInterrupt
        calls.append(arguments)
        write(*arguments)

    columns = ["pool.correct", "pool.logits"]
    with monkeypatch.context() as patch:
        patch.setattr(fill, "write_shard", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_shadows(STACKED, 64, folder=tmp_path, columns=columns)
    (folder,) = tmp_path.iterdir()
    assert ShadowBank.open(folder).models == 0
    bank = train_shadows(STACKED, 64, folder=tmp_path, columns=columns)
    assert_of_one_training(bank, STACKED.pool)
    assert len(trainings_that_differ) == 4  # stacks, half of the shard each: all trained again
    assert not list(folder.glob("weights.*"))


def test_an_old_column_is_never_left_beside_new_membership(
    tmp_path, monkeypatch, trainings_that_differ
):
    train_shadows(SUBJECT, 64, folder=tmp_path, columns=["pool.correct"])
    remove = shards.remove_shard

    def stopping(path):
        remove(path)
        raise KeyboardInterrupt

    columns = ["pool.correct", "pool.logits"]
    with monkeypatch.context() as patch:
        patch.setattr(shards, "remove_shard", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_shadows(SUBJECT, 64, folder=tmp_path, columns=columns)
    assert_of_one_training(
        train_shadows(SUBJECT, 64, folder=tmp_path, columns=columns), SUBJECT.pool
    )


def test_columns_of_other_semantics_are_refused(tmp_path, monkeypatch):
    bank = train_shadows(SUBJECT, 64, folder=tmp_path)
    monkeypatch.setattr("benchsuite.shadows.columns.SEMANTICS", 1000)
    for look in (
        lambda: train_shadows(SUBJECT, 64, folder=tmp_path),
        lambda: bank.column("test", "correct"),
    ):
        with pytest.raises(BankError, match=r"is foreign: its column semantics is '1', .*'1000'"):
            look()
    assert bank.membership.shape == (64, 60)  # the design's, which its own version covers


def test_another_probe_is_asked_by_its_name(tmp_path):
    others = {"more-digits": POOL.subset(range(100, 140))}
    bank = train_shadows(
        SUBJECT, 64, folder=tmp_path, columns=["more-digits.correct"], probes=others
    )
    assert bank.columns == ("more-digits.correct",)
    assert bank.column("more-digits", "correct").shape == (64, 40)


def test_another_probe_of_the_same_name_is_refused(tmp_path):
    train_shadows(SUBJECT, 64, folder=tmp_path)
    changed = replace(SUBJECT, test=TEST.subset(range(30, 60)))
    message = r"test\.correct\.000000-000064\.safetensors is foreign: its probe is"
    with pytest.raises(BankError, match=message):
        train_shadows(changed, 64, folder=tmp_path)
    for path in tmp_path.glob("*/test.*"):
        path.unlink()
    bank = train_shadows(changed, 64, folder=tmp_path)
    assert bank.fill.models_trained == 0


# ---- moments ----

VERSIONS = Dataset(
    np.concatenate([POOL.images[100:110], POOL.images[200:210], POOL.images[300:310]]),
    np.tile(POOL.labels[100:110], 3),
    np.repeat([0, 1, 2], 10),
)
WHAT_OF_VERSIONS = (
    "divergence",
    "loss",
    "squared_gradient",
    "leverage",
    "logits",
    "gap",
    "correct",
)


def ended_after(subject, epochs):
    return replace(subject, recipe=Recipe(epochs=epochs, batch_size=16, schedule="constant"))


@pytest.mark.parametrize(
    "subject",
    [SUBJECT, STACKED, WITH_DROPOUT, LOOPED],
    ids=["dense", "stacked", "dropout", "looped"],
)
def test_a_moment_is_the_end_of_a_training_that_ended_then(tmp_path, subject):
    probes = {"versions": VERSIONS}
    at_ends = [f"versions.{what}" for what in WHAT_OF_VERSIONS]
    short = train_shadows(
        ended_after(subject, 2), 64, folder=tmp_path, columns=at_ends, probes=probes
    )
    columns = [f"{column}@{epoch}" for column in at_ends for epoch in (3, 2)]
    long = train_shadows(
        ended_after(subject, 3), 64, folder=tmp_path, columns=columns, probes=probes
    )
    assert long.columns == tuple(sorted(columns))
    for what in WHAT_OF_VERSIONS:
        got, expected = long.column("versions", what, epoch=2), short.column("versions", what)
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
        assert not np.allclose(long.column("versions", what, 3), expected, rtol=1e-3)
    assert long.column("versions", "divergence", 2).shape == (64, 2, 10)


@pytest.mark.parametrize("subject", [SUBJECT, WITH_DROPOUT, LOOPED], ids=lambda s: s.name)
def test_models_that_are_watched_are_the_same_models(tmp_path, subject):
    subject = ended_after(subject, 2)
    alone = train_shadows(subject, 64, folder=tmp_path / "alone")
    columns = [*COLUMNS, "pool.loss@1", "test.squared_gradient@2"]
    watched = train_shadows(subject, 64, folder=tmp_path / "watched", columns=columns)
    assert shards_of(alone).items() <= shards_of(watched).items()


def test_what_is_asked_of_one_moment_comes_from_one_forward_pass(tmp_path, monkeypatch):
    asked, logits = [], columns_module.logits

    def counted(factory, weights, inputs, strategy):
        asked.append((len(inputs), len(next(iter(weights.values())))))
        return logits(factory, weights, inputs, strategy)

    monkeypatch.setattr(columns_module, "logits", counted)
    columns = ["pool.loss@1", "test.loss@1", "pool.gap@1", "pool.logits@2", "pool.confidence@2"]
    columns += ["pool.squared_gradient@2", "test.squared_gradient", "test.loss", "test.gap"]
    bank = train_shadows(SUBJECT, 64, folder=tmp_path, columns=columns)
    stack = bank.execution.stack
    passes = 2 * 64 // stack  # the two moments of each stack
    assert sorted(asked) == [(30, stack)] * passes + [(60, stack)] * passes


@pytest.mark.parametrize("subject", [SUBJECT, LOOPED], ids=lambda s: s.name)
@pytest.mark.parametrize("patience", [1, 2])
def test_a_model_that_had_stopped_says_nothing(tmp_path, subject, patience):
    epochs = 12
    subject = replace(
        subject,
        validation=TEST.subset(range(30, 60)),
        recipe=Recipe(epochs=epochs, batch_size=16, early_stopping=patience, learning_rate=0.5),
    )
    moments = [f"validation.loss@{epoch}" for epoch in range(1, epochs + 1)]
    bank = train_shadows(subject, 64, folder=tmp_path, columns=["validation.loss", *moments])
    last = bank.column("validation", "loss").mean(axis=1)
    every = [bank.column("validation", "loss", epoch) for epoch in range(1, epochs + 1)]
    said = np.isfinite(every)
    assert (said.all(axis=2) == said.any(axis=2)).all()
    lengths = set()
    for model, losses in enumerate(np.mean(every, axis=2).T):
        best, stale, epoch = np.inf, 0, 0
        while stale < patience and epoch < epochs:
            stale = 0 if losses[epoch] < best else stale + 1
            best = min(best, losses[epoch])
            epoch += 1
        np.testing.assert_array_equal(said[:, model, 0], np.arange(epochs) < epoch)
        np.testing.assert_allclose(last[model], best, rtol=1e-5)
        lengths.add(epoch)
    assert len(lengths) > 2


def test_a_moment_asked_for_later_trains_again_and_what_was_not_asked_for_goes(tmp_path):
    train_shadows(SUBJECT, 128, folder=tmp_path / "later")
    columns = ["test.loss@1", "test.correct"]
    later = train_shadows(SUBJECT, 64, folder=tmp_path / "later", columns=columns)
    assert (later.fill.models_trained, later.fill.models_reused) == (64, 0)
    assert later.columns == ("test.correct", "test.loss@1")
    once = train_shadows(SUBJECT, 64, folder=tmp_path / "once", columns=columns)
    assert shards_of(once).items() <= shards_of(later).items()
    again = train_shadows(SUBJECT, 64, folder=tmp_path / "later", columns=columns)
    assert (again.fill.models_trained, again.fill.models_reused) == (0, 64)


def test_a_moment_is_never_of_another_training_than_the_kept_weights(tmp_path, monkeypatch):
    train, trained = work.train, []

    def differing(job, strategy):
        trained.append(job.models)
        return train(replace(job, seed=1000 + len(trained)), strategy)

    monkeypatch.setattr("benchsuite.shadows.work.train", differing)
    subject = ended_after(SUBJECT, 2)
    bank = train_shadows(subject, 64, folder=tmp_path, columns=["pool.logits"])
    stacks = 64 // bank.execution.stack
    for epoch in (2, 1):
        columns = ["pool.logits", f"pool.logits@{epoch}"]
        bank = train_shadows(subject, 64, folder=tmp_path, columns=columns)
        assert bank.columns == tuple(columns)
        assert len(trained) == (4 - epoch) * stacks
        for path in bank.folder.glob("pool.logits.*"):
            path.unlink()
        columns.append("pool.correct")
        bank = train_shadows(subject, 64, folder=tmp_path, columns=columns)  # of the kept weights
        assert len(trained) == (4 - epoch) * stacks
        assert_of_one_training(bank, SUBJECT.pool)
        same = np.allclose(bank.column("pool", "logits", epoch), bank.column("pool", "logits"))
        assert same == (epoch == 2)


def test_gradients_and_divergences_need_no_training_where_weights_are_kept(tmp_path, monkeypatch):
    probes, columns = {"versions": VERSIONS}, [f"versions.{what}" for what in WHAT_OF_VERSIONS]
    at_once = train_shadows(SUBJECT, 64, folder=tmp_path / "once", columns=columns, probes=probes)
    train_shadows(SUBJECT, 64, folder=tmp_path / "later")
    monkeypatch.setattr("benchsuite.shadows.work.train", lambda *_: pytest.fail("trained"))
    for column in columns:
        later = train_shadows(
            SUBJECT, 64, folder=tmp_path / "later", columns=[column], probes=probes
        )
    assert shards_of(at_once).items() <= shards_of(later).items()


@pytest.mark.parametrize("subject", [SUBJECT, LOOPED], ids=lambda s: s.name)
@pytest.mark.parametrize("early_stopping", [None, 1])
def test_training_that_diverges_before_a_moment_is_named(tmp_path, subject, early_stopping):
    recipe = Recipe(epochs=4, batch_size=8, learning_rate=1e30, early_stopping=early_stopping)
    subject = replace(subject, recipe=recipe, validation=SUBJECT.test)
    for what, name in (("loss", "logits"), ("squared_gradient", "squared gradients")):
        message = rf"model \d+ of \w+ gives {name} that are not finite at the end of epoch 1: its"
        with pytest.raises(ValueError, match=message):
            train_shadows(subject, 64, folder=tmp_path, columns=[f"pool.{what}@1"])
    assert list(tmp_path.rglob("*.safetensors")) == []


# ---- bad arguments ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": 0}, "models=0 is not a multiple of 64.*use 64 or 128"),
        ({"models": 64.0}, r"models=64\.0 must be an int, a multiple of 64"),
        ({"models": "64"}, r"models='64' must be an int"),
        ({"models": 65}, "models=65 is not a multiple of 64.*use 64 or 128"),
        ({"columns": ["nothing.correct"]}, r"columns: 'nothing\.correct' is unknown; expected"),
        (
            {"columns": ["pool.lossy"]},
            r"columns: 'pool\.lossy' is unknown; .*confidence, correct, gap, log",
        ),
        ({"columns": ["pool"]}, "columns: 'pool' is unknown"),
        ({"columns": ["pool.loss@3"]}, "asks for epoch 3, but the recipe's run from 1 to 2"),
        ({"columns": ["pool.divergence"]}, "groups of 'pool' must be integers, 0 for the clean"),
        ({"probes": {"pool": TEST}}, "probes: 'pool' cannot be the name of a probe"),
        ({"probes": {"a/b": TEST}}, "probes: 'a/b' cannot be the name of a probe"),
        (
            {"probes": {"wide": Dataset(np.ones((4, 3), np.float32), np.arange(4))}},
            r"probes: inputs of 'wide' have shape \(3,\), the pool's \(1, 8, 8\)",
        ),
        ({"device": "abacus"}, "device='abacus' cannot be used here"),
        ({"seed": -1}, "seed is -1, expected an integer from 0"),
        ({"design": TIED, "seed": 0}, "seed=0, but the design's is 5: leave seed out"),
        ({"design": Balanced(40)}, "design is over 40 examples, but the pool of tiny has 60"),
    ],
)
def test_bad_arguments_are_named_and_leave_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        train_shadows(SUBJECT, **({"models": 64, "folder": tmp_path} | arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("examples", "share"), [(61, 0.5), (60, 0.7123456)])
def test_a_design_that_cannot_be_balanced_is_named(tmp_path, examples, share):
    subject = replace(SUBJECT, pool=POOL.subset(range(examples)), share=share)
    with pytest.raises(ValueError, match=r"cannot be balanced|denominator up to"):
        train_shadows(subject, 64, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_device_than_the_banks_is_refused(tmp_path):
    train_shadows(SUBJECT, 64, folder=tmp_path, device="cpu")
    with pytest.raises(
        BankError, match=r"device='meta', but the bank .* was made with device='cpu'"
    ):
        train_shadows(SUBJECT, 128, folder=tmp_path, device="meta")


def as_if_the_cpu_were_called_cuda(patch):
    cpu = torch.device("cpu")
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(fill, "check_device", lambda _: None)
    patch.setattr(torch, "device", lambda _: cpu)
    patch.setattr("benchsuite.shadows.calibration.machine", lambda _: {"processor": "none"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_full_bank_of_another_machine_is_read_but_not_extended_without_its_device(
    tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        as_if_the_cpu_were_called_cuda(patch)
        on_any_device(SUBJECT, 64, folder=tmp_path)
    bank = on_any_device(SUBJECT, 64, folder=tmp_path)
    assert bank.execution.device == "cuda"
    assert bank.membership.shape == (64, 60)
    with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
        on_any_device(SUBJECT, 128, folder=tmp_path)
    machine = provenance(bank.execution.device, tmp_path)["machine"]
    assert machine == provenance("cpu", tmp_path)["machine"]


def cuda_settings():
    backends = torch.backends
    return (
        backends.cuda.matmul.fp32_precision,
        backends.cudnn.conv.fp32_precision,
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
    )


@pytest.fixture
def fast_on_cuda():
    backends = torch.backends
    before = backends.cuda.matmul.fp32_precision, backends.cudnn.benchmark
    backends.cuda.matmul.fp32_precision, backends.cudnn.benchmark = "tf32", True
    yield
    backends.cuda.matmul.fp32_precision, backends.cudnn.benchmark = before


@pytest.mark.usefixtures("fast_on_cuda")
@pytest.mark.parametrize("on", ["cpu", "cuda"])
@pytest.mark.parametrize("failing", [False, True])
def test_on_cuda_float32_is_float32_while_a_bank_is_filled(tmp_path, monkeypatch, on, failing):
    before, during, train = cuda_settings(), set(), work.train

    def watched(job, strategy):
        during.add(cuda_settings())
        if failing:
            raise KeyError("a bug")
        return train(job, strategy)

    with monkeypatch.context() as patch:
        patch.setattr("benchsuite.shadows.work.train", watched)
        if on == "cuda":
            as_if_the_cpu_were_called_cuda(patch)
        with pytest.raises(KeyError) if failing else contextlib.nullcontext():
            on_any_device(SUBJECT, 64, folder=tmp_path, device=on)
    assert during == {("ieee", "ieee", True, False) if on == "cuda" else before}
    assert cuda_settings() == before
    assert torch.backends.cudnn.allow_tf32 is not None  # the older way to ask is not confused


# ---- what goes wrong while filling ----


@pytest.mark.parametrize("subject", [SUBJECT, LOOPED], ids=["dense", "looped"])
@pytest.mark.parametrize("early_stopping", [None, 1])
def test_training_that_diverges_is_named_and_writes_nothing(tmp_path, subject, early_stopping):
    recipe = Recipe(epochs=4, batch_size=8, learning_rate=1e30, early_stopping=early_stopping)
    subject = replace(subject, recipe=recipe, validation=SUBJECT.test)
    message = r"model \d+ of \w+ gives logits that are not finite: its training diverged; lower"
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            train_shadows(subject, 64, folder=tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("written", [0, 1, 3])
def test_a_full_disk_is_named_and_the_next_call_completes(tmp_path, monkeypatch, written):
    expected = shards_of(train_shadows(SUBJECT, 64, folder=tmp_path / "whole"))
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > written + 1:  # and the manifest
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(BankError, match="the disk is full: free space, or choose another"):
            train_shadows(SUBJECT, 64, folder=tmp_path / "full")
    assert len(list(tmp_path.glob("full/*/*.safetensors"))) == written
    assert leftovers(tmp_path) == []
    (folder,) = (tmp_path / "full").iterdir()
    assert ShadowBank.open(folder).models == 0
    bank = train_shadows(SUBJECT, 64, folder=tmp_path / "full")
    assert shards_of(bank) == expected
    assert bank.fill.models_trained == (0 if written else 64)


def test_an_error_in_a_worker_surfaces_at_once(tmp_path, monkeypatch):
    started = []

    def broken(job, strategy):
        started.append(job.models[0])
        if len(started) == 2:
            raise KeyError("a bug")
        for epoch in range(10_000):  # an endless training, which stops between epochs
            next(job.epoch(epoch))
            time.sleep(0.01)

    monkeypatch.setattr("benchsuite.shadows.work.train", broken)
    monkeypatch.setattr("benchsuite.shadows.execution.cores", lambda: 2)
    threads, before = torch.get_num_threads(), time.perf_counter()
    with pytest.raises(KeyError, match="a bug"):
        train_shadows(SUBJECT, 64 * 20, folder=tmp_path)
    assert time.perf_counter() - before < 5
    assert len(started) <= 3  # the worker that failed may take one more before it is stopped
    assert torch.get_num_threads() == threads
    assert not [each for each in threading.enumerate() if "ThreadPool" in each.name]


def test_an_error_of_the_progress_callback_surfaces(tmp_path):
    def broken(*_):
        raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="the terminal is gone"):
        train_shadows(SUBJECT, 128, folder=tmp_path, progress=broken)


# ---- progress ----


def test_progress_counts_every_model_once(tmp_path):
    calls = []
    train_shadows(SUBJECT, 64, folder=tmp_path)
    train_shadows(SUBJECT, 192, folder=tmp_path, progress=lambda *call: calls.append(call))
    done, total, trained, seconds = zip(*calls, strict=True)
    assert list(done) == sorted(done)
    assert done[0] > 64
    assert done[-1] == 192
    assert set(total) == {192}
    assert [d - 64 for d in done] == list(trained)
    assert list(seconds) == sorted(seconds)
    assert seconds[0] > 0


def test_progress_of_a_new_column_trains_nothing(tmp_path):
    calls = []
    train_shadows(SUBJECT, 128, folder=tmp_path)
    train_shadows(
        SUBJECT,
        128,
        folder=tmp_path,
        columns=["test.logits"],
        progress=lambda *call: calls.append(call[:3]),
    )
    assert calls == [(64, 128, 0), (128, 128, 0)]


# ---- several at once ----


def test_two_calls_at_once_train_every_shard_once(tmp_path):
    banks = []

    def call():
        banks.append(train_shadows(SUBJECT, 64 * 6, folder=tmp_path / "shared"))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(banks) == 3
    assert sum(bank.fill.models_trained for bank in banks) == 64 * 6
    assert {bank.fill.models_trained + bank.fill.models_reused for bank in banks} == {64 * 6}
    alone = train_shadows(SUBJECT, 64 * 6, folder=tmp_path / "alone")
    assert shards_of(banks[0]) == shards_of(alone)


def test_the_number_of_threads_does_not_matter(tmp_path, monkeypatch):
    banks = []
    for cores in (1, 4):
        monkeypatch.setattr("benchsuite.shadows.execution.cores", lambda n=cores: n)
        banks.append(shards_of(train_shadows(SUBJECT, 192, folder=tmp_path / str(cores))))
    assert banks[0] == banks[1]


def test_global_generators_are_neither_read_nor_consumed(tmp_path):
    banks = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        folders = [tmp_path / f"{state}-{i}" for i in range(2)]
        banks.append(
            [
                shards_of(train_shadows(subject, 64, folder=folder))
                for subject, folder in zip((SUBJECT, LOOPED), folders, strict=True)
            ]
        )
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert banks[0] == banks[1]
