"""Engines: whatever computes the models, they are the same up to rounding."""

import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from benchsuite.data import Dataset
from benchsuite.models import cnn1, cnn2, cnn32, densenet, digits_cnn, mlp, resnet9, resnet18
from benchsuite.shadows import execution
from benchsuite.shadows.design import Balanced
from benchsuite.shadows.execution import Execution, execution_for, executions
from benchsuite.subject import Subject
from benchsuite.training import (
    Augmentation,
    Engine,
    Privacy,
    Recipe,
    TrainingJob,
    dense,
    graphs,
    logits,
    products,
    train,
    why_not_stacked,
)
from benchsuite.training.looped import PLAIN
from benchsuite.training.perceptrons import laid_out
from benchsuite.training.products import numpy_on_one_thread, product

ARCHITECTURES = {
    "mlp": (partial(mlp, 64, 32, 10), (1, 8, 8)),
    "digits-cnn": (digits_cnn, (1, 8, 8)),
    "cnn1": (partial(cnn1, size=12, filters=4), (1, 12, 12)),
    "cnn2": (partial(cnn2, size=16), (3, 16, 16)),
    "cnn32": (partial(cnn32, size=8, filters=4), (1, 8, 8)),
    "resnet9": (partial(resnet9, size=12), (3, 12, 12)),
    "resnet18": (partial(resnet18, size=8), (3, 8, 8)),
    "densenet": (partial(densenet, size=8, depth=10), (3, 8, 8)),
}
SHORT = Recipe(epochs=2, batch_size=8, learning_rate=0.02)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def job(name, recipe=SHORT, models=(0, 1), dtype=torch.float64, examples=24):
    factory, shape = ARCHITECTURES[name]
    rng = np.random.default_rng(0)
    rows = Balanced(examples).rows(0, max(models) + 1)[list(models)]
    return TrainingJob(
        factory,
        recipe,
        torch.tensor(rng.random((examples, *shape)), dtype=dtype),
        torch.tensor(rng.integers(0, 10, examples)),
        np.stack([np.flatnonzero(row) for row in rows]),
        tuple(models),
        seed=0,
    )


def subject(name, recipe=SHORT):
    factory, shape = ARCHITECTURES[name]
    rng = np.random.default_rng(0)
    pool = Dataset(rng.random((64, *shape), dtype=np.float32), rng.integers(0, 10, 64))
    return Subject(name, pool, pool, factory, recipe)


