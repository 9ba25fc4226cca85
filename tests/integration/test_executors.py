"""Whoever trains, on whatever executor, a bank has the bytes that one process writes."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.data import Dataset
from benchsuite.models import mlp
from benchsuite.shadows import ExecutorError, executor_for, fill, tasks, train_shadows
from benchsuite.subject import Subject
from benchsuite.training import Recipe

RNG = np.random.default_rng(0)
COLUMNS = ("pool.confidence", "test.logits", "pool.correct@1")


def data(examples):
    return Dataset(
        RNG.standard_normal((examples, 1, 4, 4)).astype(np.float32), RNG.integers(10, size=examples)
    )


def looped():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ELU(), nn.Linear(8, 10))


def digits_cnn_of_4():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10))


STACKED = Subject(
    "stacked", data(32), data(8), partial(mlp, 16, 8, 10), Recipe(epochs=2), model_version="1"
)
LOOPED = replace(STACKED, name="looped", model=looped, recipe=Recipe(epochs=1))
train = partial(train_shadows, device="cpu", columns=COLUMNS)


def contents(bank):
    return {path.name: path.read_bytes() for path in sorted(bank.folder.rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The bytes of a subject's bank that this process trained by itself."""
    made = {}

    def bank(subject, models):
        if (subject.name, models) not in made:
            folder = tmp_path_factory.mktemp("alone")
            made[subject.name, models] = contents(train(subject, models, folder=folder))
        return made[subject.name, models]

    return bank


def processes(count=2, **more):
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), **more)


@pytest.fixture(scope="module")
def pool():
    with processes() as executor:
        yield executor


class Watched(ThreadPoolExecutor):
    """Keeps its tasks' values, and counts how many were out at once."""

    def __init__(self, workers):
        super().__init__(workers)
        self.values, self.out, self.most = [], 0, 0
        self.counting = threading.Lock()

    def submit(self, call, /, *args):
        with self.counting:
            self.out += 1
            self.most = max(self.most, self.out)
        future = super().submit(call, *args)
        future.add_done_callback(self.note)
        return future

    def note(self, future):
        with self.counting:
            self.out -= 1
        if not future.cancelled():
            self.values.append(future.result().value)


# ---- any executor ----


@pytest.mark.parametrize("subject", [STACKED, LOOPED], ids=lambda subject: subject.name)
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_writes_the_bytes_that_one_process_writes(
    tmp_path, alone, pool, subject, kind
):
    calls, models = [], 128
    with ThreadPoolExecutor(2) as threads:
        executor = pool if kind == "processes" else threads
        bank = train(
            subject,
            models,
            folder=tmp_path,
            executor=executor,
            progress=lambda *call: calls.append(call[:3]),
        )
    assert (bank.fill.models_trained, bank.fill.models_reused) == (models, 0)
    assert contents(bank) == alone(subject, models)
    steps = models // (32 if subject is STACKED else 8)
    assert calls == [
        (done, models, done) for done in range(models // steps, models + 1, models // steps)
    ]


def test_a_task_of_several_stacks_trains_stack_by_stack(tmp_path, monkeypatch, alone):
    subject = replace(STACKED, name="cnn", model=digits_cnn_of_4, recipe=Recipe(epochs=1))
    expected, ranges, real = alone(subject, 64), [], tasks.Work.train

    def watched(self, first, last, *more):
        ranges.append((first, last))
        return real(self, first, last, *more)

    monkeypatch.setattr(tasks.Work, "train", watched)
    monkeypatch.setattr(tasks, "TASKS_PER_SHARD", 1)
    with Watched(2) as executor:
        bank = train(subject, 64, folder=tmp_path, executor=executor)
    assert (len(executor.values), bank.execution.stack) == (1, 32)
    assert ranges == [(0, 32), (32, 64)]
    assert contents(bank) == expected


def test_the_threads_of_torch_are_the_banks_and_put_back(tmp_path, monkeypatch):
    during, real, before = set(), tasks.Work.train, torch.get_num_threads()

    def watched(self, *args):
        during.add(torch.get_num_threads())
        return real(self, *args)

    monkeypatch.setattr(tasks.Work, "train", watched)
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(3,)) as executor:
        bank = train(STACKED, 192, folder=tmp_path, executor=executor)
    assert during == {bank.execution.threads} == {1}
    assert torch.get_num_threads() == before


