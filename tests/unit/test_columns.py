import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from benchsuite.data import Dataset, sources
from benchsuite.models import mlp
from benchsuite.shadows import train_shadows
from benchsuite.shadows.columns import (
    WHAT,
    Column,
    answers,
    blank,
    by_group,
    divergences,
    probes_of,
)
from benchsuite.shadows.columns import values_of as values
from benchsuite.stats.divergence import kl_divergence
from benchsuite.subject import Subject
from benchsuite.training import Recipe, squared_gradient_norms
from benchsuite.training.leverage import leverage_scores

POOL, TEST = sources.digits()
SUBJECT = Subject(
    "tiny",
    POOL.subset(range(60)),
    TEST.subset(range(30)),
    partial(mlp, 64, 4, 10),
    Recipe(epochs=3),
)
STOPPING = replace(
    SUBJECT, validation=TEST.subset(range(30, 60)), recipe=Recipe(epochs=3, early_stopping=1)
)


def versions(groups, labels=None, images=4):
    labels = np.arange(len(groups)) % images if labels is None else labels
    return Dataset(np.zeros((len(groups), 8, 8), np.uint8), np.array(labels), np.array(groups))


# ---- names ----


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("epoch", [None, 1, 12])
def test_a_name_and_its_parts_give_each_other(what, epoch):
    column = Column("a-probe_1", what, epoch)
    assert str(column) == f"a-probe_1.{what}" + ("" if epoch is None else f"@{epoch}")
    assert Column.parse(str(column)) == column


@pytest.mark.parametrize(
    "name",
    [
        "",
        "pool",
        "pool.",
        "pool.lossy",
        "pool.loss.loss",
        "nothing.loss",
        "pool.loss@",
        "pool.loss@x",
        "pool.loss@01",
        "pool.loss@+1",
        "pool.loss@-1",
        "pool.loss@1.0",
        "pool.loss@1@1",
        "pool.loss@ 1",
        "pool.loss@\u0661",  # an Arabic 1
        "pool@1.loss",
        "validation.loss",  # this subject has none
    ],
)
def test_an_unknown_column_is_named(name):
    with pytest.raises(ValueError, match=r"columns: .* is unknown; expected PROBE\.WHAT or"):
        probes_of(SUBJECT, {}, ["pool.loss", name])


def test_the_probes_asked_about_are_given_and_no_others():
    columns = ["validation.loss@2", "validation.correct", "more.gap"]
    more = TEST.subset(range(60, 70))
    asked = probes_of(STOPPING, {"more": more, "unused": more}, columns)
    assert asked == {"validation": STOPPING.validation, "more": more}


@pytest.mark.parametrize("name", ["pool", "test", "validation", "a@1", "a.b", ""])
def test_a_name_that_is_taken_or_no_part_of_a_file_name_is_refused(name):
    with pytest.raises(ValueError, match=r"cannot be the name of a probe: .*pool, test, valid"):
        probes_of(SUBJECT, {name: TEST}, [])


@pytest.mark.parametrize("epoch", [0, 4])
def test_an_epoch_that_the_recipe_lacks_is_named(epoch):
    assert probes_of(SUBJECT, {}, ["pool.loss@1", "pool.loss@3"])
    with pytest.raises(ValueError, match=rf"asks for epoch {epoch}, but .* run from 1 to 3"):
        probes_of(SUBJECT, {}, [f"pool.loss@{epoch}"])


def test_correct_at_an_epoch_is_refused_where_models_may_have_stopped():
    assert probes_of(SUBJECT, {}, ["pool.correct@2"])
    assert probes_of(STOPPING, {}, ["pool.correct", "pool.confidence@2"])
    with pytest.raises(ValueError, match=r"'pool\.correct@2' is yes or no.*pool\.confidence@2"):
        probes_of(STOPPING, {}, ["pool.correct@2"])


@pytest.mark.parametrize("what", ["loss", "squared_gradient", "leverage"])
def test_labels_that_models_do_not_know_are_named(what):
    probe = Dataset(np.zeros((2, 8, 8), np.uint8), np.array([0, 10]))
    assert probes_of(SUBJECT, {"odd": probe}, ["odd.correct", "odd.logits"])
    with pytest.raises(ValueError, match=r"needs labels below 10, .* 'odd' reach 10"):
        probes_of(SUBJECT, {"odd": probe}, [f"odd.{what}"])


# ---- groups ----


def test_each_column_of_positions_is_one_image_in_every_group():
    np.testing.assert_array_equal(
        by_group("p", versions([0, 0, 2, 2, 1, 1], [3, 4] * 3)), [[0, 1], [4, 5], [2, 3]]
    )
    np.testing.assert_array_equal(
        by_group("p", versions([0, 1, 1, 0], [3, 3, 4, 4])), [[0, 3], [1, 2]]
    )


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (versions([0] * 6), "must be integers, 0 for the clean images"),
        (versions(["0", "0", "1", "1"]), "must be integers, 0 for the clean images"),
        (versions([1, 1, 2, 2]), r"must be 0 to g - 1, of equal size.* there are \[1, 2\]"),
        (versions([0, 0, 2, 2]), r"must be 0 to g - 1"),
        (versions([-1, -1, 0, 0]), r"must be 0 to g - 1"),
        (versions([0, 0, 1]), r"must be 0 to g - 1.* with \[2, 1\] examples"),
        (versions([0, 0, 1, 1], [0, 1, 1, 0]), "group 1 of 'odd' has other labels than group 0"),
    ],
)
def test_a_probe_without_groups_of_the_same_images_has_no_divergence(probe, message):
    assert probes_of(SUBJECT, {"odd": probe}, ["odd.logits"])
    for column in ("odd.divergence", "odd.divergence@1"):
        with pytest.raises(ValueError, match=message):
            probes_of(SUBJECT, {"odd": probe}, [column])


