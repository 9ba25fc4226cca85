"""Which execution is the fastest: a few steps of each, timed once a model, recipe and machine."""

import gc
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchsuite.machine import cores, machine
from benchsuite.shadows.design import Design
from benchsuite.shadows.execution import Execution, exact_on_cuda, threads
from benchsuite.shadows.jobs import training_job
from benchsuite.shadows.shards import BankError, lock, write_atomically
from benchsuite.subject import Subject
from benchsuite.training import SEMANTICS, train
from benchsuite.training.flop import flop_per_example

WORTH_SECONDS = 30.0
"""Seconds of training from which on it is worth to try others than the first execution."""
WORTH_CHANGING = 1.1
"""By how much another must be faster than the first: below that it is noise that chooses."""

_FLOP_PER_SECOND = 5e10
"""Of one core, more than it does: banks below `WORTH_SECONDS` even at this are not timed at all."""
_SECONDS = 0.4
_STEPS = 20
_TOO_SLOW = 4.0  # times the fastest so far: not timed to the end

Say = Callable[[str], None]
"""Is told a line, for whoever waits."""


class _EnoughError(Exception):
    """Steps were timed."""


@dataclass(frozen=True)
class Timed:
    """One execution and how fast it trains.

    Attributes:
        execution: with a smaller stack than was asked for where the device's memory was too small.
        models_per_second: of the whole machine, by the time of single steps; of one thread a model
            as many times that of one core as there are, which share its memory and so do less.
    """

    execution: Execution
    models_per_second: float


def fastest(
    subject: Subject,
    design: Design,
    ways: Sequence[Execution],
    models: int,
    folder: Path,
    say: Say,
) -> Execution:
    """The execution to train so many models with, from `calibration.json` below `folder` or timed.

    The first way is taken untimed for little work, and where no other is 10 % faster.

    Args:
        subject: to train.
        design: of its bank.
        ways: to compute it, see `benchsuite.shadows.execution.executions`.
        models: to be trained.
        folder: where banks lie.
        say: is told what was timed, and of a stack that did not fit the device's memory.

    Raises:
        BankError: the folder cannot be written.
        BankError: not even one model fits the device's memory.
    """
    examples = int(design.rows(0, 1).sum())
    if ways[0].device.startswith("cpu"):
        shape = subject.pool.inputs().shape[1:]
        flop = flop_per_example(subject.model, shape)
        whole = models * subject.recipe.epochs * examples * (flop or float("inf"))
        if len(ways) == 1 or whole / (cores() * _FLOP_PER_SECOND) < WORTH_SECONDS:
            return ways[0]
    path, key = folder / "calibration.json", _key(subject, examples, ways)
    here = machine(ways[0].device)
    entries = _read(path, say).get(key, [])
    for entry in entries:
        if entry["machine"] == here:
            return Execution(**entry["execution"])
    if entries:
        known = entries[-1]["machine"]["processor"]
        say(f"{path.name} has timings of another machine or other versions ({known}): timed anew")
    timed = time_all(subject, design, ways, models, say)
    chosen = timed[0]
    best = max(timed, key=lambda each: each.models_per_second)
    if best.models_per_second > WORTH_CHANGING * chosen.models_per_second:
        chosen = best
    say(f"trained {chosen.execution}" + _compared(timed, chosen))
    entry = {
        "model": subject.name,
        "machine": here,
        "execution": asdict(chosen.execution),
        "models_per_second": {str(t.execution): round(t.models_per_second, 3) for t in timed},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder, "calibration", wait=True):
        known = _read(path, lambda _: None)
        known[key] = [*known.get(key, []), entry]
        write_atomically(path, (json.dumps(known, indent=2, sort_keys=True) + "\n").encode())
    return chosen.execution


def _compared(timed: Sequence[Timed], chosen: Timed) -> str:
    others = [each for each in timed if each is not chosen]
    if not others:
        return ""
    best = max(others, key=lambda each: each.models_per_second)
    ratio = chosen.models_per_second / best.models_per_second
    return f": {ratio:.1f} times as fast as {best.execution}, the next of {len(timed)} timed"


