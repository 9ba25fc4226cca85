"""The figure of precision, drawn from made-up arrays."""

import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest

from benchsuite.report import figures

ROWS = [[0.035, 0.034, 0.036], [0.034, 0.033, 0.035], [0.0351, 0.034, 0.036], [0.0, -0.01, 0.01]]
TINY = {
    "arms": ["float32", "float32, another seed", "bf16", "bf16, answers in bf16"],
    "memorization": ROWS,
    "auroc": [[0.6, 0.59, 0.61]] * 3 + [[0.55, 0.54, 0.56]],
    "tpr": [[0.025, 0.024, 0.026]] * 3 + [[0.001, 0.0007, 0.0013]],
    "accuracy": [[0.95, 0.94, 0.96]] * 4,
    "rank of memorization": [[0.94, 0.93, 0.95]] * 2 + [[0.951, 0.94, 0.96]] * 2,
    "rank of LiRA's scores": [[0.76, 0.75, 0.77]] * 3 + [[0.45, 0.44, 0.46]],
    "rate": [64.9, np.nan, 35.4, np.nan],
    "by example, float32": [0.0, 0.2, 0.9],
    "by example, another seed": [0.0, 0.25, 0.89],
    "by example, other": [0.0, 0.21, 0.9],
    "units": 6,
    "models": 768,
    "non-members": 95808,
    "fpr": 1e-3,
    "device": "cpu",
}


def drawn(**changes):
    arrays = {name: np.asarray(value) for name, value in {**TINY, **changes}.items()}
    return figures.draw("precision-scores", arrays, "f")


def test_it_is_drawn_with_words_for_those_who_cannot_see_it():
    drawing = drawn()
    assert drawing == drawn()
    assert len(drawing.panels) == 3
    for panel in drawing.panels:
        ElementTree.fromstring(panel)
        assert not re.search(r"#[0-9a-f]{6}", panel)  # colours come from the page
    ids = re.findall(r' id="([^"]+)"', "".join(drawing.panels))
    assert len(set(ids)) == len(ids)
    assert "another seed against float32's, 3 examples: at most 0.0500 apart" in (
        unescape(str(drawing.panels[1]))
    )
    assert "bf16 against float32's, 3 examples: at most 0.0100 apart" in (
        unescape(str(drawing.panels[2]))
    )


def test_the_table_has_each_training_with_its_numbers():
    table = ElementTree.fromstring(drawn().panels[0])
    head = ["".join(cell.itertext()) for cell in table.iter("th") if cell.get("scope") == "col"]
    assert head[3] == "TPR at 0.1 % FPR"
    lines = {
        row.find("th").text: ["".join(cell.itertext()) for cell in row.iter("td")]
        for row in table.find(".//tbody").iter("tr")
    }
    assert list(lines) == TINY["arms"]
    assert lines["float32"][2] == "2.50 %[2.40, 2.60]"
    assert lines["bf16"][0] == "0.0351[0.0340, 0.0360]"
    assert lines["bf16"][-1] == "35.4"
    assert lines["bf16, answers in bf16"][-1] == "–"
    assert all(len(cells) == len(head) - 1 for cells in lines.values())


def test_the_caption_says_what_stands_behind_it():
    caption = drawn().caption
    assert "What 768 models on a CPU come to" in caption
    assert "in bf16, all on the same subsets" in caption
    assert "6 units of 128 models" in caption
    assert "the threshold that 96 of a unit's 95,808 non-members reach" in caption
    assert "two seeds of it rank memorization with 0.940, bf16 and float32 with 0.951" in caption
    assert "  " not in caption
    arms = ["float32", "float32, another seed", "tf32", "tf32, answers in bf16"]
    assert "in tf32, all on the same" in drawn(arms=arms, device="cuda").caption
    assert "on a GPU" in drawn(device="cuda").caption


def test_a_missing_array_is_named():
    for name in TINY:
        left = {other: np.asarray(value) for other, value in TINY.items() if other != name}
        with pytest.raises(KeyError, match=f"^\"?'?{name}"):
            figures.draw("precision-scores", left, "f")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auroc": TINY["auroc"][:3]}, "auroc has shape"),
        ({"auroc": [[0.6, 0.61, 0.62]] * 4}, "auroc .* within their intervals"),
        ({"tpr": [[np.nan] * 3] * 4}, "tpr holds values that are not finite"),
        ({"rate": [1.0, 2.0]}, "rate has shape"),
        ({"rate": [0.0, 1, 1, 1]}, "rate has shape .* others than rates"),
        ({"rate": [np.inf, 1, 1, 1]}, "rate has shape .* others than rates"),
        ({"arms": TINY["arms"][:2]}, "arms holds"),
        ({"by example, other": [0.0, 1.0]}, "by example, other has shape"),
    ],
)
def test_arrays_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        drawn(**changes)
