"""The page, on made-up results: every number here is synthetic and decides nothing."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from benchsuite.code_digest import code_digest
from benchsuite.report import attack_figures, figures, strip, wording
from benchsuite.report.__main__ import main
from benchsuite.report.artifacts import save_artifact
from benchsuite.report.build import build
from benchsuite.report.finding import models_saved
from benchsuite.report.schema import RESULTS, SCHEMA, Part, Result, record

ALPHA = 0.05 / 8
PROVENANCE = {
    "benchsuite": "0.1.0",
    "python": "3.11.7",
    "torch": "2.13.0",
    "numpy": "2.4.6",
    "device": "cpu",
    "threads": 2,
    "machine": "a synthetic machine",
    "git": "abc1234",
    "time": "2026-11-20T12:00:00+00:00",
    "code": "c0de",
    "file": "claims/test_synthetic.py",
    "data": "da7a",
    "bank": "ba2c",
    "banks": {"ba2c": [38.0, 1536, 512]},
    "accuracy": 0.964,
}
BINS = ("mem .1-.25", "mem .25-.5", "mem .5-.7", "mem .7-1")


# ---- synthetic results -------------------------------------------------------------------------


def part(estimate, half, rule="", name="", verdict="supported", needed=None):
    interval = (estimate - half, estimate + half)
    return Part(name, rule, estimate, interval, verdict if rule else "", needed)


def arms(claim, says, *parts, deciding=0, control="shuffled", control_at=(0.0, 0.01), **changes):
    """Lines of one claim: the observed arm, and a control that the claim's own rule refutes."""
    worst = parts[deciding]
    random = np.random.default_rng(len(claim))
    names = [one.name for one in parts]
    units = tuple(
        {
            "seed": f"0/{k}",
            "value": float(parts[0].estimate + random.normal(0, 0.01))
            if names == [""]
            else {one.name: float(one.estimate + random.normal(0, 0.01)) for one in parts},
        }
        for k in range(8)
    )
    observed = Result(
        **{
            "schema": SCHEMA,
            "claim": claim,
            "version": 1,
            "family": "A1",
            "says": says,
            "measures": "a number",
            "source": "Synthetic et al., a paper that does not exist, Thm 2",
            "paper": "-",
            "subject": "digits-mlp",
            "tier": "cpu",
            "arm": "observed",
            "verdict": worst.verdict,
            "expected": "supported",
            "reason": "",
            "as_expected": worst.verdict == "supported",
            "unresolved": "",
            "rule": worst.rule,
            "estimate": worst.estimate,
            "interval": worst.interval,
            "alpha": ALPHA,
            "parts": parts,
            "units": units,
            "declared_units": 8,
            "artifacts": (),
            "seconds": 1.2,
            "train_seconds": 38.0,
            "models_trained": 1536,
            "models_reused": 512,
            "rerun": f"pytest claims/test_membership.py -k {claim.replace('-', '_')}",
            "provenance": PROVENANCE,
        }
        | changes
    )
    at, half = control_at
    refuted = part(at, half, worst.rule, worst.name, "refuted")
    return [
        observed,
        replace(
            observed,
            arm=control,
            verdict="plumbing" if observed.verdict == "plumbing" else "refuted",
            expected="refuted",
            reason="",
            as_expected=True,
            estimate=at,
            interval=refuted.interval,
            parts=(refuted,),
            artifacts=(),
            seconds=0.8,
        ),
    ]


def population(count=1500):
    """Memorization of the examples, mostly 0, with scores that go along."""
    random = np.random.default_rng(0)
    memorized = random.beta(0.5, 0.9, count)
    memorization = np.where(
        random.random(count) < 0.79, np.abs(random.normal(0, 0.004, count)), memorized
    )
    privacy = 0.1 + 1.6 * memorization + random.gamma(2, 0.08, count)
    return memorization, privacy


