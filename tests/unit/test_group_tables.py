"""Tables of attacks by group and of mixtures, drawn from made-up arrays."""

import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest

from benchsuite.report import figures

GROUPS = ["all", "random OOD", "subpopulation", "singletons"]


def attack_arrays(**changes):
    """Two attacks on four groups, of which the third is too small."""
    auroc = np.array([[0.5, 0.6, np.nan, 0.8], [0.53, 0.87, np.nan, 0.99]])
    tpr = np.array([[0.0, 0.0, np.nan, 0.0], [0.0145, 0.2755, np.nan, 0.95]])
    arrays = {
        "subject": "digits-pixmix",
        "attacks": ["Yeom", "LiRA"],
        "groups": GROUPS,
        "examples": [1300, 300, 7, 41],
        "auroc": np.stack([auroc, auroc - 0.01, auroc + 0.02], -1),
        "tpr": np.stack([tpr, np.clip(tpr - 0.01, 0, 1), tpr + 0.01], -1),
        "realised_fpr": [[0.001, 0.0012, np.nan, 0.0021], [0.0009, 0.001, np.nan, 0.0015]],
        "false_positives": [580.0, 134.0, 3.1, 18.4],
        "fpr": 0.001,
        "threshold": 0.5,
        "models": [512, 896, 640],
    }
    return {name: np.asarray(value) for name, value in (arrays | changes).items()}


def with_trak(**changes):
    """The same with a fifth group, of which LiRA knows most."""
    arrays = attack_arrays()
    tail = {
        "auroc": np.array([[[0.7, 0.69, 0.72]], [[0.98, 0.97, 0.99]]]),
        "tpr": np.array([[[0.0, 0.0, 0.01]], [[0.5, 0.49, 0.51]]]),
        "realised_fpr": np.array([[0.001], [0.002]]),
    }
    longer = {name: np.concatenate([arrays[name], each], axis=1) for name, each in tail.items()}
    longer |= {
        "groups": [*GROUPS, "singletons by TRAK"],
        "examples": [*arrays["examples"], 40],
        "false_positives": [*arrays["false_positives"], 21.0],
    }
    return attack_arrays(**(longer | changes))


def mixture_arrays(**changes):
    arrays = {
        "subject": "digits-pixmix",
        "groups": ["over-represented", "under-represented"],
        "examples": [1000, 300],
        "singletons": 41,
        "alpha": 10 / 13,
        "share": 0.5,
        "train": [[0.998, 0.99, 1.0], [0.93, 0.88, 0.98]],
        "test": [[0.964, 0.95, 0.98], [0.61, 0.52, 0.69]],
        "network": "MLP, 9,610 parameters",
    }
    return {name: np.asarray(value) for name, value in (arrays | changes).items()}


ALONE = {
    "subject": "digits-mlp",
    "groups": ["all"],
    "examples": [1000],
    "alpha": 1.0,
    "train": [[0.998, 0.99, 1.0]],
    "test": [[0.964, 0.95, 0.98]],
}


def drawn(kind, arrays):
    drawing = figures.draw(kind, arrays, "f")
    for panel in drawing.panels:
        ElementTree.fromstring(panel)
    return drawing


def cells(panel):
    """Text of each row, cell by cell, as a reader sees it."""
    return [
        [
            unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cell))).strip()
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", panel)
    ]


# ---- attacks by group --------------------------------------------------------------------------


def test_attacks_stand_against_groups_with_intervals():
    auroc, tpr = drawn("attack-table", attack_arrays()).panels
    assert cells(auroc) == [
        [
            "Attack",
            "All 1,300 examples",
            "Random OOD 300 examples",
            "Subpopulation too small: 7 examples",
            "Singletons 41 examples",
        ],
        [
            "Yeom",
            "0.500 [0.490, 0.520]",
            "0.600 [0.590, 0.620]",
            "too small",
            "0.800 [0.790, 0.820]",
        ],
        [
            "LiRA",
            "0.530 [0.520, 0.550]",
            "0.870 [0.860, 0.890]",
            "too small",
            "0.99 [0.98, 1.00]",  # no AUROC is above 1, whatever a t interval says
        ],
    ]
    assert "TPR at 0.1 % FPR" in tpr
    assert cells(tpr)[2][2] == "27.6 % [26.6, 28.6] FPR 0.1 %"


