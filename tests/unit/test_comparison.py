"""The membership paper's tables with ours beside them, from made-up findings."""

import importlib.util
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchsuite.experiments import attack_bank
from benchsuite.published import attack_rows, mixture_rows
from benchsuite.report.artifacts import save_artifact
from benchsuite.report.build import build
from benchsuite.report.comparison import COLUMNS, MEASURES, TABLES
from benchsuite.report.counterparts import COUNTERPARTS, GROUPS, TRAK, attack_row, mixture_row
from benchsuite.report.schema import record
from benchsuite.subject import BUILT_IN


def beside(name):
    """A test file of this folder, for its made-up arrays and results."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REPORT, ARRAYS = beside("test_report"), beside("test_group_tables")
attack_arrays, mixture_arrays = ARRAYS.attack_arrays, ARRAYS.mixture_arrays
LACKS = "the result here lacks this group: run its claim again"
PAPERS = ("Yeom", "Shokri", "Song & Mittal", "Sablayrolles", "LiRA")


def alone_arrays(**changes):
    """Two attacks on data without groups."""
    arrays = attack_arrays()
    kept = {name: arrays[name][:, [0, 3]] for name in ("auroc", "tpr", "realised_fpr")} | {
        name: arrays[name][[0, 3]] for name in ("groups", "examples", "false_positives")
    }
    return arrays | kept | {"subject": np.asarray("digits-mlp")} | changes


def finding(folder, *tables, claim="memorized-beat-other-outliers", **changes):
    """Lines of a finding with these artifacts, (kind, arrays)."""
    lines = REPORT.arms(claim, "Synthetic.", REPORT.part(0.5, 0.1, "> 0"), **changes)
    saved = tuple(
        save_artifact(folder, kind, f"{claim}.{lines[0].subject}.{lines[0].tier}.{k}", **arrays)
        for k, (kind, arrays) in enumerate(tables)
    )
    return [replace(lines[0], artifacts=saved), *lines[1:]]


def rendered(folder, *findings):
    record(folder, [line for lines in findings for line in lines])
    return REPORT.rendered(folder)


def saved_tables(folder):
    return pd.read_csv(folder / TABLES, keep_default_na=False, na_values=[""])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A mixture, its data alone, and a subject of a user's: (folder, html, page)."""
    folder = tmp_path_factory.mktemp("reports")
    mine = attack_arrays(subject="mine")
    found = (
        finding(
            folder,
            ("attack-table", attack_arrays()),
            ("mixture", mixture_arrays()),
            subject="digits-pixmix",
        ),
        finding(
            folder,
            ("attack-table", alone_arrays()),
            ("mixture", mixture_arrays(**ARRAYS.ALONE)),
            subject="digits-mlp",
        ),
        finding(folder, ("attack-table", mine), subject="mine"),
    )
    return folder, *rendered(folder, *found)


# ---- whose row stands beside whose ---------------------------------------------------------------


def test_every_mixture_of_the_claims_has_its_rows_in_the_paper():
    claims = runpy.run_path(str(Path(__file__).parents[2] / "claims" / "test_attacks.py"))
    run = {
        name
        for tier in ("cpu", "gpu")
        for name in (*claims["MIXTURES"][tier], *claims["ALONE"][tier])
    }
    assert run - set(COUNTERPARTS) == {"mnist-usps-cnn32"}  # in no table of the paper
    assert set(COUNTERPARTS) <= run
    assert set(COUNTERPARTS) <= set(BUILT_IN)


@pytest.mark.parametrize("subject", COUNTERPARTS)
def test_a_counterpart_has_every_attack_and_group(subject):
    place = COUNTERPARTS[subject]
    groups = ("random OOD", "subpopulation", "singletons") if place.under else ("singletons",)
    if place.under not in ("", "CIFAR-10"):  # Table 4 has none by TRAK
        groups += (TRAK,)
    for attack in PAPERS:
        for group in groups:
            row = attack_row(place, attack, group)
            assert row is not None
            assert (row.over, row.under, row.attack) == (place.over, place.under, attack)
    assert attack_row(place, "RMIA", "singletons") is None
    assert attack_row(place, "LiRA", "all") is None
    assert mixture_row(place, 2) is not None
    assert (mixture_row(place, 3) is None) is (not place.under)


