"""Progress of an audit at the prompt."""

import sys

import pytest

from benchsuite.auditing.told import told_at_the_prompt


@pytest.mark.parametrize("prompt", ["terminal", "notebook"])
def test_it_is_one_line_that_ends_with_the_training(monkeypatch, capsys, prompt):
    if prompt == "terminal":
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    else:
        monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    tell = told_at_the_prompt("digits")
    tell(64, 256, 0, 0.5)  # found in the bank
    tell(128, 256, 64, 2.0)
    tell(256, 256, 192, 6.0)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert [each.strip() for each in said.split("\r")[1:]] == [
        "digits: 64 of 256 shadow models, 0 s left",
        "digits: 128 of 256 shadow models, 4 s left",
        "digits: 256 of 256 shadow models, 0 s left",
    ]


def test_a_script_whose_output_goes_to_a_file_is_told_nothing(monkeypatch):
    monkeypatch.delattr(sys, "ps1", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert told_at_the_prompt("digits") is None