def arrays_of(kind):
    memorization, privacy = population()
    random = np.random.default_rng(1)
    fpr = np.linspace(0, 1, 5001)
    counts = np.array([2, 4, 8, 16, 32, 64, 128, 256, 512])
    names = ["highly memorized (mem > .7)", "random, same size", "all examples"]
    worth = np.array([[0.5, 0.48], [0.14, 0.1], [0.12, 0.1]])
    if kind == "roc":
        powers = np.array([0.1, 0.52, 0.58])
        curves = {f"fpr_{k}": fpr for k in range(3)}
        curves |= {f"tpr_{k}": fpr**power for k, power in enumerate(powers)}
        low = 0.001**powers
        return curves | {
            "names": names,
            "low_fpr": 0.001,
            "low_tpr": low,
            "low_realised_fpr": np.array([18 / 18_944, 0.001, 0.001]),
            "low_non_members": np.array([18_944, 60_000, 700_000]),
            "low_interval": np.stack([0.97 * low, 1.03 * low], -1),
        }
    if kind == "shadow-count":
        rise = 1 - 0.7 * np.exp(-np.log2(counts) / np.array([[0.9], [3.0], [3.4]]))
        auroc, tpr = 0.5 + worth[:, :1] * rise, worth[:, 1:] * rise**2
        return {
            "counts": counts,
            "names": names,
            "auroc": auroc,
            "auroc_low": auroc - 0.012,
            "auroc_high": np.minimum(auroc + 0.012, 1),
            "low_fpr": 0.001,
            "non_members": np.array([18_944, 60_000, 700_000]),
            "tpr_0": tpr[0],
            "tpr_1": tpr[1],
            "tpr_2": tpr[2],
            "tpr_band_2": np.stack([tpr[2] - 0.01, tpr[2] + 0.01]),
        }
    if kind == "memorization-privacy":
        return {"memorization": memorization, "privacy": privacy, "spearman": 0.663}
    if kind == "gallery":
        chosen = np.argsort(-memorization)[np.r_[0:12, 1488:1500]]
        y, x = np.mgrid[:8, :8]
        images = [
            np.clip(np.exp(-(((np.hypot(x - 3.5, y - 3.5) - 1.2 - k % 3) / 0.9) ** 2)), 0, 1)
            for k in range(24)
        ]
        images = np.clip(np.array(images) + random.normal(0, 0.08, (24, 8, 8)), 0, 1)
        return {
            "images": images,
            "labels": np.arange(24) % 10,
            "memorization": memorization[chosen],
            "split": 12,
        }
    if kind == "exposure-by-memorization":
        centre = np.array([0.16, 0.36, 0.6, 0.87])
        advantage = np.array([0.64, 0.71, 0.82, 0.97])
        return {
            "bins": BINS,
            "memorization": centre,
            "memorization_low": centre - 0.02,
            "memorization_high": centre + 0.02,
            "advantage": advantage,
            "advantage_low": advantage - 0.03,
            "advantage_high": np.minimum(advantage + 0.03, 1),
            "counts": np.array([71, 64, 33, 48]),
        }
    if kind == "sample-complexity":
        some = memorization[memorization > 0.05]
        return {
            "memorization": some,
            "needed_prediction": 0.9 * some**-1.18 * np.exp(random.normal(0, 0.12, len(some))),
            "needed_confidence": 0.7 * some**-0.67 * np.exp(random.normal(0, 0.3, len(some))),
            "slope_prediction": 1.18,
            "slope_confidence": 0.67,
        }
    assert kind == "hellinger-memorization"
    spread = random.normal(0.02, 0.05, len(memorization))
    return {
        "memorization": memorization,
        "hellinger": np.clip(memorization**0.85 + spread, 0, 1),
        "stderr": np.full(len(memorization), 0.02),
        "margin": 0.01,
        "errors": 2.33,
    }


KINDS = (
    "roc",
    "shadow-count",
    "memorization-privacy",
    "gallery",
    "exposure-by-memorization",
    "sample-complexity",
    "hellinger-memorization",
)


def family(folder):
    """The eight findings of family A1 with made-up numbers, their artifacts saved in `folder`."""

    def drawn(*kinds):
        return tuple(
            save_artifact(folder, kind, f"synthetic.{kind}", **arrays_of(kind)) for kind in kinds
        )

    found = [
        arms(
            "advantage-bounds-memorization",
            "An attack's advantage on an example is at least its memorization.",
            *(
                part(estimate, half, "> -0.02", name)
                for name, estimate, half in zip(
                    BINS, (0.48, 0.35, 0.22, 0.023), (0.02, 0.024, 0.03, 0.012), strict=True
                )
            ),
            deciding=3,
            control="permuted-membership",
            control_at=(-0.87, 0.03),
            rule="each > -0.02",
            paper="adv ≥ mem for every example (theorem)",
            artifacts=drawn("exposure-by-memorization", "memorization-privacy"),
        ),
        arms(
            "advantage-bounds-hellinger",
            "An attack's advantage is at least the squared Hellinger distance of its IN and OUT "
            "confidences.",
            part(0.004, 0.006, "> -0.02"),
            control="permuted-shadows",
            control_at=(-0.52, 0.02),
            paper="equality (Lemma 1)",
        ),
        arms(
            "hellinger-below-memorization",
            "The squared Hellinger distance of the confidences is at most memorization.",
            part(0.304, 0.018, "< 0.05", verdict="refuted"),
            control="out-models-split",
            control_at=(0.002, 0.002),
            expected="refuted",
            as_expected=True,
            reason="The bound assumes that predictions carry all that confidences tell. Trials on "
            "the digits found 30 % of the examples above it: that cost is the finding.",
            paper="0 % (Eq. 7, under its assumption)",
            artifacts=drawn("hellinger-memorization"),
        ),
        arms(
            "sample-complexity-inverse",
            "The number of models an attacker must observe grows at least as 1 / memorization.",
            part(1.18, 0.09, "> 0.95", "prediction"),
            part(0.67, 0.08, "", "confidence (reported)"),
            control="shuffled-memorization",
            control_at=(0.02, 0.08),
            rule="prediction > 0.95",
            paper="slope 1 (Cor. 1)",
            artifacts=drawn("sample-complexity"),
        ),
        arms(
            "shadow-count-reduction",
            "Highly memorized examples need far fewer shadow models.",
            part(2.9, 0.7, "> 1", "full bank over needed"),
            part(14.2, 3.1, "> 4", "all over highly memorized"),
            part(0.031, 0.004, "", "TPR at 0.1 % FPR, all"),
            deciding=1,
            control="random-groups",
            control_at=(1.05, 0.4),
            rule="full bank over needed > 1 and all over highly memorized > 4",
            paper="400x within singletons, 40x within OOD (Fig. 1)",
            artifacts=drawn("shadow-count"),
        ),
        arms(
            "one-pair-suffices",
            "One IN and one OUT shadow model attack singletons almost perfectly.",
            part(0.951, 0.011, "> 0.9"),
            control="random-group",
            control_at=(0.58, 0.02),
            paper="AUROC 1.0 with one pair (Fig. 1d)",
            artifacts=drawn("roc", "gallery"),
        ),
        arms(
            "lira-estimates-memorization",
            "LiRA's subroutine estimates memorization.",
            part(0.741, 0.03, "> 0.6"),
            control_at=(0.01, 0.05),
            paper="argument (App. E)",
        ),
        arms(
            "memorized-are-more-exposed",
            "The more an example is memorized, the more vulnerable it is.",
            *(
                part(step, 0.04, "> 0", f"step {k}")
                for k, step in enumerate((0.08, 0.11, 0.14), start=1)
            ),
            control_at=(-0.11, 0.05),
            rule="each > 0",
        ),
    ]
    return [line for lines in found for line in lines]