def test_the_best_of_each_column_is_marked_and_a_tie_is_not():
    auroc, _ = drawn("attack-table", attack_arrays()).panels
    assert re.findall(r"<strong>([^<]*)", auroc) == ["0.530", "0.870", "0.99"]
    tied = attack_arrays(tpr=np.where(np.isnan(attack_arrays()["tpr"]), np.nan, 0.0))
    assert "<strong>" not in drawn("attack-table", tied).panels[1]


def test_coarse_thresholds_are_marked_where_they_matter():
    drawing = drawn("attack-table", attack_arrays())
    auroc, tpr = drawing.panels
    assert "†" not in auroc  # an AUROC has no threshold
    assert [name.partition(" ")[0] for name in cells(tpr)[0] if "†" in name] == ["Singletons†"]
    assert "† fewer than 20 false positives set the threshold: singletons (18.4)." in (
        drawing.caption
    )
    fine = drawn("attack-table", attack_arrays(false_positives=[580.0, 134.0, 3.1, 20.0]))
    assert "†" not in "".join((*fine.panels, fine.caption))


def test_the_caption_says_what_an_interval_covers():
    caption = drawn("attack-table", attack_arrays()).caption
    assert "new target models of this pool and bank at the calibrated threshold" in caption
    assert "not other outliers" in caption
    assert "512 reference models" in caption
    assert "set on 896 others" in caption
    assert "640 target models" in caption
    assert "memorization above .50" in caption


def test_singletons_by_trak_have_a_column_and_a_word_where_they_are():
    drawing = drawn("attack-table", with_trak())
    auroc, tpr = (cells(panel) for panel in drawing.panels)
    assert auroc[0][-1] == "Singletons by TRAK 40 examples"
    assert [row[-1] for row in auroc[1:]] == ["0.700 [0.690, 0.720]", "0.980 [0.970, 0.990]"]
    assert tpr[2][-1] == "50.0 % [49.0, 51.0] FPR 0.2 %"
    assert "Singletons by TRAK are as many, the under-represented with" in drawing.caption
    older = drawn("attack-table", attack_arrays())
    assert "TRAK" not in "".join((*older.panels, older.caption))


@pytest.mark.parametrize(
    ("count", "said"), [(0, "empty: no example"), (1, "too small: 1 example"), (9, "too small: 9")]
)
def test_a_group_without_numbers_says_how_many_it_has(count, said):
    auroc, _ = drawn("attack-table", attack_arrays(examples=[1300, 300, count, 41])).panels
    assert cells(auroc)[0][3].startswith(f"Subpopulation {said}")


def test_on_a_phone_each_number_names_its_group():
    for panel in drawn("attack-table", attack_arrays()).panels:
        labels = re.findall(r'data-label="([^"]*)"', panel)
        assert [label.replace("†", "") for label in labels] == 2 * [
            "All (1,300)",
            "Random OOD (300)",
            "Subpopulation (7)",
            "Singletons (41)",
        ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"groups": ["random OOD", "all", "a", "b"]}, "'all' and others after it"),
        ({"groups": "all"}, "expected a list of names"),
        ({"auroc": np.zeros((2, 4))}, r"auroc has shape \(2, 4\)"),
        ({"auroc": 1.1 + np.zeros((2, 4, 3))}, "not shares between 0 and 1"),
        ({"realised_fpr": np.full((2, 4), np.inf)}, "not shares between 0 and 1"),
        ({"tpr": np.full((2, 4, 3), 0.5)}, "tpr is missing in other places than auroc"),
        ({"examples": [1300, 300, 7.5, 41]}, "expected counts"),
        ({"fpr": [0.001, 0.01]}, "fpr has shape"),
        ({"models": [1, 2]}, "models has shape"),
    ],
)
def test_arrays_that_are_no_table_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        figures.draw("attack-table", attack_arrays(**changes), "f")


