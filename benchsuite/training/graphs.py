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
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs, self._labels = self.job.inputs, self.job.labels

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
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self._steps(inputs, labels, noise, private)
            torch.cuda.current_stream().wait_stream(aside)
            return
        if self._graph is None:
            self._inputs, self._labels = inputs.clone(), labels.clone()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):  # records, and computes nothing
                self._steps(self._inputs, self._labels, noise, private)
        self._inputs.copy_(inputs)
        self._labels.copy_(labels)
        self._graph.replay()
