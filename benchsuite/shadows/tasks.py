"""Training of a bank on any executor: what its tasks are, and who waits for them.

A task is some stacks of one shard: an eighth of it, or one stack where that is more. Who dies of
large models then loses minutes, and of small ones there are few tasks to start. It is a pure
function of the pickled work, which has the data in it, and of a range of models; what they say and
their weights come back as its value, so that machines need no common file system.

What goes wrong in training comes back as a value too: an error that the executor itself raises is
then its own.
"""

import hashlib
import pickle
import platform
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import benchsuite
from benchsuite.data.sources import DataUnavailable
from benchsuite.shadows import columns as columns_module
from benchsuite.shadows.clusters import ClusterExecutor, ExecutorError
from benchsuite.shadows.columns import Column
from benchsuite.shadows.execution import check_device
from benchsuite.shadows.work import Trained, Values, Work, joined
from benchsuite.shadows.workers import (
    TORCH_IS_SET,
    NoWorkerError,
    pickled,
    torch_is_as_it_starts,
)
from benchsuite.training import SEMANTICS

TASKS_PER_SHARD = 8
"""At most; each of whole stacks."""
WORKERS = 32
"""Of an executor that does not say how many it has; twice as many tasks are out at once."""

Part = Callable[[Work], Any]


class Outcome(NamedTuple):
    """What a task came to: a value, or an error of the work that it did."""

    value: Any
    error: Exception | None


