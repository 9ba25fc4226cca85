"""The page of an audit, of audits made by hand."""

import base64
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from benchsuite.auditing.result import Audit
from benchsuite.auditing.target import TargetFindings
from benchsuite.report.audit_page import audit_page
from benchsuite.report.remedy_words import remedy_sentences
from benchsuite.stats.intervals import Interval

LIMIT = "An example that is on no list is not shown to be safe."


def examples(n=6, exposed=2, memorized=3, ids=None):
    """The first are exposed, the first few more memorized; found falls with the place."""
    place = np.arange(n)
    found = np.where(place < exposed, 0.9 - 0.5 * place / max(n, 1), 0.0)
    memorization = np.where(place < memorized, 0.8 - 0.5 * place / max(n, 1), 0.0)
    return pd.DataFrame(
        {
            "example": place if ids is None else ids,
            "label": place % 3,
            "memorization": memorization,
            "memorization_low": memorization - 0.05,
            "memorization_high": memorization + 0.05,
            "memorized": place < memorized,
            "found": found,
            "found_low": np.clip(found - 0.03, 0, 1),
            "found_high": found + 0.03,
            "false_alarms": np.full(n, 0.002),
            "exposed": place < exposed,
        }
    )


def attacks(tpr=0.031, low=0.029, high=0.033, fpr=0.001):
    return pd.DataFrame(
        {
            "attack": ["Yeom", "LiRA"],
            "auroc": [0.52, 0.61],
            "tpr": [0.0011, tpr],
            "tpr_low": [0.0009, low],
            "tpr_high": [0.0013, high],
            "fpr": [0.001, fpr],
        }
    )


def made(**changes):
    whole = {
        "name": "digits-mlp",
        "fpr": 0.001,
        "epsilon": None,
        "models": 256,
        "memorization": Interval(0.035, 0.034, 0.036),
        "examples": examples(),
        "attacks": attacks(),
        "best": "LiRA",
        "deciding": "LiRA",
        "lacking": (),
        "target": None,
        "remedies": None,
        "notes": (),
        "limits": (LIMIT,),
        "images": None,
        "rows": None,
        "seconds": 18.0,
        "trained": 256,
    }
    return Audit(**(whole | changes))


def of_target(accused=(0, 5), high=1.0, unlike="", tpr=None, fpr=None, **changes):
    table = changes.pop("examples", examples())
    called = np.zeros(len(table), bool)
    called[list(accused)] = not unlike
    scores = np.linspace(-2.0, 3.0, len(table))
    found = TargetFindings(
        attack="LiRA",
        scores=scores,
        accused=called,
        by_chance=(0.4, 0.0, high),
        p_value=0.004,
        compared="20 held-out examples",
        unlike=unlike,
        tpr=tpr,
        fpr=fpr,
    )
    table = pd.concat([table, found.table()], axis=1)
    return made(examples=table, target=found, **changes)


def remedies(private=(0.0014, 0.0010, 0.0018), without=(0.0166, 0.0121, 0.0211), accuracy=0.909):
    found = [(0.0315, 0.0306, 0.0324), private, (0.0014, 0.0009, 0.0020), without]
    return pd.DataFrame(
        {
            "remedy": [
                "as it is",
                "DP-SGD, epsilon 8 at delta 1e-05",
                "the 150 most exposed ignored",
                "trained without these 150",
            ],
            "examples": [1500, 1500, 1350, 1350],
            "found": [each[0] for each in found],
            "found_low": [each[1] for each in found],
            "found_high": [each[2] for each in found],
            "memorization": [0.035, 0.025, 0.002, 0.005],
            "accuracy": [0.950, accuracy, 0.950, 0.943],
        }
    )


def text(page):
    """What a reader reads, in one line, spaces plain."""
    body = re.sub(r"<(style|script|svg).*?</\1>", " ", page, flags=re.DOTALL)
    plain = unescape(re.sub(r"<[^>]+>", " ", body)).replace("\u00a0", " ")
    return re.sub(r"\s+", " ", plain)


