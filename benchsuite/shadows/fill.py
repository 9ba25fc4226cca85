"""Filling a bank: train the models that are missing and write down what they say."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchsuite.data.dataset import Dataset
from benchsuite.shadows.bank import Fill, ShadowBank
from benchsuite.shadows.columns import COLUMNS, Column, probes_of
from benchsuite.shadows.design import Balanced, Design
from benchsuite.shadows.execution import check_device, cores, exact_on_cuda, execution_for
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
from benchsuite.shadows.work import Trained, Work
from benchsuite.shadows.workers import (
    NoWorkerError,
    Worker,
    check_not_serving,
    forget_work,
    idle_worker,
    pickled,
    put_back,
)
from benchsuite.subject import Subject

Progress = Callable[[int, int, int, float], None]
"""Called by a thread of this process after every stack: models done, models in all, models trained
in this call, seconds so far."""

KEEP_WEIGHTS_BELOW = 1024**2
"""Bytes of weights per model up to which they are kept: a later column then needs no training."""
WORTH_PROCESSES = 10.0
"""Seconds of training left, at the rate so far, for which worker processes are started.

Once started they serve every later bank."""


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

    Returns:
        The bank's first `models` models; `bank.fill` says what was trained.

    Raises:
        ValueError: `models` is no int or no multiple of the block, an unknown column, probe, epoch
            or device, a divergence of a probe without groups of the same images, "correct" at an
            epoch of a recipe that stops early, a design that cannot be balanced, is not over the
            subject's pool, has another seed than `seed` or is `Joining` without a private recipe,
            or models whose outputs are not finite: nothing is written of those.
        BankError: the bank cannot be written, holds files that are not its own or columns of
            another probe, or was made by another manifest or on another device.
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
        check_device(device)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    bank = ShadowBank.for_subject(Path(folder), subject, design, execution_for(subject, chosen))
    if device is not None and device != bank.execution.device:
        raise BankError(
            f"device={device!r}, but the bank {bank.folder} was made on "
            f"{bank.execution.device!r}: use that device, or choose another folder with --banks"
        )
    filler = _Filler(bank, subject, asked, columns, progress)
    return ShadowBank(bank.folder, bank.manifest, models, filler.fill(models))


class _Filler:
    def __init__(
        self,
        bank: ShadowBank,
        subject: Subject,
        probes: Mapping[str, Dataset],
        columns: Sequence[str],
        progress: Progress | None,
    ) -> None:
        self._bank = bank
        asked = tuple(Column.parse(name) for name in columns)
        self._work = Work(subject, bank.design, bank.execution, probes, asked)
        self._progress = progress
        self._ending = threading.Event()
        self._counting = threading.Lock()
        self._trained = self._done = self._total = 0
        self._started = 0.0
        self._lending = threading.Lock()
        self._busy: set[Worker] = set()
        self._by_workers = False  # whether they may train
        self._pickled: bytes | None = None  # the work, once a worker needs it

    def fill(self, models: int) -> Fill:
        self._started = time.perf_counter()
        left = [first for first in range(0, models, self._block) if self._missing(first)]
        self._total, self._done = models, models - self._block * len(left)
        if left:
            with exact_on_cuda(self._bank.execution.device):
                self._fill_shards(left)
        seconds = time.perf_counter() - self._started
        return Fill(self._trained, models - self._trained, seconds)

    def _fill_shards(self, left: list[int]) -> None:
        execution = self._bank.execution
        check_device(execution.device)
        alone = execution.strategy == "looped" or not execution.device.startswith("cpu")
        self._by_workers = not alone
        self._work.hold_inputs()
        threads_before = torch.get_num_threads()
        count = 1 if alone else cores()
        executor, self._trainers = self._threads(count), self._threads(count)
        try:
            while left:
                futures = {executor.submit(self._fill_shard, first): first for first in left}
                for future in wait_for(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
                left = [first for future, first in futures.items() if not future.result()]
                if left:  # other processes are at these: look again soon
                    time.sleep(0.2)
        finally:
            self._end()
            for each in (self._trainers, executor):
                each.shutdown(cancel_futures=True)
            torch.set_num_threads(threads_before)
            if self._pickled is not None:
                forget_work()

    def _threads(self, count: int) -> ThreadPoolExecutor:
        threads = self._bank.execution.threads
        return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads,))

    def _end(self) -> None:
        """Make all threads end soon, and the workers that train for them now."""
        with self._lending:
            self._ending.set()
            for worker in self._busy:
                worker.kill()

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
            trained = self._train(first)
            values = trained.values
            # What other models said goes before what these say comes: a bank never mixes trainings.
            remove_shards(self._bank.folder, first, first + self._block)
            if self._bytes_per_model(trained.weights) <= KEEP_WEIGHTS_BELOW:
                self._write("weights", first, trained.weights)
        else:
            lacking = tuple(column for column in columns if str(column) in missing)
            self._go_on()
            values = self._work.ask(lacking, first, self._work.to_device(weights))
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

    def _train(self, first: int) -> Trained:
        """Train a shard's models, stack by stack."""
        stack = self._bank.execution.stack

        def train_stack(begin: int) -> Trained:
            end = min(begin + stack, first + self._block)
            trained = self._train_stack(begin, end)
            self._count(end - begin, trained=end - begin)
            return trained

        # One pool for the stacks of all shards, so that no core waits for the last shard.
        parts = list(self._trainers.map(train_stack, range(first, first + self._block, stack)))
        weights, values = zip(*parts, strict=True)
        return Trained(_joined(weights), _joined(values))

    def _train_stack(self, first: int, last: int) -> Trained:
        """In a worker process, where one is there or worth its start, else here."""
        self._go_on()
        worker = self._take_worker()
        if worker is not None:
            assert self._pickled is not None
            try:
                return worker.train(self._pickled, first, last)
            except NoWorkerError:
                self._go_on()
                self._by_workers = False
            finally:
                self._give_back(worker)
        return self._work.train(first, last, self._go_on)

    def _take_worker(self) -> Worker | None:
        """One that is there, or worth its start; None where threads must do."""
        if not self._by_workers:
            return None
        worker = idle_worker()
        try:
            if worker is None and self._seconds_left() > WORTH_PROCESSES:
                worker = Worker()
            if worker is not None:
                with self._lending:
                    if self._pickled is None:
                        self._pickled = pickled(self._work)
                    self._busy.add(worker)
                    if self._ending.is_set():  # after those that are busy were killed
                        worker.kill()
        except NoWorkerError:
            self._by_workers = False
            if worker is not None:
                put_back(worker)
            return None
        return worker

    def _give_back(self, worker: Worker) -> None:
        with self._lending:
            self._busy.discard(worker)
        put_back(worker)

    def _seconds_left(self) -> float:
        """At the rate so far; 0 where nothing was trained yet."""
        seconds = time.perf_counter() - self._started
        return seconds / self._trained * (self._total - self._done) if self._trained else 0.0

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

    @staticmethod
    def _bytes_per_model(weights: Mapping[str, NDArray[Any]]) -> int:
        return sum(array[0].nbytes for array in weights.values())


def _joined(parts: Sequence[Mapping[Any, NDArray[Any]]]) -> dict[Any, NDArray[Any]]:
    """Arrays of consecutive models by name, joined."""
    if len(parts) == 1:  # not copied: a large column is held but once
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
