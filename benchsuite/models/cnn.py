"""Convolutional networks: a tiny one for the digits, and LiRA's."""

from torch import nn

from benchsuite.models.mlp import check_sizes


def digits_cnn(classes: int = 10) -> nn.Sequential:
    """Return a convolutional network for [n, 1, 8, 8], with 3,818 parameters for 10 classes.

    Two 3x3 convolutions of 8 and 16 channels, each with ReLU, a 2x2 max pool between them, and
    one linear layer on the 16 x 4 x 4 features; no batch norm, so that it stacks as it is.

    Raises:
        ValueError: ``classes`` below 1.
    """
    check_sizes(classes=classes)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, classes),
    )


def cnn32(
    channels: int = 1, size: int = 28, classes: int = 10, filters: int = 32, scales: int = 3
) -> nn.Sequential:
    """Return the convolutional network that LiRA's published experiments use by default.

    A 3x3 convolution to ``filters`` channels; at each scale two more, the second of which doubles
    the channels, and a 2x2 average pool; last a 3x3 convolution to one channel per class, whose
    mean over space is the logit. Leaky ReLU (slope 0.01) after every convolution but the last, a
    bias in all of them, no batch norm, no linear layer. On 28 x 28 grey images a training sample
    costs 392 MFLOP, forward and backward (1,565 with ``filters=64``).

    Args:
        channels: of the input, 1 or 3.
        size: height and width of the input; an odd size loses its last row and column in a pool.
        classes: number of logits.
        filters: channels after the first convolution; 64 gives LiRA's cnn64-3-mean.
        scales: number of poolings.

    Returns:
        A network from [n, channels, size, size] to [n, classes].

    Raises:
        ValueError: an argument below 1, or ``size`` too small for so many poolings.

    Source: N. Carlini et al., Membership Inference Attacks From First Principles (2022); the
    architecture cnn32-3-mean of tensorflow/privacy, research/mi_lira_2021, which is ConvNet of
    google/objax, objax/zoo/convnet.py ("mean" there is the pooling). Its cap of 1,024 channels is
    out of reach here, and its initial weights (normal, variance 1 / fan-in, no bias) are not
    copied: whoever trains the network draws them.
    """
    check_sizes(channels=channels, size=size, classes=classes, filters=filters, scales=scales)
    if size < 2**scales:
        raise ValueError(
            f"size is {size}, expected at least {2**scales} for {scales} poolings by 2: pass larger"
            " images or fewer scales"
        )
    layers: list[nn.Module] = [nn.Conv2d(channels, filters, 3, padding=1), nn.LeakyReLU()]
    width = filters
    for _ in range(scales):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU()]
        layers += [nn.Conv2d(width, 2 * width, 3, padding=1), nn.LeakyReLU()]
        layers += [nn.AvgPool2d(2)]
        width *= 2
    layers += [nn.Conv2d(width, classes, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers)
