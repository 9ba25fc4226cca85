import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchsuite import load_subject, train_shadows
from benchsuite.attacks import shadow_classifier
from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.attacks.observations import Observations
from benchsuite.auditing import audit, auditor
from benchsuite.auditing.shadows import shadows_of
from benchsuite.models import mlp
from tests.audited import World, observed

FPR = 0.02
QUICK = ["Yeom", "LiRA"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("banks")


@pytest.fixture(scope="module")
def tiny():
    return load_subject("digits-tiny")


@pytest.fixture(scope="module")
def known(tiny, folder):
    return shadows_of(tiny, 64, folder=folder)


@pytest.fixture
def quick(monkeypatch):
    """Attacks that take no seconds."""
    monkeypatch.setattr(auditor, "attacks_for", lambda _: (QUICK, []))


def fitted(tiny, members, seed=0, epochs=30):
    """A module trained by the subject's recipe, by hand."""
    torch.manual_seed(seed)
    module = tiny.model()
    inputs = torch.from_numpy(tiny.pool.inputs()[members])
    labels = torch.from_numpy(np.asarray(tiny.pool.labels)[members]).long()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    return module


@pytest.fixture(scope="module")
def members():
    return np.random.default_rng(5).permutation(300) < 150


@pytest.fixture(scope="module")
def deployed(tiny, members):
    return fitted(tiny, members)


def test_a_recipe_is_audited_from_the_training_on(tiny, folder, known, monkeypatch):
    monkeypatch.setattr(shadow_classifier, "EPOCHS", 2)  # what takes seconds
    told = []
    found = audit(tiny, models=64, fpr=FPR, folder=folder, progress=lambda *at: told.append(at))
    assert (found.name, found.models, found.fpr, found.trained) == ("digits-tiny", 64, FPR, 0)
    assert found.attacks["attack"].tolist() == list(ATTACKS)
    assert found.deciding == "LiRA"
    assert found.best in ("LiRA", "RMIA", "Sablayrolles")
    assert found.lacking == found.notes == ()
    assert ((found.attacks["fpr"] > 0.9 * FPR) & (found.attacks["fpr"] <= FPR + 1e-9)).all()
    rates = found.attacks.set_index("attack")
    assert rates.tpr[found.best] == rates.tpr.max() > 2 * FPR
    assert (rates.tpr_low <= rates.tpr).all()
    assert found.memorization.low > 0
    assert 5 < found.examples["memorized"].sum() < 60
    assert 5 < found.examples["exposed"].sum() < 60
    assert found.examples["example"].tolist() == list(range(300))
    np.testing.assert_array_equal(found.examples["label"], tiny.pool.labels)
    assert found.target is found.remedies is None
    np.testing.assert_array_equal(found.images, tiny.pool.images[:, 0])
    assert found.rows is None
    assert known.trained == 64
    assert found.name in str(found)


def test_a_module_is_audited(known, deployed, members, quick):
    found = audit(known, deployed, fpr=FPR, trained_on=members)
    target = found.target
    assert not target.unlike
    assert target.compared == "297 held-out examples"
    assert target.accused.sum() == found.examples["accused"].sum()
    assert target.scores[members].mean() > target.scores[~members].mean() + 0.3
    assert target.tpr[0] == target.accused[members].mean()
    assert target.fpr[0] == target.accused[~members].mean() < 0.06
    assert target.p_value < 0.2
    assert deployed.training  # as it was


def test_callables_and_files_say_what_the_module_says(
    tiny, known, deployed, members, quick, tmp_path
):
    with torch.no_grad():
        logits = deployed(torch.from_numpy(tiny.pool.inputs())).numpy()
    order = np.random.default_rng(0).permutation(300)
    np.savez(tmp_path / "said.npz", logits=logits[order], ids=order, membership=members[order])
    p = np.exp(logits.astype(float) - np.log(np.exp(logits.astype(float)).sum(1, keepdims=True)))
    frame = pd.DataFrame({f"probability_{k}": p[:, k] for k in range(10)}).assign(
        example=range(300)
    )
    frame.iloc[order].to_csv(tmp_path / "said.csv", index=False)

    def called(inputs):
        with torch.no_grad():
            return deployed(torch.from_numpy(inputs)).softmax(dim=1)

    first = audit(known, deployed, fpr=FPR, trained_on=members).target
    by_call = audit(known, called, fpr=FPR).target
    by_npz = audit(known, tmp_path / "said.npz", fpr=FPR).target
    by_csv = audit(known, str(tmp_path / "said.csv"), fpr=FPR, trained_on=members).target
    for other in (by_call, by_npz, by_csv):
        np.testing.assert_allclose(other.scores, first.scores, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(other.accused, first.accused)
        assert other.by_chance == first.by_chance
    assert by_npz.tpr == by_csv.tpr == first.tpr  # one file says who was trained on
    assert by_call.tpr is None
    assert by_call.compared == first.compared  # it is asked about the held-out examples
    assert by_npz.compared == by_csv.compared == "150 examples that it was not trained on"


def test_models_of_the_recipe_are_like_it_and_others_are_not(tiny, known, folder, quick):
    bank = train_shadows(tiny, 64, seed=1, folder=folder, columns=("pool.logits", "test.logits"))
    unlike = []
    for k in range(12):
        pool, test = bank.column("pool", "logits")[k], bank.column("test", "logits")[k]
        target = said_by(tiny, pool, test)
        found = audit(known, target, outputs="logits", fpr=FPR, trained_on=bank.membership[k])
        unlike.append(bool(found.target.unlike))
        assert audit(
            known, said_by(tiny, 2 * pool, 2 * test), outputs="logits", fpr=FPR
        ).target.unlike
    assert sum(unlike) <= 1
    everybody = audit(known, fitted(tiny, np.ones(300, dtype=bool), epochs=60), fpr=FPR).target
    assert everybody.unlike
    assert not everybody.accused.any()


def said_by(tiny, pool, test):
    def target(inputs):
        return pool if len(inputs) == 300 else test

    return target


def test_a_matrix_is_audited_by_what_it_allows(tmp_path):
    world = World(shift=4, examples=300)
    shadows = world.shadows(ids=np.random.default_rng(0).permutation(300))
    known, inside = shadows.observations, shadows.membership
    np.savez(
        tmp_path / "runs.npz",
        confidence=known.confidence,
        labels=known.labels,
        membership=inside,
        ids=shadows.ids,
    )
    found = audit(tmp_path / "runs.npz", fpr=FPR)
    assert found.lacking == ("Shokri", "Song & Mittal")
    assert set(found.lacking).isdisjoint(found.attacks["attack"])
    np.testing.assert_array_equal(found.examples["example"], shadows.ids)  # in the file's order
    assert found.examples["exposed"][:30].mean() > 0.8
    assert found.examples["exposed"][30:].mean() < 0.03
    assert found.name == "runs"
    assert found.trained == found.seconds == 0
    assert found.images is found.rows is None
    assert any("not known here" in each for each in found.limits)
    same = audit(known, fpr=FPR)
    pd.testing.assert_frame_equal(same.attacks, found.attacks)


def test_a_target_of_a_matrix_is_a_file_in_any_order(tmp_path):
    world = World(shift=4, examples=300)
    shadows, members = world.shadows(ids=np.arange(300)[::-1]), np.arange(300) % 2 == 0
    said = world.target(members, 0)[0].confidence[0]
    order = np.random.default_rng(1).permutation(300)
    frame = pd.DataFrame({"example": shadows.ids, "confidence": said, "member": members * 1})
    frame.iloc[order].to_csv(tmp_path / "one.csv", index=False)
    found = audit(shadows, tmp_path / "one.csv", fpr=FPR).target
    assert found.tpr[0] == found.accused[members].mean() > 0.08
    assert found.compared == "150 examples that it was not trained on"


@pytest.mark.parametrize(("columns", "shown"), [(12, True), (13, False)])
def test_rows_of_a_small_table_are_shown(columns, shown):
    inputs = np.random.default_rng(0).normal(size=(200, columns))
    found = audit(replace(World(examples=200).shadows(), inputs=inputs), fpr=0.05)
    assert found.images is None
    assert (found.rows is inputs) if shown else (found.rows is None)


def test_membership_the_wrong_way_round_is_noted():
    world = World(shift=4, location=8, examples=300)  # all are right, IN and OUT
    shadows = world.shadows()
    assert audit(shadows, fpr=FPR).notes == ()
    said = shadows.observations
    wrong = audit(observed(said.confidence, ~shadows.membership), fpr=FPR)
    assert any("the wrong way round" in each for each in wrong.notes)


def test_nothing_is_noted_of_models_without_any_effect():
    noted = [audit(World(examples=200, seed=s).shadows(seed=s), fpr=0.05).notes for s in range(20)]
    assert sum(map(bool, noted)) <= 2


def test_models_on_few_and_on_many_examples_are_noted():
    rng = np.random.default_rng(0)
    shares = np.where(np.arange(64) % 2, 0.3, 0.7)[:, None]
    shadows = World(examples=200).shadows(membership=rng.random((64, 200)) < shares)
    (note,) = audit(shadows, fpr=0.05).notes
    assert "trained on" in note
    assert "lists may hold too many" in note
    coins = World(examples=100).shadows(membership=rng.random((64, 100)) < 0.5)
    assert audit(coins, fpr=0.05).notes == ()


def test_probabilities_that_were_rounded_are_noted():
    shadows = replace(World(examples=200).shadows(), raised=1234)
    (note,) = audit(shadows, fpr=0.05).notes
    assert re.match(r"1,234 probabilities \(0\.\d+ of all\) were raised to 1e-12", note)


@pytest.mark.parametrize(("share", "loud"), [(0.01, False), (0.5, True)])
def test_many_rounded_probabilities_are_said_to_be_many(share, loud):
    shadows = World(examples=200).shadows()
    raised = round(share * shadows.observations.confidence.size)
    (note,) = audit(replace(shadows, raised=raised), fpr=0.05).notes
    assert ("here that is many" in note) == loud


def refused(message, *given, **options):
    with pytest.raises(ValueError, match=message) as caught:
        audit(*given, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("trained on none of the 300", {"target": len, "trained_on": np.zeros(300, dtype=bool)}),
        (r"expected bool \[300\]", {"target": len, "trained_on": np.ones(299, dtype=bool)}),
        ("there is no target", {"trained_on": np.ones(300, dtype=bool)}),
        ("fpr=0.001 allows 2.4 false alarms .* pass fpr=0.009", {"fpr": 0.001}),
        ("expected a rate", {"fpr": 1.0}),
        (r"example \d+ is IN for 0 of 60", {"share": 0.05, "models": 80}),
        ("models=60 is not a multiple of 64", {"models": 60}),
        ("models='64' must be an int", {"models": "64"}),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(tiny, tmp_path, message, options):
    options = {"models": 64, "fpr": FPR, "folder": tmp_path} | options
    refused(message, replace(tiny, share=options.pop("share", 0.5)), **options)
    assert not list(tmp_path.iterdir())


def test_a_matrix_has_no_remedies(known):
    refused("epsilon=8 asks what remedies", known.observations, epsilon=8)


def test_no_membership_and_no_source_are_refused():
    confidence = World(examples=50).shadows().observations.confidence
    refused("shadows has no membership", observed(confidence))
    refused("shadows is a list", [1, 2])


def test_a_target_needs_inputs_unless_it_is_a_file():
    shadows = World(examples=300).shadows()
    refused("inputs is None and target is a callable", shadows, len, fpr=FPR)


def test_a_target_of_other_classes_is_refused(known, quick):
    refused(
        "outputs of 11 classes and the shadow models of 10",
        known,
        mlp(64, 8, 11),
        fpr=FPR,
    )


def test_a_file_that_names_nobody_trained_on_is_refused(known, quick, tmp_path):
    path = tmp_path / "none.npz"
    logits = known.observations.logits[0]
    np.savez(path, logits=logits, membership=np.zeros(300, dtype=bool))
    refused("trained on none", known, path, fpr=FPR)


def test_examples_on_one_side_only_are_refused():
    shadows = World(examples=200).shadows()
    inside = shadows.membership.copy()
    inside[:, 17] = True
    said = Observations(
        labels=shadows.observations.labels,
        confidence=shadows.observations.confidence,
        membership=inside,
    )
    refused("example 17 ", said, fpr=0.05)