def troubles():
    """A void, a surprise, an inconclusive and a smoke run."""
    void = arms("a-void", "A finding whose control failed.", part(0.5, 0.1, "> 0"), verdict="void")
    void = [
        replace(void[0], as_expected=False),
        replace(void[1], verdict="inconclusive", as_expected=False),
    ]
    return [
        *void,
        *arms(
            "a-surprise",
            "A finding that turned out false.",
            part(-0.3, 0.1, "> 0", verdict="refuted"),
        ),
        *arms(
            "an-undecided",
            "A finding that more units would decide.",
            part(0.03, 0.05, "within ±0.06 of 0", verdict="inconclusive", needed=1240),
        ),
        *arms(
            "a-smoke-run",
            "Never a verdict.",
            part(0.5, 0.1, "> 0"),
            tier="smoke",
            verdict="plumbing",
        ),
    ]


class Page(HTMLParser):
    """Checks that tags balance and ids are unique; collects text, ids, links and addresses."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.addresses, self.text = [], [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name == "href" and tag == "a":
                self.links.append(value)
            elif name in ("src", "href", "xlink:href", "srcset", "data"):
                self.addresses.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data.replace("\u00a0", " ")


def rendered(folder, **options):
    html = build(folder, **options).read_text()
    return html, Page(html)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The family and the troubles, built once: (folder, html, page)."""
    folder = tmp_path_factory.mktemp("reports")
    record(folder, [*family(folder), *troubles()])
    return folder, *rendered(folder)


# ---- the page ----------------------------------------------------------------------------------


def test_every_claim_has_one_card_and_one_link_to_it(whole):
    folder, html, page = whole
    decided = {line.claim for line in [*family(folder), *troubles()]} - {"a-smoke-run"}
    for claim in decided:
        assert page.ids.count(f"{claim}--digits-mlp--cpu") == 1
        assert page.links.count(f"#{claim}--digits-mlp--cpu") == 1
    assert html.count("<article") == len(decided)


def test_what_asks_for_attention_comes_first(whole):
    _, html, _ = whole
    order = re.findall(r'<article class="card (\w+)', html)
    assert order[:4] == ["void", "surprise", "inconclusive", "declared"]
    assert set(order[4:]) == {"supported"}


def test_the_headline_counts_verdicts(tmp_path):
    record(tmp_path, family(tmp_path))
    _, page = rendered(tmp_path)
    assert "8 findings on digits-mlp: 7 supported, 1 refuted as declared" in page.text


def test_the_headline_names_troubles_first(whole):
    headline = (
        "1 void, 1 refuted (supported was declared), 1 inconclusive, 7 supported, 1 refuted as"
    )
    assert f"11 findings on digits-mlp: {headline}" in whole[2].text


def test_several_subjects_are_told_apart(tmp_path):
    lines = family(tmp_path)
    record(tmp_path, [*lines, *(replace(line, subject="digits-cnn") for line in lines[:2])])
    _, page = rendered(tmp_path)
    assert "9 findings on 2 subjects" in page.text
    assert "digits-cnn (cpu tier): 1 supported" in page.text


