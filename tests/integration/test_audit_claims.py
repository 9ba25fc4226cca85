"""The audit as users run it: pytest on a matrix, on a subject, and on one model."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.audited import World

CLAIMS = Path(__file__).parents[2] / "claims" / "test_audit.py"
RECIPE, MODEL = "recipe-exposes-members", "model-exposes-members"

# Two classes of 200 examples, next to nothing to train.
LAB = """
from functools import partial
import numpy as np
from benchsuite import Dataset, Recipe, Subject
from benchsuite.models import mlp

def subject():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    inputs = (rng.normal(size=(300, 20)) + labels[:, None]).astype("float32")
    labels ^= rng.random(300) < 0.1
    everything = Dataset(inputs, labels)
    pool, test = everything.subset(range(200)), everything.subset(range(200, 300))
    return Subject("lab", pool, test, partial(mlp, 20, 16, 2), Recipe(epochs=20, batch_size=32))

def logits(inputs):
    return inputs[:, :2]

def chance(inputs):
    return np.full((len(inputs), 2), 0.5)

def nothing():
    return None
"""


@pytest.fixture
def audit(pytester):
    """Run the audit's claims in a folder of their own; the result, and the observed, by claim."""
    pytester.makepyfile(test_audit=CLAIMS.read_text(), lab=LAB)
    pytester.syspathinsert()

    def run(*arguments, how=pytester.runpytest):
        result = how("-p", "benchsuite.plugin", "-W", "error", *arguments)
        file = pytester.path / "reports" / "results.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in lines]
        return result, {row["claim"]: row for row in rows if row["arm"] == "observed"}

    return run


@pytest.fixture(scope="module")
def opacus():
    """Imported before pytester looks, which unloads what a session imports: torch cannot twice."""
    return pytest.importorskip("opacus.accountants")


def drawn(models, examples):
    """Confidences of which those of every third example tell who was trained on it."""
    world = World(examples=examples, reacting=0.3, shift=4.0)
    membership = world.shadows(models).membership
    return world, membership, world.say(membership, 0)[0]


def save_shadows(folder, models=64, examples=200, **other):
    world, membership, confidence = drawn(models, examples)
    arrays = {
        "confidence": confidence,
        "membership": membership,
        "labels": np.zeros(examples, dtype=int),
    }
    np.savez(folder / "shadows.npz", **arrays | other)
    return world


def save_outputs(folder, world, off=0.0, column="confidence", known=True):
    members = np.arange(world.examples) % 2 == 0
    confidence = world.say(members[None], 10_000, off=off)[0][0]
    lines = [f"example,{column}" + ",member" * known]
    for number, (value, member) in enumerate(zip(confidence, members, strict=True)):
        lines.append(f"{number},{value:.6f}" + f",{int(member)}" * known)
    (folder / "outputs.csv").write_text("\n".join(lines) + "\n")


def test_a_matrix_and_a_models_outputs_are_decided(audit, pytester):
    world = save_shadows(pytester.path, models=256, examples=1000)
    save_outputs(pytester.path, world)
    result, rows = audit("--matrix", "shadows.npz", "--target", "outputs.csv")
    assert {name: row["verdict"] for name, row in rows.items()} == {
        RECIPE: "supported",
        MODEL: "supported",
    }
    assert result.ret == 0
    assert rows[MODEL]["subject"] == "shadows"
    assert rows[MODEL]["rerun"] == (
        "pytest test_audit.py::test_this_model_exposes_members -m cpu --matrix shadows.npz "
        "--target outputs.csv"
    )
    result.stdout.fnmatch_lines(
        ["report: reports*index.html", "audit:  reports*audit-shadows.html"]
    )
    page = (pytester.path / "reports" / "audit-shadows.html").read_text()
    assert "examples are accused of being this model&#39;s training data" in page
    assert "Not run: Shokri and Song &amp; Mittal" in page


def test_a_matrix_alone_has_no_model_to_decide_on(audit, pytester):
    save_shadows(pytester.path)
    result, rows = audit("--matrix", "shadows.npz")
    assert rows[RECIPE]["verdict"] == "supported"
    assert rows[RECIPE]["rerun"].endswith("-m cpu --matrix shadows.npz")
    assert rows[MODEL]["verdict"] == "inconclusive"
    result.stdout.fnmatch_lines(["*there is no target: give one with --target*"])


def test_a_model_that_tells_nothing_is_not_called_exposed(audit, pytester):
    """The same outputs, of a model that was trained on none of the examples."""
    world = save_shadows(pytester.path, models=256, examples=1000)
    confidence = world.say(np.zeros((1, 1000), dtype=bool), 10_001)[0][0]
    np.savez(pytester.path / "outputs.npz", confidence=confidence)
    result, rows = audit("--matrix", "shadows.npz", "--target", "outputs.npz", "-k", "this_model")
    assert rows[MODEL]["verdict"] in ("refuted", "inconclusive")
    assert result.ret == 1
    page = (pytester.path / "reports" / "audit-shadows.html").read_text()
    assert "No sign that this model was trained on any of the 1,000 examples" in page


def test_a_model_unlike_the_shadow_models_is_not_decided(audit, pytester):
    world = save_shadows(pytester.path)
    save_outputs(pytester.path, world, off=4.0)
    result, rows = audit("--matrix", "shadows.npz", "--target", "outputs.csv", "-k", "this_model")
    assert rows[MODEL]["verdict"] == "inconclusive"
    assert result.ret == 1
    said = " ".join(result.stdout.str().split())
    assert "unlike the shadow models, on 100 examples that it was not trained on its mean" in said
    page = (pytester.path / "reports" / "audit-shadows.html").read_text()
    assert "Nobody can be accused: this model does not behave like the shadow models" in page


