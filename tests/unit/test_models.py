import functools
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.models import cnn32, digits_cnn, mlp, resnet9
from benchsuite.training import why_not_stacked


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def layers(model):
    return [type(layer).__name__ for layer in model]


def mflop_per_sample(model, *shape):
    """Multiplications and additions of one forward and one backward pass, in millions."""
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape)).sum().backward()
    return counter.get_total_flops() / 1e6


FACTORIES = [
    (functools.partial(mlp, inputs=64, hidden=128, classes=10), (1, 8, 8), 10),
    (functools.partial(mlp, 784, (512, 256), 10), (1, 28, 28), 10),
    (functools.partial(mlp, 7, (), 3), (7,), 3),
    (functools.partial(digits_cnn), (1, 8, 8), 10),
    (functools.partial(digits_cnn, classes=4), (1, 8, 8), 4),
    (functools.partial(cnn32), (1, 28, 28), 10),
    (functools.partial(cnn32, channels=3, size=32, classes=100), (3, 32, 32), 100),
    (functools.partial(cnn32, size=16, filters=4, scales=2), (1, 16, 16), 10),
    (functools.partial(resnet9), (3, 32, 32), 10),
    (functools.partial(resnet9, channels=1, size=12, classes=100), (1, 12, 12), 100),
]


@pytest.mark.parametrize(("factory", "shape", "classes"), FACTORIES)
def test_logits_depend_on_every_example_alone(factory, shape, classes):
    torch.manual_seed(0)
    model = pickle.loads(pickle.dumps(factory))().eval()
    inputs = torch.rand(3, *shape)
    with torch.no_grad():
        logits = model(inputs)
        torch.testing.assert_close(model(inputs[1:2]), logits[1:2])
    assert logits.shape == (3, classes)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(("factory", "shape", "classes"), FACTORIES)
