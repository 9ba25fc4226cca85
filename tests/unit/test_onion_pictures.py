"""The onion's pictures: their arrays on a tiny real pool, their drawings on made-up arrays."""

import re
from dataclasses import replace
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest

from benchsuite.data import digits
from benchsuite.data.dataset import Dataset
from benchsuite.experiments import onion_pictures
from benchsuite.experiments.locality import LocalityExperiment
from benchsuite.experiments.onion import EXPOSED, SAFE, OnionExperiment
from benchsuite.experiments.onion_worlds import RANDOM
from benchsuite.experiments.pictures import pictures
from benchsuite.experiments.removal import Removal
from benchsuite.experiments.sizes import OnionSize
from benchsuite.experiments.svm_onion import SvmOnion
from benchsuite.experiments.twins import TwinsExperiment
from benchsuite.models import mlp
from benchsuite.report import figures, svm_onion
from benchsuite.report import onion_pictures as drawings
from benchsuite.subject import Subject
from benchsuite.training import Recipe
from benchsuite.workshop import Workshop
from tests.silent import Silent

KINDS = tuple(drawings.KINDS)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """120 digits, hardly trained on, and worlds of 128 models: what the experiments are given."""
    pool, test = digits()
    model, recipe = partial(mlp, 64, 16, 10), Recipe(epochs=4, learning_rate=0.3)
    subject = Subject("few-digits", pool.subset(range(120)), test, model, recipe)
    workshop = Workshop(tmp_path_factory.mktemp("banks"), "cpu", Silent)
    size = OnionSize(2, 2, 2, 4, 2, 1, 0.05)
    return subject, workshop.bank(subject, 256), size, workshop


def without_pictures(experiment):
    """The same experiment on the same numbers, which are now rows of a table."""
    pool = experiment.subject.pool
    table = Dataset(pool.images.reshape(len(pool), -1), pool.labels)
    test = experiment.subject.test
    rows = Dataset(test.images.reshape(len(test), -1), test.labels)
    return replace(experiment, subject=replace(experiment.subject, pool=table, test=rows))


# ---- arrays ------------------------------------------------------------------------------------


def test_each_kind_of_array_has_a_drawing():
    assert set(onion_pictures.ARRAYS) | {"svm-onion"} == set(KINDS)


def test_the_gallery_shows_the_extremes_of_each_class(setting):
    onion = OnionExperiment(*setting)
    pool, advantage = onion.subject.pool, onion.selection.advantage
    unchosen = onion.base.advantage
    arrays = onion.figure("onion-gallery")
    assert arrays["labels"].tolist() == list(range(10))
    assert arrays["most"].shape == arrays["least"].shape == (3, 10, 8, 8)
    for label in range(10):
        ranked = np.sort(advantage[pool.labels == label])
        for which, extremes in (("most", ranked[::-1][:3]), ("least", ranked[:3])):
            for rank in range(3):
                same = (pool.images[:, 0] == arrays[which][rank, label]).all(axis=(1, 2))
                (at,) = np.flatnonzero(same)
                assert pool.labels[at] == label
                assert advantage[at] == extremes[rank]
                assert unchosen[at] == arrays[f"{which}_advantage"][rank, label]


