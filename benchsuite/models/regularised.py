"""Models of another factory with dropout or batch norm put between their layers.

For instance ``partial(with_dropout, partial(mlp, 784, (512, 256), 10), 0.5)``. The layers put in
draw nothing, so that the same seed gives the other layers the same initial weights.
"""

from collections.abc import Callable

from torch import nn


def with_dropout(factory: Callable[[], nn.Module], rate: float) -> nn.Sequential:
    """Return a model of the factory with dropout after each ReLU that follows a linear layer.

    A batch norm may lie between the two. Nothing is put after convolutions, nor after the last
    layer, whose outputs are the logits.

    Args:
        factory: makes an `nn.Sequential` of plain layers.
        rate: probability of each number to be dropped, above 0 and below 1.

    Raises:
        ValueError: a rate outside (0, 1); a model of another kind, or with nowhere to put dropout.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate} must be above 0 and below 1: the share that is dropped")
    layers = _layers(factory())
    result: list[nn.Module] = []
    hidden = False
    for layer in layers:
        result.append(layer)
        if hidden and isinstance(layer, nn.ReLU):
            result.append(nn.Dropout(rate))
        hidden = isinstance(layer, nn.Linear) or (hidden and isinstance(layer, nn.BatchNorm1d))
    if len(result) == len(layers):
        raise ValueError(
            "factory makes a network without a ReLU after an nn.Linear, where dropout would be "
            "put: give it a hidden layer"
        )
    return nn.Sequential(*result)


def with_batch_norm(factory: Callable[[], nn.Module]) -> nn.Sequential:
    """Return a model of the factory with batch norm after each linear layer and convolution.

    Not after the last of them, whose outputs are the logits. They keep their biases.

    Args:
        factory: makes an `nn.Sequential` of plain layers.

    Raises:
        ValueError: a model of another kind, or with nowhere to put batch norm.
    """
    layers = _layers(factory())
    products = [each for each in layers if isinstance(each, nn.Linear | nn.Conv2d)]
    if len(products) < 2:
        raise ValueError(
            "factory makes a network with fewer than two linear layers or convolutions, between "
            "which batch norm would be put: give it a hidden layer"
        )
    result: list[nn.Module] = []
    for layer in layers:
        result.append(layer)
        if layer is products[-1]:
            continue
        if isinstance(layer, nn.Linear):
            result.append(nn.BatchNorm1d(layer.out_features))
        elif isinstance(layer, nn.Conv2d):
            result.append(nn.BatchNorm2d(layer.out_channels))
    return nn.Sequential(*result)


def _layers(model: nn.Module) -> list[nn.Module]:
    if not isinstance(model, nn.Sequential):
        raise ValueError(
            f"factory makes a {type(model).__name__}, expected an nn.Sequential: write a factory "
            "of the regularised network instead"
        )
    for name, layer in model.named_children():
        if next(layer.children(), None) is not None:
            raise ValueError(
                f"layer {name} ({type(layer).__name__}) has layers within, expected plain ones: "
                "write a factory of the regularised network instead"
            )
    return list(model)
