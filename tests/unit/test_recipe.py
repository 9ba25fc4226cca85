import json
import math
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
import torch

from benchsuite.training import Augmentation, Privacy, Recipe


def test_recipes_are_values():
    recipe = Recipe(epochs=3, augmentation=Augmentation(shift=1))
    assert recipe == Recipe(epochs=3, augmentation=Augmentation(shift=1))
    assert hash(recipe) == hash(replace(recipe))
    assert recipe != replace(recipe, weight_decay=1e-4)
    assert "epochs=3" in repr(recipe)
    assert "shift=1" in repr(recipe)
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 4


def test_the_last_smaller_batch_is_a_step():
    assert Recipe(epochs=3, batch_size=64).steps(128) == 6
    assert Recipe(epochs=3, batch_size=64).steps(129) == 9


def test_cosine_is_torchs():
    recipe, steps = Recipe(learning_rate=0.3), 37
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(steps):
        assert recipe.learning_rate_at(step, steps) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    constant = replace(recipe, schedule="constant")
    assert {constant.learning_rate_at(step, steps) for step in range(steps)} == {0.3}


def test_numpy_numbers_are_the_numbers():
    plain = Recipe(
        3,
        8,
        learning_rate=0.5,
        augmentation=Augmentation(2),
        early_stopping=1,
        label_smoothing=0.0,
        privacy=Privacy(1.0, 2.0),
    )
    from_numpy = Recipe(
        np.int64(3),
        np.int32(8),
        learning_rate=np.float32(0.5),
        augmentation=Augmentation(np.int64(2)),
        early_stopping=np.uint8(1),
        label_smoothing=0,
        privacy=Privacy(np.float32(1), np.int64(2)),
    )
    assert json.dumps(asdict(from_numpy)) == json.dumps(asdict(plain))
    assert json.dumps(asdict(Recipe(learning_rate=1))) == json.dumps(
        asdict(Recipe(learning_rate=1.0))
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be an int of at least 1"),
        ({"epochs": 1.5}, "epochs=1.5 must be an int"),
        ({"epochs": "5"}, "epochs='5' must be an int"),
        ({"batch_size": -1}, "batch_size=-1 must be an int of at least 1"),
        ({"optimizer": "lion"}, "optimizer='lion' is unknown: use 'sgd' or 'adam'"),
        ({"schedule": "step"}, "schedule='step' is unknown: use 'constant' or 'cosine'"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate=inf must be above 0 and finite"),
        ({"learning_rate": "a"}, "learning_rate='a' must be a number"),
        ({"momentum": None}, "momentum=None must be a number"),
        ({"weight_decay": [0.1]}, r"weight_decay=\[0.1\] must be a number"),
        ({"momentum": 1.0}, r"momentum=1.0 must be in \[0, 1\)"),
        ({"momentum": math.nan}, r"momentum=nan must be in \[0, 1\)"),
        ({"weight_decay": -1e-4}, "weight_decay=-0.0001 must be 0 or more"),
        ({"weight_decay": math.nan}, "weight_decay=nan must be 0 or more"),
        ({"augmentation": {"shift": 1}}, "augmentation={'shift': 1} must be an Augmentation"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1.0 must be in \[0, 1\)"),
        ({"label_smoothing": -0.1}, r"label_smoothing=-0.1 must be in \[0, 1\)"),
        ({"label_smoothing": math.nan}, r"label_smoothing=nan must be in \[0, 1\)"),
        ({"label_smoothing": "a"}, "label_smoothing='a' must be a number"),
        ({"privacy": 1.0}, "privacy=1.0 must be a Privacy, such as Privacy"),
        ({"early_stopping": 0}, "early_stopping=0 is a patience in epochs"),
        ({"early_stopping": 2.0}, "early_stopping=2.0 is a patience in epochs: use an int"),
    ],
)
def test_bad_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "changes nothing"),
        ({"shift": -1}, "shift=-1 must be an int, of 0 or more pixels"),
        ({"shift": 0.5}, "shift=0.5 must be an int"),
    ],
)
def test_bad_augmentations_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)


def test_privacy_is_part_of_the_recipes_identity():
    recipe = Recipe(privacy=Privacy(noise=1.0, clip=0.5))
    assert asdict(recipe)["privacy"] == {"noise": 1.0, "clip": 0.5}
    assert hash(recipe) == hash(Recipe(privacy=Privacy(1, 0.5)))
    assert recipe != replace(recipe, privacy=Privacy(0, 0.5))
    assert recipe != replace(recipe, label_smoothing=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 1), "noise=-0.1 must be 0 or more and finite"),
        ((math.nan, 1), "noise=nan must be 0 or more"),
        ((math.inf, 1), "noise=inf must be 0 or more and finite"),
        (("1", 1), "noise='1' must be a number"),
        ((1, 0), "clip=0.0 must be above 0 and finite"),
        ((1, math.inf), "clip=inf must be above 0 and finite"),
        ((1, math.nan), "clip=nan must be above 0"),
        ((1, None), "clip=None must be a number"),
    ],
)
def test_bad_privacies_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Privacy(*arguments)