def test_counterparts_cover_all_tables():
    places = {(place.over, place.under) for place in COUNTERPARTS.values()}
    assert places == {(row.over, row.under) for row in attack_rows()}
    assert places == {(row.over, row.under) for row in mixture_rows()}


def test_counterparts_are_what_subjects_are_named_after():
    small = {name: place.name for name, place in COUNTERPARTS.items() if place.stand_in}
    assert small == {
        "digits-mlp": "MNIST",
        "digits-pixmix": "MNIST+augMNIST",
        "digits-photos": "MNIST+CIFAR-10",  # semantic outliers
    }
    for name in COUNTERPARTS.keys() - small:
        place = COUNTERPARTS[name]
        data = [each.replace("CIFAR-", "CIFAR").lower() for each in place[:2] if each]
        assert name.split("-")[: len(data)] == data


def test_groups_are_those_that_are_measured():
    assert set(GROUPS) == {row.group for row in attack_rows()}
    ours = attack_bank.OOD, attack_bank.SUBPOPULATION, attack_bank.SINGLETONS
    assert set(GROUPS.values()) == {*ours, attack_bank.TRAK_SINGLETONS}
    assert TRAK == attack_bank.TRAK_SINGLETONS


def test_groups_are_the_papers():
    place = COUNTERPARTS["digits-pixmix"]
    printed = {
        group: attack_row(place, "LiRA", group).auroc_under
        for group in ("random OOD", "subpopulation", "singletons", TRAK)
    }
    assert printed == {
        "random OOD": 0.87,
        "subpopulation": 0.96,
        "singletons": 1.0,
        TRAK: 0.99,
    }
    alone = attack_row(COUNTERPARTS["cifar10-resnet9-70"], "LiRA", "singletons")
    assert (alone.auroc_all, alone.tpr_under) == (0.87, 0.9547)


# ---- the CSV file --------------------------------------------------------------------------------


def test_the_csv_has_every_row_of_the_paper_once_and_ours(whole):
    table = saved_tables(whole[0])
    assert tuple(table.columns) == COLUMNS
    papers = table.dropna(subset="paper_table")
    keys = papers[["paper_table", "paper_half", "paper_row"]].fillna("")
    assert len(keys.drop_duplicates()) == len(papers) == 105
    # 2 attacks x 3 groups, of digits-pixmix and of mine; 2 attacks on digits-mlp
    assert table.subject.value_counts().to_dict() == {
        "digits-pixmix": 6,
        "mine": 6,
        "digits-mlp": 2,
    }
    assert len(table) == 105 + 6


def test_the_csv_keeps_the_papers_numbers_and_ours(whole):
    table = saved_tables(whole[0]).set_index(["subject", "attack", "group"])
    row = table.loc["digits-pixmix", "LiRA", "random OOD"]
    paper = attack_row(COUNTERPARTS["digits-pixmix"], "LiRA", "random OOD")
    assert [row[f"{name}_paper"] for name in MEASURES] == [paper[k] for k in (8, 9, 10, 11)]
    arrays = attack_arrays()
    for name, array, k in (
        ("auroc_all", "auroc", 0),
        ("auroc_under", "auroc", 1),
        ("tpr_all", "tpr", 0),
        ("tpr_under", "tpr", 1),
    ):
        ours = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert ours == arrays[array][1, k].tolist()  # to the last bit
    assert row.realised_fpr_under == 0.001
    assert row.false_positives_all == 580.0
    assert (row.examples_all, row.examples_under) == (1300, 300)
    assert (row.fpr, row.singletons_above_memorization) == (0.001, 0.5)
    assert (row.tier, row.comparison) == ("cpu", "stand-in at laptop scale")
    assert table.loc["digits-pixmix", "LiRA", "singletons"].auroc_under_high == 1.0  # of 1.01
    assert table.loc["digits-mlp", "LiRA", "singletons"].tpr_under_paper == 0.4598


