import functools
import json
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.model_identity import model_identity
from benchsuite.models import (
    cnn1,
    cnn2,
    cnn32,
    densenet,
    digits_cnn,
    mlp,
    resnet9,
    resnet18,
    with_batch_norm,
    with_dropout,
)
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
    (functools.partial(resnet18), (3, 32, 32), 10),
    (functools.partial(resnet18, channels=1, size=9, classes=4), (1, 9, 9), 4),
    (functools.partial(cnn32, 3, 28, 10, filters=64), (3, 28, 28), 10),
    (functools.partial(cnn1, 1, 28, 10), (1, 28, 28), 10),
    (functools.partial(cnn1, 3, 9, 4, filters=2), (3, 9, 9), 4),
    (functools.partial(cnn2), (3, 32, 32), 10),
    (functools.partial(cnn2, 1, 17, 3), (1, 17, 17), 3),
    (functools.partial(densenet, depth=10), (3, 32, 32), 10),
    (functools.partial(densenet, 1, 9, 4, depth=16, growth=3), (1, 9, 9), 4),
    (functools.partial(with_dropout, functools.partial(mlp, 64, (32, 16), 10), 0.5), (64,), 10),
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


def test_cnn64_is_cnn32_with_twice_the_channels_everywhere():
    models = cnn32(channels=3, size=32), cnn32(channels=3, size=32, filters=64)
    narrow, wide = ([each for each in m if isinstance(each, nn.Conv2d)] for m in models)
    assert layers(models[0]) == layers(models[1])
    assert [c.out_channels for c in wide[:-1]] == [2 * c.out_channels for c in narrow[:-1]]
    assert wide[-1].out_channels == narrow[-1].out_channels == 10
    # 9 (64 + 64 64 + 64 128 + 128 128 + 128 256 + 256 256 + 256 512 + 512 10) and 1,418 biases
    assert parameters(cnn32(filters=64)) == 2_369_088 + 1_418
    assert why_not_stacked(models[1]) is None


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


def test_resnet18_has_the_known_size():
    # 9 (3 64 + 4 64 64 + 64 128 + 3 128 128 + 128 256 + 3 256 256 + 256 512 + 3 512 512) weights of
    # 3x3 convolutions, 64 128 + 128 256 + 256 512 of shortcuts, 10 (64 + 128 + 256 + 512) of batch
    # norm, 512 10 + 10 of the linear layer
    assert parameters(resnet18()) == 10_987_200 + 172_032 + 9_600 + 5_130 == 11_173_962
    assert parameters(resnet18(classes=100)) == 11_173_962 + 90 * 513


def test_resnet18_order_of_layers():
    model = resnet18()
    assert layers(model) == [
        *("Conv2d", "BatchNorm2d", "ReLU", *["BasicBlock"] * 8),
        *("AdaptiveAvgPool2d", "Flatten", "Linear"),
    ]
    convolution = ["Conv2d", "BatchNorm2d"]
    for index, block in enumerate(model[3:11]):
        assert layers(block.layers) == [*convolution, "ReLU", *convolution]
        assert layers(block.shortcut) == (convolution if index in (2, 4, 6) else [])


def test_resnet18_shrinks_in_the_first_convolution_of_a_stage_and_in_its_shortcut():
    convolutions = [each for each in resnet18().modules() if isinstance(each, nn.Conv2d)]
    assert all(each.bias is None for each in convolutions)
    described = [
        (*(c.in_channels, c.out_channels), c.kernel_size[0], c.stride[0], c.padding[0])
        for c in convolutions
    ]
    expected = [(3, 64, 3, 1, 1), *[(64, 64, 3, 1, 1)] * 4]
    for width in (128, 256, 512):
        half = width // 2
        expected += [(half, width, 3, 2, 1), (width, width, 3, 1, 1), (half, width, 1, 2, 0)]
        expected += [(width, width, 3, 1, 1)] * 2
    assert described == expected


def test_resnet18_shapes_between_its_layers():
    outputs, shapes = torch.zeros(1, 3, 32, 32), []
    with torch.no_grad():
        for layer in resnet18().eval():
            outputs = layer(outputs)
            if not shapes or tuple(outputs.shape[1:]) != shapes[-1]:
                shapes.append(tuple(outputs.shape[1:]))
    assert shapes == [
        *((64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)),
        *((512, 1, 1), (512,), (10,)),
    ]


def test_a_basic_block_adds_what_it_was_given_and_rectifies_the_sum():
    torch.manual_seed(0)
    model = resnet18(size=16).eval()
    with torch.no_grad():
        features = torch.randn(2, 64, 8, 8)
        changed = model[4].layers(features)
        torch.testing.assert_close(model[4](features), (features + changed).clamp(min=0))
        brought = model[5].shortcut(features)
        assert brought.shape == (2, 128, 4, 4)
        expected = (brought + model[5].layers(features)).clamp(min=0)
        torch.testing.assert_close(model[5](features), expected)
    assert 0.2 < (expected == 0).float().mean() < 0.8
    assert changed.abs().max() > 0.01