# ---- values ----


def test_a_loss_is_the_cross_entropy():
    logits = np.random.default_rng(0).normal(0, 5, (3, 20, 10)).astype(np.float32)
    labels = TEST.labels[:20]
    got = values("loss", logits, labels)
    assert got.dtype == np.float32
    for of_model, each in zip(got, logits, strict=True):
        expected = cross_entropy(
            torch.tensor(each).double(), torch.tensor(labels), reduction="none"
        )
        np.testing.assert_allclose(of_model, expected, rtol=1e-6)


def test_a_divergence_is_that_of_the_clean_image_from_each_version():
    probe = versions([0, 1, 2] * 4, np.repeat(range(4), 3))
    logits = np.random.default_rng(0).normal(0, 5, (3, 12, 10)).astype(np.float32)
    got = divergences(logits, by_group("p", probe))
    assert got.shape == (3, 2, 4)
    assert got.dtype == np.float32
    p = torch.softmax(torch.tensor(logits).double(), 2).numpy()
    p /= p.sum(axis=2, keepdims=True)
    for version in (1, 2):
        expected = kl_divergence(p[:, 0::3], p[:, version::3])
        np.testing.assert_allclose(got[:, version - 1], expected, rtol=1e-5)


def test_a_divergence_is_finite_and_never_negative_however_sure_the_models_are():
    logits = np.zeros((1, 3, 3), dtype=np.float32)
    logits[0, :, 0] = 3e4, -3e4, 3e4
    positions = np.array([[0], [1], [2]])
    np.testing.assert_allclose(
        divergences(logits, positions), [[[3e4 + np.log(2)], [0]]], rtol=1e-6
    )
    near = np.random.default_rng(0).normal(0, 3, (200, 1, 10)).repeat(2, axis=1).astype(np.float32)
    near[:, :, 0] = 0, 1e-9  # closer than float64 can tell after a softmax
    assert divergences(near, np.array([[0], [1]])).min() >= 0


OF_GRADIENTS = {"squared_gradient": squared_gradient_norms, "leverage": leverage_scores}


def asked_of_gradients(what, weights, probe):
    inputs = torch.tensor(probe.inputs())
    column = Column("p", what, 2)
    given = answers([column], SUBJECT, [7, 8], weights, {"p": (probe, inputs)}, "dense")
    return given[column]


def two_models():
    states = [SUBJECT.model().state_dict() for _ in range(2)]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


@pytest.mark.parametrize("what", OF_GRADIENTS)
def test_what_is_asked_of_gradients_is_that_of_each_example_among_the_probe_s(what):
    weights = two_models()
    got = asked_of_gradients(what, weights, SUBJECT.test)
    inputs, labels = torch.tensor(SUBJECT.test.inputs()), torch.tensor(SUBJECT.test.labels)
    expected = OF_GRADIENTS[what](SUBJECT.model, weights, inputs, labels)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("what", "name"), [("squared_gradient", "squared gradients"), ("leverage", "leverages")]
)
def test_gradients_that_are_not_finite_name_the_model_and_the_moment(what, name):
    weights = two_models()
    next(iter(weights.values()))[1] = torch.nan
    with pytest.raises(ValueError, match=f"model 8 of tiny gives {name} that .* end of epoch 2:"):
        asked_of_gradients(what, weights, SUBJECT.test)


def test_a_leverage_is_of_a_moment_or_of_the_trained_models(tmp_path):
    columns = ["pool.leverage@3", "pool.leverage", "pool.leverage@1", "pool.confidence"]
    bank = train_shadows(SUBJECT, 64, folder=tmp_path, columns=columns)
    trained, first = bank.column("pool", "leverage"), bank.column("pool", "leverage", epoch=1)
    assert trained.shape == (64, 60)
    assert trained.min() >= 0
    assert trained.max() <= 1
    np.testing.assert_array_equal(bank.column("pool", "leverage", epoch=3), trained)
    assert not np.allclose(first, trained, rtol=0.01)
    again = train_shadows(SUBJECT, 64, folder=tmp_path, columns=["test.leverage"])
    assert again.fill.models_trained == 0  # of the kept weights


def three_versions():
    return versions([0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("what", WHAT)
def test_a_blank_column_has_the_shape_of_a_full_one_and_no_values(what):
    probe = three_versions()
    logits = np.zeros((5, 6, 10), dtype=np.float32)
    if what == "divergence":
        full = divergences(logits, by_group("p", probe))
    elif what in ("squared_gradient", "leverage"):
        full = np.zeros((5, 6), dtype=np.float32)
    else:
        full = values(what, logits, probe.labels)
    empty = blank(Column("p", what, 1), 5, probe, classes=10)
    assert (empty.shape, empty.dtype) == (full.shape, full.dtype)
    assert not empty.any() if what == "correct" else np.isnan(empty).all()


@pytest.mark.parametrize("what", ["confidence", "gap", "loss"])
def test_what_is_computed_of_many_logits_takes_less_memory_than_they(what):
    logits = np.random.default_rng(0).standard_normal((64, 1000, 10), dtype=np.float32)
    labels = np.arange(1000) % 10
    values(what, logits[:2], labels)
    tracemalloc.start()
    got = values(what, logits, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * logits.nbytes
    for model in (0, 63):
        np.testing.assert_array_equal(
            got[model], values(what, logits[model : model + 1], labels)[0]
        )
