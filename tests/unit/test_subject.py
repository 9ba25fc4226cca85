import functools
import importlib
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite import subject as subject_module
from benchsuite.data import Dataset, sources
from benchsuite.models import mlp
from benchsuite.shadows.design import Balanced
from benchsuite.subject import BUILT_IN, Subject, load_subject, miniature
from benchsuite.training import Augmentation, Recipe, TrainingJob, logits, train


def digits_like(n=20, classes=3, shape=(1, 4, 4), seed=0):
    images = np.random.default_rng(seed).random((n, *shape), dtype=np.float32)
    return Dataset(images, np.arange(n) % classes)


small = partial(mlp, 16, 5, 3)


def subject(model=small, **changes):
    given = {"pool": digits_like(), "test": digits_like(seed=1), "recipe": Recipe(epochs=1)}
    return Subject("own", model=model, **(given | changes))


def activated(width, activation=nn.ReLU, scale=None):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), activation(), nn.Linear(width, 3))


def two_outputs():
    return mlp(16, 5, 2)


def one_row():
    return nn.Sequential(nn.Flatten(0), nn.Linear(32, 3))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Factory:
    def __call__(self):
        return mlp(16, 5, 3)

    def make(self):
        return mlp(16, 5, 3)

    @classmethod
    def of_class(cls):
        return mlp(16, 5, 3)


@functools.lru_cache
def cached(width):
    return mlp(16, width, 3)


def closure(width):
    def make():
        return mlp(16, width, 3)

    return make


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (two_outputs, r"model gives outputs of shape \(2, 2\).*logits of shape \(2, 3\)"),
        (one_row, r"model gives outputs of shape \(3,\) for two examples"),
        (Pair, "model gives outputs <class 'tuple'> for two examples"),
        (partial(mlp, 9, 5, 3), r"model fails on two examples.*shape \(2, 1, 4, 4\).*shapes"),
        (lambda: mlp(16, 5, 3), "model: .*<lambda> is a lambda, a closure.*model_version"),
        (partial(lambda w: mlp(16, w, 3), 5), "model: .*<lambda> is a lambda"),
        (closure(5), "model: closure.<locals>.make is a lambda, a closure"),
        (Factory(), "model: Factory is a lambda, a closure or some other object"),
        (Factory().make, "model: Factory.make is a lambda, a closure or some other object"),
        (partial(activated, 5, nn.ReLU, nn.ReLU()), "model: ReLU is a lambda.*some other object"),
        (partial(activated, 5, scale=np.ones(2)), "model: ndarray is a lambda.*some other object"),
        (partial(activated, 5, scale={1, 2}), "model: set is a lambda.*some other object"),
        (partial(activated, 5, scale=[object()]), "model: object is a lambda.*some other object"),
        (mlp(16, 5, 3), "model is a Sequential, expected a function without arguments"),
        ("mlp", "model is a str, expected a function"),
        (mlp, "model cannot be called without arguments .*functools.partial"),
        (dict, "model makes a dict, expected a new nn.Module"),
    ],
)
def test_bad_models_are_named(model, message):
    with pytest.raises(ValueError, match=message):
        subject(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": digits_like(shape=(1, 5, 4))}, r"test inputs have shape \(1, 5, 4\), the pool's"),
        ({"test": digits_like(classes=5)}, "test has 5 classes, the pool 3"),
        ({"validation": digits_like(shape=(16,))}, r"validation inputs have shape \(16,\)"),
        ({"recipe": Recipe(early_stopping=3)}, "recipe.early_stopping=3 .* validation is None"),
        ({"pool": [1, 2]}, "pool is a list, expected a benchsuite.Dataset"),
        ({"test": None}, "test is a NoneType, expected a benchsuite.Dataset"),
        ({"validation": (1, 2)}, "validation is a tuple, expected a benchsuite.Dataset or None"),
        ({"recipe": None}, "recipe is a NoneType, expected a benchsuite.Recipe"),
        ({"share": 2}, "share=2 must be a number above 0 and below 1"),
        ({"share": "half"}, "share='half' must be a number above 0 and below 1"),
        ({"share": math.nan}, "share=nan must be a number"),
        ({"name": "my/own"}, "name='my/own' becomes part of file names"),
        ({"name": ""}, "name='' becomes part of file names"),
    ],
)
def test_bad_subjects_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(subject(), **changes)


