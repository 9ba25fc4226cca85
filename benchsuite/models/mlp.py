"""The multilayer perceptron."""

from collections.abc import Sequence

from torch import nn


def mlp(inputs: int, hidden: Sequence[int] | int, classes: int) -> nn.Sequential:
    """Return a multilayer perceptron with ReLU, taking inputs of any shape and giving logits.

    Args:
        inputs: numbers in one example, whatever their shape: 64 for [1, 8, 8].
        hidden: width of each hidden layer; one integer for one layer, () for none.
        classes: number of logits.

    Returns:
        Flatten, then Linear and ReLU for each hidden layer, then Linear; [n, ...] to
        [n, classes].

    Raises:
        ValueError: a width below 1.
    """
    between = (hidden,) if isinstance(hidden, int) else tuple(hidden)
    check_sizes(
        inputs=inputs, classes=classes, **{f"hidden[{i}]": w for i, w in enumerate(between)}
    )
    layers: list[nn.Module] = [nn.Flatten()]
    width = inputs
    for next_width in between:
        layers += [nn.Linear(width, next_width), nn.ReLU()]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, classes))


def check_sizes(**sizes: int) -> None:
    """Raise a ValueError naming the first of ``sizes`` that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}, expected a positive integer: pass at least 1")