def test_resnet18_costs_what_the_field_counts():
    assert mflop_per_sample(resnet18().eval(), 3, 32, 32) == pytest.approx(3329, abs=0.5)


def test_resnet18_is_looped_for_its_blocks():
    assert why_not_stacked(resnet18()) == "layer 3 (BasicBlock) has no stacked form"


def test_cnn1_is_the_appendix():
    model = cnn1()
    assert layers(model) == [
        *("Conv2d", "ReLU", "Conv2d", "MaxPool2d", "ReLU", "Flatten"),
        *("Linear", "ReLU", "Linear", "ReLU", "Linear"),
    ]
    assert [tuple(p.shape) for p in model.parameters() if p.ndim > 1] == [
        *((32, 1, 3, 3), (64, 32, 3, 3), (128, 64 * 12 * 12), (128, 128), (10, 128))
    ]
    assert parameters(model) == 1_216_394
    narrow = [tuple(p.shape) for p in cnn1(filters=4).parameters() if p.ndim > 1]
    assert narrow == [(4, 1, 3, 3), (8, 4, 3, 3), (128, 8 * 12 * 12), (128, 128), (10, 128)]


def test_cnn2_is_the_appendix():
    model = cnn2()
    half = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert layers(model) == [*half, *half, "Flatten", "Linear", "ReLU", "Linear"]
    assert [tuple(p.shape) for p in model.parameters() if p.ndim > 1] == [
        *((32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3)),
        *((1024, 64 * 5 * 5), (10, 1024)),
    ]
    assert parameters(model) == 1_715_242


def test_the_unique_feature_networks_do_not_pad_and_can_be_stacked():
    for model in (cnn1(), cnn2()):
        convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
        assert {(c.padding, c.stride, c.kernel_size) for c in convolutions} == {
            ((0, 0), (1, 1), (3, 3))
        }
        assert why_not_stacked(model) is None


def test_the_unique_feature_networks_cost_what_they_say():
    assert mflop_per_sample(cnn1(), 1, 28, 28) == pytest.approx(72, abs=0.5)
    assert mflop_per_sample(cnn2(), 3, 32, 32) == pytest.approx(94, abs=0.5)
    assert mflop_per_sample(densenet().eval(), 3, 32, 32) == pytest.approx(1726, abs=0.5)


@pytest.mark.parametrize(
    ("factory", "least"), [(cnn1, 6), (cnn2, 16), (densenet, 4), (resnet18, 8)]
)
def test_the_smallest_size_is_taken_and_no_smaller(factory, least):
    short = {"depth": 10} if factory is densenet else {}
    model = factory(channels=1, size=least, **short).eval()
    assert model(torch.zeros(1, 1, least, least)).shape == (1, 10)
    with pytest.raises(ValueError, match=f"size is {least - 1}, expected at least {least} for"):
        factory(size=least - 1)


def test_densenet_has_the_published_size():
    # Huang et al. (2017), Table 2, DenseNet-BC (k = 12) of depth 100 and of depth 250 with k = 24
    assert parameters(densenet()) == 769_162
    with torch.device("meta"):
        assert parameters(densenet(depth=250, growth=24)) == pytest.approx(15.3e6, abs=5e4)