def test_a_smoke_run_is_not_shown_as_a_verdict(whole):
    _, html, _ = whole
    assert html.count("a-smoke-run") == 2  # the anchor and the sentence, in the collapsed list
    assert html.index("a-smoke-run") > html.rindex("</article>")


def test_a_page_of_smoke_runs_alone_says_that_nothing_is_decided(tmp_path):
    record(tmp_path, troubles()[-2:])
    html, page = rendered(tmp_path)
    assert "No verdicts yet" in page.text
    assert "<article" not in html


def test_the_page_holds_what_a_reader_needs(whole):
    _, _, page = whole
    for wanted in (
        "AUROC 1.0 with one pair (Fig. 1d)",  # the paper's number
        "0.951 [0.940, 0.962]",
        "99.4 % interval",
        "8 of 8 declared units",
        "control: random-group",
        "must be refuted",
        "Why refuted was declared.",
        "About 1,240 units would decide at this spread; there were 8.",
        "the control shuffled must be refuted and was inconclusive.",
        "pytest claims/test_membership.py -k one_pair_suffices",
        "1,536 models trained in 38 s, 512 models read from the bank",
        "3.10 % [2.70, 3.50]",  # a reported TPR
        "−0.02",
        "torch 2.13.0",
        "a synthetic machine",
    ):
        assert wanted in page.text, wanted


def test_the_page_is_one_file(whole):
    _, html, page = whole
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"@import|url\((?!#)", html)


def test_the_same_results_give_the_same_bytes(whole):
    folder, html, _ = whole
    build(folder)
    assert (folder / "index.html").read_text() == html


def test_the_page_stays_small(whole):
    assert len(whole[1]) < 600_000