def assert_close(got, expected, within):
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=within, atol=within)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_way_that_a_bank_may_take_gives_the_models_of_the_plain_loop(name):
    """In float64, the whole recipe, with augmentation where there are images."""
    augmentation = None if name == "mlp" else Augmentation(shift=1, flip=True)
    some = job(name, replace(SHORT, augmentation=augmentation))
    plain = train(some, PLAIN)
    ways = {way.engine for way in executions(subject(name), "cpu") if way.launch == "eager"}
    assert len(ways) >= 2
    for engine in ways - {PLAIN}:
        assert_close(train(some, engine), plain, within=1e-6)
        with torch.no_grad():
            said, expected = (
                logits(some.factory, plain, some.inputs, each) for each in (engine, PLAIN)
            )
        torch.testing.assert_close(said, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("matmul", ["torch", "numpy"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_how_many_models_a_core_s_cache_holds_changes_nothing(monkeypatch, optimizer, matmul):
    """Gradients of some models are written over those of the models before: in twos, and one."""
    some = job("mlp", replace(SHORT, optimizer=optimizer), models=(0, 1, 2, 3, 4))
    some = replace(some, factory=partial(mlp, 64, (32, 40), 10))
    engine = Engine("dense", matmul=matmul)
    whole = train(some, engine)
    assert_close(whole, train(some, PLAIN), within=1e-6)
    monkeypatch.setattr(dense, "_CACHED", 2 * 2 * 8 * 72 * 8)  # of batches of 8, in float64
    assert_close(train(some, engine), whole, within=1e-12)


@pytest.mark.parametrize("name", ["resnet9", "densenet", "resnet18"])
def test_larger_architectures_are_looped_and_it_is_said_why(name):
    factory, _ = ARCHITECTURES[name]
    assert why_not_stacked(factory()) is not None
    assert {way.strategy for way in executions(subject(name), "cpu")} == {"looped"}


@pytest.mark.parametrize("name", ["mlp", "digits-cnn", "resnet9"])
def test_channels_last_is_only_a_layout(name):
    """That it is taken at all: the weights of convolutions lie otherwise, and are the same."""
    engine = Engine("looped", "channels_last")
    some = job(name, models=(0,))
    convolutions = [
        each for each in engine.laid_out(some.untrained(0)).modules() if type(each) is nn.Conv2d
    ]
    assert all(
        each.weight.is_contiguous(memory_format=torch.channels_last) for each in convolutions
    )
    assert bool(convolutions) == (name != "mlp")


def test_a_compiled_loop_gives_the_models_of_the_plain_loop():
    some = job("digits-cnn", models=(0, 1, 2))
    compiled = train(some, Engine("looped", "channels_last", "compiled"))
    assert_close(compiled, train(some, PLAIN), within=1e-6)


# ---- bf16 ----


@pytest.mark.parametrize(
    "engine",
    [
        Engine("stacked", "channels_last", precision="bf16"),
        Engine("looped", precision="bf16"),
        Engine("looped", "channels_last", precision="bf16"),
    ],
    ids=str,
)
def test_bf16_is_of_products_alone(engine):
    """One step differs by a little, for 2^-8 turns some ReLUs and pools; weights stay float32."""
    one_step = replace(SHORT, epochs=1, batch_size=12)
    some = job("digits-cnn", one_step, dtype=torch.float32)
    before = {
        name: torch.stack([some.untrained(m).state_dict()[name] for m in some.models])
        for name in some.untrained(0).state_dict()
    }
    exact, rounded = train(some, PLAIN), train(some, engine)
    for name, start in before.items():
        assert rounded[name].dtype == torch.float32
        step, error = (exact[name] - start).norm(), (rounded[name] - exact[name]).norm()
        assert 1e-4 * step < error < 0.25 * step, name
    said = logits(some.factory, exact, some.inputs, engine)
    torch.testing.assert_close(said, logits(some.factory, exact, some.inputs, PLAIN))


@pytest.mark.parametrize(
    ("strategy", "recipe", "message"),
    [
        ("dense", SHORT, "precision='bf16' goes through autograd"),
        ("looped", replace(SHORT, privacy=Privacy(1.0, 1.0)), "precision='bf16' goes through"),
    ],
)
def test_what_bf16_cannot_train_is_refused(strategy, recipe, message):
    with pytest.raises(ValueError, match=message):
        train(job("mlp", recipe), Engine(strategy, precision="bf16"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "quantum"),
        ("layout", "NHWC"),
        ("launch", "later"),
        ("precision", "fp8"),
        ("matmul", "abacus"),
    ],
)
def test_an_unknown_engine_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field}='{value}' is unknown: use one of"):
        Engine(**({"strategy": "looped"} | {field: value}))


# ---- whose products ----


def numpy_s_threads():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.fixture
def numpy_on_two_threads():
    with threadpool_limits(2, "blas"):
        if numpy_s_threads() != {2}:
            pytest.skip("NumPy's threads cannot be set here")
        yield


def multiplied_by_hand(first, second, add):
    return np.stack([a @ b + c for a, b, c in zip(first, second, add, strict=True)])


@pytest.mark.parametrize("matmul", ["torch", "numpy"])
@pytest.mark.parametrize("columns", [40, 5], ids=["as it is", "transposed in memory"])
def test_a_product_is_written_where_it_belongs(matmul, columns):
    first, second, add = torch.rand(3, 4, 6), torch.rand(3, 6, columns), torch.rand(3, 1, columns)
    out = laid_out(torch.empty(3 * 4 * columns), 3, 4, columns)
    calls = product(matmul, first, second, out, add)
    for _ in range(2):
        for call in calls:
            call()
        np.testing.assert_allclose(out, multiplied_by_hand(first, second, add), rtol=1e-5)


def test_torch_and_numpy_multiply_when_they_are_asked_to(monkeypatch):
    counted = []
    monkeypatch.setattr(products.np, "matmul", lambda *_, out: counted.append(out) or out.fill(0))
    train(job("mlp"), Engine("dense", matmul="torch"))
    assert not counted
    train(job("mlp"), Engine("dense", matmul="numpy"))
    assert counted


@pytest.mark.usefixtures("numpy_on_two_threads")
def test_numpy_multiplies_on_one_thread_until_the_last_training_ends():
    with numpy_on_one_thread:
        with pytest.raises(KeyError), numpy_on_one_thread:
            raise KeyError
        assert numpy_s_threads() == {1}
    assert numpy_s_threads() == {2}


@pytest.mark.usefixtures("numpy_on_two_threads")
def test_a_training_with_numpy_s_products_is_on_one_thread():
    seen = []
    some = job("mlp")
    some = replace(some, before_epoch=lambda: seen.append(numpy_s_threads()))
    train(some, Engine("dense", matmul="numpy"))
    assert seen == [{1}, {1}]
    assert numpy_s_threads() == {2}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.usefixtures("numpy_on_two_threads")
def test_a_fork_of_a_training_process_is_not_in_that_training():
    with numpy_on_one_thread:
        child = os.fork()
        if not child:
            os._exit(0 if numpy_s_threads() == {2} else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_private_perceptrons_are_the_same_by_numpy_s_products(optimizer):
    recipe = replace(SHORT, optimizer=optimizer, privacy=Privacy(1.0, 0.5))
    some = job("mlp", recipe)
    by_numpy = train(some, Engine("dense", matmul="numpy"))
    assert_close(by_numpy, train(some, "dense"), within=1e-9)


@pytest.mark.parametrize("matmul", ["torch", "numpy"])
def test_products_say_nothing_of_models_that_diverge(matmul):
    """Warnings are errors here; who asked for the models finds that they are not finite."""
    some = job("mlp", replace(SHORT, learning_rate=1e30), dtype=torch.float32)
    weights = train(some, Engine("dense", matmul=matmul))
    assert not all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize(("strategy", "launch"), [("looped", "eager"), ("dense", "graph")])
def test_numpy_multiplies_for_perceptrons_on_a_cpu_alone(strategy, launch):
    message = f"matmul='numpy' is not for strategy='{strategy}', launch='{launch}'"
    with pytest.raises(ValueError, match=message):
        Engine(strategy, launch=launch, matmul="numpy")
    some = job("mlp")
    elsewhere = replace(some, inputs=some.inputs.to("meta"))
    with pytest.raises(ValueError, match=r"matmul='numpy' computes on a CPU, .* are on meta"):
        train(elsewhere, Engine("dense", matmul="numpy"))


@pytest.mark.parametrize(
    ("processor", "mkl", "first"),
    [
        ("AMD EPYC 9554", True, "numpy"),
        ("Intel(R) Xeon(R) Platinum 8481C", True, "torch"),
        ("aarch64", False, "torch"),
    ],
)
def test_numpy_multiplies_first_where_mkl_is_slow(monkeypatch, processor, mkl, first):
    monkeypatch.setattr(execution, "processor", lambda: processor)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(execution, "numpy_has_openblas", lambda: True)
    found = [way.matmul for way in ways("mlp") if way.strategy == "dense"]
    assert found[0] == first
    assert set(found) == {"torch", "numpy"}
    assert {way.matmul for way in ways("mlp", "cuda")} == {"torch"}
    monkeypatch.setattr(execution, "numpy_has_openblas", lambda: False)
    assert {way.matmul for way in ways("mlp")} == {"torch"}


# ---- which ways there are ----


def ways(name, device="cpu", recipe=SHORT, **more):
    return executions(subject(name, recipe), device, **more)


def test_the_ways_of_a_perceptron():
    assert {way.strategy for way in ways("mlp")} == {"dense", "looped"}
    assert {way.strategy for way in ways("mlp", precision="bf16")} == {"stacked", "looped"}
    assert {way.strategy for way in ways("mlp", strategy="stacked")} == {"stacked"}


def test_smaller_stacks_come_first_on_a_cpu_and_larger_ones_on_cuda():
    for device, sizes in {"cpu": [32, 128], "cuda": [128, 32]}.items():
        found = [way.stack for way in ways("mlp", device) if way.strategy == "dense"]
        assert list(dict.fromkeys(found)) == sizes


def test_the_ways_of_a_convolutional_network_have_both_layouts():
    for strategy in ("stacked", "looped"):
        found = {way.layout for way in ways("digits-cnn") if way.strategy == strategy}
        assert found == {"contiguous", "channels_last"}


def test_graphs_are_for_cuda_and_for_layers_that_draw_nothing():
    assert {way.launch for way in ways("mlp")} == {"eager", "compiled"}
    assert "graph" in {way.launch for way in ways("mlp", "cuda")}
    private = replace(SHORT, privacy=Privacy(1.0, 1.0))
    assert {way.launch for way in ways("mlp", "cuda", private)} == {"eager"}
    dropped = Subject(
        "dropped",
        subject("mlp").pool,
        subject("mlp").pool,
        lambda: nn.Sequential(*mlp(64, 8, 10), nn.Dropout(0.1)),
        SHORT,
        model_version="1",
    )
    assert {way.launch for way in executions(dropped, "cuda")} == {"eager"}
    assert {way.layout for way in executions(dropped, "cuda")} == {"contiguous"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet9", {"strategy": "stacked"}, r"cannot train resnet9: layer 6 \(Residual\) has no"),
        ("digits-cnn", {"strategy": "dense"}, "only multilayer perceptrons are"),
        ("mlp", {"precision": "tf32"}, "precision='tf32' is a CUDA device's"),
        ("mlp", {"precision": "fp8"}, "precision='fp8' is unknown"),
        ("mlp", {"strategy": "quick"}, "strategy='quick' is unknown"),
    ],
)
def test_a_way_that_there_is_not_is_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        ways(name, **arguments)


# ---- CUDA graphs, without CUDA ----


class FakeGraph:
    """Replays by calling what was recorded, on the same memory."""

    def replay(self):
        self.recorded()


def test_a_recorded_step_is_replayed_on_each_batch(monkeypatch):
    """Batches, sizes and their order; the recording itself and its rate need CUDA."""
    recorded = []

    class Recording:
        def __init__(self, graph):
            self.graph = graph

        def __enter__(self):
            recorded.append(self.graph)

        def __exit__(self, *_):
            pass

    class Recorded(graphs.GraphedSteps):
        """Steps of a recording write down what to replay, and compute nothing."""

        def __init__(self, steps):
            def step(*arguments):
                if recorded and not hasattr(recorded[-1], "recorded"):
                    recorded[-1].recorded = lambda: steps(*arguments)
                    return
                steps(*arguments)

            super().__init__(
                type(
                    "Steps",
                    (),
                    {
                        "job": steps.job,
                        "set_rate": staticmethod(steps.set_rate),
                        "__call__": lambda _, *arguments: step(*arguments),
                    },
                )()
            )

    stream = type("Stream", (), {"wait_stream": lambda *_: None})
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    monkeypatch.setattr(torch.cuda, "Stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: torch.no_grad())
    monkeypatch.setattr("benchsuite.training.GraphedSteps", Recorded)
    for name, strategy in (("mlp", "dense"),):
        some = job(name, replace(SHORT, epochs=6, batch_size=5), examples=24)  # 5, 5 and 2
        replayed = train(some, Engine(strategy, launch="graph"))
        assert len(recorded) == 1
        assert_close(replayed, train(some, Engine(strategy)), within=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["mlp", "digits-cnn"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_cuda_graph_gives_the_models_of_eager_steps(name, optimizer):
    some = job(name, replace(SHORT, epochs=6, batch_size=5, optimizer=optimizer))
    cuda = torch.device("cuda")
    some = replace(some, inputs=some.inputs.to(cuda), labels=some.labels.to(cuda))
    strategy, layout = ("dense", "contiguous") if name == "mlp" else ("stacked", "channels_last")
    eager = train(some, Engine(strategy, layout))
    assert_close(train(some, Engine(strategy, layout, "graph")), eager, within=1e-9)


def test_an_execution_says_itself_in_words():
    way = Execution("stacked", 32, 1, "bf16", "cuda", "channels_last", "graph")
    assert str(way) == "stacked in 32s, channels last, CUDA graph, bf16"
    by_numpy = replace(execution_for(subject("mlp"), "cpu"), matmul="numpy")
    assert str(by_numpy).startswith("dense in 32s, products by NumPy, ")
    assert str(Execution("looped", 1, 2, "float32", "cpu")) == "looped, 2 threads, float32"
