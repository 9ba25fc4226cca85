"""ResNet-18 in the form that CIFAR pipelines train."""

from torch import Tensor, nn

from benchsuite.models.mlp import check_sizes

_WIDTHS = (64, 128, 256, 512)  # channels of the stages
_SMALLEST = 2 ** (len(_WIDTHS) - 1)  # what the last stage sees as one pixel


class BasicBlock(nn.Module):
    """Two 3x3 convolutions whose outcome is added to the input, and ReLU of the sum.

    Where the block changes the shape, a 1x1 convolution with batch norm brings the input to it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(inputs, outputs, 3, stride), nn.ReLU(), *_convolution(outputs, outputs, 3)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential(*(() if same else _convolution(inputs, outputs, 1, stride)))
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [n, outputs, height / stride, width / stride] of [n, inputs, height, width]."""
        outputs: Tensor = self.relu(self.layers(inputs) + self.shortcut(inputs))
        return outputs


def resnet18(channels: int = 3, size: int = 32, classes: int = 10) -> nn.Sequential:
    """Return ResNet-18 for CIFAR, with 11,173,962 parameters for 3 channels and 10 classes.

    A 3x3 convolution to 64 channels, which does not shrink the image; four stages of two basic
    blocks with 64, 128, 256 and 512 channels, the last three of which begin with stride 2; the mean
    over space; a linear layer. No convolution has a bias, each is followed by batch norm. A
    training sample of 3 x 32 x 32 costs 3,329 MFLOP, forward and backward. Its blocks keep it from
    being stacked.

    Args:
        channels: of the input, 1 or 3.
        size: height and width of the input.
        classes: number of logits.

    Returns:
        A network from [n, channels, size, size] to [n, classes].

    Raises:
        ValueError: an argument below 1, or ``size`` below 8, which leaves the last stage less than
            a pixel.

    Source: K. He et al., Deep Residual Learning for Image Recognition (2016), Table 1, 18 layers.
    That network, for ImageNet, begins with a 7x7 convolution of stride 2 and a max pool; for CIFAR
    the 3x3 one without a pool has taken their place, as in kuangliu/pytorch-cifar and in He's own
    smaller networks (Sec. 4.2). "Exploring Connections Between Memorization And Membership
    Inference", Appendix C, names ResNet-18 alone. Initial weights are PyTorch's.
    """
    check_sizes(channels=channels, size=size, classes=classes)
    if size < _SMALLEST:
        raise ValueError(
            f"size is {size}, expected at least {_SMALLEST} for three halvings: pass larger images"
            " or another network"
        )
    modules: list[nn.Module] = [*_convolution(channels, _WIDTHS[0], 3), nn.ReLU()]
    width = _WIDTHS[0]
    for outputs in _WIDTHS:
        stride = 1 if outputs == width else 2
        modules += [BasicBlock(width, outputs, stride), BasicBlock(outputs, outputs, stride=1)]
        width = outputs
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs)