def test_drawing_the_page_never_imports_torch(whole):
    code = (
        "import sys; from benchsuite.report.build import build; build(sys.argv[1]); "
        "assert 'torch' not in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, whole[0]], check=True, timeout=60)


def test_text_is_escaped(tmp_path):
    attack = "<script>alert('x')</script>"
    arrays = arrays_of("roc") | {"names": [attack, "$a_b$", "c & d"]}
    lines = arms("escaped", attack, part(0.5, 0.1, "> 0", attack), reason=attack, subject=attack)
    artifact = save_artifact(tmp_path, "roc", "escaped", **arrays)
    record(tmp_path, [replace(lines[0], artifacts=(artifact,)), lines[1]])
    html, page = rendered(tmp_path)
    assert "<script" not in html
    assert page.text.count(attack) > 3
    assert "$a_b$:" in page.text


def test_an_older_version_of_a_claim_is_not_shown(tmp_path):
    new = [replace(line, version=2) for line in arms("twice", "New words.", part(0.5, 0.1, "> 0"))]
    record(tmp_path, new)
    record(tmp_path, arms("twice", "Old words.", part(0.5, 0.1, "> 0")))
    lines = (tmp_path / RESULTS).read_text().splitlines(keepends=True)
    (tmp_path / RESULTS).write_text("".join(reversed(lines)))
    _, page = rendered(tmp_path)
    assert "New words." in page.text
    assert "Old words." not in page.text


def test_saved_benchmarks_get_a_section_and_change_nothing_else(tmp_path):
    record(tmp_path, arms("one", "One.", part(0.5, 0.1, "> 0")))
    without, page = rendered(tmp_path)
    assert "benchmark" not in page.text
    (tmp_path / "benchmark.json").write_text("not JSON")
    html, page = rendered(tmp_path)
    assert page.links.count("#cost") == page.ids.count("cost") == 1
    assert "1 finding on digits-mlp: 1 supported" in page.text
    assert "its artifacts and benchmark.json alone" in page.text
    kept = set(html.replace("</main>", "\n</main>").splitlines())
    gone = [line for line in without.splitlines() if line not in kept]
    assert [line.startswith("<footer>") for line in gone] == [True]


def test_controls_without_their_observed_arm_are_refused(tmp_path):
    record(tmp_path, arms("half", "Half.", part(0.5, 0.1, "> 0"))[1:])
    with pytest.raises(ValueError, match="controls of half on digits-mlp"):
        build(tmp_path)


# ---- what cannot be resolved -------------------------------------------------------------------


def without_numbers(line, why):
    nothing = {"estimate": None, "interval": (-np.inf, np.inf), "parts": (), "units": ()}
    return replace(line, verdict="inconclusive", as_expected=False, unresolved=why, **nothing)


def test_a_finding_that_cannot_be_resolved_says_why(tmp_path):
    observed, control = arms("few", "Few.", part(0.5, 0.1, "> 0.9"))
    record(tmp_path, [without_numbers(observed, "3 examples have memorization above .5"), control])
    html, page = rendered(tmp_path)
    assert "1 finding on digits-mlp: 1 inconclusive" in page.text
    assert re.search(
        r"Cannot be resolved\.\s+The sample cannot answer: 3 examples have mem", page.text
    )
    assert page.text.count("cannot be resolved") == 3  # overview, "Here", evidence
    assert "units would decide" not in page.text
    assert "Units (" not in page.text
    assert html.count('<svg class="strip') == 1  # the control's
    assert "> 0.9" in page.text
    assert not re.search(r"\bNone\b|∞", page.text)


def test_plumbing_that_cannot_be_resolved_says_why(tmp_path):
    observed, _ = arms("few", "Few.", part(0.5, 0.1, "> 0"), verdict="plumbing", tier="smoke")
    lost = without_numbers(observed, "1 units show no spread")
    record(tmp_path, [replace(lost, verdict="plumbing", as_expected=True)])
    _, page = rendered(tmp_path)
    assert "smoke tier: cannot be resolved (1 units show no spread), decides nothing" in page.text


def test_a_control_that_cannot_be_resolved_says_why(tmp_path):
    parts = (part(0.5, 0.1, "> 0", "all"), part(0.3, 0.1, "", "only reported"))
    observed, control = arms("few", "Few.", *parts, verdict="void")
    lost = without_numbers(control, "the shuffled bins are empty")
    record(tmp_path, [replace(observed, as_expected=False), lost])
    html, page = rendered(tmp_path)
    said = "the control shuffled must be refuted and was inconclusive (it cannot be resolved)."
    assert said in page.text
    assert "cannot be resolvedthe shuffled bins are empty" in page.text  # in the evidence
    assert "✗ inconclusive, not as required" in page.text
    assert html.count('<svg class="strip') == 1  # the finding's
    assert re.findall(r"would be\s*(\w*)", page.text) == ["supported"]


def test_logarithms_are_shown_as_factors_too(tmp_path):
    name = "log (all / memorized)"
    lines = arms(
        "fewer",
        "Far fewer.",
        part(3.14, 0.24, "> 1.39", name),
        control_at=(0.03, 0.16),
        rule=f"{name} > 1.39",
    )
    record(tmp_path, lines)
    page = rendered(tmp_path)[1]
    assert page.text.count("as a factor: 23.1 [18.2, 29.4], bound 4") == 3
    assert page.text.count("as a factor: 1.03 [0.88, 1.21], bound 4") == 1
    record(tmp_path, arms("fewer", "Far fewer.", part(3.14, 0.24, "> 1.39", "all / memorized")))
    assert "as a factor" not in rendered(tmp_path)[1].text


# ---- staleness ---------------------------------------------------------------------------------


def test_other_code_makes_a_line_stale(tmp_path):
    record(tmp_path, family(tmp_path))
    (tmp_path / "test_mine.py").write_text("1\n")
    mine = PROVENANCE | {"file": "test_mine.py", "code": code_digest(tmp_path / "test_mine.py")}
    record(tmp_path, arms("mine", "Mine.", part(0.5, 0.1, "> 0"), provenance=mine))
    assert "stale" not in rendered(tmp_path)[1].text
    page = rendered(tmp_path, root=tmp_path)[1]
    assert page.text.count("stale: claims/test_synthetic.py is no longer here") == 8
    assert page.text.count("stale:") == 8
    (tmp_path / "test_mine.py").write_text("2\n")
    page = rendered(tmp_path, root=tmp_path)[1]
    assert page.text.count("stale: the code has changed since") == 1


def test_a_line_that_does_not_say_where_its_claim_lies_is_stale(tmp_path):
    without = {name: value for name, value in PROVENANCE.items() if name != "file"}
    record(tmp_path, arms("old", "Old.", part(0.5, 0.1, "> 0"), provenance=without))
    assert "stale: the claim is no longer here" in rendered(tmp_path, root=tmp_path)[1].text


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"time": "2026-11-21T12:00:00+00:00", "data": "new"}, 1),
        ({"time": "2026-11-19T12:00:00+00:00", "data": "old"}, 1),  # then that one is
        ({"time": "2026-11-21T12:00:00+00:00"}, 0),
    ],
)
def test_a_newer_line_on_other_data_makes_a_line_stale(tmp_path, changes, stale):
    old = arms("first", "First.", part(0.5, 0.1, "> 0"))
    new = arms("second", "Second.", part(0.5, 0.1, "> 0"), provenance=PROVENANCE | changes)
    record(tmp_path, [*old, *new])
    html, page = rendered(tmp_path)
    assert page.text.count("stale: the data have changed since") == stale
    if stale:
        which = "first" if changes["data"] == "new" else "second"
        assert re.search(rf'id="{which}--.*?stale: the data', html, re.DOTALL)


def test_other_data_of_another_subject_make_nothing_stale(tmp_path):
    changes = {"time": "2026-11-21T12:00:00+00:00", "data": "new"}
    other = arms("b", "B.", part(0.5, 0.1, "> 0"), subject="mine", provenance=PROVENANCE | changes)
    record(tmp_path, [*arms("a", "A.", part(0.5, 0.1, "> 0")), *other])
    assert "stale" not in rendered(tmp_path)[1].text


# ---- figures -----------------------------------------------------------------------------------


