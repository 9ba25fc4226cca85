import ast
import tomllib
from collections import Counter
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from benchsuite.published import AttackRow, MixtureRow, attack_rows, mixture_rows

ATTACKS = ("Yeom", "Shokri", "Sablayrolles", "Song & Mittal", "LiRA")
SINGLETONS = ("Self-infl.", "TRAK")
ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "benchsuite" / "published"


def groups_of(under):
    return [(under, group) for group in ("OOD", "Subpop.", *SINGLETONS)]


def the_row(attack, over, under, group):
    wanted = (attack, over, under, group)
    (row,) = (r for r in attack_rows() if (r.attack, r.over, r.under, r.group) == wanted)
    return row


def the_mixture(table, over, under):
    (row,) = (r for r in mixture_rows() if (r.table, r.over, r.under) == (table, over, under))
    return row


def measures(row):
    return row.auroc_all, row.auroc_under, row.tpr_all, row.tpr_under


def exact_sum(values):
    return sum(round(Decimal(value), 6) for value in values if value is not None)


def test_every_row_of_every_table_is_there():
    assert Counter(row.table for row in attack_rows()) == {1: 90, 4: 15}
    assert Counter(row.table for row in mixture_rows()) == {2: 7, 3: 5}


@pytest.mark.parametrize(
    ("table", "half", "over", "settings"),
    [
        (1, "left", "MNIST", [("", ""), *groups_of("augMNIST"), *groups_of("SVHN")]),
        (1, "right", "CIFAR-10", [("", ""), *groups_of("augCIFAR-10"), *groups_of("CIFAR-100")]),
        (4, "", "MNIST", groups_of("CIFAR-10")[:3]),  # no TRAK
    ],
)
def test_each_attack_has_each_setting_once_and_in_the_printed_order(table, half, over, settings):
    part = [row for row in attack_rows() if (row.table, row.half) == (table, half)]
    assert [(r.attack, r.over, r.under, r.group) for r in part] == [
        (attack, over, under, group) for attack in ATTACKS for under, group in settings
    ]
    assert [row.row for row in part] == list(range(1, len(ATTACKS) * len(settings) + 1))


@pytest.mark.parametrize(
    ("attack", "under", "group", "all_auroc", "all_tpr", "auroc", "tpr"),
    [  # the sentences of Sec. 4.2, Takeaway 1; what None stands for they do not say
        ("Shokri", "augMNIST", "OOD", 0.51, 0.0020, 0.72, 0.0070),
        ("Sablayrolles", "SVHN", "Self-infl.", 0.51, 0.0290, 1.0, 0.9755),
        ("Sablayrolles", "SVHN", "OOD", None, None, 0.81, 0.0286),
        ("Sablayrolles", "SVHN", "Subpop.", None, None, 0.95, 0.26),
    ],
)
def test_the_table_says_what_the_text_quotes_from_it(
    attack, under, group, all_auroc, all_tpr, auroc, tpr
):
    row = the_row(attack, "MNIST", under, group)
    assert (row.auroc_under, row.tpr_under) == (auroc, tpr)
    if all_auroc is not None:
        assert (row.auroc_all, row.tpr_all) == (all_auroc, all_tpr)


def test_self_influence_singletons_give_lira_what_the_text_says():
    # Sec. 4, A1: an AUROC of 1.0 across datasets, and always more than 96 % TPR.
    singletons = [r for r in attack_rows() if r.attack == "LiRA" and r.group == "Self-infl."]
    assert len(singletons) == 5
    assert all(row.auroc_under == 1.0 and row.tpr_under > 0.96 for row in singletons)


def test_subpopulations_give_yeom_more_than_singletons_of_cifar_100_as_the_text_says():
    subpopulation = the_row("Yeom", "CIFAR-10", "CIFAR-100", "Subpop.")
    assert measures(subpopulation) == (0.62, 0.85, 0.0, 0.1732)
    for group in SINGLETONS:
        singletons = the_row("Yeom", "CIFAR-10", "CIFAR-100", group)
        assert singletons.auroc_under < subpopulation.auroc_under
        assert singletons.tpr_under < subpopulation.tpr_under


