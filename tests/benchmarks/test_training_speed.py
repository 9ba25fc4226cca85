"""Models per second of `train_shadows` by strategy, beside the plain PyTorch loop in the same run.

The loop is what a competent user writes: ordinary modules, tensors indexed in place, no DataLoader,
at its better thread count of one and all cores. Rounds alternate, so that a busy machine slows
both. Stacks use one thread a core, each in a process of its own once these are started; the loop in
one process a core is shown beside them.
"""

import itertools
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from benchsuite.machine import cores
from benchsuite.shadows import train_shadows
from benchsuite.shadows.design import Balanced
from benchsuite.subject import Subject, load_subject

pytestmark = pytest.mark.benchmark(group="training")


def plain_loop(subject: Subject, models: range, device: str = "cpu") -> float:
    """Train the models one by one and return their mean accuracy on the test examples."""
    recipe = subject.recipe
    inputs = torch.tensor(subject.pool.inputs(), device=device)
    labels = torch.tensor(subject.pool.labels, device=device)
    test_inputs = torch.tensor(subject.test.inputs(), device=device)
    test_labels = torch.tensor(subject.test.labels, device=device)
    right = []
    for seed in models:
        torch.manual_seed(seed)
        (row,) = Balanced(len(subject.pool), subject.share).rows(seed, seed + 1)
        subset = torch.tensor(np.flatnonzero(row), device=device)
        model: nn.Module = subject.model().to(device)
        optimizer = torch.optim.SGD(
            model.parameters(), recipe.learning_rate, recipe.momentum, fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps(len(subset)))
        for _ in range(recipe.epochs):
            order = subset[torch.randperm(len(subset), device=device)]
            for batch in order.split(recipe.batch_size):
                loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            right.append((model.eval()(test_inputs).argmax(1) == test_labels).float().mean())
    return float(torch.stack(right).mean())


def loop_in_every_core(name: str, models: int) -> float:
    """Models per second of one single-threaded process a core, the start not counted."""
    command = [sys.executable, __file__, name, str(models)]
    processes = [
        subprocess.Popen(
            [*command, str(i * models)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for i in range(cores())
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    started = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert not any(process.returncode for process in processes)
    return models * cores() / (time.perf_counter() - started)


@dataclass
class Loop:
    """Rounds of the plain loop in one process, on new models each."""

    subject: Subject
    models: int
    device: str = "cpu"
    speeds: dict[int, list[float]] = field(default_factory=dict)
    accuracies: list[float] = field(default_factory=list)
    begin: int = 0

    def round(self) -> None:
        before = torch.get_num_threads()
        for threads in sorted({1, cores()}) if self.device == "cpu" else (before,):
            torch.set_num_threads(threads)
            started = time.perf_counter()
            models = range(self.begin, self.begin + self.models)
            self.accuracies.append(plain_loop(self.subject, models, self.device))
            speed = self.models / (time.perf_counter() - started)
            self.speeds.setdefault(threads, []).append(speed)
            self.begin += self.models
        torch.set_num_threads(before)

    def best(self) -> list[float]:
        return max(self.speeds.values(), key=statistics.median)


def compare(benchmark, tmp_path, capsys, name, *, strategy=None, models, loops, rounds):
    """`train_shadows` against the loop; returns the median ratio and notes everything about it."""
    subject = load_subject(name)
    loop, folders, banks = Loop(subject, loops), itertools.count(), []

    def trained(folder):
        banks.append(train_shadows(subject, models, folder=folder, device="cpu", strategy=strategy))

    def setup():
        loop.round()
        return (tmp_path / str(next(folders)),), {}

    with pytest.MonkeyPatch.context() as patch:  # workers start, as they do in longer trainings
        patch.setattr("benchsuite.shadows.local.WORTH_PROCESSES", 0)
        trained(tmp_path / "warm")
    plain_loop(subject, range(1))
    banks.clear()
    benchmark.pedantic(trained, setup=setup, rounds=rounds)
    execution = banks[0].execution
    assert strategy in (None, execution.strategy)
    speeds = [models / bank.fill.seconds for bank in banks]
    ratio = statistics.median(s / p for s, p in zip(speeds, loop.best(), strict=True))
    accuracy = float(banks[0].column("test", "correct").mean())
    loop_accuracy = statistics.mean(loop.accuracies)
    every_core = loop_in_every_core(name, loops)

    def shown(values):
        return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"

    lines = [
        f"{name}, {rounds} rounds: models/s, median (least to most)",
        f"  train_shadows, {models} models, {execution}   {shown(speeds)}, accuracy {accuracy:.4f}",
        *(
            f"  plain loop, {loops} models, {threads} thread(s)  {shown(values)}"
            for threads, values in loop.speeds.items()
        ),
        f"  accuracy of the loop {loop_accuracy:.4f}; ratio to its better thread count {ratio:.2f}",
        f"  plain loop in {cores()} processes of one thread each  {every_core:.1f}",
    ]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    benchmark.extra_info |= {
        "subject": name,
        "models": models,
        "models_per_second": {str(execution): round(statistics.median(speeds), 2)},
        "loop_models_per_second": {
            str(k): round(statistics.median(v), 2) for k, v in loop.speeds.items()
        },
        "loop_in_every_core_models_per_second": round(every_core, 2),
        "ratio": round(ratio, 2),
        "accuracy": {str(execution): round(accuracy, 4)},
        "loop_accuracy": round(loop_accuracy, 4),
    }
    assert accuracy == pytest.approx(loop_accuracy, abs=0.01)
    return ratio


def test_perceptrons_are_trained_six_times_as_fast_as_by_the_loop(benchmark, tmp_path, capsys):
    ratio = compare(benchmark, tmp_path, capsys, "digits-mlp", models=128, loops=6, rounds=3)
    assert ratio >= 6


def test_convolutional_networks_are_trained_two_and_a_half_times_as_fast(
    benchmark, tmp_path, capsys
):
    ratio = compare(benchmark, tmp_path, capsys, "digits-cnn", models=128, loops=4, rounds=2)
    assert ratio >= 2.5


@pytest.mark.parametrize(
    ("name", "strategy"),
    [("digits-mlp", "stacked"), ("digits-mlp", "looped"), ("digits-cnn", "looped")],
)
def test_what_another_strategy_would_cost(benchmark, tmp_path, capsys, name, strategy):
    compare(benchmark, tmp_path, capsys, name, strategy=strategy, models=64, loops=2, rounds=1)


def test_1024_mlps_are_trained_into_an_empty_bank_within_a_minute(benchmark, tmp_path):
    def fill():
        return train_shadows(load_subject("digits-mlp"), 1024, folder=tmp_path, device="cpu")

    bank = benchmark.pedantic(fill, rounds=1)
    assert bank.fill.models_trained == 1024
    assert bank.fill.seconds < 60


if __name__ == "__main__":
    torch.set_num_threads(1)
    which, count, first = load_subject(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    plain_loop(which, range(1))
    print("ready", flush=True)
    sys.stdin.readline()
    plain_loop(which, range(first, first + count))
