"""CUDA graphs: a step recorded once and replayed, where to launch its kernels takes the time."""

import torch
from torch import Tensor

from benchsuite.training.batches import TrainingJob
from benchsuite.training.layers import Noise
from benchsuite.training.private import GaussianNoise
from benchsuite.training.stacked import Steps

_EAGER_FIRST = 3
"""Steps before the recording, in which libraries choose kernels and take memory."""


class GraphedSteps:
    """The same steps, recorded at the fourth whole batch and replayed from there on.

    An epoch's smaller last batch is stepped on as ever. The rate lives on the device, whence the
    recording reads it. Only for layers that draw nothing, and without DP-SGD's noise.

    Args:
        steps: on CUDA.

    Source: PyTorch's notes on CUDA graphs, "whole-network capture".
    """

    def __init__(self, steps: Steps) -> None:
        self.job: TrainingJob = steps.job
        self._steps = steps
        self._eager = 0
        self._aside: torch.cuda.Stream | None = None
        self._recorded: tuple[torch.cuda.CUDAGraph, Tensor, Tensor] | None = None

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        self._steps.set_rate(rate)

    def __call__(
        self, inputs: Tensor, labels: Tensor, noise: Noise, private: GaussianNoise
    ) -> None:
        """One step on inputs [models, batch, ...] and labels [models, batch]."""
        if labels.shape[1] != self.job.expected_batch:
            self._steps(inputs, labels, noise, private)
            return
        if self._eager < _EAGER_FIRST:
            self._eager += 1
            self._aside = self._aside or torch.cuda.Stream()
            self._aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._aside):
                self._steps(inputs, labels, noise, private)
            torch.cuda.current_stream().wait_stream(self._aside)
            return
        if self._recorded is None:
            graph, own_inputs, own_labels = torch.cuda.CUDAGraph(), inputs.clone(), labels.clone()
            with torch.cuda.graph(graph):  # records, and computes nothing
                self._steps(own_inputs, own_labels, noise, private)
            self._recorded = graph, own_inputs, own_labels
        graph, own_inputs, own_labels = self._recorded
        own_inputs.copy_(inputs)
        own_labels.copy_(labels)
        graph.replay()