def test_few_tasks_are_out_at_once(tmp_path):
    with Watched(1) as executor:
        train(STACKED, 64 * 12, folder=tmp_path, executor=executor)
    assert len(executor.values) == 24
    assert 2 <= executor.most <= 4


def test_shards_are_written_as_they_complete(tmp_path):
    class FirstLast(ThreadPoolExecutor):
        def submit(self, call, /, part, *args):
            if part.args[0] == 0:
                return super().submit(self.waiting, call, part, *args)
            return super().submit(call, part, *args)

        def waiting(self, call, *args):
            until = time.perf_counter() + 30
            while not list(tmp_path.rglob("membership.000128-000192.*")):
                assert time.perf_counter() < until
                time.sleep(0.05)
            return call(*args)

    with FirstLast(2) as executor:
        bank = train(STACKED, 192, folder=tmp_path, executor=executor)
    assert bank.models == 192


def test_a_later_column_is_asked_of_the_kept_weights_by_the_executor(tmp_path):
    with Watched(2) as executor:
        train(STACKED, 128, folder=tmp_path / "a", columns=["pool.correct"], executor=executor)
        del executor.values[:]
        later = ["pool.correct", "test.logits"]
        bank = train(STACKED, 128, folder=tmp_path / "a", columns=later, executor=executor)
    assert (bank.fill.models_trained, bank.fill.models_reused) == (0, 128)
    assert [list(map(str, value)) for value in executor.values] == [["test.logits"]] * 2
    assert contents(bank) == contents(train(STACKED, 128, folder=tmp_path / "b", columns=later))


def test_weights_that_are_not_kept_are_not_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "KEEP_WEIGHTS_BELOW", 0)
    with Watched(2) as executor:
        bank = train(STACKED, 128, folder=tmp_path / "a", executor=executor)
    assert [trained.weights for trained in executor.values] == [{}] * 4
    assert contents(bank) == contents(train(STACKED, 128, folder=tmp_path / "b"))