def one_line(result, message):
    """Whether the run failed with this message in one line, said once, and no traceback."""
    said = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    assert "Traceback" not in said
    assert "During handling" not in said
    assert "auditing" not in said
    return sum(fnmatch(line, message) for line in said.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("outputs.npz", "outputs.npz is no file that exists, expected outputs of models*"),
        ("lab:other", "target 'lab:other': module 'lab' has no 'other'*"),
        ("laboratory:model", "target 'laboratory:model': cannot import 'laboratory'*"),
        ("lab:chance", "inputs is None and target is a callable*"),
    ],
)
def test_a_target_that_is_none_is_refused_in_one_line(audit, pytester, target, message):
    save_shadows(pytester.path)
    result, rows = audit("--matrix", "shadows.npz", "--target", target, "-k", "this_model")
    assert rows == {}
    assert one_line(result, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\n7,", "\n8,"), "outputs.csv: the id 8 occurs more than once*"),
        (lambda text: text.replace(",1\n", ",0\n"), "trained_on says*none of the 200 examples*"),
        (lambda text: text.replace("confidence", "score"), "outputs.csv has no outputs, expected*"),
    ],
)
def test_a_file_of_outputs_that_is_wrong_is_refused_in_one_line(audit, pytester, change, message):
    world = save_shadows(pytester.path)
    save_outputs(pytester.path, world)
    file = pytester.path / "outputs.csv"
    before = file.read_text()
    file.write_text(change(before))
    assert file.read_text() != before
    result, rows = audit("--matrix", "shadows.npz", "--target", "outputs.csv", "-k", "this_model")
    assert rows == {}
    assert one_line(result, message)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"labels": np.zeros(199, dtype=int)}, "shadows.npz, array confidence: 200 examples, but*"),
        ({"ids": np.arange(200) // 2}, "shadows.npz: the id 0 occurs more than once in ids*"),
        ({"membership": np.ones((64, 200), dtype=bool)}, "shadows.npz: example 0 is IN for all*"),
        ({"logits": np.zeros((64, 200, 2))}, "shadows.npz holds logits and confidence at once*"),
    ],
)
def test_a_matrix_that_is_wrong_is_refused_in_one_line(audit, pytester, other, message):
    save_shadows(pytester.path, **other)
    result, rows = audit("--matrix", "shadows.npz", "-k", "this_recipe")
    assert rows == {}
    assert one_line(result, message)


def test_two_matrices_of_one_name_have_two_pages(audit, pytester):
    folders = [pytester.mkdir(name) for name in ("ours", "theirs")]
    for folder in folders:
        save_shadows(folder)
    given = [f"--matrix={folder.name}/shadows.npz" for folder in folders]
    audit(*given, "-k", "this_recipe")
    pages = sorted(path.name for path in (pytester.path / "reports").glob("audit-*.html"))
    assert pages == ["audit-shadows-2.html", "audit-shadows.html"]


def test_what_is_no_file_of_outputs_is_no_matrix(audit, pytester):
    (pytester.path / "shadows.txt").write_text("confidence")
    result, rows = audit("--matrix", "shadows.txt", "-k", "this_recipe")
    assert rows == {}
    assert one_line(result, "shadows.txt ends in '.txt', expected .npz, .csv, .parquet*")


def test_remedies_of_a_matrix_are_refused(audit, pytester):
    save_shadows(pytester.path)
    result, rows = audit("--matrix", "shadows.npz", "--epsilon", "8", "-k", "this_recipe")
    assert rows == {}
    assert one_line(result, "epsilon=8.0 asks what remedies would change*")


def test_a_recipe_is_audited_with_remedies(audit, pytester, opacus):
    """In a process of its own: torch cannot load twice what it compiles gradients with."""
    asked = ("--subject", "lab:subject", "--target", "lab:chance", "--epsilon", "8")
    result, rows = audit(*asked, "--shadows", "128", how=pytester.runpytest_subprocess)
    assert rows[RECIPE]["rerun"] == (
        "pytest test_audit.py::test_this_recipe_exposes_members -m cpu --subject lab:subject "
        "--target lab:chance --epsilon 8.0 --shadows 128"
    )
    result.stdout.fnmatch_lines(["*lab: 128 shadow models trained in * s, 0 found*"])
    lab: dict[str, Any] = {}
    exec(LAB, lab)
    # Otherwise the report calls it stale beside other claims on the same examples.
    assert rows[RECIPE]["provenance"]["data"] == lab["subject"]().pool.digest
    page = (pytester.path / "reports" / "audit-lab.html").read_text()
    assert re.search(r"DP-SGD, epsilon (7\.9\d|8) at delta 1e-05", page)
    assert "Nobody can be accused" in page  # of held-out examples it says nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "lab:logits"), "target: values from *it looks like logits*"),
        (("--target", "lab:nothing"), "target 'lab:nothing'*None*"),
        (("--epsilon", "0.0001"), "epsilon=0.0001 is out of reach*"),
    ],
)
def test_what_a_recipe_cannot_be_audited_with_is_refused(audit, opacus, arguments, message):
    result, rows = audit(
        "--subject", "lab:subject", "--shadows", "64", "-k", "this_recipe", *arguments
    )
    assert rows == {}
    assert one_line(result, message)
