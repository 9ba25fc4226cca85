"""DenseNet-BC, in which every layer sees what all before it in its block have made."""

import torch
from torch import Tensor, nn

from benchsuite.models.mlp import check_sizes

_BLOCKS = 3
_BOTTLENECK = 4  # channels between a layer's two convolutions, in growths
_COMPRESSION = 2  # a transition keeps one in so many channels


class Dense(nn.Module):
    """The input, and as further channels what the layers make of it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [n, channels + growth, height, width] of [n, channels, height, width]."""
        return torch.cat([inputs, self.layers(inputs)], dim=1)


def densenet(
    channels: int = 3, size: int = 32, classes: int = 10, depth: int = 100, growth: int = 12
) -> nn.Sequential:
    """Return DenseNet-BC for CIFAR, with 769,162 parameters for 100 layers that add 12 channels.

    A 3x3 convolution to 2 ``growth`` channels; three dense blocks; the mean over space; a linear
    layer. A layer of a block is a 1x1 convolution to 4 ``growth`` channels and a 3x3 one to
    ``growth``, which are added to its input's. Between blocks a 1x1 convolution halves the
    channels and a 2x2 average pool the sides. Batch norm and ReLU come before every convolution
    but the first, and before the mean; no convolution has a bias. A training sample of 3 x 32 x 32
    costs 1,726 MFLOP, forward and backward. No dropout. Its blocks keep it from being stacked.

    Args:
        channels: of the input, 1 or 3.
        size: height and width of the input.
        classes: number of logits.
        depth: convolutions and the linear layer, 4 more than a multiple of 6.
        growth: channels that each layer of a block adds.

    Returns:
        A network from [n, channels, size, size] to [n, classes].

    Raises:
        ValueError: an argument below 1, ``size`` below 4, or a depth that three equal blocks of
            such layers cannot have.

    Source: G. Huang et al., Densely Connected Convolutional Networks (2017), Sec. 3, DenseNet-BC
    (k = 12) of Table 2. J. Hartley and S. Tsaftaris, Measuring Unintended Memorisation of Unique
    Private Features in Neural Networks (2022), Appendix A, name depth, growth and blocks and refer
    to R. Atienza's Keras code, which has these bottlenecks and this compression. It differs from
    Huang's in details that are not copied: biases, the input among the first block's channels, no
    ReLU in transitions, nothing before the mean.
    """
    check_sizes(channels=channels, size=size, classes=classes, depth=depth, growth=growth)
    layers, remainder = divmod(depth - 4, 2 * _BLOCKS)
    if layers < 1 or remainder:
        raise ValueError(
            f"depth is {depth}, expected 4 more than a multiple of {2 * _BLOCKS}, such as 10, 40 or"
            f" 100: {_BLOCKS} equal blocks of layers with 2 convolutions each, and 4 others"
        )
    least = 2 ** (_BLOCKS - 1)
    if size < least:
        raise ValueError(
            f"size is {size}, expected at least {least} for two halvings: pass larger images or "
            "another network"
        )
    width = 2 * growth
    modules: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    for block in range(_BLOCKS):
        for _ in range(layers):
            between = _BOTTLENECK * growth
            modules.append(
                Dense(*_convolution(width, between, 1), *_convolution(between, growth, 3))
            )
            width += growth
        if block < _BLOCKS - 1:
            modules += [*_convolution(width, width // _COMPRESSION, 1), nn.AvgPool2d(2)]
            width //= _COMPRESSION
    modules += [nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*modules, nn.Linear(width, classes))


def _convolution(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.BatchNorm2d(inputs), nn.ReLU(), convolution