def test_one_with_an_executor_and_one_without_train_every_shard_once(tmp_path, alone):
    banks, models = [], 64 * 10

    def call(executor):
        banks.append(train(STACKED, models, folder=tmp_path, executor=executor))

    with ThreadPoolExecutor(1) as executor:
        threads = [threading.Thread(target=call, args=(each,)) for each in (executor, None)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    trained = [bank.fill.models_trained for bank in banks]
    assert sum(trained) == models
    assert min(trained) > 0
    assert contents(banks[0]) == alone(STACKED, models)


# ---- what goes wrong ----


def completes(subject, folder, models, alone):
    """Whether a call without the executor goes on where that with it ended."""
    (bank,) = folder.iterdir()
    whole = {p.name: p.read_bytes() for p in bank.glob("[!.]*.safetensors")}
    again = train(subject, models, folder=folder)
    return whole.items() <= contents(again).items() and contents(again) == alone(subject, models)


def test_one_that_is_shut_down_is_named(tmp_path, alone):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    message = (
        r"^ThreadPoolExecutor takes no tasks \(RuntimeError: cannot schedule .* shutdown\): st"
    )
    with pytest.raises(ExecutorError, match=message):
        train(STACKED, 64, folder=tmp_path, executor=executor)
    assert completes(STACKED, tmp_path, 64, alone)


def test_one_that_is_shut_down_meanwhile_keeps_what_is_done(tmp_path, alone):
    executor = ThreadPoolExecutor(1)

    def progress(done, *_):
        if done == 128:
            executor.shutdown(wait=False, cancel_futures=True)

    with pytest.raises(ExecutorError, match=r"ThreadPoolExecutor (takes no tasks|lost a task)"):
        train(STACKED, 640, folder=tmp_path, executor=executor, progress=progress)
    executor.shutdown()
    assert len(list(tmp_path.rglob("membership.*"))) >= 1
    assert completes(STACKED, tmp_path, 640, alone)


def test_tasks_that_a_shutdown_cancels_are_not_waited_for(tmp_path):
    executor = ThreadPoolExecutor(1)

    def progress(*_):
        executor.shutdown(wait=False, cancel_futures=True)

    with pytest.raises(ExecutorError, match=r"ThreadPoolExecutor lost a task \(CancelledError"):
        train(LOOPED, 64, folder=tmp_path, executor=executor, progress=progress)
    executor.shutdown()


def dying_model(process):
    if os.getpid() != process:
        os._exit(1)
    return mlp(16, 8, 10)


def test_a_worker_that_dies_is_named(tmp_path, alone):
    subject = replace(STACKED, model=partial(dying_model, os.getpid()))
    with processes() as executor, pytest.raises(ExecutorError) as caught:
        train(subject, 128, folder=tmp_path, executor=executor)
    assert str(caught.value).startswith("ProcessPoolExecutor lost a task (BrokenProcessPool: A pro")
    assert completes(subject, tmp_path, 128, alone)


WITHOUT_BENCHSUITE = "import sys; sys.modules['benchsuite'] = None"


def test_a_worker_without_the_package_is_named(tmp_path, capfd):
    with (
        processes(initializer=exec, initargs=(WITHOUT_BENCHSUITE,)) as executor,
        pytest.raises(ExecutorError, match=r"lost a task .* its workers need benchsuite, what the"),
    ):
        train(STACKED, 128, folder=tmp_path, executor=executor)
    assert "benchsuite" in capfd.readouterr().err  # the pool says which module


@pytest.mark.parametrize("error", [FileNotFoundError, ModuleNotFoundError])
def test_a_worker_without_what_the_model_reads_is_named(tmp_path, pool, error):
    here, file = os.getpid(), tmp_path / "pretrained.pt"

    def model():
        if os.getpid() != here:
            import nowhere  # noqa: F401 - what is installed here alone
        return mlp(16, 8, 10)

    def reading():
        if os.getpid() != here:
            file.read_bytes()
        return mlp(16, 8, 10)

    subject = replace(STACKED, model=reading if error is FileNotFoundError else model)
    message = (
        r"^a worker of the executor, on [\w.-]+, lacks what the subject needs "
        rf"\({error.__name__}: .*(pretrained\.pt|nowhere)'\): its data come with the task, but file"
    )
    with pytest.raises(ExecutorError, match=message):
        train(subject, 64, folder=tmp_path / "banks", executor=pool)


def test_a_training_that_diverges_is_the_error_that_it_always_is(tmp_path, pool):
    diverging = replace(STACKED, recipe=Recipe(epochs=4, batch_size=8, learning_rate=1e30))
    with pytest.raises(ValueError, match=r"model \d+ of stacked gives logits that are not finite"):
        train(diverging, 128, folder=tmp_path, executor=pool)
    assert list(tmp_path.rglob("*.safetensors")) == []


class TwoArgumentsError(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def test_an_error_that_cannot_be_sent_is_told(tmp_path, pool):
    here = os.getpid()

    def model():
        if os.getpid() != here:
            raise TwoArgumentsError("a", "b")
        return mlp(16, 8, 10)

    with pytest.raises(RuntimeError) as caught:
        train(replace(STACKED, model=model), 64, folder=tmp_path, executor=pool)
    assert str(caught.value) == "TwoArgumentsError: a and b"


def test_a_subject_that_cannot_be_pickled_is_named(tmp_path):
    held = threading.Lock()

    def model():
        with held:
            return mlp(16, 8, 10)

    message = r"stacked cannot be trained on an executor: it cannot be pickled \(TypeError"
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match=message):
        train(replace(STACKED, model=model), 64, folder=tmp_path, executor=executor)


def test_torch_set_otherwise_is_refused_here_and_on_a_worker(tmp_path):
    torch.set_float32_matmul_precision("medium")
    try:
        with (
            ThreadPoolExecutor(1) as executor,
            pytest.raises(ValueError, match="cannot be trained on an executor: torch is set other"),
        ):
            train(STACKED, 64, folder=tmp_path, executor=executor)
    finally:
        torch.set_float32_matmul_precision("highest")
    with (
        processes(initializer=torch.set_default_dtype, initargs=(torch.float64,)) as executor,
        pytest.raises(ExecutorError, match="on a worker of the executor torch is set otherwise"),
    ):
        train(STACKED, 64, folder=tmp_path, executor=executor)


@pytest.mark.parametrize(("library", "name"), [(torch, "PyTorch"), (np, "NumPy")])
def test_a_worker_of_another_version_is_refused(tmp_path, pool, monkeypatch, library, name):
    monkeypatch.setattr(library, "__version__", "2.99.0")
    with pytest.raises(
        ExecutorError, match=rf"has {name} 2\.\d+\.\d+, and this process 2\.99\.0: "
    ):
        train(STACKED, 64, folder=tmp_path, executor=pool)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_the_device_is_the_workers(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(
            ExecutorError, match="on a worker of the executor, device='cuda' cannot"
        ):
            train_shadows(STACKED, 64, folder=tmp_path, device="cuda", executor=executor)
        with pytest.raises(ValueError, match="device='abacus' cannot be used anywhere"):
            train_shadows(STACKED, 64, folder=tmp_path, device="abacus", executor=executor)


def test_an_interrupt_ends_the_call_at_once_and_cancels_what_waits(tmp_path, alone):
    here, waiting = os.getpid(), tmp_path / "waiting"

    def model():
        if os.getpid() != here and waiting.exists():
            time.sleep(600)
        return mlp(16, 8, 10)

    def progress(done, *_):
        if done == 128:
            waiting.touch()
        if done >= 128:
            raise KeyboardInterrupt

    subject, began = replace(STACKED, model=model), time.perf_counter()
    executor = processes()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(subject, 640, folder=tmp_path / "b", executor=executor, progress=progress)
        assert time.perf_counter() - began < 30
        pending = (task.future for task in list(executor._pending_work_items.values()))
        assert all(future.running() or future.cancelled() for future in pending)
    finally:
        for process in executor._processes.values():
            process.kill()
        executor.shutdown()
    assert completes(subject, tmp_path / "b", 640, alone)


# ---- Ray ----


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two nodes on this machine, of which nothing is left behind."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([*sys.path]))
        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args=node)
        try:
            started.other = started.add_node(num_gpus=1, **node)
            yield started
        finally:
            started.shutdown()


@pytest.fixture
def on_ray(cluster):
    with executor_for(f"ray:{cluster.address}") as executor:
        yield executor


def test_a_ray_cluster_writes_the_bytes_that_one_process_writes(tmp_path, alone, on_ray):
    bank = train(LOOPED, 128, folder=tmp_path, executor=on_ray)
    assert bank.fill.models_trained == 128
    assert contents(bank) == alone(LOOPED, 128)


def test_an_error_of_training_on_ray_is_that_of_one_process(tmp_path, on_ray):
    diverging = replace(STACKED, recipe=Recipe(epochs=4, batch_size=8, learning_rate=1e30))
    with pytest.raises(ValueError, match=r"^model \d+ of stacked gives logits that are not finite"):
        train(diverging, 64, folder=tmp_path, executor=on_ray)


def test_a_worker_of_ray_that_dies_is_named_after_three_retries(tmp_path, alone, on_ray):
    subject = replace(STACKED, model=partial(dying_model, os.getpid()))
    with pytest.raises(ExecutorError, match=r"^RayExecutor lost a task \(\w*Crashed"):
        train(subject, 64, folder=tmp_path, executor=on_ray)
    assert completes(subject, tmp_path, 64, alone)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_on_ray_a_bank_of_cuda_is_trained_where_a_gpu_is_lent(tmp_path, on_ray):
    """One node says that it has one, which is not so: the worker there says it."""
    with pytest.raises(ExecutorError, match="on a worker of the executor, device='cuda' cannot be"):
        train_shadows(STACKED, 64, folder=tmp_path, device="cuda", executor=on_ray)

    def seen():
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    assert on_ray.submit_on(1, 1, seen).result(60) == "0"
    assert on_ray.submit_on(1, 0, seen).result(60) != "0"
    with pytest.raises(ExecutorError, match="no node of the Ray cluster has a GPU, which"):
        on_ray.submit_on(1, 2, os.getpid)


def ended(process):
    """Whether a process that somebody else started is gone, or soon will be."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # nobody waits for it here
            return True
        time.sleep(0.05)
    return False


def waiting(executor, folder):
    """A task that never ends, and the process that is at it."""

    def waits():
        folder.joinpath("writing").write_text(str(os.getpid()))
        folder.joinpath("writing").rename(folder / "pid")
        time.sleep(600)

    task, until = executor.submit(waits), time.perf_counter() + 60
    while not folder.joinpath("pid").exists():
        assert time.perf_counter() < until
        time.sleep(0.05)
    return task, int(folder.joinpath("pid").read_text())


def test_a_cancelled_task_of_ray_ends(tmp_path, on_ray):
    task, process = waiting(on_ray, tmp_path)
    assert task.cancel()
    assert ended(process)


# The last on the cluster, for it kills a node.
def test_a_node_that_dies_mid_shard_changes_no_byte(tmp_path, alone, cluster, on_ray):
    node, killed = cluster.other.node_id, tmp_path / "killed"
    here = os.getpid()

    def model():
        """Waits on that node once it has said so, until the node is dead."""
        import ray

        if os.getpid() != here and ray.get_runtime_context().get_node_id() == node:
            tmp_path.joinpath("writing").write_text(str(os.getpid()))
            tmp_path.joinpath("writing").rename(tmp_path / "pid")
            time.sleep(600)
        return looped()

    def kill():
        until = time.perf_counter() + 60
        while not tmp_path.joinpath("pid").exists():
            assert time.perf_counter() < until
            time.sleep(0.05)
        cluster.remove_node(cluster.other, allow_graceful=False)
        killed.touch()

    thread = threading.Thread(target=kill)
    thread.start()
    subject = replace(LOOPED, model=model)
    bank = train(subject, 128, folder=tmp_path / "banks", executor=on_ray)
    thread.join()
    assert killed.exists()
    assert ended(int(tmp_path.joinpath("pid").read_text()))
    assert contents(bank) == alone(LOOPED, 128)


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:1", r"\[Errno 111\] Connection refused"), ("nowhere", "it is no HOST:PORT")],
)
def test_a_ray_cluster_that_does_not_answer_is_named(address, reason):
    pytest.importorskip("ray")
    began = time.perf_counter()
    with pytest.raises(ExecutorError, match=rf"^no Ray cluster at {address} \({reason}\): give"):
        executor_for(f"ray:{address}")
    assert time.perf_counter() - began < 20


# ---- Slurm ----


@pytest.fixture
def on_submitit(tmp_path):
    """Jobs on this machine, which submitit starts as it would have Slurm start them."""
    pytest.importorskip("submitit")
    from benchsuite.shadows.slurm import SlurmExecutor

    # By which submitit ends a job: ignored, here and there, where a shell runs pytest aside.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with SlurmExecutor(folder=tmp_path / "jobs", cluster="local") as executor:
        yield executor
        executor.shutdown(cancel_futures=True)
    signal.signal(signal.SIGINT, before)


def test_submitit_writes_the_bytes_that_one_process_writes(tmp_path, alone, on_submitit):
    bank = train(STACKED, 128, folder=tmp_path / "banks", executor=on_submitit)
    assert bank.fill.models_trained == 128
    assert contents(bank) == alone(STACKED, 128)
    on_submitit.shutdown()
    assert not (tmp_path / "jobs").exists()


def test_a_job_that_dies_is_named(tmp_path, alone, on_submitit):
    subject = replace(STACKED, model=partial(dying_model, os.getpid()))
    with pytest.raises(ExecutorError, match=r"lost a task \(job \d+: has not produced any output"):
        train(subject, 64, folder=tmp_path / "banks", executor=on_submitit)
    assert completes(subject, tmp_path / "banks", 64, alone)


def test_a_job_without_the_package_is_named(tmp_path, monkeypatch, on_submitit):
    missing = "raise ModuleNotFoundError(\"No module named 'benchsuite'\")"
    (tmp_path / "benchsuite.py").write_text(missing)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    message = (
        r"lost a task \(job \d+: ModuleNotFoundError: No module named 'benchsuite'\): its work"
    )
    with pytest.raises(ExecutorError, match=message):
        train(STACKED, 64, folder=tmp_path / "banks", executor=on_submitit)


def test_a_cancelled_job_ends(tmp_path, on_submitit):
    task, process = waiting(on_submitit, tmp_path)
    on_submitit.shutdown(cancel_futures=True)
    assert task.cancelled()
    assert ended(process)
    assert not (tmp_path / "jobs").exists()


def command(folder, name, does):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{does}")
    path.chmod(0o755)


# What Slurm does, as far as submitit sees it: a job's script runs elsewhere, later.
RUNS = """
export SLURM_JOB_ID=$$ SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1
export SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
setsid sh "$1" > /dev/null 2>&1 &
echo "Submitted batch job $$"
"""
STARTS = """
while [ "${1#--}" != "$1" ]; do
  case "$1" in --output|--error) shift ;; esac
  shift
