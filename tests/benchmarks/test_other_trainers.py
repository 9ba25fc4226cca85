"""What each way to train many small models costs: models per second on digits-mlp, in one run.

- the loop of published scripts: `Subset`, `DataLoader`, one model after another;
- scikit-learn's `MLPClassifier`;
- PyTorch's ensembling recipe, `vmap(grad)` over stacked parameters;
- `train_shadows`, with the share of the machine's own rate for the products of a training step.

Ways take turns, so that a busy machine slows all. Recipe and subsets are the same.
"""

import statistics
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional
from torch.utils.data import DataLoader, Subset, TensorDataset

from benchsuite.machine import cores
from benchsuite.shadows import train_shadows
from benchsuite.shadows.design import Balanced
from benchsuite.subject import load_subject
from tests.benchmarks.measured import (
    arithmetic,
    gigaflop_of_a_model,
    highest,
    matrix_rates,
    usual_gigaflop_of_a_model,
)

pytestmark = pytest.mark.benchmark(group="training")

ROUNDS, MODELS = 3, 512
SUBJECT = load_subject("digits-mlp")
RECIPE = SUBJECT.recipe
INPUTS, LABELS = torch.tensor(SUBJECT.pool.inputs()), torch.tensor(SUBJECT.pool.labels)
TEST_INPUTS, TEST_LABELS = torch.tensor(SUBJECT.test.inputs()), torch.tensor(SUBJECT.test.labels)


def subsets(models):
    return [np.flatnonzero(row) for row in Balanced(len(LABELS)).rows(0, models)]


def accuracy(said):
    return float((said == TEST_LABELS).float().mean())


def with_dataloader(models):
    right = []
    for subset in subsets(models):
        model = SUBJECT.model()
        optimizer = torch.optim.SGD(model.parameters(), RECIPE.learning_rate, RECIPE.momentum)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, RECIPE.steps(len(subset)))
        data = Subset(TensorDataset(INPUTS, LABELS), subset.tolist())
        for _ in range(RECIPE.epochs):
            for inputs, labels in DataLoader(data, RECIPE.batch_size, shuffle=True):
                optimizer.zero_grad()
                functional.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
                schedule.step()
        right.append(accuracy(model(TEST_INPUTS).argmax(1)))
    return statistics.mean(right)


def with_scikit_learn(models):
    """At a constant rate, for it has no cosine."""
    right = []
    flat, labels = INPUTS.flatten(1).numpy(), LABELS.numpy()
    for subset in subsets(models):
        classifier = MLPClassifier(
            (128,),
            solver="sgd",
            alpha=0,
            batch_size=RECIPE.batch_size,
            learning_rate_init=RECIPE.learning_rate,
            momentum=RECIPE.momentum,
            nesterovs_momentum=False,
            max_iter=RECIPE.epochs,
            n_iter_no_change=RECIPE.epochs,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(flat[subset], labels[subset])
        said = classifier.predict(TEST_INPUTS.flatten(1).numpy())
        right.append(accuracy(torch.tensor(said)))
    return statistics.mean(right)


def with_vmap(models):
    members = torch.tensor(np.stack(subsets(models)))
    template = SUBJECT.model()
    weights, _ = stack_module_state([SUBJECT.model() for _ in range(models)])
    weights = {name: tensor.detach() for name, tensor in weights.items()}
    velocity = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}

    def loss(parameters, inputs, labels):
        return functional.cross_entropy(functional_call(template, parameters, inputs), labels)

    gradients_of, step, steps = vmap(grad(loss)), 0, RECIPE.steps(members.shape[1])
    for _ in range(RECIPE.epochs):
        order = members.gather(1, torch.rand(members.shape).argsort(1))
        for batch in order.split(RECIPE.batch_size, dim=1):
            gradients = gradients_of(weights, INPUTS[batch], LABELS[batch])
            rate = RECIPE.learning_rate_at(step, steps)
            for name, gradient in gradients.items():
                velocity[name].mul_(RECIPE.momentum).add_(gradient)
                weights[name].sub_(velocity[name], alpha=rate)
            step += 1
    said = vmap(lambda parameters: functional_call(template, parameters, TEST_INPUTS))(weights)
    return statistics.mean(accuracy(each) for each in said.argmax(2))


