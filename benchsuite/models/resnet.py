"""The small residual network that fast CIFAR pipelines train."""

from torch import Tensor, nn

from benchsuite.models.mlp import check_sizes

_SMALLEST = 11  # what leaves 3 x 3 to the last convolution, which does not pad
_SCALE = 0.2


class Residual(nn.Module):
    """The input plus what the layers make of it, which must have the input's shape."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a tensor of the shape of ``inputs``."""
        change: Tensor = self.layers(inputs)
        return inputs + change


class Scaled(nn.Module):
    """The input times a constant, which is not learned."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        """Return a tensor of the shape of ``inputs``."""
        return self.factor * inputs


def resnet9(channels: int = 3, size: int = 32, classes: int = 10) -> nn.Sequential:
    """Return ffcv's ResNet-9 for CIFAR, with 2,274,880 parameters for 3 channels and 10 classes.

    Eight convolutions, each without bias and followed by batch norm and ReLU, and one linear layer.
    For 32 x 32: to 64 channels; 5x5 with stride 2 to 128 x 16 x 16; two in a residual; to 256 and a
    2x2 max pool, 256 x 8 x 8; two in a residual; without padding to 128 x 6 x 6; the maximum over
    space; linear without bias; times 0.2. The others are 3x3 and padded. A training sample of 3 x
    32 x 32 costs 1,744 MFLOP, forward and backward. Batch norm keeps it from being stacked.

    Args:
        channels: of the input, 1 or 3.
        size: height and width of the input.
        classes: number of logits.

    Returns:
        A network from [n, channels, size, size] to [n, classes].

    Raises:
        ValueError: an argument below 1, or ``size`` below 11, which leaves the last convolution
            less than its 3x3.

    Source: G. Leclerc et al., FFCV (2022), examples/cifar/train_cifar.py of libffcv/ffcv, after
    KakaoBrain's torchskeleton. N. Carlini et al., The Privacy Onion Effect (2022), Sec. 3.2, train
    with ffcv's pipeline (their reference 20) and name no network: this is the pipeline's own.
    """
    check_sizes(channels=channels, size=size, classes=classes)
    if size < _SMALLEST:
        raise ValueError(
            f"size is {size}, expected at least {_SMALLEST} for two halvings and a 3x3 convolution "
            "without padding: pass larger images or another network"
        )
    return nn.Sequential(
        *_convolution(channels, 64),
        *_convolution(64, 128, kernel=5, stride=2, padding=2),
        Residual(*_convolution(128, 128), *_convolution(128, 128)),
        *_convolution(128, 256),
        nn.MaxPool2d(2),
        Residual(*_convolution(256, 256), *_convolution(256, 256)),
        *_convolution(256, 128, padding=0),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(128, classes, bias=False),
        Scaled(_SCALE),
    )


def _convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
