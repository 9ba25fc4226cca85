"""How models are computed: what may change their speed, and nothing else but rounding."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

Strategy = Literal["dense", "stacked", "looped"]
"""How models are trained: in a stack with gradients written out, which is for multilayer
perceptrons; in a stack with autograd's; or one after another."""

Layout = Literal["contiguous", "channels_last"]
"""Of images in memory, for convolutions."""

Launch = Literal["eager", "compiled", "graph"]
"""How a step gets to the device: operation by operation, as `torch.compile` fuses it, or recorded
once as a CUDA graph and replayed."""

Precision = Literal["float32", "tf32", "bf16"]
"""Of products and convolutions while models train; sums, weights, losses and what trained models
are asked are float32 in all. "tf32" is CUDA's, with 10 bits of mantissa; "bf16" is autocast's."""

Matmul = Literal["torch", "numpy"]
"""Whose products of matrices; which library is faster depends on the processor."""


@dataclass(frozen=True)
class Engine:
    """What computes a job: all engines give the same models up to rounding.

    Raises:
        ValueError: a value that is none of its kind, or that does not go with the strategy.
    """

    strategy: Strategy
    layout: Layout = "contiguous"
    launch: Launch = "eager"
    precision: Precision = "float32"
    matmul: Matmul = "torch"

    def __post_init__(self) -> None:
        for name, kind in (
            ("strategy", Strategy),
            ("layout", Layout),
            ("launch", Launch),
            ("precision", Precision),
            ("matmul", Matmul),
        ):
            value = getattr(self, name)
            if value not in get_args(kind):
                raise ValueError(
                    f"{name}={value!r} is unknown: use one of {', '.join(get_args(kind))}"
                )
        if self.launch != "eager" and (self.launch == "compiled") != (self.strategy == "looped"):
            raise ValueError(
                f"launch={self.launch!r} is not for strategy={self.strategy!r}: loops are "
                "compiled, and stacks recorded as a graph"
            )

        if self.matmul == "numpy" and (self.strategy != "dense" or self.launch == "graph"):
            raise ValueError(
                f"matmul='numpy' is not for strategy={self.strategy!r}, launch={self.launch!r}: "
                "only 'dense' on a CPU has the choice"
            )

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch names it."""
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format

    def laid_out(self, model: nn.Module) -> nn.Module:
        """The model with its convolutions' weights in the engine's layout."""
        laid_out: nn.Module = model.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        return laid_out

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Within: products and convolutions in bf16, if that is the engine's precision."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)