done
exec "$@"
"""


def test_jobs_of_slurm_write_the_bytes_that_one_process_writes(tmp_path, alone, monkeypatch):
    """Slurm's commands are stood in for; submitit's own are as they are."""
    pytest.importorskip("submitit")
    command(tmp_path, "sbatch", RUNS)
    command(tmp_path, "srun", STARTS)
    command(tmp_path, "sacct", 'echo "JobID|State|NodeList"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    with executor_for("slurm") as executor:
        bank = train(STACKED, 128, folder=tmp_path / "banks", executor=executor)
    assert bank.fill.models_trained == 128
    assert contents(bank) == alone(STACKED, 128)
    assert not (tmp_path / ".slurm").exists()


REFUSES = """
cp "$1" {script}
echo "sbatch: error: invalid partition specified: gpu7" >&2
echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
exit 1
"""


def test_a_partition_that_sbatch_does_not_know_is_named(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    script = tmp_path / "script"
    command(tmp_path, "sbatch", REFUSES.format(script=script))
    command(tmp_path, "srun", STARTS)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    with executor_for("slurm:gpu7") as executor:
        with pytest.raises(
            ExecutorError,
            match=r"^sbatch refused a job for partition gpu7: .*Invalid partition name specified;",
        ):
            train(STACKED, 64, folder=tmp_path / "banks", executor=executor)
        asked = script.read_text()
        assert "#SBATCH --partition=gpu7\n" in asked
        assert "#SBATCH --cpus-per-task=1\n" in asked
        assert "#SBATCH --time=240\n" in asked
        assert "gpus" not in asked
        with pytest.raises(ExecutorError, match="sbatch refused"):
            executor.submit_on(4, 1, os.getpid)
        asked = script.read_text()
        assert "#SBATCH --cpus-per-task=4\n" in asked
        assert "#SBATCH --gpus-per-node=1\n" in asked


def test_a_machine_without_slurm_is_named(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorError, match="Slurm's sbatch is not on the PATH: run this"):
        executor_for("slurm")


# ---- by name ----


def test_local_is_none():
    assert executor_for("local") is None


@pytest.mark.parametrize("spec", ["", "rya", "ray:", "local:4", "slurm:", "Ray"])
def test_an_unknown_executor_is_named(spec):
    message = rf"executor '{spec}' is unknown: use one of local, ray\[:ADDRESS\], slurm\[:PART"
    with pytest.raises(ValueError, match=message):
        executor_for(spec)


@pytest.mark.parametrize(("spec", "package"), [("ray", "ray"), ("slurm:a", "submitit")])
def test_a_missing_extra_is_named(monkeypatch, spec, package):
    monkeypatch.setitem(sys.modules, package, None)
    extra = spec.partition(":")[0]
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'benchsuite\[{extra}\]'"):
        executor_for(spec)


CLAIM = """
from benchsuite.claim import REFUTED, Family, claim
from benchsuite.stats.verdict import greater