def test_of_many_classes_some_are_shown_evenly_and_none_too_small(setting, monkeypatch):
    onion = OnionExperiment(*setting)
    monkeypatch.setattr(onion_pictures, "MOST_CLASSES", 4)
    arrays = onion.figure("onion-gallery")
    assert arrays["labels"].tolist() == [0, 3, 6, 9]
    assert arrays["classes"] == 10
    assert arrays["most"].shape == (3, 4, 8, 8)
    counts = np.bincount(onion.subject.pool.labels)
    rare, common = counts.argmin(), counts.argmax()
    monkeypatch.setattr(onion_pictures, "MOST_CLASSES", 10)
    monkeypatch.setattr(onion_pictures, "OF_EACH_CLASS", counts[rare] // 2 + 1)
    left = onion.figure("onion-gallery")["labels"]
    assert common in left
    assert rare not in left
    monkeypatch.setattr(onion_pictures, "OF_EACH_CLASS", counts.max())
    assert onion.figure("onion-gallery") is None


def test_unlearning_has_the_numbers_that_the_claim_decides_on(setting):
    onion = OnionExperiment(*setting)
    arrays = onion.figure("unlearning")
    assert arrays["removed"] == 12
    for k, arm in enumerate((onion, onion.under(RANDOM))):
        units = list(arm.unlearning())
        assert arrays["mean"][k] == pytest.approx(np.mean([unit["mean"] for unit in units]))
        assert arrays["worst"][k] == pytest.approx(np.mean([unit["worst"] for unit in units]))
        kept = arm.layer.kept
        rise = arm.without(arm.layer).advantage - onion.base.at(kept).advantage
        assert len(rise) == 108
        np.testing.assert_allclose(arrays[f"rise_{k}"], rise, atol=1e-6)
    assert not np.array_equal(arrays["rise_0"], arrays["rise_1"])


def test_clusters_begin_with_their_original(setting):
    twins = TwinsExperiment(*setting)
    pool = twins.doubled.pool
    arrays = twins.figure("duplicate-clusters")
    assert arrays["found"] == len(twins.clusters)
    assert arrays["planted_in_all"] == len(twins.originals) == 6
    assert arrays["planted_found"] == np.isin(twins.twins, twins.found.examples).sum() > 0
    assert arrays["size"].tolist() == np.bincount(arrays["cluster"]).tolist()
    for k in range(len(arrays["size"])):
        image, *copies = arrays["images"][arrays["cluster"] == k]
        (original,) = (
            each for each in twins.originals if np.array_equal(pool.images[each, 0], image)
        )
        (twin,) = copies
        at = twins.twins[twins.originals.tolist().index(original)]
        assert np.array_equal(pool.images[at, 0], twin)
        assert arrays["planted"][arrays["cluster"] == k].tolist() == [False, True]
        assert arrays["before"][k] == twins.with_twins.at([original]).advantage[0]
        assert arrays["after"][k] == twins.deduplicated.at([original]).advantage[0]


def test_large_clusters_come_first_and_are_cut(setting, monkeypatch):
    twins = TwinsExperiment(*setting)
    pool, last = twins.doubled.pool, int(twins.twins[-1])
    crowd = (*range(6), last)
    removed = Removal(pool, "duplicates", (*crowd[1:], 51, 70))  # an even number
    monkeypatch.setattr(TwinsExperiment, "clusters", ((50, 51), crowd, (60, 61)))
    monkeypatch.setattr(TwinsExperiment, "found", removed)
    arrays = twins.figure("duplicate-clusters")
    assert arrays["found"] == 3
    assert arrays["size"].tolist() == [7, 2]  # deduplication leaves both 60 and 61
    assert arrays["cluster"].tolist() == [0, 0, 0, 0, 1, 1]
    assert np.array_equal(arrays["images"], pool.images[[0, 1, 2, last, 50, 51], 0])
    assert arrays["planted"].tolist() == [False, False, False, True, False, False]
    assert arrays["planted_found"] == 1
    monkeypatch.setattr(TwinsExperiment, "clusters", ((60, 61),))
    assert twins.figure("duplicate-clusters") is None


def test_locality_has_each_target_before_and_after(setting):
    experiment = LocalityExperiment(*setting)
    arrays = experiment.figure("locality")
    names = ["second layer", "random targets", "safe targets", "duplicates"]
    assert arrays["names"].tolist() == names
    assert arrays["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert arrays["removed"].tolist() == [4, 4, 4, 2]
    assert arrays["layer"] == 12
    at = 0
    for group in experiment.groups().values():
        for target, world in group.after.items():
            assert arrays["before"][at] == group.before.at([target]).advantage[0]
            assert arrays["after"][at] == world.at([target]).advantage[0]
            at += 1
    second = experiment.second_layer
    whole = experiment.without_layer.at(second).advantage
    assert arrays["whole_layer"] == whole.mean()


def test_the_example_rises_most_in_one_half_and_is_shown_as_in_the_other(setting):
    experiment = LocalityExperiment(*setting)
    pool = experiment.subject.pool
    arrays = experiment.figure("unlearning-example")
    chosen_on, shown_by = experiment.groups()["second layer"].halves()
    before, after = chosen_on.advantages()
    target = int(experiment.second_layer[(after - before).argmax()])
    assert list(shown_by.after) == experiment.second_layer.tolist()
    assert arrays["before"] == shown_by.before.at([target]).advantage[0]
    assert arrays["after"] == shown_by.after[target].advantage[0]
    assert np.array_equal(arrays["image"], pool.images[target, 0])
    assert arrays["label"] == pool.labels[target]
    neighbours = experiment.neighbours[target]
    assert np.array_equal(arrays["neighbours"], pool.images[neighbours, 0])
    assert arrays["neighbour_labels"].tolist() == pool.labels[neighbours].tolist()
    assert (arrays["removed"], arrays["targets"]) == (4, 2)
    assert (arrays["safe"], arrays["exposed"]) == (SAFE, EXPOSED)


@pytest.mark.parametrize(
    ("experiment", "kind"),
    [
        (OnionExperiment, "onion-gallery"),
        (TwinsExperiment, "duplicate-clusters"),
        (LocalityExperiment, "unlearning-example"),
    ],
)
def test_a_table_has_no_pictures(setting, experiment, kind):
    assert experiment(*setting).figure(kind) is not None
    assert without_pictures(experiment(*setting)).figure(kind) is None


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (np.zeros((2, 5, 6), np.uint8), (2, 5, 6)),
        (np.zeros((2, 5, 6, 3), np.uint8), (2, 5, 6, 3)),
        (np.zeros((2, 1, 5, 6), np.float32), (2, 5, 6)),
        (np.zeros((2, 3, 5, 6), np.float32), (2, 5, 6, 3)),
        (np.zeros((2, 4, 5, 6), np.float32), None),
        (np.zeros((2, 30), np.float32), None),
    ],
)
def test_images_become_pictures(given, shape):
    found = pictures(given)
    assert (None if found is None else found.shape) == shape


