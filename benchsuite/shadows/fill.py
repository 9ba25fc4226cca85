"""Filling a bank: train the models that are missing and write down what they say."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from benchsuite.data.dataset import Dataset
from benchsuite.shadows.bank import Fill, ShadowBank
from benchsuite.shadows.calibration import fastest
from benchsuite.shadows.columns import COLUMNS, Column, probes_of
from benchsuite.shadows.design import Balanced, Design
from benchsuite.shadows.execution import Execution, check_device, executions
from benchsuite.shadows.local import LocalTrainer
from benchsuite.shadows.shards import (
    BankError,
    Header,
    check_shard,
    lock,
    read_shard,
    remove_shards,
    shard_path,
    sync_folder,
    write_shard,
)
from benchsuite.shadows.tasks import ExecutorTrainer, check_named
from benchsuite.shadows.work import Trained, Values, Work
from benchsuite.shadows.workers import check_not_serving
from benchsuite.subject import Subject
from benchsuite.training import Precision, Strategy

Progress = Callable[[int, int, int, float], None]
"""Called by a thread of this process after every stack: models done, models in all, models trained
in this call, seconds so far."""

KEEP_WEIGHTS_BELOW = 1024**2
"""Bytes of weights per model up to which they are kept: a later column then needs no training."""


class Trainer(Protocol):
    """Trains and asks models; whoever calls it, in threads of this process, writes them down.

    Attributes:
        shards_at_once: how many shards shall be out at once, a thread for each.
    """

    shards_at_once: int

    def train(self, first: int, last: int, count: Callable[[int], None]) -> Trained:
        """Train the models first to last - 1; `count` is told how many are done, part by part.

        The weights of models of more than `KEEP_WEIGHTS_BELOW` may be left out.
        """

    def ask(
        self, columns: tuple[Column, ...], first: int, weights: dict[str, NDArray[Any]]
    ) -> Values:
        """What models say whose weights are kept, from `first` on."""

    def close(self) -> None:
        """End what is still being trained, soon, and let go of all that was held for it."""


def train_shadows(
    subject: Subject,
    models: int,
    *,
    folder: str | Path = ".banks",
    columns: Sequence[str] = COLUMNS,
    probes: Mapping[str, Dataset] | None = None,
    seed: int | None = None,
    design: Design | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    strategy: Strategy | None = None,
    precision: Precision | None = None,
    executor: Executor | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ShadowBank:
    """Train `models` shadow models of a subject, each on its own subset, into a bank.

    Models that the bank below `folder` already holds are not trained again, whoever trained them;
    a call that was killed goes on where it was. Several processes may run the same call at once.
    Longer trainings of stacks on a CPU start a process a core, which later calls use too.

    A column that the bank lacks is asked of the kept weights. Where they are not kept, for a model
    of more than 1 MiB, and for a column of a moment, such as "pool.loss@5" at the end of epoch 5,
    its models are trained again, and the columns that the former ones said and this call does not
    ask for are removed: a bank never mixes two trainings. Ask for all at once.

    Args:
        subject: what to train.
        models: how many, a multiple of the design's block (64 at a share of one half).
        folder: where banks lie; each subject, design and seed has a folder of its own in it.
        columns: what to write down, as "probe.what" of the trained models or "probe.what@epoch" at
            the end of an epoch from 1: see `ShadowBank.column`.
        probes: further examples to ask the models about, by name, beside the subject's own, "pool",
            "test" and, where it has them, "validation".
        seed: of initial weights, order of batches and subsets; None takes the design's, or 0.
        design: who is IN; None is `Balanced`. Given, its share and seed hold, not the subject's.
        device: to train on; None takes the bank's own, or for a new bank CUDA where there is one.
        progress: told how far it is.
        strategy: "dense", "stacked" or "looped"; None takes the bank's own, or for a new bank the
            fastest: where training takes long, a few steps of each way to compute these models are
            timed, once a machine, and `calibration.json` in `folder` keeps the times.
        precision: of products while models train, "float32", "tf32" or "bf16"; None takes the
            bank's own, or for a new bank float32. What trained models say is float32 in all.
        executor: trains parts of shards, anywhere, for this process to write; None trains here.
            Any `concurrent.futures.Executor` whose workers have benchsuite, and what the subject
            imports, of the same versions: see `benchsuite.shadows.executors`. Nothing is timed.
        say: told in a line how a new bank's models are computed, where that was measured.

    Returns:
        The bank's first `models` models; `bank.fill` says what was trained.

    Raises:
        ValueError: `models` is no int or no multiple of the block, an unknown column, probe, epoch,
            device, strategy or precision, or one that these models cannot be trained with, a
            divergence of a probe without groups of the same images, "correct" at an epoch of a
            recipe that stops early, a design that cannot be balanced, is not over the subject's
            pool, has another seed than `seed` or is `Joining` without a private recipe, models
            whose outputs are not finite, of which nothing is written, or a subject that cannot be
            pickled for an executor.
        BankError: the bank cannot be written, holds files that are not its own or columns of
            another probe, was made by another manifest, on another device, by another strategy or
            at another precision, or the device's memory does not hold a stack of it.
        ExecutorError: the executor lost a part, or its workers cannot do it; run it again.
    """
    check_not_serving()
    if design is None:
        design = Balanced(len(subject.pool), subject.share, 0 if seed is None else seed)
    elif seed not in (None, design.seed):
        raise ValueError(f"seed={seed!r}, but the design's is {design.seed}: leave seed out")
    if not isinstance(models, Integral):
        raise ValueError(f"models={models!r} must be an int, a multiple of {design.block}")
    if models < 1 or models % design.block:
        near = max(design.block, models // design.block * design.block)
        raise ValueError(
            f"models={models} is not a multiple of {design.block}, the block in which every "
            f"example is IN equally often: use {near} or {near + design.block}"
        )
    asked = probes_of(subject, probes or {}, columns)
    if device is not None:
        check_device(device) if executor is None else check_named(device)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    ways = executions(subject, chosen, precision or "float32", strategy)

    def choose() -> Execution:
        if executor is not None:  # what is fast there, nothing here can time
            return ways[0]
        return fastest(subject, design, ways, models, Path(folder), say)

    bank = ShadowBank.for_subject(Path(folder), subject, design, choose)
    for name, asked_for in (("device", device), ("strategy", strategy), ("precision", precision)):
        own = getattr(bank.execution, name)
        if asked_for not in (None, own):
            raise BankError(
                f"{name}={asked_for!r}, but the bank {bank.folder} was made with {name}={own!r}: "
                "use that, or choose another folder with --banks"
            )
    filler = _Filler(bank, subject, asked, columns, progress, executor)
    return ShadowBank(bank.folder, bank.manifest, models, filler.fill(models))


class _Filler:
    def __init__(
        self,
        bank: ShadowBank,
        subject: Subject,
        probes: Mapping[str, Dataset],
        columns: Sequence[str],
        progress: Progress | None,
        executor: Executor | None,
    ) -> None:
        self._bank = bank
        asked = tuple(Column.parse(name) for name in columns)
        self._work = Work(subject, bank.design, bank.execution, probes, asked)
        self._progress = progress
        self._executor = executor
        self._ending = threading.Event()
        self._counting = threading.Lock()
        self._trained = self._done = self._total = 0
        self._started = 0.0

    def fill(self, models: int) -> Fill:
        self._started = time.perf_counter()
        left = [first for first in range(0, models, self._block) if self._missing(first)]
        self._total, self._done = models, models - self._block * len(left)
        if left:
            self._fill_shards(left)
        seconds = time.perf_counter() - self._started
        return Fill(self._trained, models - self._trained, seconds)

    def _new_trainer(self) -> Trainer:
        if self._executor is None:
            check_device(self._bank.execution.device)
            return LocalTrainer(self._work, self._go_on, self._seconds_left)
        return ExecutorTrainer(self._work, self._go_on, self._executor, KEEP_WEIGHTS_BELOW)

    def _fill_shards(self, left: list[int]) -> None:
        self._trainer = self._new_trainer()
        threads_before = torch.get_num_threads()
        shards = ThreadPoolExecutor(
            self._trainer.shards_at_once,
            initializer=torch.set_num_threads,
            initargs=(self._bank.execution.threads,),
        )
        try:
            while left:
                futures = {shards.submit(self._fill_shard, first): first for first in left}
                for future in wait_for(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
                left = [first for future, first in futures.items() if not future.result()]
                if left:  # other processes are at these: look again soon
                    time.sleep(0.2)
        finally:
            self._ending.set()
            self._trainer.close()
            shards.shutdown(cancel_futures=True)
            torch.set_num_threads(threads_before)

    def _go_on(self) -> None:
        if self._ending.is_set():
            raise RuntimeError("the fill ended early: see the error in the main thread")

    @property
    def _block(self) -> int:
        return self._bank.design.block

    def _missing(self, first: int) -> list[str]:
        """Columns that this shard lacks; those that it has are checked to be this bank's."""
        missing = []
        for column in ("membership", *map(str, self._work.columns)):
            path = self._path(column, first)
            if path.exists():
                check_shard(path, self._header(column, first))
            else:
                missing.append(column)
        return missing

    def _path(self, column: str, first: int) -> Path:
        return shard_path(self._bank.folder, column, first, first + self._block)

    def _fill_shard(self, first: int) -> bool:
        """Whether the shard is filled now; another process may be at it."""
        self._go_on()
        with lock(self._bank.folder, f"{first:06d}", wait=False) as held:
            if held:
                self._fill_held_shard(first)
        return held

    def _fill_held_shard(self, first: int) -> None:
        missing = self._missing(first)
        if not missing:  # another process filled it meanwhile
            self._count(self._block, trained=0)
            return
        columns = self._work.columns
        # Only training shows moments.
        again = any(str(column) in missing for column in columns if column.epoch is not None)
        weights = None if again else self._kept_weights(first)
        if weights is None:
            trained = self._trainer.train(first, first + self._block, self._count_trained)
            values = trained.values
            # What other models said goes before what these say comes: a bank never mixes trainings.
            remove_shards(self._bank.folder, first, first + self._block)
            if trained.weights and trained.bytes_per_model <= KEEP_WEIGHTS_BELOW:
                self._write("weights", first, trained.weights)
        else:
            lacking = tuple(column for column in columns if str(column) in missing)
            self._go_on()
            values = self._trainer.ask(lacking, first, weights)
            self._count(self._block, trained=0)
        for column, said in values.items():
            self._write(str(column), first, {column.what: said})
        # Membership comes last: a shard counts as held once it is there.
        rows = self._bank.design.rows(first, first + self._block)
        self._write("membership", first, {"membership": rows})
        sync_folder(self._bank.folder)

    def _kept_weights(self, first: int) -> dict[str, NDArray[Any]] | None:
        path = self._path("weights", first)
        return read_shard(path, self._header("weights", first)) if path.exists() else None

    def _seconds_left(self) -> float:
        """At the rate so far; 0 where nothing was trained yet."""
        seconds = time.perf_counter() - self._started
        return seconds / self._trained * (self._total - self._done) if self._trained else 0.0

    def _count_trained(self, models: int) -> None:
        self._count(models, trained=models)

    def _count(self, done: int, trained: int) -> None:
        with self._counting:
            self._done += done
            self._trained += trained
            if self._progress is not None:
                seconds = time.perf_counter() - self._started
                self._progress(self._done, self._total, self._trained, seconds)

    def _header(self, column: str, first: int) -> Header:
        header = self._bank.header(column, first)
        probe, dot, _ = column.partition(".")
        return {**header, "probe": self._work.probes[probe].digest} if dot else header

    def _write(self, column: str, first: int, arrays: dict[str, NDArray[Any]]) -> None:
        write_shard(self._path(column, first), arrays, self._header(column, first))