def time_all(
    subject: Subject, design: Design, ways: Sequence[Execution], models: int, say: Say
) -> list[Timed]:
    """Time the ways, the first one first; only that one if it trains the models in a short time.

    One that fails, for want of a compiler or of a kernel, is left out.

    Raises:
        Exception: of the first, if none could be timed.
    """
    timed: list[Timed] = []
    failed: Exception | None = None
    for way in ways:
        best = max((each.models_per_second for each in timed), default=0.0)
        if timed and models / timed[0].models_per_second < WORTH_SECONDS:
            break
        if way.launch == "compiled" and timed and models / best < 20 * WORTH_SECONDS:
            continue  # to compile takes a minute
        try:
            timed.append(time_one(subject, design, way, best, say))
        except _TooSlowError:
            continue
        except Exception as error:  # of whatever library computes this way
            failed = failed or error
            say(f"{way} is left out: {str(error).partition(chr(10))[0]}")
    if not timed:
        assert failed is not None
        raise failed
    return timed


class _TooSlowError(Exception):
    """Another is much faster."""


def time_one(
    subject: Subject, design: Design, way: Execution, best: float = 0.0, say: Say = lambda _: None
) -> Timed:
    """Time one way, in smaller stacks where the device's memory is too small for this one.

    Raises:
        _TooSlowError: it trains less than a quarter of `best` models a second.
        BankError: out of memory with a single model.
    """
    while True:
        try:
            return Timed(way, _models_per_second(subject, design, way, best))
        except (torch.OutOfMemoryError, MemoryError) as error:
            if way.stack == 1:
                raise BankError(
                    f"one model of {subject.name} does not fit the memory of {way.device}: use a "
                    "smaller batch_size, or another device"
                ) from error
            smaller = replace(way, stack=way.stack // 2)
            say(f"{way} does not fit the memory of {way.device}: {smaller} is tried")
            way = smaller
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _models_per_second(subject: Subject, design: Design, way: Execution, best: float) -> float:
    """By a few epochs of few steps: of one on a CPU, of eight where launches run ahead."""
    stack = min(way.stack, design.block)
    device = torch.device(way.device)
    inputs = torch.tensor(subject.pool.inputs(), device=device)
    begins: list[float] = []
    warm = 5 if way.launch == "graph" else 1  # a graph is recorded in the fourth
    examples = int(design.rows(0, 1).sum())
    part = min(examples, subject.recipe.batch_size * (8 if device.type == "cuda" else 1))
    of_all = subject.recipe.steps(examples) / subject.recipe.steps_of_epoch(part)

    def rate(of_epoch: float) -> float:
        return way.at_once * stack / (of_epoch * of_all)

    def before_epoch() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        begins.append(time.perf_counter())
        if len(begins) > warm + 1 and best and rate(begins[-1] - begins[-2]) < best / _TOO_SLOW:
            raise _TooSlowError
        count = len(begins) - 1 - warm
        if count >= 1 and (begins[-1] - begins[warm] > _SECONDS or count >= _STEPS):
            raise _EnoughError

    job = training_job(design, subject, range(stack), inputs, before_epoch)
    recipe = replace(subject.recipe, epochs=10**6, early_stopping=None)
    job = replace(job, subsets=job.subsets[:, :part], recipe=recipe)
    try:
        with threads(way.threads), exact_on_cuda(way.device, way.precision):
            train(job, way.engine)
    except _EnoughError:
        epochs = [end - begin for begin, end in pairwise(begins[warm:])]
        return rate(statistics.median(epochs))  # what else the machine did meanwhile is left out
    raise AssertionError("it has no last epoch")


def _key(subject: Subject, examples: int, ways: Sequence[Execution]) -> str:
    """Of what the time of a step depends on, beside the machine."""
    identity: dict[str, Any] = {
        "model": subject.model_identity(),
        "recipe": asdict(subject.recipe),
        "inputs": subject.pool.inputs().shape[1:],
        "examples": examples,
        "ways": [asdict(way) for way in ways],
        "semantics": SEMANTICS,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path, say: Say) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text())
        for entry in (entry for entries in known.values() for entry in entries):
            Execution(**entry["execution"])
            entry["machine"]["processor"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        say(f"{path} cannot be read ({error}): timed anew")
        return {}
    return dict(known)
