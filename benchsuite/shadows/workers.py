"""Processes that train parts of banks, one a core: threads of Python wait for each other.

Between the small operations of a stack two threads pass the interpreter's lock to and fro; 128
digits-mlp on 2 cores take 3.2 s in two threads and 2.0 s in two processes. A process takes some
seconds to start, so they outlive the bank that they were started for.

A worker reads requests from a pipe and writes answers into another, both pickled, until the first
is closed. `multiprocessing` is no help: it runs the user's main script in every process once more.
What is not installed, as a user's own modules, is pickled by value: as it is here and now, not as
its file says.

Whatever goes wrong with a worker, its part can be trained by a thread: see `NoWorkerError`.
"""

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cloudpickle
import torch

from benchsuite.shadows.work import Trained, Work

_START = (
    "import sys; sys.path[:] = {path!r}; from benchsuite.shadows.workers import serve; serve({pid})"
)

_PACKAGE = __name__.partition(".")[0]
_STANDARD = sysconfig.get_paths()["stdlib"]

TORCH_IS_SET = "torch is set otherwise than in a new process: set its types and precision back"

_idle: list["Worker"] = []
_changing = threading.Lock()
_pickling = threading.Lock()
_serving = False


class NoWorkerError(Exception):
    """No worker can do this part, or one died of it: a thread should."""


class Worker:
    """A process that does one part at a time.

    Raises:
        NoWorkerError: it cannot be started.
    """

    def __init__(self) -> None:
        path = [each for each in sys.path if isinstance(each, str)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=path, pid=os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # an interrupt is for the process that started it
            )
        except OSError as error:
            raise NoWorkerError from error
        self._holds: bytes | None = None

    def train(self, work: bytes, first: int, last: int) -> Trained:
        """Let it train models first to last - 1 of pickled work.

        Raises:
            NoWorkerError: it cannot load the work, or it died.
            Exception: as `Work.train`.
        """
        try:
            answer = self._ask((None if work is self._holds else work, first, last))
        except Exception as error:  # it died, or its answer is no pickle here
            self.kill()
            raise NoWorkerError from error
        if not isinstance(answer, NoWorkerError):
            self._holds = work
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Trained)
        return answer

    def forget(self) -> None:
        """Let go of the work that it holds."""
        self._holds = None
        try:
            self._ask(None)
        except Exception:
            self.kill()

    def _ask(self, request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(request, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    @property
    def alive(self) -> bool:
        """Whether it can do another part."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it, whatever it does, and what it has started."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def disown(self) -> None:
        """Leave it to the process that started it, from which this one was forked."""
        self._process.returncode = 0
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def idle_worker() -> Worker | None:
    """A worker that was started before and has nothing to do."""
    with _changing:
        while _idle:
            worker = _idle.pop()
            if worker.alive:
                return worker
            worker.kill()
    return None


def put_back(worker: Worker) -> None:
    """Keep a worker for the next part, if it lives."""
    if not worker.alive:
        worker.kill()
        return
    with _changing:
        _idle.append(worker)


def forget_work() -> None:
    """Let idle workers go of the data that they hold."""
    with _changing:
        for worker in _idle:
            worker.forget()


@atexit.register
def kill_idle_workers() -> None:
    """End those that have nothing to do."""
    while (worker := idle_worker()) is not None:
        worker.kill()


def _after_fork() -> None:
    global _changing, _pickling
    _changing, _pickling = threading.Lock(), threading.Lock()
    while _idle:
        _idle.pop().disown()


os.register_at_fork(after_in_child=_after_fork)


def pickled(work: Work) -> bytes:
    """The work for workers, or for the tasks of an executor, with the user's modules as they are.

    Raises:
        NoWorkerError: it cannot be pickled, torch here is set otherwise than in a new process, or
            this is a worker.
    """
    if _serving:
        raise NoWorkerError("this process is a worker")
    if not torch_is_as_it_starts():
        raise NoWorkerError(TORCH_IS_SET)
    with _pickling, _own_modules_by_value():  # cloudpickle's registry is the whole process's
        try:
            return bytes(cloudpickle.dumps(work, protocol=pickle.HIGHEST_PROTOCOL))
        except Exception as error:  # whatever a user's class raises when it is pickled
            raise NoWorkerError(f"it cannot be pickled ({error!r})") from error


def _products_are_float32() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set through the newer names, as another bank's TF32 is, while it trains
        return True


def torch_is_as_it_starts() -> bool:
    """Whether a new process would compute the same."""
    smallest = torch.finfo(torch.float32).smallest_normal
    keeps_denormals = bool(torch.full((16,), smallest).mul(0.5).ne(0).all())
    return (
        keeps_denormals
        and _products_are_float32()
        and torch.get_default_dtype() == torch.float32
        and not torch.are_deterministic_algorithms_enabled()
        and bool(torch.backends.mkldnn.enabled)
    )


def _is_own(module: Any) -> bool:
    """Whether it is a module of the user's, which is not installed."""
    name, file = (vars(module).get(key) for key in ("__name__", "__file__"))
    if not file or name == "__main__" or sys.modules.get(name) is not module:
        return False
    if name.partition(".")[0] == _PACKAGE or name in cloudpickle.list_registry_pickle_by_value():
        return False
    path = Path(file)
    return not (
        {"site-packages", "dist-packages"} & set(path.parts) or path.is_relative_to(_STANDARD)
    )


@contextlib.contextmanager
def _own_modules_by_value() -> Iterator[None]:
    """While pickling: what stands in the user's own modules."""
    own = [module for module in list(sys.modules.values()) if _is_own(module)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def serve(parent: int) -> None:
    """Do what the parent process asks on the standard input until it is closed."""
    global _serving
    _serving = True
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what a user's model prints is no answer
    sys.stdout = sys.stderr

    def check_parent() -> None:
        if os.getppid() != parent:
            os._exit(1)

    held: list[Work] = []
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        if request is None or request[0] is not None:
            held.clear()  # its memory goes before the next one's comes
        answer = None
        if request is not None:
            work, first, last = request
            answer = _answer(held, work, first, last, check_parent)
            del work
        del request
        _write(answer, answers)
        del answer


def _answer(
    held: list[Work], work: bytes | None, first: int, last: int, go_on: Callable[[], None]
) -> Trained | Exception:
    try:
        if work is not None:
            held.append(_load(work))
        torch.set_num_threads(held[0].execution.threads)
        return held[0].train(first, last, go_on)
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        error.__traceback__ = None  # its frames hold the work
        return error


def _load(work: bytes) -> Work:
    try:
        loaded = pickle.loads(work)
    except Exception as error:  # a module that is not found here, and others
        raise NoWorkerError(str(error)) from None
    assert isinstance(loaded, Work)
    return loaded


def _write(answer: Trained | Exception | None, answers: BinaryIO) -> None:
    """An exception that cannot be pickled and back is left to a thread, which meets it again."""
    if isinstance(answer, Exception):
        try:
            pickle.loads(pickle.dumps(answer))
        except Exception:
            answer = NoWorkerError("its error cannot be pickled")
    pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
    answers.flush()


def check_not_serving() -> None:
    """Raise where a user's module trains as it is imported, in a worker that only loads it."""
    if _serving:
        raise RuntimeError("a bank is being filled in the process that started this worker")