def section(page, title):
    """One card of the page, by its title."""
    return next(each for each in page.split("<section")[1:] if f"<h2>{title}" in each)


def lines(part):
    """Texts of the cells of a sheet's rows."""
    sheet = re.search(r'class="sheet examples".*?<tbody>(.*?)</tbody>', part, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", sheet[1], re.DOTALL)
    return [[text(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


class Elements(HTMLParser):
    """Which elements there are, and whether every one that opens closes."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input", "path", "use", "rect", "image"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in ("path", "use", "rect", "image"):
            return
        assert self.open.pop() == tag


def elements(page):
    parser = Elements()
    parser.feed(page)
    assert parser.open == []
    return parser.seen


def test_the_verdict_is_said_in_plain_words():
    said = text(audit_page(made()))
    assert (
        "The best attack, LiRA, finds 3.10 % [2.90, 3.30] of the members, that is of the examples "
        "that a model was trained on, while accusing 0.1 % of the others; guessing would find "
        "0.1 %." in said
    )
    assert "cannot be told from guessing" not in said
    assert "2 of 6 examples accused clearly more often" in said
    assert "3 of 6 examples right clearly more often" in said
    assert "at most 5 % of the entries are expected not to belong there" in said
    assert "privacy audit of a data set and a training recipe" in said
    assert "What this model gives away" not in said


def test_an_attack_whose_interval_holds_the_false_alarm_rate_is_no_better_than_guessing():
    assert "It cannot be told from guessing." in text(
        audit_page(made(attacks=attacks(tpr=0.0013, low=0.0009)))
    )


def test_an_attack_that_accuses_nobody_is_not_compared_with_guessing():
    said = text(audit_page(made(attacks=attacks(0.0, 0.0, 0.0, 0.0), best="LiRA")))
    assert "No attack could accuse anybody" in said
    assert "guessing would find" not in said
    assert "accuses nobody at this rate" in said


def test_the_best_attack_is_named_beside_the_one_that_makes_the_lists():
    said = text(audit_page(made(best="Yeom")))
    assert "The lists are made by LiRA, fixed beforehand; Yeom finds more here." in said
    assert "fixed beforehand" not in text(audit_page(made()))


@pytest.mark.parametrize(
    "audit",
    [
        made(),
        of_target(tpr=(0.5, 0.1, 0.9), fpr=(0.0, 0.0, 0.3)),
        made(images=np.zeros((6, 4, 4), np.uint8), remedies=remedies()),
        made(rows=np.ones((6, 2), np.float32), lacking=("Shokri",), notes=("Odd.",)),
        made(examples=examples(exposed=0, memorized=0)),
    ],
    ids=["recipe", "target", "images", "rows", "empty"],
)
def test_the_page_is_whole_and_loads_nothing(audit):
    page = audit_page(audit)
    for _, attributes in elements(page):
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page.replace("// A head", ""))
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    identifiers = [attributes["id"] for _, attributes in elements(page) if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert "nan" not in text(page).lower().split()


def test_what_comes_from_users_is_escaped():
    odd = '<script>alert("x")</script>'
    audit = of_target(
        examples=examples(ids=np.array([f"{odd}{k}" for k in range(6)])),
        name=odd,
        notes=(odd,),
        limits=(odd,),
        images=np.zeros((6, 4, 4), np.uint8),
        lacking=(odd,),
        remedies=remedies().assign(remedy=odd),
    )
    page = audit_page(audit)
    assert [tag for tag, _ in elements(page)].count("script") == 1
    assert page.count("&lt;script&gt;") > 10


def test_ids_that_are_long_text_are_sorted_as_text_and_numbers_as_numbers():
    ids = np.array([f"patient record number {k} of the northern clinic" for k in range(6)])
    rows = re.findall(
        r'<th scope="row"([^>]*)>patient', audit_page(made(examples=examples(ids=ids)))
    )
    assert rows == [""] * 3
    assert re.findall(r'<th scope="row" data-sort="(\d)\.0">', audit_page(made())) == [
        "0",
        "1",
        "2",
    ]


def test_the_most_exposed_come_first_and_each_says_how_sure():
    table = examples()
    table.loc[1, ["found", "found_low", "found_high"]] = [1.0, 0.97, 1.0]
    page = audit_page(made(examples=table))
    assert lines(page) == [
        ["1", "1", "100.0 % [97.0, 100.0]", "0.2 %", "0.72 [0.67, 0.77]", "exposed and memorized"],
        ["0", "0", "90.0 % [87.0, 93.0]", "0.2 %", "0.80 [0.75, 0.85]", "exposed and memorized"],
        ["2", "2", "0.0 % [0.0, 3.0]", "0.2 %", "0.63 [0.58, 0.68]", "memorized"],
    ]


def test_who_is_found_as_often_by_mistake_is_less_exposed():
    table = examples()
    table.loc[0, "false_alarms"] = 0.5
    assert [line[0] for line in lines(audit_page(made(examples=table)))] == ["1", "0", "2"]


def test_pictures_of_at_most_forty_show_the_right_examples():
    table = examples(n=60, exposed=50, memorized=0)
    images = np.zeros((60, 5, 5), np.uint8)
    images[:, 0, 0] = 4 * np.arange(60)
    page = audit_page(made(examples=table, images=images))
    assert "The 40 most exposed of 50" in page
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', page)
    assert [alt.split(",")[0] for _, alt in shown] == [f"example {k}" for k in range(40)]
    assert len({base64.b64decode(png) for png, _ in shown}) == 40
    assert "found 90 % [87, 93]" in text(page)


def test_large_pictures_are_thinned_out():
    images = np.random.default_rng(0).integers(0, 255, (6, 640, 320, 3)).astype(np.uint8)
    page = audit_page(made(images=images))
    png = re.search(r'base64,([^"]+)"', page)
    width, height = np.frombuffer(base64.b64decode(png[1])[16:24], ">u4")
    assert (width, height) == (80, 160)


def test_a_matrix_has_neither_pictures_nor_columns():
    page = audit_page(made())
    assert "<img" not in page
    assert "Column 0" not in page
    assert "audit(subject, epsilon=8)" in text(page)


def test_rows_stand_beside_their_examples():
    page = audit_page(made(rows=np.arange(12.0).reshape(6, 2) - 5))
    assert [line[-2:] for line in lines(page)] == [["−5", "−4"], ["−3", "−2"], ["−1", "0"]]


def test_one_class_and_one_column():
    table = examples().assign(label=0)
    page = audit_page(made(examples=table, rows=np.ones((6, 1))))
    assert [line[1] for line in lines(page)] == ["0", "0", "0"]
    assert "Column 0" in page


def test_few_rows_have_nothing_to_unfold():
    assert 'type="checkbox"' not in audit_page(made())


def test_long_lists_are_folded_after_200_rows_and_cut_after_2000():
    page = audit_page(made(examples=examples(n=2100, exposed=5, memorized=2050)))
    assert len(lines(page)) == 2000
    assert "tr:nth-child(n+201) { display: none; }" in page
    said = text(page)
    assert "Show all 2,000 rows" in said
    assert (
        "The first 200 of 2,050 are shown, 1,850 more are listed, of which the page holds 1,800."
        in said
    )
    assert 'Audit.examples.to_csv("examples.csv") has all 2,100 examples' in said


def test_nobody_exposed_is_not_called_safe():
    said = text(audit_page(made(examples=examples(exposed=0, memorized=0))))
    assert "no example is exposed" in said
    assert "That does not show that they are safe." in said
    assert "No example is memorized either." in said


def test_memorized_by_the_recipe_and_accused_in_this_model_are_two_lists():
    page = audit_page(of_target())
    accused = lines(section(page, "Accused in this model"))
    assert [(line[0], line[2], line[-1]) for line in accused] == [
        ("5", "3", "neither"),
        ("0", "−2", "exposed and memorized"),
    ]
    recipe = lines(section(page, "Exposed and memorized by the recipe"))
    assert [(line[0], line[-1]) for line in recipe] == [("0", "accused"), ("1", "–"), ("2", "–")]


def test_pictures_of_exposed_examples_say_which_are_accused():
    page = audit_page(of_target(images=np.zeros((6, 4, 4), np.uint8)))
    recipe = section(page, "Exposed and memorized by the recipe")
    captions = re.findall(r"<figcaption><b>(\d)</b>(.*?)</figcaption>", recipe)
    assert [(who, "accused in this model" in rest) for who, rest in captions] == [
        ("0", True),
        ("1", False),
    ]
    assert "score 3" in text(section(page, "Accused in this model"))


@pytest.mark.parametrize(
    ("audit", "status", "title"),
    [
        (of_target(), "refuted", "2 of 6 examples are accused of being this model's training data"),
        (of_target(high=2.0), "neutral", "No sign that this model was trained on any"),
        (of_target(unlike="its accuracy there is 0.9"), "inconclusive", "Nobody can be accused"),
    ],
    ids=["accused", "by chance", "unlike"],
)
def test_the_answer_about_one_model_has_a_colour_that_fits(audit, status, title):
    page = audit_page(audit)
    assert f'class="card answer {status}"' in page
    assert title in text(re.search(r"<h1>(.*?)</h1>", page)[1])
    assert "privacy audit of one trained model" in page


def test_the_answer_about_one_model_is_the_audits_own_sentence():
    audit = of_target(tpr=(0.5, 0.1, 0.9), fpr=(0.0, 0.0, 0.3))
    said = text(audit_page(audit))
    sentence = next(line for line in str(audit).splitlines() if "are accused by" in line)
    assert sentence in said
    assert "50.0 % [10.0, 90.0] of its training examples, 0 % [0, 30.0] of the others" in said


def test_an_unlike_model_gets_no_rates():
    said = text(audit_page(of_target(unlike="odd", tpr=(0.0, 0.0, 0.1), fpr=(0.0, 0.0, 0.1))))
    assert "unlike the shadow models, on 20 held-out examples odd" in said
    assert "of its training examples," not in said


def test_membership_that_is_unknown_is_left_out():
    assert "intervals over examples" not in text(audit_page(of_target()))


def test_attacks_that_were_not_run_are_named_with_the_reason():
    said = text(audit_page(made(lacking=("Shokri", "Song & Mittal"))))
    assert "Not run: Shokri and Song & Mittal, which need a model's output for every class" in said
    assert "Not run" not in text(audit_page(made()))


def test_attacks_are_listed_with_intervals_the_strongest_first():
    page = section(audit_page(made()), "Examples and attacks")
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    assert [name for name, _ in rows] == ["LiRA", "Yeom"]
    assert "3.10 % [2.90, 3.30]" in text(rows[0][1])
    assert "0.110 % [0.090, 0.130]" in text(rows[1][1])


def test_limits_stand_above_the_lists_in_full_size():
    page = audit_page(made())
    limits = section(page, "What this does not show")
    assert f"<li>{LIMIT}</li>" in limits
    assert page.index("What this does not show") < page.index("Exposed and memorized by the recipe")
    assert "<details" not in limits
    assert 'class="ids"' not in limits


def test_notes_stand_beside_the_verdict():
    page = audit_page(made(notes=("Membership may be the wrong way round.",)))
    assert page.index("wrong way round") < page.index("What this does not show")


def test_cost_tells_what_was_trained_from_what_was_there():
    assert "All of them were trained for this audit, in 18 s." in text(audit_page(made()))
    some = text(audit_page(made(trained=64)))
    assert "64 models were trained for this audit, in 18 s; the others were there already." in some
    more = text(audit_page(made(trained=768)))
    assert (
        "768 models were trained for this audit, in 18 s, those with remedies among them." in more
    )
    assert "None had to be trained" in text(audit_page(made(trained=0)))


@pytest.mark.parametrize(
    ("epsilon", "call"), [(None, "fpr=0.001)"), (8.0, "fpr=0.001, epsilon=8)")]
)
def test_the_call_that_runs_it_again_tries_the_same_remedies(epsilon, call):
    said = text(audit_page(made(epsilon=epsilon, remedies=remedies() if epsilon else None)))
    assert f"found = audit(shadows, models=256, {call}" in said
    assert ("remedies are tried as well" in said) == (epsilon is None)


def test_remedies_have_intervals_and_an_unknown_accuracy_is_called_so():
    said = text(audit_page(made(remedies=remedies(accuracy=np.nan))))
    assert "DP-SGD, epsilon 8 at delta 1e-05 1,500 0.140 % [0.100, 0.180] 0.025 unknown" in said
    assert "What it costs in accuracy is unknown" in said
    assert "epsilon=8)" not in said


def sentences(**changes):
    return [each.replace("\u00a0", " ") for each in remedy_sentences(remedies(**changes), 0.001)]


def test_privacy_that_lowers_what_is_found_is_said_with_its_cost():
    private, _ = sentences(private=(0.0024, 0.0020, 0.0028))
    assert "finds fewer members: 0.240 % [0.200, 0.280] instead of 3.15 % [3.06, 3.24]." in private
    assert "Guessing would find 0.1 %. " in private
    assert "It costs 4.1 points of accuracy (95.0 % to 90.9 % on held-out examples)." in private


def test_privacy_is_not_said_to_help_where_intervals_overlap():
    private, _ = sentences(private=(0.030, 0.028, 0.031))
    assert "do not tell whether that helps" in private
    assert "fewer" not in private


def test_privacy_that_raises_what_is_found_is_said_to():
    private, _ = sentences(private=(0.05, 0.04, 0.06), accuracy=0.96)
    assert "finds more members" in private
    assert "It gains 1.0 points of accuracy" in private


def test_privacy_at_the_rate_of_guessing():
    private, _ = sentences(private=(0.0012, 0.0009, 0.0015), accuracy=0.9502)
    assert "Guessing would find 0.1 %, from which it cannot be told." in private
    assert "It leaves accuracy as it is" in private


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ((0.0166, 0.0121, 0.0211), "become more exposed, so that removal moves the exposure on"),
        ((0.0016, 0.0010, 0.0022), "do not tell whether those who stay become more exposed"),
        ((0.0003, 0.0001, 0.0005), "become less exposed"),
    ],
    ids=["onion", "overlap", "less"],
)
def test_removal_is_judged_by_those_who_stay(without, says):
    _, removal = sentences(without=without)
    assert says in removal
    assert "Among the 1,350 examples that stay" in removal
    assert "the 150 most exposed" in removal
    assert "Removal costs 0.7 points of accuracy" in removal


def test_a_remedy_table_of_other_rows_is_refused():
    with pytest.raises(ValueError, match="remedies has 3 rows, expected four"):
        remedy_sentences(remedies().head(3), 0.001)


def test_to_html_writes_the_page(tmp_path):
    audit = made()
    where = audit.to_html(tmp_path / "reports" / "audit.html")
    assert where.read_text(encoding="utf-8") == audit_page(audit)


def test_more_than_two_thousand_examples_are_drawn_thinned():
    page = audit_page(made(examples=examples(n=5000)))
    assert "Of each kind 2,000 are drawn." in text(page)
    assert "Of each kind" not in text(audit_page(replace(made(), examples=examples(n=50))))
