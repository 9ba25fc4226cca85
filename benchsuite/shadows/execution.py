"""How a bank's models are computed, and what this machine has for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from benchsuite.machine import cores, processor
from benchsuite.subject import Subject
from benchsuite.training import (
    Engine,
    Launch,
    Layout,
    Matmul,
    Precision,
    Strategy,
    check_private,
    is_dense,
    template,
    why_not_stacked,
)
from benchsuite.training.batches import seeded
from benchsuite.training.products import numpy_has_openblas

STACK_UP_TO = 100_000
"""Parameters up to which a model is stacked anywhere: larger ones fill a GPU one by one."""
STACK_ON_A_CPU_UP_TO = 2_000_000
"""Parameters up to which a model is stacked on a CPU.

Time in stacks of four by that of the loop on both of 2 cores, Adam, batches of 128 images 28 x 28:
multilayer perceptron 784-512-256-10 .61, the same with dropout .79, with batch norm .87,
convolutions of 8 and 16 channels .62 to .79, of 16 and 32 .87, of 32 to 256 (cnn32) 1.07.
"""

_STACKS = {"dense": 128, "stacked": 32}
"""Models at most; a stack never has more than a block.

On a CPU stacks of 32 come first for both: what a step of `digits-mlp` reads and writes is then 5 MB
instead of 10, and 512 are trained 1.1 times as fast as in stacks of 64 on 2 cores of an AMD EPYC
(medians of 6 runs in turns: 60 and 53 models a second).
"""
_STACK_OF_LARGER_MODELS = 4


@dataclass(frozen=True)
class Execution:
    """How a bank's models are computed: fixed when the bank is made, obeyed by whoever goes on.

    Results are equal bit for bit only within one execution and hardware, so a resume keeps to it.

    Attributes:
        strategy: see `benchsuite.training.Strategy`.
        stack: models in one set of kernels, at most; 1 of a loop.
        threads: of torch's for each stack or model; with one on a CPU, every core has its own.
        precision: of products while models train.
        device: on which.
        layout: of images in memory.
        launch: how steps get to the device.
        matmul: whose products of matrices.
    """

    strategy: Strategy
    stack: int
    threads: int
    precision: Precision
    device: str
    layout: Layout = "contiguous"
    launch: Launch = "eager"
    matmul: Matmul = "torch"

    @property
    def engine(self) -> Engine:
        """What computes a stack, or a model."""
        return Engine(self.strategy, self.layout, self.launch, self.precision, self.matmul)

    @property
    def at_once(self) -> int:
        """Stacks, or models of a loop, that this machine trains at the same time."""
        return cores() if self.device.startswith("cpu") and self.threads == 1 else 1

    def __str__(self) -> str:
        """Return it in words, as for the terminal."""
        words = [self.strategy if self.stack == 1 else f"{self.strategy} in {self.stack}s"]
        if self.layout == "channels_last":
            words.append("channels last")
        if self.launch != "eager":
            words.append({"graph": "CUDA graph"}.get(self.launch, self.launch))
        if self.matmul == "numpy":
            words.append("products by NumPy")
        if self.at_once > 1:
            words.append(f"{self.at_once} at once")
        elif self.threads > 1:
            words.append(f"{self.threads} threads")
        return ", ".join([*words, self.precision])


def execution_for(subject: Subject, device: str, precision: Precision = "float32") -> Execution:
    """The execution that needs no measuring: see `executions` for all that there are.

    Raises:
        ValueError: as `executions`.
    """
    return executions(subject, device, precision)[0]


def executions(
    subject: Subject,
    device: str,
    precision: Precision = "float32",
    strategy: Strategy | None = None,
) -> tuple[Execution, ...]:
    """All ways to compute this subject's models on this device; first what needs no measuring.

    The default is float32 everywhere. bf16 was found to leave memorization and LiRA's scores as
    float32's are for `digits-mlp` on a CPU, where it is slower; no precision was decided on CUDA
    (see `claims/test_precision.py`).

    Perceptrons' products are torch's or NumPy's, see `benchsuite.training.products`.

    Those of one strategy, if it is given; "stacked" of a multilayer perceptron only then, or at
    bf16.

    Stacks are trained one per core, on one thread each, for threads that wait for each other within
    a product of small matrices come to a standstill as soon as another process wants a core; so are
    loops, which may use all cores too. With `recipe.privacy` only perceptrons are stacked.
    Layers that draw at random while they train are drawn for eagerly, in one layout.

    Raises:
        ValueError: a private recipe of a model with batch norm, which mixes examples, or at bf16;
            TF32 without CUDA; a strategy that these models cannot be trained by.
    """
    Engine(strategy or "looped", precision=precision)  # names what is unknown
    model, on_cpu = template(subject.model), device.startswith("cpu")
    private = subject.recipe.privacy is not None
    if private:
        check_private(model)
    if precision == "tf32" and on_cpu:
        raise ValueError("precision='tf32' is a CUDA device's: on a CPU use 'float32' or 'bf16'")
    if precision == "bf16" and private:
        raise ValueError("precision='bf16' cannot train with recipe.privacy: use 'float32'")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    modules = list(model.modules())
    convolves = any(isinstance(each, nn.Conv2d) for each in modules)
    draws = _draws(model, torch.tensor(subject.pool.inputs()[:2]))

    def layouts(of: Strategy) -> tuple[Layout, ...]:
        if not convolves or of == "dense":
            return ("contiguous",)
        if of == "stacked":
            return "channels_last", "contiguous"
        return ("contiguous",) if draws else ("contiguous", "channels_last")

    stacked: list[Execution] = []
    reason = why_not_stacked(model)
    if reason is None and private and not is_dense(model):
        reason = "recipe.privacy clips the gradient of each example"
    if reason is None:
        written_out = is_dense(model) and precision != "bf16" and strategy != "stacked"
        kind: Strategy = "dense" if written_out else "stacked"
        sizes = [_STACKS[kind], _STACKS[kind] // 4]
        if on_cpu and kind == "dense":
            sizes.reverse()
        if parameters > STACK_UP_TO:
            times = (1, 4) if on_cpu else (1, 4, 16)
            sizes = [_STACK_OF_LARGER_MODELS * each for each in times]
        stacked = [
            Execution(kind, size, 1, precision, device, layout, matmul=matmul)
            for size in sizes
            for layout in layouts(kind)
            for matmul in (_matmuls() if written_out and on_cpu else ("torch",))
        ]
        if not (on_cpu or draws or private):
            stacked += [replace(each, launch="graph") for each in stacked]
    counts = {torch.get_num_threads(), 1} if on_cpu else {torch.get_num_threads()}
    looped = [
        Execution("looped", 1, count, precision, device, layout)
        for layout in layouts("looped")
        for count in sorted(counts)
    ]
    if not (draws or private):
        looped += [replace(each, launch="compiled") for each in looped]
    stacks_first = parameters <= (STACK_ON_A_CPU_UP_TO if on_cpu else STACK_UP_TO)
    ways = stacked + looped if stacks_first else looped + stacked
    ways = [way for way in ways if strategy in (None, way.strategy)]
    if not ways:
        raise ValueError(
            f"strategy={strategy!r} cannot train {subject.name}: "
            f"{reason or 'only multilayer perceptrons are, and not at bf16'}; use 'looped'"
        )
    return tuple(ways)


def _matmuls() -> tuple[Matmul, ...]:
    """Whose products to try on this CPU, the likelier to be fast first."""
    if not numpy_has_openblas():
        return ("torch",)
    mkl_is_slow = torch.backends.mkl.is_available() and "Intel" not in processor()
    return ("numpy", "torch") if mkl_is_slow else ("torch", "numpy")


def _draws(model: nn.Module, inputs: torch.Tensor) -> bool:
    """Whether a model draws from torch's generator while it trains, as dropout does."""
    with seeded(0):
        before = torch.default_generator.get_state()
        model.train()(inputs)
        return not torch.equal(before, torch.default_generator.get_state())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch's; more than a small network needs would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def exact_on_cuda(device: str, precision: Precision = "float32") -> Iterator[None]:
    """On CUDA: float32 proper unless TF32 is asked for, and no kernel that varies by run.

    The settings are the whole process's, and put back after.
    """
    if not device.startswith("cuda"):
        yield
        return
    cudnn = torch.backends.cudnn
    products = "tf32" if precision == "tf32" else "ieee"
    settings = (
        (torch.backends.cuda.matmul, "fp32_precision", products),
        (cudnn.conv, "fp32_precision", products),  # type: ignore[attr-defined]
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
    )
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


def check_device(device: str) -> None:
    """Raise a ValueError naming a device that is not there."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error
