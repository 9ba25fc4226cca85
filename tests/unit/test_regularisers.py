from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from torch import nn

from benchsuite.data.dataset import Dataset
from benchsuite.experiments.regularisers import (
    AUGMENTATION,
    BATCH_NORM,
    BOTH,
    CLIPPED,
    DECAY,
    DP,
    DROPOUT,
    EARLY,
    ORDINARY,
    REGULARISERS,
    SMOOTHING,
    regularised,
)
from benchsuite.models import mlp, with_batch_norm
from benchsuite.stats.verdict import CannotResolveError
from benchsuite.subject import Subject
from benchsuite.training import Augmentation, Privacy, Recipe

IMAGES = np.random.default_rng(0).random((30, 1, 6, 6), dtype=np.float32)
POOL = Dataset(IMAGES, np.arange(30) % 3, name="noise")
TABLE = Dataset(IMAGES.reshape(30, 36), np.arange(30) % 3, name="table")
RECIPE = Recipe(epochs=3, weight_decay=0.25, label_smoothing=0.25)
PLAIN = Subject(
    "small", POOL, POOL.subset(range(9)), partial(mlp, 36, (8, 4), 3), RECIPE, 0.25, POOL
)

RECIPES = {
    DROPOUT: {},
    AUGMENTATION: {"augmentation": Augmentation(shift=2)},
    BOTH: {"augmentation": Augmentation(shift=2)},
    BATCH_NORM: {},
    DECAY: {"weight_decay": 1e-3},
    SMOOTHING: {"label_smoothing": 0.1},
    EARLY: {"epochs": 500, "early_stopping": 10},
    DP: {"privacy": Privacy(noise=1.0, clip=1.0)},
    CLIPPED: {"privacy": Privacy(noise=0.0, clip=1.0)},
}
LINEAR, DROPPED, NORMED = [nn.Linear], [nn.ReLU, nn.Dropout], [nn.BatchNorm1d, nn.ReLU]
WITH_DROPOUT = [nn.Flatten, *LINEAR, *DROPPED, *LINEAR, *DROPPED, *LINEAR]
LAYERS = {
    DROPOUT: WITH_DROPOUT,
    BOTH: WITH_DROPOUT,
    BATCH_NORM: [nn.Flatten, *LINEAR, *NORMED, *LINEAR, *NORMED, *LINEAR],
}

every_one = pytest.mark.parametrize("name", REGULARISERS)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.within = mlp(36, 8, 3)

    def forward(self, inputs):
        return self.within(inputs)


ODD = Subject("odd", POOL, POOL, Odd, RECIPE, model_version="1")


def test_the_papers_are_among_all():
    assert set(REGULARISERS) == set(RECIPES)
    assert set(ORDINARY) == {DROPOUT, AUGMENTATION, BOTH, BATCH_NORM}


@every_one
def test_the_recipe_changes_as_it_says_and_nowhere_else(name):
    changed = regularised(PLAIN, name)
    assert changed.recipe == Recipe(**{**vars(PLAIN.recipe), **RECIPES[name]})
    assert (changed.recipe != PLAIN.recipe) == bool(RECIPES[name])


@every_one
def test_layers_are_put_in_where_it_says_and_nowhere_else(name):
    before, after = PLAIN.model(), regularised(PLAIN, name).model()
    assert [type(layer) for layer in after] == LAYERS.get(name, [type(layer) for layer in before])
    assert all(layer.p == 0.5 for layer in after if isinstance(layer, nn.Dropout))
    sizes = [layer.weight.shape for layer in before if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in after if isinstance(layer, nn.Linear)] == sizes


@every_one
def test_data_and_share_are_kept_and_the_name_says_which(name):
    changed = regularised(PLAIN, name)
    for kept in ("pool", "test", "validation", "share", "model_version"):
        assert getattr(changed, kept) is getattr(PLAIN, kept)
    assert changed.name == {
        DP: "small-dp-sgd",
        BATCH_NORM: "small-batch-norm",
        CLIPPED: "small-clipping-alone",
        EARLY: "small-early-stopping",
        DECAY: "small-weight-decay",
        SMOOTHING: "small-label-smoothing",
    }.get(name, f"small-{name}")


def test_no_two_are_the_same_subject():
    identities = [str(regularised(PLAIN, name).identity()) for name in REGULARISERS]
    assert len({str(PLAIN.identity()), *identities}) == 1 + len(REGULARISERS)


def test_both_is_dropout_and_augmentation():
    twice = regularised(regularised(PLAIN, AUGMENTATION), DROPOUT)
    both = regularised(PLAIN, BOTH)
    assert both.identity() == twice.identity()
    assert asdict(both.recipe) == asdict(regularised(PLAIN, AUGMENTATION).recipe)


@pytest.mark.parametrize("name", [DROPOUT, BOTH, BATCH_NORM])
def test_a_network_that_is_no_sequence_of_layers_cannot_resolve(name):
    with pytest.raises(CannotResolveError, match=f"odd takes no {name}: factory makes a Odd, exp"):
        regularised(ODD, name)


@pytest.mark.parametrize("name", [AUGMENTATION, DECAY, SMOOTHING, DP, CLIPPED])
def test_what_changes_the_recipe_alone_takes_any_network(name):
    assert regularised(ODD, name).model is Odd


@pytest.mark.parametrize("name", [AUGMENTATION, BOTH])
def test_augmentation_of_what_is_no_image_cannot_resolve(name):
    table = Subject("table", TABLE, TABLE, partial(mlp, 36, 8, 3), RECIPE)
    with pytest.raises(CannotResolveError, match=f"table takes no {name}: recipe.augmentation"):
        regularised(table, name)


def test_early_stopping_without_validation_cannot_resolve():
    with pytest.raises(CannotResolveError, match=r"odd takes no early stopping: .*validation is N"):
        regularised(ODD, EARLY)


@pytest.mark.parametrize("name", [DP, CLIPPED])
def test_privacy_of_a_network_with_batch_norm_cannot_resolve(name):
    normed = Subject("normed", POOL, POOL, partial(with_batch_norm, PLAIN.model), RECIPE)
    with pytest.raises(CannotResolveError, match=f"normed takes no {name}: .*BatchNorm1d"):
        regularised(normed, name)


def test_no_hidden_layer_leaves_no_place():
    linear = Subject("linear", POOL, POOL, partial(mlp, 36, (), 3), RECIPE)
    for name in (DROPOUT, BATCH_NORM):
        with pytest.raises(CannotResolveError, match=f"linear takes no {name}: .*hidden layer"):
            regularised(linear, name)
