"""Processes that train parts of banks, one a core: threads of Python wait for each other.

Between the small operations of a stack two threads pass the interpreter's lock to and fro; 128
digits-mlp on 2 cores take 3.2 s in two threads and 2.3 s in two processes. A process takes some
seconds to start, so they outlive the bank that they were started for.

A worker reads requests from its standard input and writes answers, both pickled, until that is
closed. `multiprocessing` is no help: it runs the user's main script in every process once more.
"""

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from benchsuite.shadows.work import Trained, Work

_START = "import sys; sys.path[:] = {path!r}; from benchsuite.shadows.workers import serve; serve()"

_idle: list["Worker"] = []
_changing = threading.Lock()


class CannotLoadError(Exception):
    """The work cannot be pickled, or not loaded in another process."""


class WorkerDiedError(Exception):
    """A worker ended before it answered."""


class Worker:
    """A process that does one part at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def train(self, file: Path, first: int, last: int) -> Trained:
        """Let it train models first to last - 1 of the work in a file of `packed`.

        Raises:
            CannotLoadError: it cannot load the work.
            WorkerDiedError: it died.
            ValueError: as `Work.train`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((file, first, last, sys.path), self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            self.kill()
            raise WorkerDiedError(f"exit code {self._process.returncode}") from error
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Trained)
        return answer

    @property
    def alive(self) -> bool:
        """Whether it can do another part."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()


def idle_worker() -> Worker | None:
    """A worker that was started before and has nothing to do."""
    with _changing:
        return _idle.pop() if _idle else None


def put_back(worker: Worker) -> None:
    """Keep a worker for the next part."""
    with _changing:
        _idle.append(worker)


@atexit.register
def kill_idle_workers() -> None:
    """End those that have nothing to do."""
    while (worker := idle_worker()) is not None:
        worker.kill()


@contextlib.contextmanager
def packed(work: Work) -> Iterator[Path]:
    """A file of the work for workers on this machine, removed afterwards.

    Raises:
        CannotLoadError: it cannot be pickled.
    """
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as folder:
        file = Path(folder) / "work.pickle"
        try:
            file.write_bytes(cloudpickle.dumps(work))
        except Exception as error:  # whatever a user's class raises when it is pickled
            raise CannotLoadError(str(error)) from error
        yield file


def serve() -> None:
    """Do what is asked on the standard input until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a user's model prints is no answer
    loaded: tuple[Path | None, Work | None] = (None, None)
    while True:
        try:
            file, first, last, sys.path[:] = pickle.load(requests)
        except EOFError:
            return
        answer: Any
        try:
            if loaded[0] != file:
                loaded = None, None  # the former work's memory goes before the next one's comes
                loaded = file, _load(file)
            work = loaded[1]
            assert work is not None
            torch.set_num_threads(work.execution.threads)
            answer = work.train(first, last, lambda: None)
        except Exception as error:
            answer = error
            if not isinstance(error, CannotLoadError | ValueError):
                answer.add_note(f"In a worker process:\n{traceback.format_exc()}")
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _load(file: Path) -> Work:
    try:
        work = pickle.loads(file.read_bytes())
    except Exception as error:  # a module of the user's that is not found here, and others
        raise CannotLoadError(str(error)) from error
    assert isinstance(work, Work)
    return work