def tiny(kind):
    """The least that a figure of `kind` can be drawn from."""
    small = {
        "roc": {
            "names": ["one"],
            "fpr_0": [0.0, 0.5, 1.0],
            "tpr_0": [0.0, 0.9, 1.0],
            "low_fpr": 0.001,
            "low_tpr": [0.44],
            "low_realised_fpr": [0.0005],
            "low_non_members": [2000],
            "low_interval": [[0.414, 0.4666]],
        },
        "shadow-count": {
            "counts": [2, 4],
            "names": ["one"],
            "auroc": [[0.6, 0.7]],
            "auroc_low": [[0.5, 0.6]],
            "auroc_high": [[0.7, 0.8]],
            "low_fpr": 0.001,
            "non_members": [2000],
            "tpr_0": [0.0, 0.1],
        },
        "memorization-privacy": {
            "memorization": [0.0, 1.0],
            "privacy": [0.1, 2.0],
            "spearman": 1.0,
        },
        "gallery": {
            "images": np.zeros((2, 8, 8, 3), np.uint8),
            "labels": ["cat", "dog"],
            "memorization": [0.97, 0.0],
            "split": 1,
        },
        "exposure-by-memorization": {
            "bins": ["low", "high"],
            "memorization": [0.2, 0.8],
            "advantage": [0.5, 0.9],
            "counts": [10, 20],
        },
        "sample-complexity": {
            "memorization": [0.2, 0.8],
            "needed_prediction": [10.0, 2.0],
            "needed_confidence": [5.0, np.inf],
            "slope_prediction": 1.2,
            "slope_confidence": 0.5,
        },
        "hellinger-memorization": {
            "memorization": [0.0, 0.5, 0.5, 1.0],
            "hellinger": [0.0, 0.6, 0.6, 1.005],
            "stderr": [0.0, 0.04, 0.05, 0.0],
            "margin": 0.01,
            "errors": 2.0,
        },
    }
    return {name: np.asarray(array) for name, array in small[kind].items()}


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_drawn_with_words_for_those_who_cannot_see_it(kind):
    drawing = figures.draw(kind, tiny(kind), "f")
    markup = "".join(drawing.panels)
    Page(markup)
    assert drawing.caption.endswith(".")
    assert "aria-label=" in markup or "alt=" in markup
    assert not re.search(r"#[0-9a-f]{6}", markup)  # colours come from the page


@pytest.mark.parametrize("kind", KINDS)
def test_many_points_stay_small(kind):
    arrays = {name: np.asarray(array) for name, array in arrays_of(kind).items()}
    assert sum(map(len, figures.draw(kind, arrays, "f").panels)) < 120_000


@pytest.mark.parametrize(
    ("non_members", "accused", "says"),
    [
        (2000, 1, "one: 44 % [41.4, 46.7], coarse, 1 of 2,000 non-members accused"),
        (49_999, 49, "one: 44 % [41.4, 46.7], coarse, 49 of 49,999 non-members accused"),
        (50_000, 50, "one: 44 % [41.4, 46.7], 50 of 50,000 non-members accused"),
        (1000, 1, "one: 44 % [41.4, 46.7], coarse, 1 of 1,000 non-members accused"),
        (999, 0, "one: cannot be resolved, with 999 non-members"),
    ],
)
def test_a_roc_says_what_stands_behind_its_low_rate(non_members, accused, says):
    arrays = tiny("roc") | {
        "low_non_members": np.array([non_members]),
        "low_realised_fpr": np.array([accused / non_members]),
    }
    (panel,) = figures.draw("roc", arrays, "f").panels
    assert f'at 0.1 % false positives: {says}"' in str(panel)


def test_a_roc_is_drawn_to_the_last_point_within_each_rate():
    fpr, tpr = np.array([0.0, 0.001, 0.0011, 1.0]), np.array([0.1, 0.44, 0.9, 1.0])
    steps = np.array([0.0, 0.0005, 0.001, 0.00105, 0.5, 1.0])
    assert attack_figures._at(fpr, tpr, steps).tolist() == [0.1, 0.1, 0.44, 0.44, 0.9, 1.0]
    assert attack_figures._at(fpr[1:], tpr[1:], steps[:2]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "one: 2,000 non-members, coarse from 0.00 to 0.100"),
        ({"non_members": [50_000]}, "one: 50,000 non-members from 0.00 to 0.100"),
        (
            {"non_members": [60_000], "tpr_band_0": [[0.0, 0.0], [0.1, 0.2]]},
            "one: 60,000 non-members a unit from 0.00 to 0.100",
        ),
        ({"non_members": [999]}, "shadow models: "),
    ],
)
def test_a_rate_by_shadow_count_says_what_stands_behind_it(changes, says):
    arrays = tiny("shadow-count") | {name: np.asarray(each) for name, each in changes.items()}
    panel = figures.draw("shadow-count", arrays, "f").panels[1]
    assert (
        f'TPR at 0.1 % FPR from 2 to 4 shadow models: {says.removeprefix("shadow models: ")}"'
        in panel
    )
    assert ("cannot be resolved with 999 non-members" in panel) is (
        changes == {"non_members": [999]}
    )
    assert ("fill-opacity: 0.18" in panel) is ("tpr_band_0" in changes)


