"""What every attack promises, whatever its formula."""

import numpy as np
import pytest

from benchsuite.attacks import ATTACKS, NEED_LOGITS, Observations, lira
from benchsuite.stats.roc import auroc

every_attack = pytest.mark.parametrize("name", ATTACKS)
MODELS, EXAMPLES, CLASSES, TARGETS = 48, 60, 3, 12


def world(seed=0, gap=3.0, models=MODELS):
    """Members' true logit is higher by ``gap``; examples differ in how hard they are."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, EXAMPLES)
    membership = rng.random((models, EXAMPLES)) < 0.5
    logits = rng.normal(size=(models, EXAMPLES, CLASSES)) + rng.normal(size=(EXAMPLES, CLASSES))
    logits[:, np.arange(EXAMPLES), labels] += 1 + gap * membership
    return {"labels": labels, "membership": membership, "logits": logits}


def score(name, arrays, targets=range(TARGETS)):
    return ATTACKS[name](Observations(**arrays), np.array(targets))


def test_the_catalogue_has_six_attacks():
    assert list(ATTACKS) == ["Yeom", "Shokri", "Song & Mittal", "Sablayrolles", "RMIA", "LiRA"]
    assert set(ATTACKS) > NEED_LOGITS


@every_attack
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_every_target_on_every_example(name, dtype):
    arrays = world()
    scores = score(name, arrays | {"logits": arrays["logits"].astype(dtype)}, [5, 0, 17])
    assert scores.shape == (3, EXAMPLES)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


@every_attack
def test_larger_means_likelier_member(name):
    arrays = world(1)
    scores = score(name, arrays)
    truth = arrays["membership"][:TARGETS]
    assert auroc(scores, truth) > 0.8
    if name != "RMIA":  # which has no decision of its own
        right = ((scores > 0) == truth).mean()
        assert right > 0.7


@every_attack
def test_float32_ranks_as_float64_does(name):
    arrays = world(2)
    narrow = arrays["logits"].astype(np.float32)
    close = {"rtol": 1e-4, "atol": 1e-4}
    if name == "RMIA":  # a share: one place in the ranking
        close = {"atol": 1.5 / EXAMPLES}
    np.testing.assert_allclose(
        score(name, arrays | {"logits": narrow}),
        score(name, arrays | {"logits": narrow.astype(np.float64)}),
        **close,
    )


@every_attack
def test_follows_the_order_of_examples(name):
    arrays = world(3)
    order = np.random.default_rng(3).permutation(EXAMPLES)
    moved = {key: v[order] if key == "labels" else v[:, order] for key, v in arrays.items()}
    expected = score(name, arrays)[:, order]
    np.testing.assert_allclose(score(name, moved), expected, rtol=1e-9, atol=1e-9)


@every_attack
def test_ignores_the_order_of_references_and_follows_that_of_targets(name):
    arrays = world(4)
    rng = np.random.default_rng(4)
    targets = rng.permutation(TARGETS)
    order = np.concatenate([targets, TARGETS + rng.permutation(MODELS - TARGETS)])
    moved = {key: v if key == "labels" else v[order] for key, v in arrays.items()}
    expected = score(name, arrays)[targets]
    np.testing.assert_allclose(score(name, moved), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(score(name, arrays, targets), expected, rtol=1e-9, atol=1e-9)


@every_attack
def test_does_not_read_the_membership_of_targets(name):
    arrays = world(5)
    expected = score(name, arrays)
    changed = arrays["membership"].copy()
    changed[:TARGETS] = ~changed[:TARGETS]
    np.testing.assert_array_equal(score(name, arrays | {"membership": changed}), expected)
    changed[TARGETS::2] = ~changed[TARGETS::2]  # that of references matters
    assert (score(name, arrays | {"membership": changed}) != expected).any()


@every_attack
def test_no_target_is_a_reference_of_another(name):
    arrays = world(6)
    expected = score(name, arrays)
    changed = arrays["logits"].copy()
    changed[3] = np.random.default_rng(6).normal(size=changed[3].shape)
    scores = score(name, arrays | {"logits": changed})
    others = np.arange(TARGETS) != 3
    np.testing.assert_array_equal(scores[others], expected[others])
    assert (scores[3] != expected[3]).any()
    changed = arrays["logits"].copy()
    changed[TARGETS] = -changed[TARGETS]  # a reference matters
    assert (score(name, arrays | {"logits": changed}) != expected).any()


@every_attack
def test_rows_a_mask_and_observations_of_the_targets_are_one(name):
    arrays = world(8)
    rows = score(name, arrays)
    mask = score(name, arrays, np.arange(MODELS) < TARGETS)
    np.testing.assert_array_equal(mask, rows)
    split = {k: (v, v) if k == "labels" else (v[TARGETS:], v[:TARGETS]) for k, v in arrays.items()}
    references = Observations(**{key: parts[0] for key, parts in split.items()})
    theirs = {key: parts[1] for key, parts in split.items()}
    for unknown in (None, ~theirs["membership"]):  # given or not, it is not read
        targets = Observations(**theirs | {"membership": unknown})
        scores = ATTACKS[name](references, targets)
        np.testing.assert_allclose(scores, rows, rtol=1e-9, atol=1e-9)


@every_attack
def test_permuted_membership_gives_chance(name):
    arrays = world(9, models=2 * MODELS)
    rng = np.random.default_rng(9)
    targets = np.arange(MODELS)
    spread = np.sqrt(1 / (3 * MODELS * EXAMPLES))  # of an AUROC under the null, half members
    drawn = rng.random(arrays["membership"].shape) < 0.5
    truth = drawn[:MODELS]
    assert abs(auroc(score(name, arrays, targets), truth) - 0.5) < 4 * spread
    fitted = score(name, arrays | {"membership": drawn}, targets)
    assert abs(auroc(fitted, truth) - 0.5) < 4 * spread


@every_attack
def test_confidence_alone_is_enough_or_is_refused_by_name(name):
    arrays = world(10)
    observed = Observations(**arrays)
    alone = {k: v for k, v in arrays.items() if k != "logits"}
    bare = Observations(**alone, confidence=observed.confidence)
    if name not in NEED_LOGITS:
        expected = ATTACKS[name](observed, [0, 1])
        np.testing.assert_array_equal(ATTACKS[name](bare, [0, 1]), expected)
        return
    called = {"Shokri": "shokri", "Song & Mittal": "song_mittal"}[name]
    message = f"{called} reads output vectors, but %s holds confidence alone: pass Obs"
    with pytest.raises(ValueError, match=message % "observations"):
        ATTACKS[name](bare, [0])
    with pytest.raises(ValueError, match=message % "targets"):
        ATTACKS[name](observed, bare)


@every_attack
@pytest.mark.parametrize(
    ("change", "targets", "message"),
    [
        ({"membership": None}, [0], "observations has no membership, expected that of the ref"),
        ({}, range(MODELS), "targets holds all 48 models, expected some to be left as references"),
        ({}, [MODELS], "targets holds row 48, expected rows from 0 to 47"),
        ({}, [1, 1], "targets holds row 1 2 times"),
        ({}, [], "targets has shape .0., expected one axis with at least one row"),
        ({}, [0.5], "targets has dtype float64"),
        ({}, [True], "targets is a mask of 1 values with 1 True, expected one value for each"),
    ],
)
def test_bad_targets_are_named(name, change, targets, message):
    with pytest.raises(ValueError, match=message):
        score(name, world() | change, targets)


@every_attack
def test_targets_observed_on_other_examples_are_refused(name):
    arrays = world()
    observed = Observations(**arrays)
    other = Observations(**arrays | {"labels": (arrays["labels"] + 1) % CLASSES})
    with pytest.raises(ValueError, match="targets has 60 examples whose labels are not those"):
        ATTACKS[name](observed, other)
    fewer = Observations(labels=arrays["labels"][:9], logits=arrays["logits"][:, :9])
    with pytest.raises(ValueError, match="targets has 9 examples whose labels are not those"):
        ATTACKS[name](observed, fewer)


@every_attack
def test_references_as_their_own_targets_are_refused(name):
    observed = Observations(**world())
    with pytest.raises(ValueError, match="targets is observations itself, expected other models"):
        ATTACKS[name](observed, observed)


@pytest.mark.parametrize("name", sorted(NEED_LOGITS))
def test_targets_with_other_classes_are_refused(name):
    arrays = world()
    wider = Observations(labels=arrays["labels"], logits=np.zeros((2, EXAMPLES, CLASSES + 1)))
    with pytest.raises(ValueError, match="targets has logits of 4 classes and observations of 3"):
        ATTACKS[name](Observations(**arrays), wider)


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("Yeom", "IN", "yeom: none of the 36 references was trained on any of the examples"),
        ("Shokri", "IN", "shokri needs at least 1 member and 1 non-member of every class, but the"
         " 36 references have 0 members among 720 outputs on class 1"),
        ("Shokri", "OUT", "shokri needs at least 1 member and 1 non-member of every class"),
        ("Song & Mittal", "IN", "song_mittal needs at least 1 member and 1 non-member of every"
         " class, but the 36 references have 0 members among 720 outputs on class 1"),
        ("Song & Mittal", "OUT", "song_mittal needs at least 1 member and 1 non-member of every"),
        ("Sablayrolles", "IN", "sablayrolles needs at least 1 IN and 1 OUT reference of every"
         r" example, but example 1 has 0 IN of 36 \(20 such"),
        ("Sablayrolles", "OUT", r"sablayrolles .* but example 1 has 0 OUT of 36"),
        ("RMIA", "IN", r"rmia needs at least 1 IN and 1 OUT .* example 1 has 0 IN of 36 \(20 "),
        ("RMIA", "OUT", "rmia .* but example 1 has 0 OUT of 36"),
    ],
)  # fmt: skip
def test_too_few_references_are_counted_for_the_attack_that_needs_them(name, side, message):
    arrays = world()
    arrays["labels"] = np.arange(EXAMPLES) % CLASSES
    membership = arrays["membership"].copy()
    lacking = arrays["labels"] == 1
    membership[TARGETS:, lacking] = side == "OUT"
    if name == "Yeom":
        membership[TARGETS:] = False
    with pytest.raises(ValueError, match=message):
        score(name, arrays | {"membership": membership})


def test_lira_is_the_online_attack_of_the_paper():
    arrays = world(11)
    observed = Observations(**arrays)
    expected = lira(observed.confidence, arrays["membership"], [4, 2], "paper/online")
    np.testing.assert_array_equal(ATTACKS["LiRA"](observed, [4, 2]), expected)
