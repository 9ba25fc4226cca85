"""The two small convolutional networks in which unique features were found."""

from torch import nn

from benchsuite.models.mlp import check_sizes

_DENSE = 128
_DENSE_OF_CNN2 = 1024


def cnn1(channels: int = 1, size: int = 28, classes: int = 10, filters: int = 32) -> nn.Sequential:
    """Return CNN-1 of the unique-feature paper, with 1,216,394 parameters for 28 x 28 grey images.

    3x3 convolutions without padding to ``filters`` and twice as many channels, a ReLU between them,
    a 2x2 max pool and a ReLU after them; then linear layers to 128, 128 and the classes, with a
    ReLU between each two. No dropout, no batch norm. A training sample costs
    72 MFLOP, forward and backward.

    Args:
        channels: of the input, 1 or 3.
        size: height and width of the input.
        classes: number of logits.
        filters: channels after the first convolution; the paper has 32.

    Returns:
        A network from [n, channels, size, size] to [n, classes].

    Raises:
        ValueError: an argument below 1, or ``size`` below 6, which leaves nothing to pool.

    Source: J. Hartley and S. Tsaftaris, Measuring Unintended Memorisation of Unique Private
    Features in Neural Networks (2022), Appendix A.
    """
    check_sizes(channels=channels, size=size, classes=classes, filters=filters)
    side = _pooled(size)
    _check_pooled(side, size, least=6)
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3),
        nn.ReLU(),
        nn.Conv2d(filters, 2 * filters, 3),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * filters * side * side, _DENSE),
        nn.ReLU(),
        nn.Linear(_DENSE, _DENSE),
        nn.ReLU(),
        nn.Linear(_DENSE, classes),
    )


def cnn2(channels: int = 3, size: int = 32, classes: int = 10) -> nn.Sequential:
    """Return CNN-2 of the unique-feature paper, with 1,715,242 parameters for CIFAR-10.

    Two 3x3 convolutions to 32 channels, each with a ReLU, and a 2x2 max pool; the same to 64; then
    linear layers to 1,024 and the classes, with a ReLU between them. No dropout, no batch norm. A
    training sample costs 94 MFLOP, forward and backward.

    Args:
        channels: of the input, 1 or 3.
        size: height and width of the input.
        classes: number of logits.

    Returns:
        A network from [n, channels, size, size] to [n, classes].

    Raises:
        ValueError: an argument below 1, or ``size`` below 16, which leaves nothing to pool.

    Source: as for `cnn1`. The appendix names no padding, so there is none here; the authors' code
    pads these convolutions, though not CNN-1's.
    """
    check_sizes(channels=channels, size=size, classes=classes)
    side = _pooled(_pooled(size))
    _check_pooled(side, size, least=16)
    return nn.Sequential(
        *_convolutions(channels, 32),
        *_convolutions(32, 64),
        nn.Flatten(),
        nn.Linear(64 * side * side, _DENSE_OF_CNN2),
        nn.ReLU(),
        nn.Linear(_DENSE_OF_CNN2, classes),
    )


def _convolutions(channels: int, filters: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels, filters, 3),
        nn.ReLU(),
        nn.Conv2d(filters, filters, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def _pooled(size: int) -> int:
    """What two 3x3 convolutions without padding and a pool by 2 leave of a side."""
    return (size - 4) // 2


def _check_pooled(side: int, size: int, least: int) -> None:
    if side < 1:
        raise ValueError(
            f"size is {size}, expected at least {least} for convolutions without padding: pass "
            "larger images or another network"
        )
