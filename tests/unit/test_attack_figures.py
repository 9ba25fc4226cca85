"""The arrays of the attacks' tables and curves, against numbers counted another way."""

import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from benchsuite.attacks.catalogue import ATTACKS
from benchsuite.attacks.lira import lira
from benchsuite.data.mixtures import OVER, UNDER
from benchsuite.experiments.attack_bank import ALL, OOD, SINGLETONS, SUBPOPULATION
from benchsuite.experiments.attack_figures import ARRAYS
from benchsuite.experiments.attack_groups import AttackExperiment
from benchsuite.experiments.shadow_counts import shadow_counts
from benchsuite.report import figures
from benchsuite.report.artifacts import load_artifact, save_artifact
from benchsuite.stats.intervals import t_interval
from benchsuite.stats.roc import auroc, tpr_at_fpr

attacked = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "attacked.py")))
BLOCK = 64
TARGETS = [slice(192, 256), slice(256, 320)]


@pytest.fixture(scope="module")
def given():
    return attacked.experiment(AttackExperiment)


@pytest.fixture(scope="module")
def alone():
    return attacked.experiment(AttackExperiment, attacked.subject(over=60, under=0))


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("of", ["given", "alone"])
def test_all_arrays_can_be_saved_and_drawn(kind, of, request, tmp_path):
    arrays = request.getfixturevalue(of).figure(kind)
    saved = load_artifact(tmp_path, save_artifact(tmp_path, kind, "a", **arrays))
    assert set(saved) == set(arrays)
    assert figures.draw(kind, saved, "f").panels


# ---- attack-table ------------------------------------------------------------------------------


def test_the_table_has_each_attack_and_group(given):
    arrays = given.figure("attack-table")
    assert arrays["attacks"].tolist() == list(ATTACKS)
    assert arrays["groups"].tolist() == [ALL, OOD, SUBPOPULATION, SINGLETONS]
    assert arrays["examples"].tolist() == [100, 40, 9, len(given.groups[SINGLETONS])]
    assert arrays["models"].tolist() == [128, 64, 128]
    assert arrays["subject"] == "digits-planted"
    assert arrays["fpr"] == 0.05
    assert arrays["threshold"] == 0.8


def test_cells_are_means_over_blocks_of_targets_with_their_interval(given):
    arrays = given.figure("attack-table")
    examples = given.groups[SINGLETONS]
    for a, attack in enumerate(ATTACKS):
        scores = given.scores(attack)[:, examples]
        inside = given.membership[128:, examples]
        bar = np.sort(scores[:64][~inside[:64]])[::-1][int(0.05 * (~inside[:64]).sum())]
        parts = [(scores[64:128], inside[64:128]), (scores[128:], inside[128:])]
        assert arrays["auroc"][a, 3] == pytest.approx(
            np.clip(t_interval([auroc(*part) for part in parts]), 0, 1)
        )
        found = [np.mean(each[members] > bar) for each, members in parts]
        assert arrays["tpr"][a, 3] == pytest.approx(np.clip(t_interval(found), 0, 1))
        assert arrays["realised_fpr"][a, 3] == np.mean(scores[64:][~inside[64:]] > bar)
    assert 0 < arrays["realised_fpr"][:, 3].max() < 0.2


def test_a_group_that_is_too_small_has_no_numbers(given):
    arrays = given.figure("attack-table")
    for name in ("auroc", "tpr", "realised_fpr"):
        missing = np.isnan(arrays[name]).reshape(len(ATTACKS), 4, -1)
        assert missing[:, 2].all()
        assert not missing[:, [0, 1, 3]].any()


def test_a_threshold_rests_on_the_false_positives_of_the_calibration_models(given):
    # Of one block of 64 calibration models each example is OUT of 32.
    assert given.figure("attack-table")["false_positives"] == pytest.approx(
        0.05 * 32 * np.array([100, 40, 9, len(given.groups[SINGLETONS])])
    )


def test_alone_there_are_all_and_singletons(alone):
    alone.cache["groups"][SINGLETONS] = np.arange(40, 60)
    arrays = alone.figure("attack-table")
    assert arrays["groups"].tolist() == [ALL, SINGLETONS]
    assert arrays["auroc"].shape == (len(ATTACKS), 2, 3)
    assert arrays["threshold"] == 0.4


# ---- mixture -----------------------------------------------------------------------------------