@pytest.mark.parametrize(
    ("changes", "share"), [({}, 25), ({"margin": 0.0}, 50), ({"errors": 1.0}, 50)]
)
def test_the_share_above_the_hellinger_bound_follows_the_rule_it_is_given(changes, share):
    arrays = tiny("hellinger-memorization") | {
        name: np.asarray(value) for name, value in changes.items()
    }
    drawing = figures.draw("hellinger-memorization", arrays, "f")
    assert f"{share} % of the examples lie surely above the bound" in drawing.panels[0]
    assert f"more than {changes.get('margin', 0.01):g} and" in drawing.caption
    assert "over all models together" in drawing.caption


def test_a_gallery_captions_its_images():
    most, least = figures.draw("gallery", tiny("gallery"), "f").panels
    assert "label cat<br>mem .97" in most
    assert "image labelled dog, memorization .00" in least


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("memorization-privacy", {"privacy": np.zeros(3)}, r"privacy has shape \(3,\)"),
        ("memorization-privacy", {"privacy": np.array([0, np.nan])}, "privacy holds values"),
        ("sample-complexity", {"needed_prediction": np.array([np.inf, 0])}, "no count of models"),
        ("sample-complexity", {"memorization": np.array([0.0, 1.0])}, "not above 0"),
        ("gallery", {"labels": np.zeros(3)}, "do not belong together"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(kind, changes, said):
    with pytest.raises(ValueError, match=said):
        figures.draw(kind, tiny(kind) | changes, "f")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is 'pie'; this version draws roc"):
        figures.draw("pie", {}, "f")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "is missing from the reports folder"),
        (lambda path: path.write_bytes(b"other"), "is not the file that this result was recorded"),
    ],
)
def test_a_lost_artifact_is_said_in_words(tmp_path, harm, said):
    lines = family(tmp_path)
    record(tmp_path, lines)
    harm(tmp_path / "artifacts" / "synthetic.roc.roc.npz")
    _, page = rendered(tmp_path)
    assert said in page.text
    assert "No “roc” figure" in page.text


def test_an_artifact_that_cannot_be_drawn_is_said_in_words(tmp_path):
    lines = arms("a", "A.", part(0.5, 0.1, "> 0"))
    lacking = save_artifact(tmp_path, "roc", "a", names=["one"])
    unknown = save_artifact(tmp_path, "pie", "a", names=["one"])
    record(tmp_path, [replace(lines[0], artifacts=(lacking, unknown)), lines[1]])
    _, page = rendered(tmp_path)
    assert "lacks the array 'low_fpr'" in page.text
    assert "kind is 'pie'" in page.text


# ---- words and strips --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0.01234, "0.0123"),
        (-0.5, "−0.500"),
        (14.25, "14.2"),
        (1040.4, "1,040"),
        (0.99961, "1.00"),
        (0.0, "0.00"),
        (1.2e-9, "1.20 × 10⁻⁹"),
        (float("inf"), "∞"),
    ],
)
def test_numbers_have_three_digits(value, printed):
    assert wording.number(value) == printed


@pytest.mark.parametrize(
    ("estimate", "interval", "printed"),
    [
        (0.971, (0.9604, 0.9816), "0.971 [0.960, 0.982]"),
        (0.0123, (-0.0004, 0.0251), "0.0123 [−0.0004, 0.0251]"),
        (0.9994, (0.9991, 0.9997), "0.9994 [0.9991, 0.9997]"),
        (400.0, (300.0, 520.0), "400 [300, 520]"),
        (0.5, (float("-inf"), float("inf")), "0.500 [−∞, ∞]"),
        (0.002, (0.0, 0.004), "0.0020 [0.0000, 0.0040]"),
        (0.0, (-0.00001, 0.4), "0.000 [0.000, 0.400]"),
    ],
)
def test_an_interval_has_the_decimals_of_its_estimate(estimate, interval, printed):
    assert wording.measured(estimate, interval) == printed


@pytest.mark.parametrize(
    ("rule", "region"),
    [
        ("> 0.693", (0.693, np.inf)),
        ("each > -0.02", (-0.02, np.inf)),
        ("< 5e-2", (-np.inf, 0.05)),
        ("within ±0.25 of 1", (0.75, 1.25)),
        ("within ±0.25 of -1", (-1.25, -0.75)),
        ("", None),
    ],
)
def test_a_rule_says_where_it_holds(rule, region):
    assert wording.region(rule) == region


def test_a_rule_of_several_numbers_has_no_single_region():
    assert wording.region("prediction > 0.95 and confidence < 1") is None


