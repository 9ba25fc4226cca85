from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.models import digits_cnn, mlp
from benchsuite.training import leverage
from benchsuite.training.leverage import leverage_scores


def with_batch_norm():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(144, 3),
    )


class Twice(nn.Module):
    """One layer is used twice, one not at all, and one is frozen."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(64, 6).requires_grad_(False)
        self.twice = nn.Linear(6, 6)
        self.unused = nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = self.frozen(x.flatten(1))
        return self.last(self.twice(self.twice(x).tanh()).tanh())


FACTORIES = {
    "mlp": partial(mlp, 64, (9, 5), 3),
    "digits_cnn": partial(digits_cnn, 3),
    "batch norm": with_batch_norm,
    "twice": Twice,
}
EXAMPLES = 30


def some_models(factory, models=2):
    """Weights of models whose batch norms have seen something."""
    torch.manual_seed(0)
    states = []
    for _ in range(models):
        state = factory().double().state_dict()
        for name in state:
            if "running" in name:
                state[name] = 0.5 + torch.rand_like(state[name])
        states.append(state)
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def some_examples(examples=EXAMPLES, classes=3):
    torch.manual_seed(1)
    inputs = torch.rand(examples, 1, 8, 8, dtype=torch.float64)
    return inputs, torch.randint(classes, (examples,))


def gradients_one_by_one(factory, weights, model_id, inputs, labels):
    """Of log(p / (1 - p)), written as that, by a backward pass for each example."""
    model = factory().double().eval()
    model.load_state_dict({name: tensor[model_id] for name, tensor in weights.items()})
    trainable = [each for each in model.parameters() if each.requires_grad]
    rows = []
    for x, y in zip(inputs, labels, strict=True):
        p = model(x[None]).softmax(1)[0, y]
        parts = torch.autograd.grad((p / (1 - p)).log(), trainable, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


def dense_sketch(size, width):
    matrix = torch.zeros(size, width, dtype=torch.float64)
    parameters, signs = leverage._sketch(size, width)
    for bucket, (within, of_them) in enumerate(zip(parameters.T, signs.T, strict=True)):
        for parameter, sign in zip(within, of_them, strict=True):
            matrix[parameter, bucket] += sign
    return matrix


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(leverage, "_EXAMPLES", 7)


# ---- against the definition ----


@pytest.mark.parametrize("name", FACTORIES)
def test_it_is_that_of_gradients_one_by_one_and_an_explicit_inverse(small_chunks, name):
    factory, width = FACTORIES[name], 8
    weights, (inputs, labels) = some_models(factory), some_examples()
    got = leverage_scores(factory, weights, inputs, labels, width)
    assert got.shape == (2, EXAMPLES)
    for model_id, of_model in enumerate(got):
        gradients = gradients_one_by_one(factory, weights, model_id, inputs, labels)
        phi = gradients @ dense_sketch(gradients.shape[1], width)
        expected = (phi @ torch.linalg.inv(phi.T @ phi) @ phi.T).diagonal()
        torch.testing.assert_close(of_model, expected, rtol=1e-5, atol=0)
        assert of_model.max() > 2 * of_model.min()
    assert not torch.allclose(got[0], got[1], rtol=1e-2)


@pytest.mark.parametrize("numbers", [1, 1000, 10**9])
def test_it_is_the_same_however_many_gradients_are_written_out(monkeypatch, numbers):
    weights, (inputs, labels) = some_models(with_batch_norm), some_examples()
    expected = leverage_scores(with_batch_norm, weights, inputs, labels, 8)
    monkeypatch.setattr(leverage, "_NUMBERS", numbers)
    got = leverage_scores(with_batch_norm, weights, inputs, labels, 8)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=0)


def test_it_works_in_float32_and_changes_no_weights_and_no_generator():
    factory = FACTORIES["mlp"]
    wide, (inputs, labels) = some_models(factory), some_examples()
    weights = {name: tensor.float() for name, tensor in wide.items()}
    before = {name: tensor.clone() for name, tensor in weights.items()}
    drawn, np_drawn = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.no_grad():  # whoever calls it need not care
        got = leverage_scores(factory, weights, inputs.float(), labels, 8)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    np.testing.assert_array_equal(np.random.get_state()[1], np_drawn)  # noqa: NPY002
    assert got.dtype == torch.float32
    assert not got.requires_grad
    expected = leverage_scores(factory, wide, inputs, labels, 8)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=0)
    for name, tensor in weights.items():
        assert torch.equal(tensor, before[name])


# ---- truths known beforehand ----


@pytest.mark.parametrize("width", [18, 19, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_logistic_regression_it_is_that_of_the_inputs(width, dtype):
    """Two logits' gradients are opposite: half of the 18 parameters' directions are not there."""
    factory = partial(mlp, 8, (), 2)
    inputs, labels = torch.rand(40, 8, dtype=dtype), torch.randint(2, (40,))
    weights = {name: tensor.to(dtype) for name, tensor in some_models(factory, 3).items()}
    got = leverage_scores(factory, weights, inputs, labels, width)
    design = torch.cat([inputs, torch.ones(40, 1)], dim=1).double()
    expected = (design @ torch.linalg.inv(design.T @ design) @ design.T).diagonal()
    assert expected.sum() == pytest.approx(9)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for of_model in got:
        torch.testing.assert_close(of_model.double(), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [4, 50])  # a smaller kernel, and a larger one, than the examples
def test_examples_that_repeat_share_the_leverage_of_one(dtype, width):
    factory, copies = FACTORIES["mlp"], torch.tensor([1, 2, 3, 6])
    inputs, labels = (each.repeat_interleave(copies, 0) for each in some_examples(4))
    weights = {name: tensor.to(dtype) for name, tensor in some_models(factory).items()}
    got = leverage_scores(factory, weights, inputs.to(dtype), labels, width)
    expected = (1 / copies.to(dtype)).repeat_interleave(copies).expand(2, -1)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=0)
    assert got.max() <= 1


def test_directions_that_rounding_alone_makes_do_not_count():
    factory = FACTORIES["mlp"]
    inputs, labels = (each.repeat_interleave(5, 0).float() for each in some_examples(4))
    inputs *= 1 + 1e-7 * torch.randn(20, 1, 1, 1)
    weights = {name: tensor.float() for name, tensor in some_models(factory).items()}
    got = leverage_scores(factory, weights, inputs, labels.long(), 16)
    torch.testing.assert_close(got, torch.full((2, 20), 0.2), rtol=1e-3, atol=0)


def test_as_many_directions_as_examples_give_each_1():
    factory = FACTORIES["digits_cnn"]
    got = leverage_scores(factory, some_models(factory), *some_examples(), width=EXAMPLES)
    torch.testing.assert_close(got, torch.ones(2, EXAMPLES, dtype=torch.float64))


@pytest.mark.parametrize("width", [1, 4, 16])
def test_it_lies_between_0_and_1_and_sums_to_the_width(width):
    factory = FACTORIES["mlp"]
    weights = {name: 10 * tensor for name, tensor in some_models(factory).items()}
    got = leverage_scores(factory, weights, *some_examples(), width)
    assert got.min() >= 0
    assert got.max() <= 1
    torch.testing.assert_close(got.sum(1), torch.full((2,), float(width), dtype=torch.float64))


def test_a_gradient_of_nothing_but_zeros_has_none():
    def factory():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))

    inputs, labels = some_examples()
    inputs[3] = 0
    got = leverage_scores(factory, some_models(factory), inputs, labels, 8)
    assert (got[:, 3] == 0).all()
    assert (got.sum(1) - 8).abs().max() < 1e-6
    nothing = leverage_scores(factory, some_models(factory), 0 * inputs, labels, 8)
    assert (nothing == 0).all()


def test_a_model_whose_gradients_are_not_finite_has_nan_and_the_others_do_not():
    factory = FACTORIES["mlp"]
    weights = some_models(factory, 3)
    expected = leverage_scores(factory, weights, *some_examples(), 8)
    next(iter(weights.values()))[1, 0, 0] = torch.nan
    got = leverage_scores(factory, weights, *some_examples(), 8)
    assert got[1].isnan().all()
    assert torch.equal(got[[0, 2]], expected[[0, 2]])


def test_a_model_that_is_sure_beyond_rounding_has_a_margin_still():
    factory = partial(mlp, 64, (), 3)
    weights = {name: 1e4 * tensor.float() for name, tensor in some_models(factory).items()}
    inputs, labels = some_examples()
    got = leverage_scores(factory, weights, inputs.float(), labels, 8)
    assert got.isfinite().all()
    torch.testing.assert_close(got.sum(1), torch.full((2,), 8.0))


# ---- the sketch ----


@pytest.mark.parametrize(("size", "width"), [(1, 1), (7, 3), (12, 4), (5, 5), (5, 9), (1000, 64)])
def test_each_parameter_is_dealt_once_and_buckets_evenly(size, width):
    matrix = dense_sketch(size, width)
    assert (matrix.abs().sum(1) == 1).all()
    assert set(matrix.unique().tolist()) <= {-1, 0, 1}
    filled = matrix.abs().sum(0)[: min(size, width)]
    assert filled.max() - filled.min() <= 1


def test_it_is_the_same_everywhere():
    parameters, signs = leverage._sketch(7, 3)
    np.testing.assert_array_equal(parameters, [[3, 1, 2], [4, 0, 6], [5, 0, 0]])
    np.testing.assert_array_equal(signs, [[1, -1, 1], [1, 1, -1], [1, 0, 0]])


def test_inner_products_are_unbiased(monkeypatch):
    size, width, draws = 60, 8, 4000
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, size)) + 0.5
    products, together = [], 0
    for key in range(draws):
        monkeypatch.setattr(leverage, "_KEY", key)
        parameters, signs = leverage._sketch(size, width)
        products.append((x[parameters] * signs).sum(0) @ (y[parameters] * signs).sum(0))
        together += bool(
            ((parameters == 0) & (signs != 0)).any(0) @ ((parameters == 1) & (signs != 0)).any(0)
        )
    error = np.std(products) / np.sqrt(draws)
    assert abs(np.mean(products) - x @ y) < 3 * error
    # No better than it should be: the variance of a CountSketch, with buckets dealt evenly.
    variance = (x @ x * (y @ y) + (x @ y) ** 2 - 2 * (x**2 @ y**2)) / width
    assert 0.8 * variance < np.var(products) < 1.1 * variance
    assert abs(together / draws - 1 / width) < 0.03


# ---- bad arguments ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels has 3 entries and inputs 4: pass"),
        ({"labels": torch.tensor([0, 1, 3, 2])}, "labels run from 0 to 3 and the model has 3 log"),
        ({"labels": torch.tensor([0, -1, 1, 2])}, "labels run from -1 to 2 and the model has 3"),
        ({"width": 0}, "width=0 must be an int of at least 1, or None for up to 256"),
        ({"width": 8.0}, r"width=8\.0 must be an int"),
        ({"factory": partial(mlp, 64, (), 1)}, "the model has 1 logits: .* at least 2 classes"),
        (
            {
                "factory": lambda: nn.Sequential(
                    nn.Flatten(), nn.Linear(64, 3).requires_grad_(False)
                )
            },
            "factory: its model has no trainable parameters",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    given = {
        "factory": partial(mlp, 64, (), 3),
        "inputs": torch.rand(4, 1, 8, 8).double(),
        "labels": torch.zeros(4, dtype=torch.int64),
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        leverage_scores(weights=some_models(given["factory"]), **given)


def test_unless_told_the_width_is_a_quarter_of_few_examples():
    factory = next(iter(FACTORIES.values()))
    weights, examples = some_models(factory), some_examples()
    expected = leverage_scores(factory, weights, *examples, width=EXAMPLES // 4)
    torch.testing.assert_close(leverage_scores(factory, weights, *examples), expected)