# ---- drawings ----------------------------------------------------------------------------------


def tiny(kind):
    """Small made-up arrays of a kind."""
    image = np.arange(16).reshape(4, 4) / 15
    small = {
        "onion-gallery": {
            "labels": [0, 7],
            "classes": 2,
            "most": np.tile(image, (3, 2, 1, 1)),
            "least": np.tile(image, (3, 2, 1, 1)),
            "most_advantage": [[0.9, 1.0], [0.8, 0.97], [0.7, 0.95]],
            "least_advantage": [[-0.06, -0.03], [0.0, 0.01], [0.0, 0.02]],
        },
        "duplicate-clusters": {
            "images": np.stack([image, image, image, image**2, image]),
            "cluster": [0, 0, 1, 1, 1],
            "planted": [False, True, False, True, False],
            "size": [2, 5],
            "before": [0.41, 0.5],
            "after": [0.87, 0.93],
            "found": 74,
            "planted_found": 73,
            "planted_in_all": 74,
        },
        "unlearning": {
            "names": ["the most exposed", "as many random ones"],
            "rise_0": [0.1, 0.8, -0.2],
            "rise_1": [0.0, 0.1, -0.1],
            "mean": [0.0727, -0.0001],
            "worst": [0.689, 0.164],
            "removed": 1500,
            "share": 0.01,
        },
        "locality": {
            "names": ["second layer", "duplicates"],
            "group": [0, 0, 1],
            "before": [0.1, 0.3, 0.5],
            "after": [0.6, 0.9, 1.0],
            "removed": [26, 2],
            "whole_layer": 0.94,
            "layer": 150,
        },
        "unlearning-example": {
            "image": image,
            "label": 7,
            "before": 0.2,
            "after": 0.94,
            "neighbours": np.tile(image, (3, 1, 1)),
            "neighbour_labels": [7, 5, 2],
            "removed": 26,
            "targets": 6,
            "safe": 0.1,
            "exposed": 0.3,
        },
        "svm-onion": {
            "points": [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 2.0], [2.0, 3.0]],
            "labels": [2, 2, 2, 7, 7, 7],
            "support": np.eye(6, dtype=bool)[[1, 2, 0]] | np.eye(6, dtype=bool)[[3, 4, 5]],
            "lines": [[1.0, 1.0, -2.0], [1.0, 0.0, -1.5], [0.0, 1.0, -1.5]],
            "counts": [2, 2, 2],
        },
    }
    return {name: np.asarray(array) for name, array in small[kind].items()}