def test_every_parameter_gets_a_gradient(factory, shape, classes):
    torch.manual_seed(0)
    model = factory()
    model(torch.rand(4, *shape)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_mlp_layers_and_parameters():
    assert layers(mlp(784, (512, 256), 10)) == [
        *("Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear")
    ]
    assert parameters(mlp(784, (512, 256), 10)) == 535_818
    assert parameters(mlp(64, 128, 10)) == 9_610
    assert parameters(mlp(64, [128], 10)) == 9_610
    assert layers(mlp(64, (), 10)) == ["Flatten", "Linear"]


def test_mlp_costs_what_the_field_counts():
    # 6 x 535,040 weights = 3.2, of which 0.8 would be the gradient of the input: 2.4.
    assert mflop_per_sample(mlp(784, (512, 256), 10), 1, 28, 28) == pytest.approx(2.4, abs=0.05)


def test_digits_cnn_layers_and_parameters():
    model = digits_cnn()
    assert layers(model) == [
        *("Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "Flatten", "Linear")
    ]
    assert parameters(model) == 3_818
    assert [tuple(p.shape) for p in model.parameters() if p.ndim > 1] == [
        (8, 1, 3, 3),
        (16, 8, 3, 3),
        (10, 256),
    ]


def test_cnn32_grows_its_channels_as_liras_network_does():
    convolutions = [layer for layer in cnn32(channels=3, size=32) if isinstance(layer, nn.Conv2d)]
    widths = [(layer.in_channels, layer.out_channels) for layer in convolutions]
    assert widths == [
        *((3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 10))
    ]
    for layer in convolutions:
        assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
        assert layer.bias is not None


def test_cnn32_order_of_layers():
    scale = ["Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU", "AvgPool2d"]
    readout = ["Conv2d", "AdaptiveAvgPool2d", "Flatten"]
    assert layers(cnn32()) == ["Conv2d", "LeakyReLU", *scale, *scale, *scale, *readout]


def test_cnn32_reads_out_the_mean_of_the_class_maps():
    model = cnn32(size=16, filters=4, scales=2).eval()
    inputs = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        maps = model[:-2](inputs)
        torch.testing.assert_close(model(inputs), maps.mean((2, 3)))
    assert maps.shape == (2, 10, 4, 4)


@pytest.mark.parametrize(
    ("filters", "published"), [(32, 392), (64, 1565)], ids=["cnn32-3", "cnn64-3"]
)
def test_cnn32_costs_what_the_field_counts(filters, published):
    cost = mflop_per_sample(cnn32(filters=filters), 1, 28, 28)
    assert cost == pytest.approx(published, abs=0.5)


def test_cnn32_parameters():
    # 9 (1 32 + 32 32 + 32 64 + 64 64 + 64 128 + 128 128 + 128 256 + 256 10) weights, 714 biases
    assert parameters(cnn32()) == 604_650
    assert parameters(cnn32(channels=3, size=32)) == 604_650 + 2 * 9 * 32


def test_cnn32_takes_the_smallest_size_it_accepts_and_no_smaller():
    assert cnn32(size=8)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(ValueError, match="size is 7, expected at least 8 for 3 poolings"):
        cnn32(size=7)


def test_resnet9_order_of_layers():
    convolution = ["Conv2d", "BatchNorm2d", "ReLU"]
    model = resnet9()
    assert layers(model) == [
        *(*convolution, *convolution, "Residual", *convolution, "MaxPool2d", "Residual"),
        *(*convolution, "AdaptiveMaxPool2d", "Flatten", "Linear", "Scaled"),
    ]
    for residual in (model[6], model[11]):
        assert layers(residual.layers) == convolution * 2


def test_resnet9_is_ffcvs_convolutions():
    model = resnet9(classes=100)
    convolutions = [each for each in model.modules() if isinstance(each, nn.Conv2d)]
    described = [
        (*(c.in_channels, c.out_channels), c.kernel_size[0], c.stride[0], c.padding[0])
        for c in convolutions
    ]
    assert described == [
        (3, 64, 3, 1, 1),
        (64, 128, 5, 2, 2),
        *[(128, 128, 3, 1, 1)] * 2,
        (128, 256, 3, 1, 1),
        *[(256, 256, 3, 1, 1)] * 2,
        (256, 128, 3, 1, 0),
    ]
    assert all(each.bias is None for each in [*convolutions, model[-2]])
    assert model[-2].weight.shape == (100, 128)


def test_resnet9_adds_in_its_residuals_and_scales_its_logits():
    torch.manual_seed(0)
    model = resnet9(size=12).eval()
    features = torch.randn(2, 128, 6, 6)
    with torch.no_grad():
        added = model[6](features) - features
        torch.testing.assert_close(added, model[6].layers(features), atol=1e-6, rtol=0)
        inputs = torch.rand(2, 3, 12, 12)
        torch.testing.assert_close(model(inputs), 0.2 * model[:-1](inputs))
    assert added.max() > 0.01


def test_resnet9_shapes_between_its_layers():
    outputs, shapes = torch.zeros(1, 3, 32, 32), []
    with torch.no_grad():
        for layer in resnet9().eval():
            outputs = layer(outputs)
            if not shapes or tuple(outputs.shape[1:]) != shapes[-1]:
                shapes.append(tuple(outputs.shape[1:]))
    assert shapes == [
        *((64, 32, 32), (128, 16, 16), (256, 16, 16), (256, 8, 8)),
        *((128, 6, 6), (128, 1, 1), (128,), (10,)),
    ]


def test_resnet9_parameters():
    # 9 (3 64 + 2 128 128 + 128 256 + 2 256 256 + 256 128) + 25 64 128 weights of convolutions,
    # 2 (64 + 128 + 2 128 + 256 + 2 256 + 128) of batch norm, 128 10 of the linear layer
    assert parameters(resnet9()) == 2_270_912 + 2_688 + 1_280
    assert parameters(resnet9(classes=100)) == 2_274_880 + 90 * 128


def test_resnet9_costs_what_the_field_counts():
    assert mflop_per_sample(resnet9().eval(), 3, 32, 32) == pytest.approx(1744, abs=0.5)


def test_resnet9_is_looped_for_its_residual_blocks():
    assert why_not_stacked(resnet9()) == "layer 6 (Residual) has no stacked form"


def test_resnet9_depends_on_the_batch_in_training_alone():
    torch.manual_seed(0)
    model, inputs = resnet9(size=12), torch.rand(6, 3, 12, 12)
    with torch.no_grad():
        untrained = model.eval()(inputs)
        alone, among = model.train()(inputs[:3]), model(inputs)[:3]
        assert not torch.allclose(alone, among, atol=1e-3)
        whole = model.eval()(inputs)
        torch.testing.assert_close(model(inputs[:1]), whole[:1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(untrained, whole, atol=1e-3)  # what training counted is used


def test_resnet9_takes_the_smallest_size_it_accepts_and_no_smaller():
    assert resnet9(size=11).eval()(torch.zeros(1, 3, 11, 11)).shape == (1, 10)
    with pytest.raises(ValueError, match="size is 10, expected at least 11 for two halvings"):
        resnet9(size=10)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        resnet9(size=11).eval()(torch.zeros(1, 3, 10, 10))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mlp(0, 128, 10), "inputs is 0"),
        (lambda: mlp(64, (128, 0), 10), r"hidden\[1\] is 0"),
        (lambda: mlp(64, 128, -1), "classes is -1"),
        (lambda: digits_cnn(0), "classes is 0"),
        (lambda: cnn32(channels=0), "channels is 0"),
        (lambda: cnn32(filters=0), "filters is 0"),
        (lambda: cnn32(scales=0), "scales is 0"),
        (lambda: resnet9(channels=-3), "channels is -3"),
        (lambda: resnet9(size=0), "size is 0"),
        (lambda: resnet9(classes=-2), "classes is -2"),
    ],
)
def test_a_size_below_one_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
