"""Arithmetic of a model, counted."""

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.training.batches import ModelFactory, template


def flop_per_example(factory: ModelFactory, shape: Sequence[int]) -> float | None:
    """Floating-point operations of training on one example: three times those of a forward pass.

    Products and convolutions alone are counted, as torch's own counter does, a multiplication and
    an addition as two; the backward pass is taken as twice the forward one, of which a first layer
    needs only half. None of a model that needs real numbers to be computed.

    Args:
        factory: makes one model.
        shape: of an example, without the batch.
    """
    try:
        model = template(factory).to("meta").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.empty(2, *shape, device="meta"))  # of one example no batch norm is
    except Exception:  # whatever a user's model does with numbers that are not there
        return None
    return 3.0 * float(counter.get_total_flops()) / 2
