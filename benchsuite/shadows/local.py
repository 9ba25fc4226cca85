"""Training of a bank in this process and on this machine: in threads, and in worker processes."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import torch
from numpy.typing import NDArray

from benchsuite.shadows.columns import Column
from benchsuite.shadows.work import Trained, Values, Work, joined
from benchsuite.shadows.workers import (
    NoWorkerError,
    Worker,
    forget_work,
    idle_worker,
    pickled,
    put_back,
)

WORTH_PROCESSES = 10.0
"""Seconds of training left, at the rate so far, for which worker processes are started.

Once started they serve every later bank."""


class LocalTrainer:
    """Trains stack by stack, on all cores; a `benchsuite.shadows.fill.Trainer`.

    Args:
        work: to do.
        go_on: raises once all shall end.
        seconds_left: of the whole fill, at the rate so far; 0 where nothing was trained yet.
    """

    def __init__(
        self, work: Work, go_on: Callable[[], None], seconds_left: Callable[[], float]
    ) -> None:
        execution = work.execution
        self.shards_at_once = execution.at_once
        self._work, self._go_on, self._seconds_left = work, go_on, seconds_left
        self._lending = threading.Lock()
        self._busy: set[Worker] = set()
        self._by_workers = execution.at_once > 1  # whether they may train
        self._pickled: bytes | None = None  # the work, once a worker needs it
        self._closed = False
        work.hold_inputs()
        # One pool for the stacks of all shards, so that no core waits for the last shard.
        self._stacks = ThreadPoolExecutor(
            self.shards_at_once, initializer=torch.set_num_threads, initargs=(execution.threads,)
        )

    def train(self, first: int, last: int, count: Callable[[int], None]) -> Trained:
        """Train the models first to last - 1, stack by stack."""
        stack = self._work.execution.stack

        def train_stack(begin: int) -> Trained:
            end = min(begin + stack, last)
            trained = self._train_stack(begin, end)
            count(end - begin)
            return trained

        stacks = [self._stacks.submit(train_stack, begin) for begin in range(first, last, stack)]
        # Not `concurrent.futures.wait`, which is not told of what `close` cancels.
        ended: SimpleQueue[Future[Trained]] = SimpleQueue()
        for each in stacks:
            each.add_done_callback(ended.put)
        for _ in stacks:
            ended.get().result()  # an error surfaces while others train
        return joined([each.result() for each in stacks])

    def ask(
        self, columns: tuple[Column, ...], first: int, weights: dict[str, NDArray[Any]]
    ) -> Values:
        """What models say whose weights are kept."""
        return self._work.ask(columns, first, self._work.to_device(weights))

    def close(self) -> None:
        """Make all threads end soon, and the workers that train for them now."""
        with self._lending:
            self._closed = True
            for worker in self._busy:
                worker.kill()
        self._stacks.shutdown(cancel_futures=True)
        if self._pickled is not None:
            forget_work()

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
                    if self._closed:  # after those that are busy were killed
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