def test_percentages_and_durations_read_well():
    assert [wording.percent(x) for x in (0.001, 0.443, 1.0, 0.0)] == [
        "0.1 %",
        "44.3 %",
        "100 %",
        "0 %",
    ]
    assert [wording.duration(x) for x in (0.44, 14.4, 119.7, 200, 9000)] == [
        "0.4 s",
        "14 s",
        "2 min 0 s",
        "3 min 20 s",
        "2 h 30 min",
    ]


def test_a_strip_puts_interval_and_bound_where_they_are():
    drawn = strip.Strip(0.5, (0.25, 0.75), (0.0, np.inf), "supported")
    svg = str(strip.draw(drawn, (-1.0, 1.0)))
    inner = strip.WIDTH - 8
    assert f'<rect class="holds" x="{4 + inner / 2}"' in svg
    assert f'x1="{4 + inner * 0.625}" x2="{4 + inner * 0.875}"' in svg
    assert f'<circle cx="{4 + inner * 0.75}"' in svg
    assert 'aria-label="0.500 [0.250, 0.750], bound above 0"' in svg


def test_an_unbounded_interval_leaves_its_strip_with_arrows():
    drawn = strip.Strip(0.5, (-np.inf, np.inf), (0.0, np.inf), "inconclusive")
    axis = strip.scale([drawn])
    assert np.isfinite(axis).all()
    assert str(strip.draw(drawn, axis)).count("<path") == 2


def test_a_strip_of_a_single_value_has_an_axis():
    low, high = strip.scale([strip.Strip(0.0, (0.0, 0.0), (0.0, np.inf), "inconclusive")])
    assert low < 0 < high


# ---- the command -------------------------------------------------------------------------------


def test_the_command_prints_the_path(tmp_path, capsys):
    record(tmp_path, troubles())
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'index.html'}\n"


def test_the_command_marks_what_other_code_decided(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_mine.py").write_text("1\n")
    mine = PROVENANCE | {"file": "test_mine.py", "code": code_digest(tmp_path / "test_mine.py")}
    record(tmp_path, arms("now", "Now.", part(0.5, 0.1, "> 0"), provenance=mine))
    other = mine | {"code": "c0de"}
    record(tmp_path, arms("then", "Then.", part(0.5, 0.1, "> 0"), provenance=other))
    assert main([str(tmp_path)]) == 0
    html = (tmp_path / "index.html").read_text()
    assert html.count("stale: the code has changed since") == 1
    assert re.search(r'id="then--.*stale: the code', html, re.DOTALL)


def test_the_command_never_imports_torch(tmp_path):
    record(tmp_path, troubles())
    code = (
        "import sys; from benchsuite.report.__main__ import main; main([sys.argv[1]]); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=60)


def test_the_command_says_in_one_line_that_there_is_nothing(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "holds no results yet; run pytest claims first" in printed.err
    (tmp_path / RESULTS).write_text("{\n")
    assert main([str(tmp_path)]) == 2
    assert "line 1: not JSON" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()


def test_a_page_that_cannot_be_written_is_said_and_leaves_no_half(tmp_path, capsys):
    record(tmp_path, troubles())
    (tmp_path / "index.html").mkdir()
    assert main([str(tmp_path)]) == 2
    assert "cannot write to" in capsys.readouterr().err
    assert not list(tmp_path.glob(".index*"))


# ---- --until-decided ---------------------------------------------------------------------------


def saving(claim, models, bank="ba2c", looks=3, banks=None):
    costs = {key: [1.0, 1, 0] for key in banks or [bank]}
    provenance = {**PROVENANCE, "bank": bank, "banks": costs}
    found = part(0.5, 0.1, "> 0")
    return arms(
        claim,
        "It holds.",
        found,
        provenance=provenance,
        look=looks and 1,
        looks=looks,
        models_saved=models,
    )


def test_a_bank_saves_what_none_of_its_findings_needed():
    one, other = saving("one", 512), saving("other", 256)
    assert models_saved(one) == 512
    assert models_saved([*one, *other]) == models_saved([*other, *one]) == 256
    assert models_saved([*one, *saving("of another bank", 100, "0ther")]) == 612
    # A finding that took all models of that bank, as its own or beside another.
    assert models_saved([*one, *saving("at once", 0, looks=1)]) == 0
    assert models_saved([*one, *saving("beside", 7, "0ther", banks=["0ther", "ba2c"])]) == 7


def test_nothing_is_said_of_saving_where_nothing_was_trained_in_parts():
    for looks in (0, 1):
        assert models_saved(saving("one", 0, looks=looks)) is None


def test_the_page_prints_what_was_saved(tmp_path):
    record(tmp_path, saving("one", 512))
    page = build(tmp_path).read_text()
    assert "<dt>Models saved</dt><dd>512, which no finding needed</dd>" in page
    assert "decided after 8 of 8 units; 512 models not needed, at look 1 of 3" in page
    record(tmp_path, saving("other", 0))
    assert "<dt>Models saved</dt><dd>0, which no finding needed</dd>" in build(tmp_path).read_text()