class ExecutorTrainer:
    """Lets an executor train and ask; a `benchsuite.shadows.fill.Trainer`.

    Args:
        work: to do.
        go_on: raises once all shall end.
        executor: to do it.
        keep: bytes of weights per model up to which they are sent back.

    Raises:
        ValueError: the work cannot be pickled.
    """

    def __init__(
        self, work: Work, go_on: Callable[[], None], executor: Executor, keep: int
    ) -> None:
        self._work, self._go_on, self._executor, self._keep = work, go_on, executor, keep
        try:
            self._pickled = pickled(work)
        except NoWorkerError as error:
            name = work.subject.name
            raise ValueError(f"{name} cannot be trained on an executor: {error}") from error
        self._key = hashlib.blake2b(self._pickled, digest_size=16).hexdigest()
        stack, block = work.execution.stack, work.design.block
        stacks = -(-block // stack)
        self._models = stack * -(-stacks // TASKS_PER_SHARD)  # a task's
        workers = getattr(executor, "_max_workers", WORKERS)
        # Enough shards that no worker waits while the last task of one is being done.
        self.shards_at_once = 1 + 2 * workers // -(-block // self._models)

    def train(self, first: int, last: int, count: Callable[[int], None]) -> Trained:
        """Train the models first to last - 1, in tasks."""
        ranges = [
            (begin, min(begin + self._models, last)) for begin in range(first, last, self._models)
        ]
        parts: list[Part] = [partial(_train, *each, self._keep) for each in ranges]
        sizes = [end - begin for begin, end in ranges]
        return joined(self._values(parts, lambda index: count(sizes[index])))

    def ask(
        self, columns: tuple[Column, ...], first: int, weights: dict[str, NDArray[Any]]
    ) -> Values:
        """What models say whose weights are kept: in a task, for the device is there."""
        (values,) = self._values([partial(_ask, columns, first, weights)], lambda _: None)
        assert isinstance(values, dict)
        return values

    def close(self) -> None:
        """Let go of the work, where the executor's workers are threads of this process."""
        _held.clear()

    def _values(self, parts: list[Part], done: Callable[[int], None]) -> list[Any]:
        """What tasks come to, in the order of `parts`; `done` is told of each as it completes."""
        futures: list[Future[Outcome]] = []
        try:
            for part in parts:
                self._go_on()
                futures.append(self._submit(part))
            left = set(futures)
            while left:
                self._go_on()
                wait_for(left, timeout=0.5, return_when=FIRST_COMPLETED)
                # It is not told of what a shutdown of the executor cancels.
                finished = {future for future in left if future.done()}
                left -= finished
                for future in finished:
                    self._outcome(future)
                    done(futures.index(future))
            return [self._outcome(future) for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _submit(self, part: Part) -> Future[Outcome]:
        execution, executor = self._work.execution, self._executor
        task = part, self._key, self._pickled, _versions()
        try:
            if isinstance(executor, ClusterExecutor):
                gpus = int(execution.device.startswith("cuda"))
                return executor.submit_on(execution.threads, gpus, perform, *task)
            return executor.submit(perform, *task)
        except ExecutorError:
            raise
        except RuntimeError as error:  # it is shut down, or broken
            raise ExecutorError(
                f"{self._name} takes no tasks ({_line(error)}): start another and run the same "
                "again; finished shards are kept"
            ) from error

    def _outcome(self, future: Future[Outcome]) -> Any:
        try:
            value, error = future.result()
        except (CancelledError, Exception) as lost:
            raise ExecutorError(
                f"{self._name} lost a task ({_line(lost)}): its workers need benchsuite, what the "
                "subject imports, and memory; run the same again, finished shards are kept"
            ) from lost
        if error is not None:
            raise error
        return value

    @property
    def _name(self) -> str:
        return type(self._executor).__name__


def _line(error: BaseException) -> str:
    """An error's class, unless it is ours, and the line of its text that says most."""
    ruler = {"-", "="}
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and set(line) - ruler]
    missing = [line for line in lines if line.startswith("ModuleNotFoundError")]
    said = (missing or lines or ["it says no more"])[0]
    return said if isinstance(error, ExecutorError) else f"{type(error).__name__}: {said}"


def check_named(device: str) -> None:
    """Raise a ValueError for what can be no device, on whatever machine."""
    try:
        torch.device(device)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device={device!r} cannot be used anywhere: {reason}") from error


# ---- what runs on a worker -----------------------------------------------------------------------

_held: dict[str, Work] = {}
"""The work of the tasks of late, one at most, by the digest of what it was loaded from."""
_loading = threading.Lock()
_on_cuda = threading.Lock()


def perform(part: Part, key: str, work: bytes, versions: dict[str, str]) -> Outcome:
    """Do a part of the pickled work; a task.

    Args:
        part: what to do.
        key: digest of `work`.
        work: pickled.
        versions: of the process that asks.
    """
    try:
        return Outcome(_performed(part, key, work, versions), None)
    except Exception as error:
        told = error
        try:
            pickle.loads(pickle.dumps(told))
        except Exception:  # of a class that is only here, or that is made in its own way
            told = RuntimeError(f"{type(error).__name__}: {error}")
        told.add_note(f"In a task on {platform.node()}:\n{traceback.format_exc()}")
        told.__traceback__ = None  # its frames hold the work
        return Outcome(None, told)


def _performed(part: Part, key: str, pickled_work: bytes, versions: dict[str, str]) -> Any:
    here = f"a worker of the executor, on {platform.node()},"
    for name, version in _versions().items():
        if versions.get(name) != version:
            raise ExecutorError(
                f"{here} has {name} {version}, and this process {versions.get(name)}: install the "
                "same on both"
            )
    if not torch_is_as_it_starts():
        raise ExecutorError(f"on a worker of the executor {TORCH_IS_SET}")
    try:
        work = _loaded(key, pickled_work)
        device, threads = work.execution.device, work.execution.threads
        torch.get_num_threads()  # a thread takes the process's number when it first asks
        torch.set_num_threads(threads)
        # On CUDA the settings are the whole process's.
        with _on_cuda if device.startswith("cuda") else nullcontext():
            return part(work)
    except (ImportError, OSError, DataUnavailable) as error:
        raise ExecutorError(
            f"{here} lacks what the subject needs ({_line(error)}): its data come with the task, "
            "but files and packages that its model's function reads must be there"
        ) from error


def _loaded(key: str, pickled_work: bytes) -> Work:
    with _loading:
        work = _held.get(key)
        if work is None:
            _held.clear()  # its memory goes before the next one's comes
            loaded = pickle.loads(pickled_work)
            assert isinstance(loaded, Work)
            try:
                check_device(loaded.execution.device)
            except ValueError as error:
                raise ExecutorError(f"on a worker of the executor, {error}") from error
            loaded.hold_inputs()
            work = _held[key] = loaded
        return work


def _versions() -> dict[str, str]:
    """What must be the same wherever models of one bank are trained."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "PyTorch": torch.__version__.partition("+")[0],
        "NumPy": np.__version__,
        "benchsuite": f"{benchsuite.__version__} ({SEMANTICS}, {columns_module.SEMANTICS})",
    }


def _train(first: int, last: int, keep: int, work: Work) -> Trained:
    stack = work.execution.stack
    trained = joined(
        [
            work.train(begin, min(begin + stack, last), lambda: None)
            for begin in range(first, last, stack)
        ]
    )
    return trained if trained.bytes_per_model <= keep else Trained({}, trained.values)


def _ask(
    columns: tuple[Column, ...], first: int, weights: dict[str, NDArray[Any]], work: Work
) -> Values:
    return work.ask(columns, first, work.to_device(weights))