def test_augmentation_of_features_is_refused_before_anything_is_trained():
    features = digits_like(shape=(16,))
    with pytest.raises(ValueError, match=r"recipe.augmentation=.*the pool's inputs .*\(20, 16\)"):
        subject(pool=features, test=features, recipe=Recipe(augmentation=Augmentation(1)))


def test_a_single_class_is_refused():
    with pytest.raises(ValueError, match="labels holds the single class 0"):
        subject(pool=digits_like(classes=1))


# ---- identity ----


def test_identity_changes_with_whatever_a_model_depends_on():
    base = subject(partial(activated, 5))
    others = [
        base,
        replace(base, pool=digits_like(seed=2)),
        replace(base, validation=digits_like(seed=3)),
        replace(base, recipe=Recipe(epochs=2)),
        replace(base, recipe=Recipe(epochs=1, augmentation=Augmentation(1))),
        replace(base, model=partial(activated, 6)),
        replace(base, model=partial(activated, width=5)),
        replace(base, model=partial(activated, 5, nn.Tanh)),
        replace(base, model=partial(activated, 5, scale=1)),
        replace(base, model=partial(activated, 5, scale=1.5)),
        replace(base, model=partial(activated, 5, scale="1")),
        replace(base, model=partial(activated, 5, scale=[1, {"a": None}])),
        replace(base, model=partial(cached, 5)),
        replace(base, model=Factory.of_class),
        replace(base, model_version="1"),
        replace(base, model_version="2"),
    ]
    identities = [str(each.identity()) for each in others]
    assert len(set(identities)) == len(others)


def test_identity_is_not_of_the_name_nor_of_the_test_set():
    base = subject()
    renamed = replace(base, name="other", test=digits_like(seed=9), share=0.25)
    assert renamed.identity() == base.identity()


def test_numpy_numbers_are_the_numbers():
    one, other = (subject(partial(activated, width)) for width in (5, np.int64(5)))
    assert one.identity() == other.identity()


def test_a_version_stands_for_a_model_without_source():
    lambdas = [subject(lambda: mlp(16, 5, 3), model_version=v) for v in ("1", "1", "2")]
    first, same, other = (each.identity() for each in lambdas)
    assert first == same
    assert first != other


OWN_MODULE = """
from functools import partial
import numpy as np
from torch import nn
from benchsuite import Dataset, Recipe, Subject

def net(width, activation, sizes):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), activation(), nn.Linear(width, 3))

images = np.random.default_rng(0).random((20, 4, 4), dtype=np.float32)
data = Dataset(images, np.arange(20) % 3)
subject = Subject(
    "own", data, data, partial(net, 5, activation=nn.ReLU, sizes={"b": 1, "a": (2, 3)}), Recipe()
)

def make():
    return subject

def needs(argument):
    return subject

number = 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_audit.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "own_audit.py"
    for name in [name for name in sys.modules if name.split(".")[0] in ("own_audit", "own")]:
        del sys.modules[name]


def identity_in_a_process(module, hash_seed):
    code = (
        "import json; from benchsuite.subject import load_subject; "
        "print(json.dumps(load_subject('own_audit:subject').identity(), sort_keys=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(module.parent)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_identity_is_the_same_in_every_process_until_the_source_changes(own_module):
    first = identity_in_a_process(own_module, 1)
    assert identity_in_a_process(own_module, 2) == first
    assert " at 0x" not in first
    own_module.write_text(OWN_MODULE.replace("nn.Linear(16, width),", "nn.Linear(16, width), "))
    assert identity_in_a_process(own_module, 1) != first


HELPERS = {
    "own_audit": """
import numpy as np
from own import layers
from benchsuite import Dataset, Recipe, Subject

def net():
    return layers.Net()

images = np.random.default_rng(0).random((20, 4, 4), dtype=np.float32)
data = Dataset(images, np.arange(20) % 3)
subject = Subject("own", data, data, net, Recipe())
""",
    "own/__init__": "",
    "own/layers": """
from torch import nn
from . import activation
from .base import Base

class Net(Base):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x):
        from own.lazy import flat
        return activation.of(self.layer(flat(x)))
""",
    "own/activation": """
from own.constants import SCALE

def of(x):
    return SCALE * x.relu()
""",
    "own/base": """
import torch.nn

class Base(torch.nn.Module):
    pass
""",
    "own/constants": "SCALE = 2",
    "own/lazy": """
import own.layers

def flat(x):
    return x.flatten(1)
