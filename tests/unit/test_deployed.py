import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from torch import nn

from benchsuite import scaled_confidence
from benchsuite.auditing.deployed import ask

RNG = np.random.default_rng(0)
EXAMPLES, CLASSES = 6, 3
INPUTS = RNG.normal(size=(EXAMPLES, 4))
LABELS = np.array([0, 2, 1, 1, 0, 2])
LOGITS = RNG.normal(size=(EXAMPLES, CLASSES))
PROBABILITIES = softmax(LOGITS, axis=-1)
CONFIDENCE = scaled_confidence(LOGITS, LABELS)
PROBABILITY = PROBABILITIES[np.arange(EXAMPLES), LABELS]
MISSING = np.arange(LOGITS.size).reshape(LOGITS.shape) == 5
TRAINED_ON = np.array([1, 0, 0, 1, 1, 0], dtype=bool)
VALUES = {
    "logits": LOGITS,
    "probabilities": PROBABILITIES,
    "probability": PROBABILITY,
    "confidence": CONFIDENCE,
}
IDS = np.array([10, 3, 7, 100, 1, 2])
ORDER = np.array([3, 5, 1, 0, 4, 2])


def saved(tmp_path, **contents):
    path = tmp_path / "model.npz"
    np.savez(path, **contents)
    return path


def table(kind, **columns):
    stem = {"logits": "logit_", "probabilities": "probability_"}.get(kind)
    values = VALUES[kind]
    of = {f"{stem}{k}": values[:, k] for k in range(CLASSES)} if stem else {kind: values}
    return pd.DataFrame(of | columns)


def refused(message, target, labels=LABELS, inputs=INPUTS, **options):
    with pytest.raises(ValueError, match=message) as caught:
        ask(target, inputs, labels, **options)
    assert "\n" not in str(caught.value)


def test_a_callable_returns_probabilities():
    seen = []

    def predict(inputs):
        seen.append(inputs)
        return PROBABILITIES

    said = ask(predict, INPUTS, LABELS)
    assert len(seen) == 1
    assert seen[0] is INPUTS  # as given
    assert said.observations.shape == (1, EXAMPLES)
    assert said.observations.membership is None
    assert said.trained_on is None
    assert said.raised == 0
    np.testing.assert_allclose(said.observations.confidence[0], CONFIDENCE, rtol=1e-9)
    np.testing.assert_array_equal(said.observations.labels, LABELS)


def test_a_callable_may_return_logits_or_tensors():
    said = ask(lambda _: LOGITS.tolist(), INPUTS, LABELS, outputs="logits")
    np.testing.assert_array_equal(said.observations.logits[0], LOGITS)
    wide = torch.tensor(LOGITS, requires_grad=True)
    said = ask(lambda _: wide, INPUTS, LABELS, outputs="logits")
    np.testing.assert_array_equal(said.observations.logits[0], LOGITS)
    half = torch.tensor(PROBABILITIES, dtype=torch.float16)
    said = ask(lambda _: half, INPUTS, LABELS)
    assert said.observations.logits.dtype == np.float32
    np.testing.assert_allclose(said.observations.confidence[0], CONFIDENCE, atol=0.01)


def test_zeros_are_raised_and_counted():
    hard = np.eye(CLASSES)[LABELS]
    said = ask(lambda _: hard, INPUTS, LABELS)
    assert said.raised == EXAMPLES * (CLASSES - 1)
    np.testing.assert_allclose(said.observations.confidence, -np.log(2e-12))


def test_a_scikit_learn_model_answers_by_predict_proba():
    model = LogisticRegression().fit(INPUTS, LABELS)
    said = ask(model.predict_proba, INPUTS, LABELS)
    expected = scaled_confidence(model.decision_function(INPUTS), LABELS)
    np.testing.assert_allclose(said.observations.confidence[0], expected, rtol=1e-6)
    refused(
        "target is a LogisticRegression, .* pass its predict_proba, as in target=model.pr", model
    )