def drawn(kind, **changes):
    arrays = tiny(kind) | {name: np.asarray(array) for name, array in changes.items()}
    return figures.draw(kind, arrays, "f")


def text(panel):
    """What is read in a panel."""
    whole = re.sub(r"(<img[^>]*)>", r"\1/>", str(panel))
    return " ".join(ElementTree.fromstring(whole).itertext()).replace("\u00a0", " ")


@pytest.mark.parametrize("kind", KINDS)
def test_each_picture_is_drawn_with_words_for_those_who_cannot_see_it(kind):
    drawing = drawn(kind)
    assert drawing.caption.endswith(".")
    for panel in drawing.panels:
        assert text(panel)  # it is well formed
        assert "aria-label=" in panel or panel.count("alt=") == panel.count("<img") > 0
        assert not re.search(r"#[0-9a-f]{6}", panel)  # colours come from the page
    ids = re.findall(r' id="([^"]+)"', "".join(drawing.panels))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_array_is_named(kind):
    for name in tiny(kind):
        left = {other: array for other, array in tiny(kind).items() if other != name}
        with pytest.raises(KeyError, match=name):
            figures.draw(kind, left, "f")


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("onion-gallery", {"labels": [0, 1, 2]}, "labels"),
        ("onion-gallery", {"least_advantage": np.full((3, 2), np.nan)}, "least_advantage holds"),
        ("onion-gallery", {"most": np.zeros((3, 2))}, "do not fit"),
        ("duplicate-clusters", {"before": [0.4, np.inf]}, "before holds"),
        ("duplicate-clusters", {"after": [0.4]}, r"after has shape \(1,\)"),
        ("duplicate-clusters", {"planted": [True]}, "do not fit"),
        ("unlearning", {"rise_0": [0.1, np.nan]}, "rise_0 holds"),
        ("unlearning", {"rise_1": []}, "rise_1 holds no example"),
        ("unlearning", {"worst": [0.1]}, "worst has shape"),
        ("locality", {"after": [0.1, 0.2]}, "after has shape"),
        ("locality", {"group": [0, 0, 0]}, "no target of the duplicates"),
        ("locality", {"whole_layer": np.nan}, "whole_layer holds"),
        ("unlearning-example", {"before": np.nan}, "before holds"),
        ("unlearning-example", {"neighbour_labels": [1]}, "do not fit"),
        ("unlearning-example", {"image": np.zeros((5, 5))}, "do not fit"),
        ("svm-onion", {"points": np.full((6, 2), np.nan)}, "points holds"),
        ("svm-onion", {"support": np.ones((2, 6), bool), "counts": [1, 1]}, "do not fit"),
        ("svm-onion", {"lines": [[1, 1, 0], [0, 0, 1], [1, 0, 0]]}, "without a direction"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(kind, changes, said):
    with pytest.raises(ValueError, match=said):
        drawn(kind, **changes)


def test_the_gallery_has_a_column_for_each_class():
    most, least = drawn("onion-gallery").panels
    assert text(most) == "Most exposed of each class 0 7 .90 1.0 .80 .97 .70 .95"
    assert text(least) == "Least exposed of each class 0 7 −.06 −.03 .00 .01 .00 .02"
    assert "--columns: 2" in most
    assert 'alt="class 7, advantage .97"' in most
    assert "of the" not in drawn("onion-gallery").caption.split(",")[0]
    assert "one class (2 of the 100 classes)" in drawn("onion-gallery", classes=100).caption


def test_clusters_say_what_is_planted_and_what_it_hid():
    one, other = (text(panel) for panel in drawn("duplicate-clusters").panels)
    assert one == "original planted copy advantage .41 → .87"
    assert other == ("original planted near copy natural copy advantage .50 → .93, 3 of 5 shown")
    caption = drawn("duplicate-clusters").caption
    assert "2 of the 74 clusters" in caption
    assert "73 of 74 were found" in caption


def test_unlearning_says_mean_and_worst():
    (panel,) = drawn("unlearning").panels
    assert "the most exposed: mean +0.073, worst 1 % +0.689; as many" in panel
    assert "as many random ones: mean +0.000, worst 1 % +0.164" in panel
    assert "1,500 examples are unlearned:" in text(panel)


def test_the_share_that_rises_counts_those_that_reach_a_rise():
    rise, share = drawings._reaching(np.array([0.1, 0.8, -0.2, 0.5]))
    assert rise.tolist() == [0.8, 0.5, 0.1, -0.2]
    assert share.tolist() == [0.25, 0.5, 0.75, 1.0]
    many = np.random.default_rng(0).normal(size=20_000)
    rise, share = drawings._reaching(many)
    assert len(rise) <= 300
    np.testing.assert_array_equal(share, [(many >= each).mean() for each in rise])
    assert (rise[0], share[-1]) == (many.max(), 1)


def test_locality_says_the_means():
    (panel,) = drawn("locality").panels
    assert "second layer: mean 0.200 before, 0.750 without 26; " in panel
    assert "duplicates: mean 0.500 before, 1.00 without 2; " in panel
    assert "without the whole layer of 150: 0.940" in panel


@pytest.mark.parametrize(
    ("before", "after", "was", "now"),
    [
        (0.1, 0.3, "safe", "exposed"),
        (0.2, 0.95, "nearly safe", "exposed"),
        (0.05, 0.08, "safe", "still safe"),
        (0.05, 0.2, "safe", "nearly safe"),
        (0.42, 0.8, "exposed", "more exposed"),
        (0.5, 0.4, "exposed", "still exposed"),
    ],
)
def test_the_example_says_what_it_was_and_is(before, after, was, now):
    first, _, last = drawn("unlearning-example", before=before, after=after).panels
    assert text(first).startswith(f"This image was {was} The attack")
    assert text(last).startswith(f"Now it is {now} The attack")


def test_the_example_shows_what_was_deleted():
    first, deleted, last = drawn("unlearning-example").panels
    assert "right about 60 % of the models: advantage .20." in text(first)
    assert text(deleted) == "Then 26 others were deleted (3 shown) label 7 label 5 label 2"
    assert "right about 97 % of the models: advantage .94." in text(last)
    assert "shown" not in text(drawn("unlearning-example", removed=3).panels[1])


def test_each_machine_lacks_the_support_vectors_before_it():
    panels = drawn("svm-onion").panels
    titles = [re.search('aria-label="([^"]+)"', panel)[1] for panel in panels]
    assert titles == [
        "1. All 6 examples: 2 support vectors, of classes 2 and 7",
        "2. Without the 2 of before: 2 support vectors, of classes 2 and 7",
        "3. Without the 4 of before: 2 support vectors, of classes 2 and 7",
    ]
    assert ["removed" in text(panel) for panel in panels] == [False, True, True]
    # Each marker once in the legend: points left, rings and crosses.
    assert [panel.count("<use") for panel in panels] == [3 + 6 + 2, 4 + 4 + 2 + 2, 4 + 2 + 2 + 4]


@pytest.mark.parametrize("line", [[1.0, 1.0, -2.0], [1.0, 0.0, -1.5], [0.0, -2.0, 30.0]])
def test_a_line_is_where_the_machine_decides_and_crosses_the_plane(line):
    points, line = tiny("svm-onion")["points"], np.array(line)
    _, axes = svm_onion._plane(points)
    svm_onion._line(axes, line, points)
    ends = axes.lines[-1].get_xydata()
    np.testing.assert_allclose(ends @ line[:2] + line[2], 0, atol=1e-9)
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    assert ((ends < low) | (ends > high)).any(axis=1).all()


def test_the_machines_of_the_digits_are_drawn():
    pool = digits()[0]
    two = pool.subset(np.isin(pool.labels, (2, 7)))
    arrays = SvmOnion(two.inputs(), two.labels, units=8, seed=0).figure("svm-onion")
    drawing = figures.draw("svm-onion", arrays, "f")
    assert len(drawing.panels) == 3
    for panel, count in zip(drawing.panels, arrays["counts"], strict=True):
        assert f"{count} support vectors, of classes 2 and 7" in panel
