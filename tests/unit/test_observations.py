import tracemalloc

import numpy as np
import pytest
from scipy.special import log_softmax

from benchsuite import Observations, scaled_confidence
from benchsuite.attacks import observations as module

LABELS = np.array([0, 2, 1, 1])
LOGITS = np.random.default_rng(0).normal(size=(3, 4, 3))
CONFIDENCE = scaled_confidence(LOGITS, LABELS)
MEMBERSHIP = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0]])


def test_confidence_and_loss_follow_from_logits():
    observed = Observations(labels=LABELS, membership=MEMBERSHIP, logits=LOGITS)
    np.testing.assert_allclose(observed.confidence, CONFIDENCE, rtol=1e-14)
    expected = -np.take_along_axis(log_softmax(LOGITS, axis=-1), LABELS[None, :, None], axis=2)
    np.testing.assert_allclose(observed.loss, expected[..., 0], rtol=1e-12)
    assert observed.shape == (3, 4)
    assert observed.classes == 3
    assert observed.membership.dtype == bool
    assert repr(observed) == "Observations(3 models, 4 examples, logits of 3 classes)"


def test_confidence_alone_gives_the_same_loss():
    observed = Observations(labels=LABELS, confidence=CONFIDENCE)
    whole = Observations(labels=LABELS, logits=LOGITS)
    np.testing.assert_allclose(observed.loss, whole.loss, rtol=1e-14)
    assert observed.logits is None
    assert observed.classes is None
    assert observed.membership is None
    assert repr(observed) == "Observations(3 models, 4 examples, confidence)"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_keeps_its_digits_at_both_ends(dtype):
    phi = np.array([[50.0, 30.0, 0.0, -800.0]], dtype=dtype)
    loss = Observations(labels=LABELS, confidence=phi).loss
    np.testing.assert_allclose(loss, [[np.exp(-50), np.exp(-30), np.log(2), 800]], rtol=1e-5)
    assert loss.dtype == dtype


def test_float32_stays_float32_and_nothing_is_copied():
    narrow = LOGITS.astype(np.float32)
    observed = Observations(labels=LABELS, logits=narrow)
    assert observed.logits is narrow
    assert observed.confidence.dtype == np.float32
    assert observed.confidence is observed.confidence  # kept
    np.testing.assert_allclose(observed.confidence, CONFIDENCE, rtol=1e-4)
    assert Observations(labels=LABELS, confidence=CONFIDENCE).confidence is CONFIDENCE


@pytest.mark.parametrize("values", [1, 7, 24, 30])
def test_does_not_depend_on_the_size_of_a_block(monkeypatch, values):
    monkeypatch.setattr(module, "_VALUES_PER_BLOCK", values)
    seen = np.zeros((3, 4), dtype=int)
    for rows, columns in module.blocks(3, 4, 3):
        seen[rows, columns] += 1
        assert LOGITS[rows, columns].size <= max(values, 3)
    assert (seen == 1).all()
    observed = Observations(labels=LABELS, logits=LOGITS)
    np.testing.assert_array_equal(observed.confidence, CONFIDENCE)


def test_reads_logits_in_blocks_and_never_copies_them_whole():
    logits = np.random.default_rng(1).standard_normal((100, 10_000, 10), dtype=np.float32)
    labels = np.arange(10_000) % 10
    tracemalloc.start()
    observed = Observations(labels=labels, logits=logits)
    assert observed.loss.shape == (100, 10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * logits.nbytes  # 40 MB; in float64 it would be 80


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "logits and confidence are both missing, expected exactly one"),
        ({"logits": LOGITS, "confidence": CONFIDENCE}, "logits and confidence are both given"),
        ({"logits": LOGITS[0]}, r"logits has shape \[4, 3\], expected \[models, examples, classes"),
        ({"logits": LOGITS[:, :, :1]}, r"logits has shape \[3, 4, 1\], expected .* at least 2 cl"),
        ({"logits": LOGITS[:, :, :2]}, "labels run from 0 to 2, expected indices of the 2 classes"),
        ({"logits": LOGITS[:, :3]}, "labels has 4 values and logits has 3 examples"),
        ({"logits": np.where(LOGITS > 0, np.nan, LOGITS)}, "logits must be finite but"),
        ({"logits": LOGITS[:0]}, "logits is empty"),
        ({"confidence": CONFIDENCE[:, :3]}, "labels has 4 values and confidence has 3 examples"),
        ({"confidence": CONFIDENCE[0]}, r"confidence has shape \[4\], expected 2 axes"),
        ({"confidence": CONFIDENCE * np.inf}, "confidence must be finite"),
        ({"logits": LOGITS, "membership": MEMBERSHIP[:2]}, r"logits has shape \[3, 4\] and member"),
        ({"confidence": CONFIDENCE, "membership": MEMBERSHIP.T}, r"confidence has shape \[3, 4\]"),
        ({"logits": LOGITS, "membership": MEMBERSHIP / 2}, "membership has dtype float64"),
        ({"logits": LOGITS, "labels": LABELS / 1}, "labels has dtype float64, expected integers"),
        ({"logits": LOGITS, "labels": LABELS - 1}, "labels holds -1, expected class indices from"),
        ({"logits": LOGITS, "labels": LABELS[None]}, r"labels has shape \[1, 4\], expected one"),
        ({"logits": LOGITS, "labels": []}, r"labels has shape \[0\], expected one axis"),
    ],
)
def test_bad_input_is_named(arrays, message):
    with pytest.raises(ValueError, match=message):
        Observations(**{"labels": LABELS} | arrays)