""",
    "own/unrelated": "import own.layers",
}


@pytest.fixture
def helpers(own_module):
    (own_module.parent / "own").mkdir()
    for name, source in HELPERS.items():
        (own_module.parent / f"{name}.py").write_text(source)
    return own_module


def test_identity_follows_what_the_model_is_made_of_through_every_import(helpers):
    first = identity_in_a_process(helpers, 1)
    assert identity_in_a_process(helpers, 2) == first
    loaded = load_subject("own_audit:subject")
    assert loaded.identity() == json.loads(first)
    changing = {}
    for name, source in HELPERS.items():
        path = helpers.parent / f"{name}.py"
        path.write_text(source + "\n")
        changing[name] = loaded.identity() != json.loads(first)
        path.write_text(source)
    assert changing == {name: name != "own/unrelated" for name in HELPERS}
    assert loaded.identity() == json.loads(first)


LAYER = """
from torch import nn

class Layer(nn.Linear):
    pass
"""


def test_identity_follows_the_classes_of_the_model_however_they_came_into_it(tmp_path, own_module):
    (tmp_path / "own_layer.py").write_text(LAYER)
    named = OWN_MODULE.replace("nn.Linear(width, 3)", "__import__('own_layer').Layer(width, 3)")
    own_module.write_text(named)
    first = identity_in_a_process(own_module, 1)
    (tmp_path / "own_layer.py").write_text(LAYER + "    other = 1\n")
    assert identity_in_a_process(own_module, 1) != first


def test_installed_packages_and_this_one_are_versions_but_its_models_are_sources():
    assert list(load_subject("digits-mlp").model_identity()["sources"]) == ["benchsuite.models.mlp"]
    of_cnn = load_subject("digits-cnn").model_identity()["sources"]
    assert list(of_cnn) == ["benchsuite.models.cnn", "benchsuite.models.mlp"]


def test_a_model_whose_source_is_gone_is_refused(own_module):
    loaded = load_subject("own_audit:subject")
    own_module.unlink()
    with pytest.raises(ValueError, match="the source of own_audit:net cannot be read"):
        loaded.identity()


# ---- loading ----


@pytest.mark.parametrize("attribute", ["subject", "make"])
def test_own_subjects_load_by_module_and_attribute(own_module, attribute):
    loaded = load_subject(f"own_audit:{attribute}")
    assert loaded.name == "own"
    assert len(loaded.pool) == 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "subject 'nonsense' is unknown: use one of digits-mlp.*or module:attribute"),
        ("", "subject '' is unknown"),
        (":subject", "subject ':subject' is unknown"),
        ("own_audit:", "subject 'own_audit:' is unknown"),
        ("no_such_module:x", "subject 'no_such_module:x': cannot import 'no_such_module'"),
        ("own_audit:nothing", "module 'own_audit' has no 'nothing'"),
        ("own_audit:number", "subject 'own_audit:number' is a int; expected a benchsuite.Subject"),
        ("own_audit:needs", "subject 'own_audit:needs' .*without arguments"),
    ],
)
def test_bad_names_are_one_clear_error(own_module, name, message):
    with pytest.raises(ValueError, match=message):
        load_subject(name)


SHIPPED = ["digits-mlp", "digits-cnn", "digits-tiny", "digits28-mlp", "digits28-tiny"]


@pytest.mark.parametrize("name", SHIPPED)
def test_built_in_subjects_load_by_the_same_path(name):
    built_in = load_subject(name)
    assert built_in.name == name
    assert load_subject(BUILT_IN[name]).identity() == built_in.identity()
    assert built_in.model_identity()["made_by"]
    assert BUILT_IN[name] == f"benchsuite.subjects:{name.replace('-', '_')}"


def test_every_built_in_subject_has_its_function_and_no_other_name_is_one():
    for name, path in BUILT_IN.items():
        module, _, function = path.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), name
    for lacking in ("digits_huge", "digits-mlp", "__path__"):
        with pytest.raises(AttributeError, match=f"'benchsuite.subject' has no .*'{lacking}'"):
            getattr(subject_module, lacking)


def test_the_enlarged_digits_are_learned_by_the_papers_mlp():
    loaded = load_subject("digits28-mlp")
    assert (len(loaded.pool), len(loaded.validation), len(loaded.test)) == (1200, 300, 297)
    assert loaded.pool.inputs().shape[1:] == (1, 28, 28)
    assert [tuple(p.shape) for p in loaded.model().parameters()][::2] == MLP
    assert loaded.recipe == adam(epochs=10, batch_size=128, learning_rate=1e-3)


def test_the_tiny_enlarged_digits_are_a_part_with_every_class():
    tiny, whole = load_subject("digits28-tiny"), load_subject("digits28-mlp")
    assert tiny.pool == whole.pool.subset(range(300))
    assert tiny.validation == whole.validation.subset(range(60))
    assert (tiny.pool.classes, len(np.unique(tiny.validation.labels))) == (10, 10)
    assert tiny.recipe == replace(whole.recipe, epochs=2)
    assert [tuple(p.shape) for p in tiny.model().parameters()][::2] == [(32, 784), (10, 32)]


MLP = [(512, 784), (256, 512), (10, 256)]
CNN1 = [(32, 1, 3, 3), (64, 32, 3, 3), (128, 9216), (128, 128), (10, 128)]
CNN2 = [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (1024, 1600), (10, 1024)]


def adam(**changes):
    return Recipe(**({"optimizer": "adam", "schedule": "constant"} | changes))


@pytest.fixture
def published(monkeypatch):
    """Data sets as large as it takes, all of one class order; gives what was loaded."""
    asked = []

    def load(name):
        asked.append(name)
        shape = (32, 32, 3) if name == "cifar10" else (28, 28)
        parts = []
        for size, seed in ((5_300, 0), (1_100, 1)):
            images = np.random.default_rng(seed).integers(0, 256, (size, *shape), dtype=np.uint8)
            parts.append(Dataset(images, np.arange(size) % 10, name=name))
        return tuple(parts)

    monkeypatch.setattr(sources, "load", load)
    return asked


@pytest.mark.parametrize(
    ("name", "weights", "recipe"),
    [
        ("mnist-mlp", MLP, adam(epochs=60, batch_size=128, learning_rate=1e-4)),
        ("fashion-mnist-mlp", MLP, adam(epochs=60, batch_size=128, learning_rate=1e-4)),
        ("mnist-cnn1", CNN1, adam(epochs=30, batch_size=128, learning_rate=3e-4)),
        ("fashion-mnist-cnn1", CNN1, adam(epochs=30, batch_size=128, learning_rate=3e-4)),
        ("cifar10-cnn2", CNN2, adam(epochs=40, batch_size=512, learning_rate=3e-4)),
        (
            "cifar10-densenet",
            None,
            adam(epochs=60, batch_size=64, learning_rate=1e-3, schedule="cosine"),
        ),
    ],
)
def test_the_unique_feature_subjects_are_the_papers(published, name, weights, recipe):
    loaded = load_subject(name)
    data = name.rpartition("-")[0]
    assert published == [data]
    assert (loaded.name, loaded.pool.name, loaded.validation.name) == (name, data, data)
    assert (len(loaded.pool), len(loaded.validation), len(loaded.test)) == (300, 5000, 1100)
    assert np.bincount(loaded.validation.labels).tolist() == [500] * 10
    parts = np.concatenate([loaded.pool.images, loaded.validation.images])
    train = sources.load(data)[0].images
    assert sorted(map(hash, map(bytes, parts))) == sorted(map(hash, map(bytes, train)))
    assert loaded.recipe == recipe
    model = loaded.model()
    if weights is None:
        assert sum(p.numel() for p in model.parameters()) == 769_162
    else:
        assert [tuple(p.shape) for p in model.parameters()][::2] == weights
    cut = miniature(loaded)
    assert (len(cut.pool), len(cut.validation), len(cut.test)) == (60, 60, 60)
    assert set(map(bytes, cut.validation.images)) <= set(map(bytes, loaded.validation.images))


@pytest.mark.usefixtures("published")
def test_a_small_part_of_mnist_is_stratified_and_split():
    loaded = load_subject("mnist-mlp-small")
    assert (len(loaded.pool), len(loaded.validation), len(loaded.test)) == (2000, 500, 1000)
    for part, each in ((loaded.pool, 200), (loaded.validation, 50), (loaded.test, 100)):
        assert np.bincount(part.labels).tolist() == [each] * 10
    train, test = (set(map(bytes, part.images)) for part in sources.load("mnist"))
    pool, validation, held_out = (
        set(map(bytes, part.images)) for part in (loaded.pool, loaded.validation, loaded.test)
    )
    assert pool | validation <= train
    assert not pool & validation
    assert held_out <= test
    assert loaded.recipe == load_subject("digits28-mlp").recipe
    assert loaded.model_identity() == load_subject("digits28-mlp").model_identity()


CIFAR_CLASSES = {"cifar10": 10, "cifar100": 100}


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A folder with as few examples of each CIFAR as hold every class, in a shuffled order."""
    random = np.random.default_rng(0)
    for stem, classes in CIFAR_CLASSES.items():
        for split, n in (("train", 240), ("test", 120)):
            images = random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
            labels = random.permutation(n) % classes
            np.savez(tmp_path / f"{stem}_{split}{n}.npz", images=images, labels=labels)
    monkeypatch.setenv("BENCHSUITE_DATA", str(tmp_path))