def test_densenet_counts_its_convolutions_and_the_linear_layer():
    weighted = [m for m in densenet().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == 100
    assert all(layer.bias is None for layer in weighted[:-1])
    of_a_layer = [c for c in densenet()[5].modules() if isinstance(c, nn.Conv2d)]
    described = [(c.kernel_size, c.padding, c.in_channels, c.out_channels) for c in of_a_layer]
    assert described == [((1, 1), (0, 0), 24 + 4 * 12, 48), ((3, 3), (1, 1), 48, 12)]


def test_densenet_shapes_between_its_blocks():
    outputs, shapes = torch.zeros(1, 3, 32, 32), []
    with torch.no_grad():
        for layer in densenet().eval():
            outputs = layer(outputs)
            if type(layer).__name__ in ("Conv2d", "AvgPool2d", "AdaptiveAvgPool2d", "Linear"):
                shapes.append(tuple(outputs.shape[1:]))
    assert shapes == [
        *((24, 32, 32), (108, 32, 32), (108, 16, 16), (150, 16, 16), (150, 8, 8)),
        *((342, 1, 1), (10,)),
    ]


def test_a_dense_layer_keeps_its_input_and_adds_to_it():
    torch.manual_seed(0)
    model, features = densenet().eval(), torch.randn(2, 36, 5, 5)
    with torch.no_grad():
        outputs = model[2](features)
        torch.testing.assert_close(outputs[:, :36], features)
        torch.testing.assert_close(outputs[:, 36:], model[2].layers(features))
    assert outputs.shape == (2, 48, 5, 5)


@pytest.mark.parametrize("depth", [4, 9, 99, 101])
def test_a_depth_of_unequal_blocks_is_named(depth):
    with pytest.raises(ValueError, match=f"depth is {depth}, expected 4 more than a multiple of 6"):
        densenet(depth=depth)


def test_densenet_is_looped_for_its_blocks():
    assert why_not_stacked(densenet(depth=10)) == "layer 1 (Dense) has no stacked form"


# ---- regularised models of other factories ----

mnist_mlp = functools.partial(mlp, 784, (512, 256), 10)


def test_dropout_comes_after_hidden_linear_layers_alone():
    hidden = ["Linear", "ReLU", "Dropout"]
    model = with_dropout(mnist_mlp, 0.25)
    assert layers(model) == ["Flatten", *hidden, *hidden, "Linear"]
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert layers(with_dropout(cnn1, 0.5))[6:] == [*hidden, *hidden, "Linear"]
    assert layers(with_dropout(cnn1, 0.5))[:6] == layers(cnn1())[:6]


def test_batch_norm_comes_after_all_but_the_last_linear_layer():
    normalised = ["Linear", "BatchNorm1d", "ReLU"]
    model = with_batch_norm(mnist_mlp)
    assert layers(model) == ["Flatten", *normalised, *normalised, "Linear"]
    assert [layer.num_features for layer in model if isinstance(layer, nn.BatchNorm1d)] == [
        512,
        256,
    ]
    assert layers(with_batch_norm(cnn1)) == [
        *("Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "MaxPool2d", "ReLU"),
        *("Flatten", *normalised, *normalised, "Linear"),
    ]
    assert "BatchNorm2d" not in layers(with_batch_norm(cnn32))[-4:]  # there a convolution is last


def test_both_regularisers_in_either_order_are_the_same_layers():
    both = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    expected = ["Flatten", *both, *both, "Linear"]
    dropout_last = with_dropout(functools.partial(with_batch_norm, mnist_mlp), 0.5)
    dropout_first = with_batch_norm(functools.partial(with_dropout, mnist_mlp, 0.5))
    assert layers(dropout_last) == layers(dropout_first) == expected


REGULARISED = [
    functools.partial(with_dropout, functools.partial(cnn1, 1, 12, 10), 0.5),
    functools.partial(with_batch_norm, functools.partial(cnn1, 1, 12, 10)),
]


@pytest.mark.parametrize("factory", REGULARISED, ids=["dropout", "batch norm"])
def test_regularised_models_begin_as_the_plain_ones_and_can_be_stacked(factory):
    torch.manual_seed(0)
    plain = cnn1(1, 12, 10)
    torch.manual_seed(0)
    model = factory()
    kept = [m for m in model if isinstance(m, nn.Linear | nn.Conv2d)]
    before = [m for m in plain if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(kept) == len(before)
    for one, other in zip(kept, before, strict=True):
        assert torch.equal(one.weight, other.weight)
    assert why_not_stacked(model) is None
    inputs = torch.rand(5, 1, 12, 12)
    assert not torch.allclose(model.train()(inputs), plain(inputs), atol=1e-4)


def test_nested_factories_are_identified_by_all_they_hold():
    plain = functools.partial(mlp, 64, (32,), 10)
    factories = [
        plain,
        functools.partial(with_dropout, plain, 0.5),
        functools.partial(with_dropout, plain, 0.2),
        functools.partial(with_batch_norm, plain),
        functools.partial(with_dropout, functools.partial(mlp, 64, [32], 10), rate=0.5),
        functools.partial(with_dropout, functools.partial(with_batch_norm, plain), 0.5),
    ]
    identities = [json.dumps(model_identity(each, None)) for each in factories]
    assert len(set(identities)) == len(factories)
    again = functools.partial(with_dropout, functools.partial(mlp, 64, (32,), 10), 0.5)
    assert json.dumps(model_identity(again, None)) == identities[1]
    sources = model_identity(again, None)["sources"]
    assert list(sources) == ["benchsuite.models.mlp", "benchsuite.models.regularised"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: with_dropout(mnist_mlp, 0), "rate=0 must be above 0 and below 1"),
        (lambda: with_dropout(mnist_mlp, 1.0), "rate=1.0 must be above 0"),
        (lambda: with_dropout(functools.partial(mlp, 9, (), 2), 0.5), "without a ReLU after an nn"),
        (lambda: with_dropout(digits_cnn, 0.5), "without a ReLU after an nn.Linear"),
        (
            lambda: with_batch_norm(functools.partial(mlp, 9, (), 2)),
            "with fewer than two linear layers",
        ),
        (lambda: with_dropout(nn.ReLU, 0.5), "factory makes a ReLU, expected an nn.Sequential"),
        (lambda: with_batch_norm(nn.Tanh), "factory makes a Tanh, expected an nn.Sequential"),
        (lambda: with_batch_norm(resnet9), r"layer 6 \(Residual\) has layers within"),
    ],
)
def test_models_that_cannot_be_regularised_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


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
        (lambda: resnet18(channels=-1), "channels is -1"),
        (lambda: resnet18(size=-8), "size is -8"),
        (lambda: resnet18(classes=-4), "classes is -4"),
        (lambda: cnn1(filters=-1), "filters is -1"),
        (lambda: cnn2(classes=-3), "classes is -3"),
        (lambda: densenet(growth=0), "growth is 0"),
        (lambda: densenet(depth=-2), "depth is -2"),
    ],
)
def test_a_size_below_one_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