def test_what_each_way_to_train_costs(benchmark, tmp_path, capsys):
    ways = {
        "Subset and DataLoader": (with_dataloader, 3),
        "scikit-learn's MLPClassifier": (with_scikit_learn, 3),
        "vmap(grad), 64 models": (with_vmap, 64),
    }
    speeds = {name: [] for name in (*ways, f"train_shadows, {MODELS} models")}
    rights, rates, banks = {name: [] for name in speeds}, [], []

    def others():
        rates.append(matrix_rates(SUBJECT))
        for name, (way, models) in ways.items():
            started = time.perf_counter()
            rights[name].append(way(models))
            speeds[name].append(models / (time.perf_counter() - started))
        return (tmp_path / str(len(rates)),), {}

    def ours(folder):
        banks.append(train_shadows(SUBJECT, MODELS, folder=folder, device="cpu"))

    with pytest.MonkeyPatch.context() as patch:  # workers start, as they do in longer trainings
        patch.setattr("benchsuite.shadows.local.WORTH_PROCESSES", 0)
        train_shadows(SUBJECT, 128, folder=tmp_path / "warm", device="cpu")
    benchmark.pedantic(ours, setup=others, rounds=ROUNDS)
    *_, name = speeds
    speeds[name] = [bank.fill.models_trained / bank.fill.seconds for bank in banks]
    rights[name] = [float(bank.column("test", "correct").mean()) for bank in banks]
    peaks = {
        f"{at_once} models by {by}": statistics.median(of[at_once][by] for of in rates)
        for at_once, each in rates[0].items()
        for by in each
    }

    def share(gigaflop_of_one):
        """Of the highest rate in the same round, the median."""
        return statistics.median(
            speed * gigaflop_of_one / highest(of)
            for speed, of in zip(speeds[name], rates, strict=True)
        )

    computed = share(gigaflop_of_a_model(SUBJECT))
    usual = share(usual_gigaflop_of_a_model(SUBJECT))
    measured = arithmetic(
        SUBJECT, statistics.median(speeds[name]), statistics.median(map(highest, rates))
    )
    with capsys.disabled():
        print(f"\ndigits-mlp on {cores()} cores, {ROUNDS} rounds: models/s, median (least to most)")
        for each, values in speeds.items():
            print(
                f"  {each:30} {statistics.median(values):6.1f} ({min(values):.1f} to "
                f"{max(values):.1f}), accuracy {statistics.mean(rights[each]):.3f}"
            )
        rated = "; ".join(f"{each} {rate:.0f}" for each, rate in peaks.items())
        print(f"  products alone, GFLOP/s, at once: {rated}")
        print(
            f"  train_shadows does {measured['gflop_per_second']:.0f} GFLOP/s, {computed:.0%} of "
            f"the highest; {usual:.0%} as usually counted, 6 FLOP a weight and example"
        )
    benchmark.extra_info |= measured | {
        "subject": SUBJECT.name,
        "models": MODELS,
        "models_per_second": {k: round(statistics.median(v), 2) for k, v in speeds.items()},
        "accuracy": {k: round(statistics.mean(v), 4) for k, v in rights.items()},
        "share_of_peak": round(computed, 3),
        "model_flops_utilization": round(usual, 3),
        "products_gflop_per_second": {each: round(rate, 1) for each, rate in peaks.items()},
        "execution": str(banks[0].execution),
    }
    assert min(map(min, rights.values())) > 0.9  # each of them learns
    fastest_other = max(statistics.median(speeds[each]) for each in ways)
    assert statistics.median(speeds[name]) > fastest_other