def test_the_csv_says_what_is_missing_and_why(whole):
    table = saved_tables(whole[0]).fillna({"note": "", "subject": ""})
    small = table[(table.subject == "digits-pixmix") & (table.group == "subpopulation")]
    assert set(small.note) == {"subpopulation too small: 7 examples"}
    assert small[["auroc_under", "tpr_under_low", "realised_fpr_under"]].isna().all(axis=None)
    assert small[["auroc_all", "auroc_under_paper", "tpr_all"]].notna().all(axis=None)
    coarse = table[(table.subject == "mine") & (table.group == "singletons")]
    assert set(coarse.note) == {"coarse threshold of singletons"}
    assert coarse.auroc_under_paper.isna().all()
    assert set(coarse.comparison) == {"not in the paper"}
    rest = table[table.subject == ""]
    assert set(rest[rest.training_set == "MNIST+SVHN"].note) == {"not run here"}
    beside = rest[rest.training_set == "MNIST+augMNIST"]
    assert set(beside[beside.group == TRAK].note) == {LACKS}  # older than singletons by TRAK
    assert set(beside[beside.group == TRAK].attack) == set(PAPERS)
    others = beside[beside.group != TRAK]
    assert set(others.attack) == set(PAPERS) - {"Yeom", "LiRA"}
    assert set(others.note) == {"attack not measured here"}


def test_singletons_by_trak_stand_beside_the_papers(tmp_path):
    arrays = ARRAYS.with_trak()
    lines = finding(tmp_path, ("attack-table", arrays), subject="digits-pixmix")
    html, _ = rendered(tmp_path, lines)
    table = saved_tables(tmp_path)
    assert len(table) == 105
    row = table.set_index(["subject", "attack", "group"]).loc["digits-pixmix", "LiRA", TRAK]
    assert (row.auroc_under_paper, row.auroc_under) == (0.99, 0.98)
    assert (row.tpr_under_paper, row.tpr_under_high) == (0.9310, 0.51)
    assert (row.paper_group, row.examples_under) == ("TRAK", 40)
    shown = [texts for texts, _ in rows_of(html)]
    assert shown[-1][2:4] == ["singletons by TRAK paper: TRAK", "0.53"]
    assert LACKS not in html
    others = table[(table.training_set == "MNIST+augMNIST") & (table.attack == "Shokri")]
    assert dict(zip(others.group, others.note, strict=True))[TRAK] == "attack not measured here"


def test_a_mixture_without_singletons_by_trak_in_the_paper_has_them_alone(tmp_path):
    arrays = ARRAYS.with_trak(subject="digits-photos")
    rendered(tmp_path, finding(tmp_path, ("attack-table", arrays), subject="digits-photos"))
    table = saved_tables(tmp_path)
    ours = table[(table.subject == "digits-photos") & (table.group == TRAK)]
    assert ours.note.tolist() == ["not in the paper"] * 2
    assert ours.auroc_under_paper.isna().all()
    assert len(table) == 105 + 2


def test_an_older_result_of_another_tier_does_not_hide_singletons_by_trak(tmp_path):
    rendered(
        tmp_path,
        finding(tmp_path, ("attack-table", attack_arrays()), subject="digits-pixmix", tier="gpu"),
        finding(tmp_path, ("attack-table", ARRAYS.with_trak()), subject="digits-pixmix"),
    )
    table = saved_tables(tmp_path)
    assert set(table[(table.group == TRAK) & table.subject.notna()].tier) == {"cpu"}
    assert LACKS not in set(table.note)


def test_an_attack_that_the_paper_lacks_stands_alone(tmp_path):
    arrays = attack_arrays(attacks=["RMIA", "LiRA"])
    rendered(tmp_path, finding(tmp_path, ("attack-table", arrays), subject="digits-pixmix"))
    table = saved_tables(tmp_path)
    (notes,) = table[(table.attack == "RMIA") & (table.group == "random OOD")].note
    assert notes == "not in the paper"
    assert table[table.attack == "RMIA"].auroc_all_paper.isna().all()
    assert len(table) == 105 + 3


def test_the_csv_holds_what_the_page_holds(whole):
    folder, html, _ = whole
    table = saved_tables(folder)
    shown = rows_of(html)
    columns = [column for name in MEASURES for column in (f"{name}_paper", name)]
    ours = table.dropna(subset="subject")
    for (cells, sorts), (_, row) in zip(shown, ours.iterrows(), strict=True):
        assert cells[0].startswith(row.attack)
        for k, column in enumerate(columns):
            value = row[column]
            assert sorts[3 + k] == (None if pd.isna(value) else value)


# ---- the page ------------------------------------------------------------------------------------


