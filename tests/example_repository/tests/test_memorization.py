"""Fails when the model comes to memorize more of its training data than was agreed on."""

from lab import subject

from benchsuite import audit

AGREED = 0.005
"""Share of the examples that may be highly memorized: by more than one half, beyond doubt."""


def test_no_more_is_memorized_than_agreed(tmp_path):
    found = audit(subject(), models=128, fpr=0.01, folder=tmp_path)
    highly = found.examples["memorization_low"] > 0.5
    assert highly.mean() <= AGREED, f"{highly.sum()} examples are highly memorized:\n{found}"
