import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from benchsuite.data import sources
from benchsuite.memorization import Checkpoints, checkpoints, self_influence
from benchsuite.training import squared_gradient_norms

# ---- checkpoints ----


@pytest.mark.parametrize(
    ("losses", "arguments", "epochs", "fell"),
    [
        ([0.5] * 19 + [0.0], {}, np.arange(2, 21, 2), True),
        ([0.5] * 7 + [0.05] * 9, {"count": 4}, [2, 4, 6, 8], True),
        ([0.5] * 6 + [0.05] * 9, {"count": 4}, [2, 4, 6, 7], True),
        ([0.5] * 6 + [0.04, 0.5, 0.04], {"count": 1}, [7], True),  # the first such epoch
        ([0.5] * 8, {"count": 4}, [2, 4, 6, 8], False),
        ([0.5, 0.04], {}, [1, 2], True),
        ([0.04, 0.5], {}, [1], True),
        ([0.5] * 3 + [0.25] + [0.01] * 4, {"count": 2, "fall": 0.75}, [2, 4], True),
        ([0.5, 0.1, 0.0], {"count": 9, "fall": 1}, [1, 2, 3], True),
    ],
)
def test_they_lie_evenly_up_to_where_the_loss_has_fallen(losses, arguments, epochs, fell):
    got = checkpoints(losses, initial=1.0, **arguments)
    assert isinstance(got, Checkpoints)
    assert got.epochs.dtype == np.int64
    np.testing.assert_array_equal(got.epochs, epochs)
    assert got.fell is fell


def test_how_far_the_loss_fell_is_measured_from_the_untrained_models():
    losses = [2.0, 0.5, 0.11, 0.05]
    assert checkpoints(losses, 1, initial=np.log(10)).epochs == 3
    assert checkpoints(losses, 1, initial=2.0).epochs == 4
    assert not checkpoints(losses, 1, initial=0.9).fell


@pytest.mark.parametrize("last", range(1, 30))
@pytest.mark.parametrize("count", [1, 3, 10])
def test_there_are_as_many_as_asked_for_or_as_there_are_epochs(last, count):
    epochs = checkpoints([1.0] * (last - 1) + [0.0], count, initial=1.0).epochs
    assert len(epochs) == min(count, last)
    assert epochs[-1] == last
    assert epochs[0] >= 1
    gaps = np.diff([0, *epochs])
    assert np.ptp(gaps) <= 1


@pytest.mark.parametrize(
    ("losses", "arguments", "message"),
    [
        ([], {}, "losses is empty"),
        ([1.0, np.nan], {}, "losses must be finite"),
        ([[1.0]], {}, r"losses has shape \[1, 1\], expected 1 axis"),
        ([1.0, -0.1], {}, r"losses\[1\] is -0\.1, expected losses of 0 or more"),
        ([1.0], {"count": 0}, "count=0 must be an int of at least 1"),
        ([1.0], {"count": 2.0}, r"count=2\.0 must be an int"),
        ([1.0], {"fall": 0}, "fall=0 must be above 0"),
        ([1.0], {"fall": 1.1}, r"fall=1\.1 must be above 0 and no more than 1"),
        ([1.0], {"fall": np.nan}, "fall=nan must be above 0"),
        ([1.0], {"initial": 0}, "initial=0 must be above 0 and finite"),
        ([1.0], {"initial": np.nan}, "initial=nan must be above 0"),
    ],
)
def test_bad_arguments_of_checkpoints_are_named(losses, arguments, message):
    with pytest.raises(ValueError, match=message):
        checkpoints(losses, **({"initial": 2.3} | arguments))


# ---- self-influence ----


def test_it_is_the_sum_of_rate_times_squared_gradient():
    squares = np.array([[1.0, 2.0, 0.0], [10.0, 20.0, 5.0]])
    np.testing.assert_allclose(self_influence(squares, [0.5, 0.1]), [1.5, 3.0, 0.5])
    np.testing.assert_allclose(self_influence(squares, 0.1), [1.1, 2.2, 0.5])
    of_models = np.stack([squares, 2 * squares, 0 * squares], axis=1).astype(np.float32)
    got = self_influence(of_models, [0.5, 0.1])
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, [[1.5, 3.0, 0.5], [3.0, 6.0, 1.0], [0, 0, 0]])


def test_squares_that_float32_cannot_add_are_added():
    squares = np.full((2**12, 2), 1.0, dtype=np.float32)
    squares[0] = 2.0**25
    np.testing.assert_array_equal(self_influence(squares, 1.0), 2.0**25 + 2**12 - 1)


@pytest.mark.parametrize(
    ("squares", "rates", "message"),
    [
        ([1.0], [0.1], r"squared_gradients has shape \[1\], expected \[checkpoints, examples\]"),
        ([[[[1.0]]]], [0.1], r"squared_gradients has shape \[1, 1, 1, 1\]"),
        ([[1.0, np.nan]], [0.1], "squared_gradients must be finite"),
        ([[1.0, -1.0]], [0.1], r"squared_gradients holds -1\.0, expected squared norms"),
        ([[1.0]], [0.1, 0.1], r"learning_rates has shape \[2\] and squared_gradients 1 check"),
        ([[1.0], [1.0]], [[0.1], [0.1]], r"learning_rates has shape \[2, 1\]"),
        ([[1.0]], [0.0], r"learning_rates holds 0\.0, expected rates above 0"),
        ([[1.0]], [np.inf], "learning_rates must be finite"),
    ],
)
def test_bad_arguments_of_self_influence_are_named(squares, rates, message):
    with pytest.raises(ValueError, match=message):
        self_influence(squares, rates)


# ---- against Captum ----


def small_mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


def trained_at_three_moments(inputs, labels):
    """States of one model and its learning rates at the ends of epochs 10, 20 and 30."""
    torch.manual_seed(0)
    model = small_mlp()
    states, rates = [], []
    for rate in (0.1, 0.05, 0.02):
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        for some, of_some in 10 * list(zip(inputs.split(16), labels.split(16), strict=True)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(some), of_some).backward()
            optimizer.step()
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        rates.append(rate)
    return states, rates


@pytest.mark.filterwarnings("ignore")  # Captum's own, of what it and its dependencies use
def test_it_is_what_captum_computes():
    influence = pytest.importorskip("captum.influence")
    data = sources.digits()[0].subset(range(80))
    inputs, labels = torch.tensor(data.inputs()), torch.tensor(data.labels)
    states, rates = trained_at_three_moments(inputs, labels)

    def load(model, moment):
        model.load_state_dict(states[moment])
        return rates[moment]

    expected = influence.TracInCP(
        small_mlp().eval(),
        TensorDataset(inputs, labels),
        [0, 1, 2],
        load,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=16,
    ).self_influence()
    weights = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    squares = squared_gradient_norms(small_mlp, weights, inputs, labels)
    got = self_influence(squares.numpy(), rates)
    assert expected.max() > 10 * expected.min() > 0
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5)