def rows_of(html, table=0):
    """Texts of the cells and what they are sorted by, of each row of a table that can be sorted."""
    body = re.findall(r'<table class="sortable[^"]*">.*?<tbody>(.*?)</tbody>', html, re.DOTALL)[
        table
    ]
    rows = []
    for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL):
        cells = re.findall(r"<t[hd]([^>]*)>(.*?)</t[hd]>", row, re.DOTALL)
        texts = [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).strip() for _, text in cells]
        sorts = [re.search(r'data-sort="([^"]*)"', attributes) for attributes, _ in cells]
        rows.append((texts, [None if found is None else float(found[1]) for found in sorts]))
    return rows


def test_what_is_sorted_by_number_has_finite_numbers(whole):
    html = whole[1]
    values = [float(value) for value in re.findall(r'data-sort="([^"]*)"', html)]
    assert len(values) > 105 * 4
    assert np.isfinite(values).all()
    for table in range(3):
        heads = re.findall(r'<table class="sortable.*?</thead>', html, re.DOTALL)[table]
        columns = sorted(int(k) for k in re.findall(r'data-column="(\d+)"', heads))
        assert columns == list(range(len(columns)))
        assert {len(texts) for texts, _ in rows_of(html, table)} == {len(columns)}


def test_each_of_our_numbers_stands_right_of_the_papers(whole):
    rows = {tuple(texts[0:3]): texts[3:] for texts, _ in rows_of(whole[1])}
    lira = rows[
        "LiRA MNIST+augMNIST here digits-pixmix, cpu random OOD",
        "MNIST+augMNIST here digits-pixmix, cpu",
        "random OOD paper: OOD",
    ]
    assert lira == [
        "0.53",
        "0.530 [0.520, 0.550]",
        "0.87",
        "0.870 [0.860, 0.890]",
        "1.45 %",
        "1.45 % [0.45, 2.45]",
        "27.55 %",
        "27.6 % [26.6, 28.6]",
    ]
    small = rows[
        "Yeom MNIST+augMNIST here digits-pixmix, cpu subpopulation",
        "MNIST+augMNIST here digits-pixmix, cpu",
        "subpopulation paper: Subpop.",
    ]
    assert small[2:4] == ["0.80", "too small 7 examples"]
    coarse = rows[
        "LiRA MNIST+augMNIST here digits-pixmix, cpu singletons",
        "MNIST+augMNIST here digits-pixmix, cpu",
        "singletons paper: Self-infl.",
    ]
    assert coarse[7] == "95.0 %† [94.0, 96.0]"


def test_the_papers_other_rows_are_folded_away(whole):
    _, html, page = whole
    rest = rows_of(html, 1)
    assert len(rest) == 105 - 6 - 2
    assert f"The paper's other {len(rest)} rows" in page.text
    folded = html.index("<details>\n<summary>The paper's other")
    assert html.index("not run here") > folded
    assert {texts[-1] for texts, _ in rest} == {"not run here", "attack not measured here", LACKS}


def test_tables_2_and_3_show_ours_first(whole):
    rows = [texts for texts, _ in rows_of(whole[1], 2)]
    assert len(rows) == 12
    assert [row[1] for row in rows[:3]] == ["Table 2", "Table 2", "Table 3"]
    assert rows[0][:1] == ["MNIST here digits-mlp, cpu tier Table 2 CNN32"]
    assert rows[1][3:9] == [
        "1,000",
        "300",
        "0.99",
        "0.77",
        "99.15 % ± 0.13",
        "99.8 % [99.0, 100.0]",
    ]
    assert rows[2][3:9] == ["219", "41", "–", "–", "99.27 % ± 0.14", "–"]  # its models differ
    assert all("not run here" in row[0] for row in rows[3:])


def test_the_page_says_where_ours_come_from(whole):
    _, _, page = whole
    assert "digits-pixmix, cpu tier for MNIST+augMNIST: stand-in at laptop scale" in page.text
    assert "mine, cpu tier: not in the paper" in page.text
    assert "few false positives set the threshold: singletons (18.4)" in page.text
    assert page.links.count(TABLES) == 2
    assert page.links.count("#tables") == page.ids.count("tables") == 1
    assert "#memorized-beat-other-outliers--digits-pixmix--cpu" in page.links


