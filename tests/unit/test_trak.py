import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.data import sources
from benchsuite.memorization import trak_self_influence
from benchsuite.models import mlp
from benchsuite.stats.confidence import scaled_confidence
from benchsuite.training import leverage, logits
from benchsuite.training.leverage import leverage_scores


def confidence_of(p):
    return np.log(np.asarray(p) / (1 - np.asarray(p)))


# ---- the estimate ----


def test_it_is_the_product_of_means_and_not_the_mean_of_products():
    leverages = [[0.2, 1.0, 0.0], [0.6, 0.5, 0.0]]
    confidence = confidence_of([[0.9, 0.5, 0.2], [0.3, 0.1, 0.2]])
    np.testing.assert_allclose(
        trak_self_influence(leverages, confidence), [0.4 * 0.4, 0.75 * 0.7, 0]
    )
    np.testing.assert_allclose(trak_self_influence(leverages[:1], confidence[:1]), [0.02, 0.5, 0])


def test_float32_is_averaged_in_float64():
    leverages = np.full((2**16, 2), 0.1, dtype=np.float32)
    confidence = np.full((2**16, 2), -1.0, dtype=np.float32)
    got = trak_self_influence(leverages, confidence)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, float(np.float32(0.1)) / (1 + np.exp(-1)), rtol=1e-12)


def test_a_model_that_is_sure_beyond_rounding_counts_as_0_or_1():
    got = trak_self_influence([[0.5] * 4], np.array([[1e4, 40, -40, -1e4]], dtype=np.float32))
    np.testing.assert_allclose(got, [0, 0.5 * np.exp(-40), 0.5, 0.5], rtol=1e-12)


@pytest.mark.parametrize(
    ("leverages", "confidence", "message"),
    [
        ([0.5], [[0.0]], r"leverage has shape \[1\], expected 2 axes"),
        ([[0.5]], [0.0], r"confidence has shape \[1\], expected 2 axes"),
        ([[0.5]], [[0.0, 0.0]], r"leverage has shape \[1, 1\] and confidence has shape \[1, 2\]"),
        ([[0.5], [np.nan]], [[0.0], [0.0]], r"leverage must be finite .* leverage\[1, 0\] = nan"),
        ([[0.5]], [[np.inf]], "confidence must be finite"),
        ([[-0.1, 0.5]], [[0.0, 0.0]], r"leverage holds -0\.1, expected values between 0 and 1"),
        ([[0.5, 1.5]], [[0.0, 0.0]], r"leverage holds 1\.5, expected values between 0 and 1"),
    ],
)
def test_bad_arguments_are_named(leverages, confidence, message):
    with pytest.raises(ValueError, match=message):
        trak_self_influence(leverages, confidence)


# ---- against its authors' package ----


class Whole(nn.Module):
    """With few parameters and one logit fixed, so that the gradients are of full rank."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return nn.functional.pad(self.last(self.first(2 * x).tanh()), (1, 0))


def digits_mlp():
    return mlp(64, (16,), 10)


def noise():
    torch.manual_seed(0)
    return torch.randn(200, 4), torch.randint(3, (200,))


def digits():
    data = sources.digits()[0].subset(range(200))
    return torch.tensor(data.inputs()), torch.tensor(data.labels)


def trained(factory, inputs, labels, models=3):
    states = []
    for seed in range(models):
        torch.manual_seed(seed)
        model = factory()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return states


@pytest.mark.parametrize(
    ("factory", "examples", "width"),
    [(Whole, noise, 64), (digits_mlp, digits, 24)],
    ids=["whole gradients", "the same sketch"],
)
def test_it_is_what_the_authors_package_computes(tmp_path, factory, examples, width):
    trak = pytest.importorskip("trak")
    from trak.projectors import NoOpProjector
    from trak.score_computers import BasicSingleBlockScoreComputer
    from trak.utils import vectorize

    class Sketch(NoOpProjector):
        def project(self, grads, model_id):
            del model_id
            parameters, signs = leverage._sketch(self.grad_dim, self.proj_dim)
            whole = vectorize(grads, device="cpu")
            return (whole[:, parameters] * torch.tensor(signs)).sum(1)

    class Unscaled(BasicSingleBlockScoreComputer):
        """Of the package's two the one that leaves the scale of each model as it is."""

        def __init__(self, dtype, device, **_):
            self.dtype, self.device = dtype, device

    inputs, labels = examples()
    states = trained(factory, inputs, labels)
    size = sum(each.numel() for each in factory().parameters())
    traker = trak.TRAKer(
        model=factory(),
        task="image_classification",
        train_set_size=len(labels),
        save_dir=str(tmp_path),
        device="cpu",
        projector=Sketch(size, min(size, width)),
        score_computer=Unscaled,
        use_half_precision=False,
        logging_level=100,
    )
    for i, state in enumerate(states):
        traker.load_checkpoint(state, model_id=i)
        traker.featurize([inputs, labels], num_samples=len(labels))
    traker.finalize_features()
    for i, state in enumerate(states):
        traker.start_scoring_checkpoint("self", state, i, len(labels))
        traker.score([inputs, labels], num_samples=len(labels))
    expected = np.diagonal(traker.finalize_scores("self"))

    weights = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    said = logits(factory, weights, inputs, "looped").numpy()
    confidence = scaled_confidence(said, labels.numpy())
    got = trak_self_influence(
        leverage_scores(factory, weights, inputs, labels, width).numpy(), confidence
    )
    assert expected.max() > 4 * expected.min() > 0
    np.testing.assert_allclose(got, expected, rtol=1e-4)
