from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.data import Dataset
from benchsuite.experiments.features import _entering_last_layer, penultimate_features
from benchsuite.models import cnn32, mlp
from benchsuite.subject import Subject
from benchsuite.training import Recipe, TrainingJob, train


def data(n=30):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    images = rng.random((n, 1, 8, 8)).astype(np.float32) * 0.2
    images[labels == 1, :, :4] += 0.7
    return Dataset(images, labels)


class HeadFirst(nn.Module):
    """Defines its last layer first, and drops half of its features while training."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 2)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x):
        return self.head(self.body(x))


def subject(model, epochs=3, **kwargs):
    return Subject("s", data(), data(), model, Recipe(epochs=epochs, batch_size=10), **kwargs)


def test_features_are_what_the_trained_network_gives_its_last_layer():
    of = subject(partial(mlp, 64, (7, 6), 2))
    features = penultimate_features(of, seed=3)
    assert features.shape == (30, 6)
    assert features.dtype == np.float32
    job = TrainingJob(
        of.model,
        of.recipe,
        torch.from_numpy(of.pool.inputs()),
        torch.tensor(of.pool.labels),
        np.arange(30)[None],
        (0,),
        3,
    )
    weights = {name: tensor[0].numpy() for name, tensor in train(job, "looped").items()}
    hidden = of.pool.inputs().reshape(30, -1)
    for layer in (1, 3):
        hidden = np.maximum(hidden @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
    np.testing.assert_allclose(features, hidden, rtol=1e-4, atol=1e-5)


def test_the_last_layer_is_the_last_to_run_in_evaluation_mode():
    features = penultimate_features(subject(HeadFirst))
    assert features.shape == (30, 5)
    np.testing.assert_array_equal(features, penultimate_features(subject(HeadFirst)))
    alone = penultimate_features(subject(HeadFirst), seed=1)
    assert not np.array_equal(features, alone)
    assert (features.std(axis=0) > 0).any()


def test_batches_do_not_change_the_features(monkeypatch):
    of = subject(partial(mlp, 64, 6, 2))
    whole = penultimate_features(of)
    monkeypatch.setattr("benchsuite.experiments.features._BATCH", 7)
    np.testing.assert_allclose(penultimate_features(of), whole, rtol=1e-5, atol=1e-6)


def test_early_stopping_is_obeyed():
    recipe = Recipe(epochs=20, batch_size=10, learning_rate=0.5, early_stopping=1)
    wrong = Dataset(data().images, 1 - data().labels)  # whose loss only rises
    of = Subject("s", data(), data(), partial(mlp, 64, 6, 2), recipe, validation=wrong)
    trained_on = subject(partial(mlp, 64, 6, 2), epochs=20)
    assert not np.array_equal(penultimate_features(of), penultimate_features(trained_on))


def test_torch_s_generator_stays_as_it_was():
    before = torch.random.get_rng_state()
    penultimate_features(subject(HeadFirst, epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


class Weights(nn.Module):
    """Logits from a parameter alone: neither a linear layer nor a convolution."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(64, 2))

    def forward(self, inputs):
        return inputs.flatten(1) @ self.weight


def test_a_model_without_a_linear_layer_or_convolution_is_named_before_it_is_trained(monkeypatch):
    monkeypatch.setattr("benchsuite.experiments.features.train", None)
    with pytest.raises(
        ValueError,
        match=r"model is a Weights that runs neither nn\.Linear nor nn\.Conv2d, expected",
    ):
        penultimate_features(subject(Weights))


def test_a_network_of_convolutions_alone_gives_what_enters_the_last_one_meaned_over_space():
    model = cnn32(1, 8, 2, filters=2, scales=1)
    images = torch.rand(5, 1, 8, 8)
    *body, _, _, _ = model
    entering = nn.Sequential(*body)(images)
    assert entering.shape == (5, 4, 4, 4)
    torch.testing.assert_close(_entering_last_layer(model, images), entering.mean(dim=(2, 3)))


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device='cuda:99' cannot be used here"):
        penultimate_features(subject(HeadFirst), device="cuda:99")