def test_the_mixture_counts_its_parts(given):
    arrays = given.figure("mixture")
    assert arrays["groups"].tolist() == [OVER, UNDER]
    assert arrays["examples"].tolist() == [60, 40]
    assert arrays["singletons"] == len(given.groups[SINGLETONS])
    assert arrays["alpha"] == 0.6
    assert arrays["share"] == 0.5
    assert arrays["network"] == "mlp, 43 parameters"  # 16 x 2 + 2 and 2 x 3 + 3


def test_training_accuracy_is_that_of_each_models_own_examples(given):
    arrays = given.figure("mixture")
    for row, pool in enumerate((slice(0, 60), slice(60, 100))):
        own = [
            np.mean(right[pool][inside[pool]])
            for right, inside in zip(given.correct, given.membership, strict=True)
        ]
        assert arrays["train"][row] == pytest.approx(
            [np.mean(own), *np.quantile(own, [0.025, 0.975])]
        )
    assert arrays["train"][:, 0] == pytest.approx(0.95, abs=0.01)  # as planted, whatever mem is
    assert (arrays["train"][:, 1] < arrays["train"][:, 0]).all()


def test_test_accuracy_is_by_group(given):
    arrays = given.figure("mixture")
    correct = given.bank.column("test", "correct")
    for row, part in enumerate((slice(0, 30), slice(30, 50))):
        each = correct[:, part].mean(axis=1)
        assert arrays["test"][row] == pytest.approx(
            [each.mean(), *np.quantile(each, [0.025, 0.975])]
        )
    assert arrays["test"][:, 0] == pytest.approx([0.9, 0.5], abs=0.03)


def test_alone_there_is_one_group(alone):
    arrays = alone.figure("mixture")
    assert arrays["groups"].tolist() == [ALL]
    assert arrays["alpha"] == 1
    assert arrays["examples"].tolist() == [60]
    assert arrays["train"].shape == arrays["test"].shape == (1, 3)


def test_no_mixture_without_test_examples_of_a_group():
    data = attacked.subject()
    test = data.test.subset(np.flatnonzero(data.test.groups == OVER))
    lacking = attacked.experiment(AttackExperiment, replace(data, test=test))
    assert lacking.figure("mixture") is None


class Flat(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs.flatten(1))


@pytest.mark.parametrize(
    ("model", "version", "name"),
    [
        (lambda: Flat(16, 3), "1", "Flat, 51 parameters"),
        (partial(partial(Flat, 16), 3), None, "Flat, 51 parameters"),
    ],
)
def test_a_network_has_the_name_of_what_makes_it(given, model, version, name):
    subject = replace(given.subject, model=model, model_version=version)
    assert replace(given, subject=subject).figure("mixture")["network"] == name


# ---- shadow-count ------------------------------------------------------------------------------


def test_curves_are_of_the_papers_groups(given, alone):
    names = given.figure("shadow-count")["names"].tolist()
    assert names == [ALL, OVER, OOD, "singletons (mem > .8)"]
    alone.cache["groups"][SINGLETONS] = np.arange(40, 60)
    assert alone.figure("shadow-count")["names"].tolist() == [ALL, "singletons (mem > .4)"]
    alone.cache["groups"][SINGLETONS] = np.arange(9)
    assert alone.figure("shadow-count")["names"].tolist() == [ALL]


def test_each_block_of_targets_is_attacked_with_other_references_first(given):
    arrays = given.figure("shadow-count")
    assert arrays["counts"].tolist() == shadow_counts(128) == [2, 4, 8, 16, 32, 64, 128]
    confidence, membership = given.observations.confidence, given.membership
    singletons = given.groups[SINGLETONS]
    for at, count in ((2, 8), (6, 128)):
        pooled, each = [], []
        for number, block in enumerate(TARGETS):
            references = np.roll(np.arange(128), -number * BLOCK)[:count]
            rows = np.concatenate([references, np.arange(block.start, block.stop)])
            scores = lira(
                confidence[rows], membership[rows], np.arange(count, len(rows)), "residual-fixed"
            )[:, singletons]
            pooled.append(scores)
            each.append(auroc(scores, membership[block][:, singletons]))
        assert arrays["auroc"][3, at] == pytest.approx(np.mean(each))
        inside = membership[192:320][:, singletons]
        assert arrays["tpr_3"][at] == tpr_at_fpr(np.concatenate(pooled), inside, 1e-3).tpr
