"""Slurm's clusters as executors, through submitit."""

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from benchsuite.shadows.clusters import ClusterExecutor, ExecutorError, Task, imported

HOURS = 4
"""That a job may take, unless SBATCH_TIMELIMIT says otherwise."""
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 5.0
"""That a cancelled job is waited for."""


class SlurmExecutor(ClusterExecutor):
    """Tasks as jobs of Slurm's, through submitit.

    Jobs and their logs lie in a folder that all nodes must see, as the working directory of a
    cluster commonly is; those of tasks that were done are removed. Whatever else sbatch shall be
    told is told it by its environment variables, such as SBATCH_ACCOUNT and SBATCH_TIMELIMIT.

    Args:
        partition: to submit to; None takes the cluster's default.
        folder: of jobs.
        cluster: of submitit's: "local" runs jobs on this machine.

    Raises:
        ImportError: submitit is not installed.
        ExecutorError: there is no Slurm here.
    """

    def __init__(
        self,
        partition: str | None = None,
        *,
        folder: str | Path = ".slurm",
        cluster: str = "slurm",
    ) -> None:
        submitit = imported("submitit", "slurm")
        for command in ("sbatch", "srun") if cluster == "slurm" else ():
            if shutil.which(command) is None:
                raise ExecutorError(
                    f"Slurm's {command} is not on the PATH: run this where jobs are submitted, "
                    "such as a login node, or use another --executor"
                )
        self._folder = Path(folder).resolve()
        self._partition = partition
        self._cluster, self._submitit = cluster, submitit
        self._sized: dict[tuple[int, int], Any] = {}  # submitit's executors, by cores and GPUs
        self._open: dict[Task, Any] = {}
        self._large: tuple[bytes, Path] | None = None
        self._shut = False
        self._changing = threading.Lock()
        self._watch = threading.Thread(target=self._watching, name="slurm", daemon=True)
        self._watch.start()

    def submit_on(
        self, cores: int, gpus: int, call: Callable[..., Any], /, *args: Any
    ) -> Future[Any]:
        """Do it in a job with so many cores and GPUs.

        Raises:
            RuntimeError: the executor was shut down.
            ExecutorError: sbatch refuses the job.
        """
        task = Task()
        with self._changing:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            stored = [self._stored(arg) for arg in args]
            try:
                job = self._of_size(cores, gpus).submit(_with_files_read, call, *stored)
            except Exception as error:
                raise ExecutorError(
                    f"sbatch refused a job for partition {self._partition or '(default)'}: "
                    f"{_of_slurm(error)}; give another with --executor slurm:PARTITION (sinfo "
                    "lists them)"
                ) from error
            self._open[task] = job
        task.add_done_callback(lambda _: job.cancel(check=False) if task.cancelled() else None)
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all jobs, or wait for them."""
        with self._changing:
            self._shut = True
            still = list(self._open)
        if cancel_futures:
            for task in still:
                task.cancel()
        if wait:
            self._watch.join()

    def _of_size(self, cores: int, gpus: int) -> Any:
        if (cores, gpus) not in self._sized:
            executor = self._submitit.AutoExecutor(self._folder, cluster=self._cluster)
            executor.update_parameters(
                name="benchsuite",
                cpus_per_task=cores,
                gpus_per_node=gpus or None,
                timeout_min=60 * HOURS,
                slurm_partition=self._partition,
            )
            self._sized[cores, gpus] = executor
        return self._sized[cores, gpus]

    def _watching(self) -> None:
        try:
            self._watch_jobs()
        except Exception as error:  # or whoever waits for a task waits for ever
            with self._changing:
                tasks = list(self._open)
            for task in tasks:
                task.finish(None, ExecutorError(f"jobs cannot be watched any more: {error}"))

    def _watch_jobs(self) -> None:
        """Until it is shut down and all has ended."""
        ending: dict[Task, float] = {}
        while True:
            with self._changing:
                jobs = list(self._open.items())
                if self._shut and not jobs:
                    break
            for task, job in jobs:
                if task.cancelled() and task not in ending:
                    ending[task] = time.perf_counter() + SECONDS_TO_END
                if not job.done() and time.perf_counter() < ending.get(task, float("inf")):
                    continue
                if task.cancelled():
                    self._remove(job)
                else:
                    self._finish(task, job)
                with self._changing:
                    del self._open[task]
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if self._large is not None:
            self._large[1].unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # logs of what failed stay
            self._folder.rmdir()

    def _finish(self, task: Task, job: Any) -> None:
        try:
            value = job.result()
        except Exception as error:
            task.finish(None, ExecutorError(f"job {job.job_id}: {_of_slurm(error)}"))
            return
        task.finish(value)
        self._remove(job)

    def _remove(self, job: Any) -> None:
        for path in self._folder.glob(f"{job.job_id}_*"):
            path.unlink(missing_ok=True)
        for path in self._folder.glob(".submission_file_*.sh"):
            if not path.exists():  # a link to what was removed
                path.unlink(missing_ok=True)

    def _stored(self, arg: Any) -> Any:
        """Work with its data is written once, not with every job."""
        if not isinstance(arg, bytes):
            return arg
        if self._large is None or self._large[0] is not arg:
            if self._large is not None:
                self._large[1].unlink(missing_ok=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"work-{time.time_ns()}.pkl"
            path.write_bytes(arg)
            self._large = arg, path
        return _File(self._large[1])


class _File:
    """What is read where a job runs."""

    def __init__(self, path: Path) -> None:
        self.path = path


def _with_files_read(call: Callable[..., Any], *args: Any) -> Any:
    return call(*(arg.path.read_bytes() if isinstance(arg, _File) else arg for arg in args))


def _of_slurm(error: Exception) -> str:
    """The line of submitit's message, or of the log in it, that says what happened."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if re.search(r"\w", line)]
    telling = [
        line for line in lines if re.match(r"sbatch: error|\w*Error\b|has not produced", line)
    ]
    return (telling or lines or [type(error).__name__])[-1]
