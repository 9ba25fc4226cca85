from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from benchsuite.models import cnn32, digits_cnn, mlp, resnet9
from benchsuite.training import per_example, squared_gradient_norms


def rectified_in_place():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=(1, 0), dilation=2, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 3, (2, 1)),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(12, 6),
        nn.ReLU(inplace=True),
        nn.Linear(6, 3, bias=False),
    )


def with_batch_norm():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(144, 5),
        nn.BatchNorm1d(5),
        nn.BatchNorm1d(5, affine=False),
        nn.Linear(5, 3),
    )


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 5)
        self.second = nn.Linear(5, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.last(x + self.second(input=x).relu())


class Twice(Residual):
    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.last(self.second(self.second(x).tanh()))


class Borrowed(Residual):
    """The weights of a layer that is called are used once more, without calling it."""

    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.last(self.second(x).tanh() @ self.second.weight)


class Uncalled(Residual):
    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.last(linear(x, self.second.weight, self.second.bias))


class Shared(Residual):
    def __init__(self):
        super().__init__()
        self.third = nn.Linear(5, 5)
        self.third.weight = self.second.weight

    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.last(self.third(self.second(x).tanh()))


class Unused(Residual):
    def forward(self, x):
        return self.last(self.first(x.flatten(1)))


class Scaled(Residual):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(5))

    def forward(self, x):
        return self.last(self.first(x.flatten(1)) * self.scale)


class Sequence(Residual):
    """As many positions as the test has examples, and ahead of them."""

    def __init__(self):
        super().__init__()
        self.each = nn.Linear(8, 64)

    def forward(self, x):
        positions = self.each(x.flatten(1, 2).movedim(1, 0)[:7])
        return super().forward(positions.sum(0))


class Frozen(Residual):
    def __init__(self):
        super().__init__()
        self.first.weight.requires_grad_(False)


class Hooked(Residual):
    def __init__(self):
        super().__init__()
        self.second.register_forward_hook(lambda _, __, out: 2 * out)


def of_other_layers():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.GroupNorm(2, 4),
        nn.PReLU(),
        nn.Flatten(),
        nn.Linear(144, 3),
    )


def by_batch_statistics():
    return nn.Sequential(
        nn.BatchNorm2d(1, affine=False, track_running_stats=False), nn.Flatten(), nn.Linear(64, 3)
    )


FAST = {
    "mlp": partial(mlp, 64, (9, 5), 3),
    "linear": partial(mlp, 64, (), 3),
    "digits_cnn": partial(digits_cnn, 3),
    "cnn32": partial(cnn32, 1, 8, 3, filters=2, scales=1),
    "in place": rectified_in_place,
    "batch norm": with_batch_norm,
    "residual": Residual,
}
WRITTEN_OUT = {
    "twice": Twice,
    "borrowed": Borrowed,
    "uncalled": Uncalled,
    "shared": Shared,
    "unused": Unused,
    "own parameter": Scaled,
    "sequence": Sequence,
    "frozen": Frozen,
    "hooked": Hooked,
    "other layers": of_other_layers,
    "batch statistics": by_batch_statistics,
}


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


def one_by_one(factory, weights, inputs, labels):
    rows = []
    for i in range(len(next(iter(weights.values())))):
        model = factory().double().eval()
        model.load_state_dict({name: tensor[i] for name, tensor in weights.items()})
        row = []
        for x, y in zip(inputs, labels, strict=True):
            model.zero_grad()
            cross_entropy(model(x[None]), y[None]).backward()
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            row.append(sum(float(gradient.square().sum()) for gradient in gradients))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(per_example, "_EXAMPLES", 7)
    monkeypatch.setattr(per_example, "_NUMBERS", 1000)


EXAMPLES = 14


@pytest.mark.parametrize("name", [*FAST, *WRITTEN_OUT])
def test_every_norm_is_that_of_a_backward_pass_of_its_own(monkeypatch, name):
    factory = (FAST | WRITTEN_OUT)[name]
    written_out, calls = per_example._written_out, []

    def counted(*arguments):
        calls.append(arguments)
        return written_out(*arguments)

    monkeypatch.setattr(per_example, "_written_out", counted)
    weights = some_models(factory)
    inputs = torch.rand(EXAMPLES, 1, 8, 8, dtype=torch.float64)
    labels = torch.randint(3, (EXAMPLES,))
    got = squared_gradient_norms(factory, weights, inputs, labels)
    expected = one_by_one(factory, weights, inputs, labels)
    assert expected.min() > 0
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=0)
    assert bool(calls) == (name in WRITTEN_OUT)


def test_it_works_in_float32_and_changes_no_weights_and_no_generator():
    weights = {name: tensor.float() for name, tensor in some_models(with_batch_norm).items()}
    before = {name: tensor.clone() for name, tensor in weights.items()}
    inputs, labels = torch.rand(EXAMPLES, 1, 8, 8), torch.randint(3, (EXAMPLES,))
    drawn = torch.random.get_rng_state()
    with torch.no_grad():  # whoever calls it need not care
        got = squared_gradient_norms(with_batch_norm, weights, inputs, labels)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert got.dtype == torch.float32
    assert not got.requires_grad
    wide = {name: tensor.double() for name, tensor in weights.items()}
    expected = one_by_one(with_batch_norm, wide, inputs.double(), labels)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=0)
    for name, tensor in weights.items():
        assert torch.equal(tensor, before[name])


def test_a_resnet_needs_no_gradient_written_out(monkeypatch):
    monkeypatch.setattr(per_example, "_NUMBERS", 2**22)
    monkeypatch.setattr(per_example, "_written_out", lambda *_: pytest.fail("written out"))
    factory = partial(resnet9, 3, 32, 10)
    weights = some_models(factory, models=1)
    inputs, labels = torch.rand(3, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 9, 4])
    got = squared_gradient_norms(factory, weights, inputs, labels)
    torch.testing.assert_close(got, one_by_one(factory, weights, inputs, labels), rtol=1e-9, atol=0)


def test_labels_of_another_number_are_named():
    weights = some_models(Residual)
    with pytest.raises(ValueError, match="labels has 3 entries and inputs 4: pass one label"):
        squared_gradient_norms(
            Residual, weights, torch.rand(4, 64).double(), torch.zeros(3, dtype=torch.int64)
        )