def test_an_interval_that_does_not_hold_its_estimate_is_refused():
    tpr = attack_arrays()["tpr"].copy()
    tpr[1, 1] = tpr[1, 1, [1, 0, 2]]
    with pytest.raises(ValueError, match="do not lie within their intervals"):
        figures.draw("attack-table", attack_arrays(tpr=tpr), "f")


def test_a_group_with_numbers_of_some_attacks_is_refused():
    arrays = attack_arrays()
    for name in ("auroc", "tpr", "realised_fpr"):
        arrays[name][0, 3] = np.nan
    with pytest.raises(ValueError, match="of some attacks on a group and not of others"):
        figures.draw("attack-table", arrays, "f")


# ---- mixtures ----------------------------------------------------------------------------------


def test_a_mixture_stands_beside_the_papers():
    drawing = drawn("mixture", mixture_arrays())
    assert cells(drawing.panels[0]) == [
        ["", "The paper MNIST+augMNIST", "Here digits-pixmix"],
        ["over-represented examples", "–", "1,000"],
        ["under-represented examples", "1,000", "300"],
        ["of these singletons", "219", "41"],
        ["α, share of over-represented", "0.99", "0.77"],
        ["each model is trained on", "70 %", "50 %"],
        ["network", "CNN32", "MLP, 9,610 parameters"],
        ["train accuracy, over-represented", "99.15 % ± 0.13", "99.8 % [99.0, 100.0]"],
        ["train accuracy, under-represented", "89.10 % ± 1.7", "93.0 % [88.0, 98.0]"],
        ["test accuracy, over-represented", "98.43 % ± 0.19", "96.4 % [95.0, 98.0]"],
        ["test accuracy, under-represented", "65.88 % ± 1.39", "61.0 % [52.0, 69.0]"],
    ]
    assert "stand-in for MNIST+augMNIST at laptop scale" in drawing.caption


def test_a_subject_on_the_papers_data_is_no_stand_in():
    drawing = drawn("mixture", mixture_arrays(subject="mnist-augmnist-cnn32"))
    assert "stand-in" not in drawing.caption
    assert "The paper MNIST+augMNIST" in cells(drawing.panels[0])[0]


def test_data_alone_have_one_group():
    drawing = drawn("mixture", mixture_arrays(**ALONE))
    rows = {what: rest for what, *rest in cells(drawing.panels[0])}
    assert rows["train accuracy, all"] == ["98.54 % ± 0.08", "99.8 % [99.0, 100.0]"]
    assert rows["of these singletons"] == ["–", "41"]
    assert not any("under-represented" in what for what in rows)
    assert "Table 3" not in drawing.caption


def test_a_mixture_that_the_paper_lacks_stands_alone():
    drawing = drawn("mixture", mixture_arrays(subject="mine<&>"))
    assert cells(drawing.panels[0])[0] == ["", "Here mine<&>"]
    assert all(len(row) == 2 for row in cells(drawing.panels[0]))
    assert "The paper has no such training set." in drawing.caption
    assert "±" not in drawing.caption


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"groups": ["a", "b", "c"]}, "expected one or two"),
        ({"train": [[0.9, 0.8, 1.0]]}, "train has shape"),
        ({"test": np.full((2, 3), np.nan)}, "test holds values that are not finite"),
        ({"singletons": -1}, "expected counts"),
    ],
)
def test_arrays_that_are_no_mixture_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        figures.draw("mixture", mixture_arrays(**changes), "f")