@claim(
    id="rows", version=1, family=Family("T", "Tests", claims=1), says="Rows are there.",
    measures="rows", source="none", paper="-", rule=greater(than=0.0),
    controls={"permuted-membership": REFUTED}, units={"smoke": 4, "cpu": 4, "gpu": 4},
    subjects={"smoke": ("digits-tiny",), "cpu": ("digits-tiny",), "gpu": ("digits-tiny",)},
)
def test_rows(membership):
    for block in membership.blocks():
        yield float(len(block.models)) + block.number
"""


@pytest.fixture
def claims(pytester):
    pytester.makepyfile(test_own=CLAIM)
    options = ("-p", "benchsuite.plugin", "-m", "smoke", "--shadows", "128", "--executor")
    return lambda spec: pytester.runpytest(*options, spec)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("rya", "*--executor: executor 'rya' is unknown: use one of local, ray*"),
        ("ray:127.0.0.1:1", "*no Ray cluster at 127.0.0.1:1 (*"),
        ("slurm", "*Slurm's sbatch is not on the PATH*"),
    ],
)
def test_the_option_says_what_is_wrong_in_one_line(pytester, claims, monkeypatch, spec, said):
    pytest.importorskip("ray")
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(pytester.path))
    result = claims(spec)
    assert result.ret != 0
    (result.stderr if spec == "rya" else result.stdout).fnmatch_lines([said])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_the_option_trains_there_and_is_in_the_rerun_command(pytester, claims, monkeypatch):
    executor = Watched(2)
    monkeypatch.setattr("benchsuite.fixtures.trained.executor_for", lambda spec: executor)
    result = claims("ray:head:6379")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*digits-tiny: 128 shadow models trained in * s, 0 found*"])
    assert len(executor.values) == 4
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks.perform)
    row = (pytester.path / "reports" / "results.jsonl").read_text().splitlines()[0]
    command = "pytest test_own.py::test_rows -m smoke -k digits-tiny --executor ray:head:6379"
    assert json.loads(row)["rerun"] == f"{command} --shadows 128"