class Counting(nn.Module):
    """Linear, with a frozen part, that writes down how it was asked."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, CLASSES, generator=generator))
        self.frozen = nn.BatchNorm1d(4, affine=False)
        self.dropout = nn.Dropout(0.5)
        self.seen = []

    def forward(self, x):
        states = (self.training, self.frozen.training, self.dropout.training)
        self.seen.append((len(x), x.dtype, torch.is_grad_enabled(), states))
        return self.dropout(self.frozen(x)) @ self.weight


def test_a_module_is_asked_in_batches_and_left_as_it_was():
    model = Counting().train()
    model.frozen.eval()
    inputs = np.random.default_rng(1).normal(size=(2500, 4))
    labels = np.arange(2500) % CLASSES
    said = ask(model, inputs, labels)
    alike = (torch.float32, False, (False, False, False))
    assert model.seen == [(1024, *alike), (1024, *alike), (452, *alike)]
    assert model.training
    assert model.dropout.training
    assert not model.frozen.training
    assert model.frozen.num_batches_tracked == 0
    expected = inputs @ model.weight.detach().double().numpy() / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(said.observations.logits[0], expected, rtol=1e-4, atol=1e-4)


def test_a_module_that_fails_is_left_as_it_was():
    model = Counting().train()
    with pytest.raises(ValueError, match=r"target fails on inputs of shape .*RuntimeError"):
        ask(model, INPUTS[:, :2], LABELS)
    assert model.dropout.training
    assert torch.is_grad_enabled()


def test_a_module_may_return_probabilities():
    model = nn.Sequential(Counting(), nn.Softmax(dim=1))
    said = ask(model, torch.tensor(INPUTS), LABELS, outputs="probabilities")
    expected = ask(model[0], INPUTS, LABELS).observations.confidence
    np.testing.assert_allclose(said.observations.confidence, expected, rtol=1e-3, atol=1e-4)
    refused('target: no value below 0 .* probabilities: pass outputs="probabilities"', model)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (LOGITS, 'target: values from -.* looks like logits: pass outputs="logits"'),
        (np.full((EXAMPLES, CLASSES), 0.6), 'sums to 1.8, .* pass outputs="logits"'),
        (
            LOGITS[:5],
            r"target returned shape \[5, 3\], expected probabilities \[6, classes\] for 6",
        ),
        (LABELS, r"target returned shape \[6\], expected probabilities \[6, classes\]"),
        (None, "target returned NoneType, expected probabilities"),
        ((LOGITS, LABELS), "target returned tuple, expected probabilities"),
        ([[1, 2], [3]], "target returned list, expected probabilities"),
        (
            np.where(MISSING, np.nan, LOGITS),
            "target: 1 of 18 .* .first of example 1",
        ),
        (PROBABILITIES[:, :1], "target: 1 class, expected at least 2"),
    ],
)
def test_bad_outputs_are_named(value, message):
    refused(message, lambda _: value)


def test_probabilities_where_logits_are_asked_for_are_named():
    message = 'looks like probabilities: pass outputs="probabilities"'
    refused(message, lambda _: PROBABILITIES, outputs="logits")
    refused("labels run from 0 to 2", lambda _: LOGITS[:, :2], outputs="logits")


def test_a_module_of_other_outputs_is_named():
    class Wrong(nn.Module):
        def forward(self, x):
            return {"logits": x}

    class Growing(nn.Module):
        def forward(self, x):
            return torch.randn(len(x), 3 if len(x) == 1024 else 4)

    refused(r"target returned dict, expected logits \[6, classes\]", Wrong())
    many = np.zeros(1030, dtype=int)
    refused("other numbers of classes for other batches", Growing(), many, np.zeros((1030, 4)))


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (3, {}, "target is a int, expected an nn.Module, another callable from inputs to outputs"),
        (Counting, {}, "target is the class Counting, expected a trained model"),
        (len, {"outputs": "confidence"}, "outputs='confidence' is unknown for a callable"),
        (len, {"inputs": None}, "inputs is None and target is a callable, .*: pass a Subject, or"),
        (len, {"inputs": INPUTS[:4]}, "inputs has 4 examples and labels has 6, expected one label"),
        (len, {"labels": LABELS[None]}, r"labels has shape \[1, 6\], expected one axis"),
        (len, {"labels": LABELS / 2}, "labels has dtype float64, expected integers"),
        (len, {"ids": IDS[:4]}, r"ids has shape \[4\] and labels has 6 values, expected one id"),
        (len, {"ids": [1, 2, 3, 4, 5, 2]}, "ids holds 2 more than once, expected distinct ids"),
        (len, {"ids": IDS / 8}, "ids: ids such as 1.25, expected integers or text"),
        ("absent.npz", {}, "absent.npz is no file that exists"),
    ],
)
def test_bad_arguments_are_named(target, options, message):
    refused(message, target, **options)


def test_a_bad_output_of_a_callable_is_named_by_its_id():
    broken = np.where(MISSING, np.nan, LOGITS)
    refused("NaN or infinite .first of example 3.", lambda _: broken, outputs="logits", ids=IDS)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
@pytest.mark.parametrize("kind", VALUES)
def test_a_file_says_what_a_callable_says(tmp_path, kind, suffix):
    path = tmp_path / f"model{suffix}"
    if suffix == ".npz":
        np.savez(path, **{kind: VALUES[kind]}, membership=TRAINED_ON, labels=LABELS)
    elif suffix == ".csv":
        table(kind, member=TRAINED_ON, label=LABELS).to_csv(path, index=False)
    else:
        pytest.importorskip("pyarrow")
        table(kind, member=TRAINED_ON, label=LABELS).to_parquet(path)
    said = ask(path, None, LABELS)
    np.testing.assert_allclose(said.observations.confidence[0], CONFIDENCE, rtol=1e-9)
    np.testing.assert_array_equal(said.trained_on, TRAINED_ON)
    assert said.observations.membership is None
    assert said.observations.classes == (CLASSES if kind in ("logits", "probabilities") else None)
    assert ask(str(path), INPUTS, LABELS, outputs=kind).raised == 0


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_rows_are_matched_by_ids_in_any_order(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    member, ids, labels = TRAINED_ON[ORDER], IDS[ORDER], LABELS[ORDER]
    if suffix == ".npz":
        np.savez(path, logits=LOGITS[ORDER], membership=member, labels=labels, ids=ids)
    else:
        frame = table("logits", member=TRAINED_ON, example=IDS, label=LABELS).iloc[ORDER]
        frame.assign(model="the one").to_csv(path, index=False)
    for asked in (IDS, IDS.astype(str)):  # text on one side matches integers
        said = ask(path, None, LABELS, ids=asked)
        np.testing.assert_allclose(said.observations.logits[0], LOGITS, rtol=1e-14)
        np.testing.assert_array_equal(said.trained_on, TRAINED_ON)
    some = np.array([4, 0])  # further rows are left alone
    said = ask(path, None, LABELS[some], ids=IDS[some])
    np.testing.assert_allclose(said.observations.logits[0], LOGITS[some], rtol=1e-14)
    np.testing.assert_array_equal(said.trained_on, TRAINED_ON[some])
    absent = np.array([10, 3, 8, 9, 1, 2])
    refused("has no example 8, the first of 2 of 6 that are not among its 6 ids", path, ids=absent)


def test_rows_are_in_order_where_one_side_has_no_ids(tmp_path):
    path = saved(tmp_path, logits=LOGITS, ids=IDS[ORDER])
    said = ask(path, None, LABELS)
    np.testing.assert_array_equal(said.observations.logits[0], LOGITS)
    assert said.trained_on is None
    path = saved(tmp_path, logits=LOGITS)
    np.testing.assert_array_equal(ask(path, None, LABELS, ids=IDS).observations.logits[0], LOGITS)
    refused("holds 6 examples and 5 are asked about, expected as many", path, LABELS[:5])


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"logits": LOGITS[None]}, r"array logits: shape \[1, 6, 3\], expected \[examples, classe"),
        ({"confidence": LOGITS}, r"array confidence: shape \[6, 3\], expected \[examples\] of one"),
        (
            {"outputs": LOGITS},
            "has no outputs, expected one of logits, .* it holds outputs: rename",
        ),
        ({"logits": LOGITS, "probability": PROBABILITY}, "logits and probability at once"),
        (
            {"logits": LOGITS, "labels": LABELS[:5]},
            r"6 examples, but labels has shape \[5\], expec",
        ),
        ({"logits": LOGITS, "membership": TRAINED_ON[None]}, r"membership has shape \[1, 6\]"),
        ({"logits": LOGITS, "ids": IDS[:5]}, "6 examples, but ids has 5, expected one id for each"),
        ({"logits": LOGITS, "ids": IDS * 0}, "the id 0 occurs more than once in ids"),
        (
            {"logits": LOGITS, "labels": LABELS[ORDER]},
            "4 of 6 labels differ .* .first example 0: 1",
        ),
        ({"probabilities": LOGITS}, "it looks like logits: name the array logits"),
        ({"logits": PROBABILITIES}, "looks like probabilities: name the array probabilities"),
        ({"confidence": PROBABILITY}, "probabilities of the label: name the array probability"),
        ({"logits": LOGITS[:, :2]}, "model.npz: labels run from 0 to 2, expected indices of the 2"),
    ],
)
def test_bad_files_are_named(tmp_path, contents, message):
    refused(message, saved(tmp_path, **contents))


def test_a_label_that_differs_is_named_by_its_id(tmp_path):
    labels = LABELS.copy()
    labels[3] = 2
    path = saved(tmp_path, logits=LOGITS[ORDER], ids=IDS[ORDER], labels=labels[ORDER])
    refused("1 of 6 labels differ from those given .first example 100: 2 and 1", path, ids=IDS)


def test_a_file_of_many_models_or_another_kind_is_named(tmp_path):
    path = tmp_path / "model.csv"
    table("logits", model=[0, 0, 0, 1, 1, 1]).to_csv(path, index=False)
    refused("holds 2 models, expected the outputs of one: keep the rows of the deployed", path)
    path = saved(tmp_path, logits=LOGITS)
    refused("outputs='probabilities' but .* holds logits", path, outputs="probabilities")


def test_a_number_that_is_not_finite_is_named_by_its_id(tmp_path):
    path = saved(
        tmp_path, confidence=np.where(np.arange(EXAMPLES) == 3, np.inf, CONFIDENCE), ids=IDS
    )
    refused(
        "array confidence: 1 of 6 values are NaN or infinite .first of example 100.", path, ids=IDS
    )