def test_names_are_escaped(tmp_path):
    name = "<script>alert('x')</script>"
    arrays = attack_arrays(subject=name, attacks=["Yeom", name], groups=["all", name, "b", "c"])
    mix = mixture_arrays(subject=name, network=name)
    html, page = rendered(
        tmp_path, finding(tmp_path, ("attack-table", arrays), ("mixture", mix), subject=name)
    )
    assert html.count("<script") == 1  # that which sorts
    assert page.text.count(name) > 10
    table = saved_tables(tmp_path)
    assert (table.subject == name).sum() == 6


def test_of_several_findings_the_newest_counts_and_tiers_are_kept_apart(tmp_path):
    newer = REPORT.PROVENANCE | {"time": "2026-11-21T12:00:00+00:00"}
    other = attack_arrays(examples=[1301, 300, 7, 41])
    rendered(
        tmp_path,
        finding(tmp_path, ("attack-table", other), claim="b", provenance=newer, subject="s"),
        finding(tmp_path, ("attack-table", attack_arrays()), claim="a", subject="s"),
        finding(tmp_path, ("attack-table", attack_arrays()), claim="a", subject="s", tier="gpu"),
    )
    table = saved_tables(tmp_path).dropna(subset="subject")
    assert table.groupby("tier").examples_all.unique().map(list).to_dict() == {
        "cpu": [1301],
        "gpu": [1300],
    }


def test_stale_numbers_are_marked(tmp_path):
    lines = finding(tmp_path, ("attack-table", attack_arrays()), subject="digits-pixmix")
    record(tmp_path, lines)
    build(tmp_path, root=tmp_path)
    table = saved_tables(tmp_path).dropna(subset="subject")
    assert table.note.str.contains("stale: claims/test_synthetic.py is no longer here").all()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "is missing from the reports folder"),
        (lambda path: path.write_bytes(b"other"), "is not the file that this result was recorded"),
    ],
)
def test_a_lost_table_leaves_the_page_and_the_papers_rows(tmp_path, harm, said):
    lines = finding(tmp_path, ("attack-table", attack_arrays()), subject="digits-pixmix")
    harm(tmp_path / lines[0].artifacts[0].path)
    html, page = rendered(tmp_path, lines)
    assert "Not in these tables" in page.text
    assert said in page.text
    assert len(rows_of(html, 0)) == len(saved_tables(tmp_path)) == 105
    assert "<details open>\n<summary>The paper's other 105 rows" in html


@pytest.mark.parametrize(
    ("kind", "arrays", "said"),
    [
        ("attack-table", {"groups": ["all"]}, "lacks the array 'attacks'"),
        ("attack-table", attack_arrays(fpr=[1, 2]), "fpr has shape (2,), expected ()"),
        ("mixture", mixture_arrays(groups=["a"]), "examples has shape (2,), expected (1,)"),
    ],
)
def test_a_broken_table_does_not_take_the_others_along(tmp_path, kind, arrays, said):
    good = finding(tmp_path, ("attack-table", attack_arrays()), subject="digits-pixmix")
    bad = finding(tmp_path, (kind, arrays), claim="broken", subject="digits-pixmix")
    html, page = rendered(tmp_path, good, bad)
    assert page.text.count(said) == 2  # on the card and among the tables
    assert len(rows_of(html, 0)) == 6


def test_without_a_table_of_attacks_there_are_none(tmp_path):
    html, _ = rendered(tmp_path, finding(tmp_path, ("mixture", mixture_arrays())))
    assert "<script" not in html
    assert 'id="tables"' not in html
    assert not (tmp_path / TABLES).exists()


def test_tables_of_former_results_do_not_stay_behind(tmp_path):
    rendered(tmp_path, finding(tmp_path, ("attack-table", attack_arrays())))
    assert (tmp_path / TABLES).is_file()
    rendered(tmp_path, finding(tmp_path))
    assert not (tmp_path / TABLES).exists()


def test_plumbing_has_no_tables(tmp_path):
    lines = finding(tmp_path, ("attack-table", attack_arrays()), tier="smoke", verdict="plumbing")
    html, _ = rendered(tmp_path, lines)
    assert 'id="tables"' not in html
    assert not (tmp_path / TABLES).exists()


def test_the_same_results_give_the_same_bytes(whole):
    folder, html, _ = whole
    before = (folder / TABLES).read_bytes()
    assert b"\r" not in before
    build(folder)
    assert (folder / "index.html").read_text() == html
    assert (folder / TABLES).read_bytes() == before