@pytest.mark.usefixtures("cifar")
@pytest.mark.parametrize("data", CIFAR_CLASSES)
def test_the_cifar_subjects_are_ffcvs_network_and_recipe(data):
    loaded = load_subject(f"{data}-resnet9")
    assert loaded.name == f"{data}-resnet9"
    assert BUILT_IN[loaded.name] == f"benchsuite.subjects:{data}_resnet9"
    assert (len(loaded.pool), len(loaded.test)) == (240, 120)
    assert loaded.pool.name == loaded.test.name == data
    assert loaded.pool.classes == CIFAR_CLASSES[data]
    assert loaded.share == 0.5
    assert loaded.recipe == Recipe(
        epochs=24,
        batch_size=512,
        optimizer="sgd",
        learning_rate=0.5,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        augmentation=Augmentation(shift=2, flip=True),
    )
    sources = loaded.model_identity()["sources"]
    assert list(sources) == ["benchsuite.models.mlp", "benchsuite.models.resnet"]


@pytest.mark.usefixtures("cifar")
@pytest.mark.parametrize("data", CIFAR_CLASSES)
def test_a_miniature_of_cifar_is_trained_and_gives_finite_logits_of_every_class(data):
    cut = miniature(load_subject(f"{data}-resnet9"))
    assert (len(cut.pool), len(cut.test)) == (60, 60)
    assert cut.pool.classes == cut.test.classes == CIFAR_CLASSES[data]
    inputs, labels = torch.from_numpy(cut.pool.inputs()), torch.from_numpy(cut.pool.labels.copy())
    subset = np.flatnonzero(Balanced(60, cut.share).rows(0, 1)[0])[None]
    weights = train(TrainingJob(cut.model, cut.recipe, inputs, labels, subset, (0,), 0), "looped")
    assert weights["1.num_batches_tracked"].tolist() == [1]
    said = logits(cut.model, weights, inputs[:4], "looped")
    assert said.shape == (1, 4, CIFAR_CLASSES[data])
    assert torch.isfinite(said).all()