@pytest.mark.parametrize(
    ("table", "half", "sums"),
    [  # of auroc_all, auroc_under, tpr_all, tpr_under (percent): no digit may slip
        (1, "left", ("23.01", "39.42", "23.23", "1286.27")),
        (1, "right", ("30.24", "39.84", "166.22", "1529.89")),
        (4, "", ("8.02", "13.72", "18.10", "253.80")),
    ],
)
def test_the_columns_of_the_attacks_add_up_to_the_printed_ones(table, half, sums):
    part = [measures(row) for row in attack_rows() if (row.table, row.half) == (table, half)]
    columns = [exact_sum(column) for column in zip(*part, strict=True)]
    percent = [column * scale for column, scale in zip(columns, (1, 1, 100, 100), strict=True)]
    assert percent == [Decimal(each) for each in sums]


@pytest.mark.parametrize(
    ("table", "sums"),
    [
        (2, ("686.44", "2.46", "427.83", "33.04", "659.77", "2.66", "261.14", "8.21")),
        (3, ("490.98", "1.63", "356.85", "26.32", "470.38", "2.84", "151.17", "10.695")),
    ],
)
def test_the_accuracies_of_the_mixtures_add_up_to_the_printed_ones(table, sums):
    part = [row[7:] for row in mixture_rows() if row.table == table]
    columns = [exact_sum(column) * 100 for column in zip(*part, strict=True)]
    assert columns == [Decimal(each) for each in sums]


def test_measures_are_shares():
    for row in attack_rows():
        assert all(0 <= value <= 1 for value in measures(row)), row
        assert row.auroc_all >= 0.5, row
        assert row.auroc_under >= row.auroc_all, row
    for row in mixture_rows():
        assert all(0 <= value <= 1 for value in row[7:] if value is not None), row


def test_the_printed_word_names_the_group():
    words = {(row.table, row.group, row.printed) for row in attack_rows()}
    assert {(g, p) for table, g, p in words if table == 4} == {
        ("OOD", "random"),
        ("Subpop.", "subgroup"),
        ("Self-infl.", "singletons"),
    }
    assert all(group.lower() == printed.lower() for table, group, printed in words if table == 1)


def test_a_row_of_each_mixture_table_reads_as_printed():
    assert the_mixture(2, "MNIST", "augMNIST") == MixtureRow(
        2, "MNIST", "augMNIST", 0.99, None, 1000, "CNN32",
        0.9915, 0.0013, 0.8910, 0.017, 0.9843, 0.0019, 0.6588, 0.0139,
    )  # fmt: skip
    assert the_mixture(3, "CIFAR-10", "CIFAR-100") == MixtureRow(
        3, "CIFAR-10", "CIFAR-100", None, 50000, 254, "ResNet-9",
        0.9661, 0.002, 0.6969, 0.061, 0.8735, 0.0056, 0.1121, 0.016,
    )  # fmt: skip


def test_what_a_table_does_not_give_is_none():
    for row in mixture_rows():
        alone = row.under == ""
        assert alone == (row.n_under == 0)
        of_the_group = (row.train_under, row.train_under_ci, row.test_under, row.test_under_ci)
        assert [value is None for value in of_the_group] == [alone] * 4, row
        assert (row.alpha is None) == (row.table == 3)
        assert (row.n_over is None) == (row.table == 2)
    assert Counter((r.table, r.under == "") for r in mixture_rows())[2, True] == 2


def test_singletons_are_fewer_than_the_examples_they_are_chosen_from():
    for few in (row for row in mixture_rows() if row.table == 3):
        many = the_mixture(2, few.over, few.under)
        assert few.n_under < many.n_under
        assert few.model == many.model


def test_every_training_mixture_that_is_attacked_is_described():
    described = {(row.over, row.under) for row in mixture_rows() if row.table == 2}
    assert {(row.over, row.under) for row in attack_rows()} == described


def test_the_tables_are_read_once():
    assert attack_rows() is attack_rows()
    assert mixture_rows() is mixture_rows()


def test_the_package_that_is_installed_has_the_tables():
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = shipped["tool"]["setuptools"]["package-data"]["benchsuite"]
    matched = {path for pattern in patterns for path in (ROOT / "benchsuite").glob(pattern)}
    tables = set(PUBLISHED.glob("*.csv"))
    assert {path.name for path in tables} == {"membership_attacks.csv", "membership_mixtures.csv"}
    assert tables <= matched
    package = files("benchsuite.published")
    for path, row in (("attacks", AttackRow), ("mixtures", MixtureRow)):
        header = package.joinpath(f"membership_{path}.csv").read_text("utf-8").splitlines()[0]
        assert tuple(header.split(",")) == row._fields


def test_published_numbers_stand_on_the_ground_floor():
    for path in sorted(PUBLISHED.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in names if name.startswith("benchsuite")]
            assert all(name.startswith("benchsuite.published") for name in ours), path