def test_a_miniature_keeps_the_model_and_the_rest_of_the_recipe():
    whole = load_subject("digits-mlp")
    cut = miniature(whole)
    assert len(cut.pool) < len(whole.pool) / 3
    assert cut.recipe == replace(whole.recipe, epochs=1)
    assert cut.model_identity() == whole.model_identity()


@pytest.mark.parametrize("order", ["sorted", "cyclic"])
def test_a_miniature_keeps_every_class_however_the_data_are_ordered(order):
    labels = np.arange(600) % 10
    data = digits_like(600, classes=10)
    data = data.subset(np.argsort(labels, kind="stable") if order == "sorted" else range(600))
    cut = miniature(subject(partial(mlp, 16, 5, 10), pool=data, test=data))
    for part in (cut.pool, cut.test):
        np.testing.assert_array_equal(np.bincount(part.labels), np.full(10, 6))
        assert len(np.unique(part.inputs(), axis=0)) == 60


@pytest.mark.parametrize(
    ("examples", "share", "left"),
    [
        (600, 0.5, 60),
        (600, 0.45, 60),
        (600, 0.64, 50),
        (600, 0.99, 100),
        (59, 0.45, 40),
        (21, 0.5, 20),
        (3, 0.5, 2),
    ],
)
def test_a_miniature_of_any_pool_and_share_can_be_balanced(examples, share, left):
    data = digits_like(examples)
    cut = miniature(subject(pool=data, test=digits_like(3), share=share))
    assert len(cut.pool) == left
    assert len(cut.test) == 3
    assert Balanced(left, share).rows(0, 1).sum() == round(share * left)


def test_a_pool_too_small_for_its_share_is_named():
    with pytest.raises(ValueError, match=r"pool has 19 examples, expected 20 or more.*share=0\.45"):
        miniature(subject(pool=digits_like(19), share=0.45))


def test_subjects_leave_torchs_generator_alone():
    before = torch.get_rng_state()
    subject().identity()
    assert torch.equal(torch.get_rng_state(), before)
