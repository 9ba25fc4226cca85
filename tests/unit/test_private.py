import hashlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import vector_to_parameters

from benchsuite import Privacy, Recipe
from benchsuite.data import Dataset, sources
from benchsuite.models import digits_cnn, mlp
from benchsuite.shadows.design import Balanced
from benchsuite.shadows.execution import execution_for
from benchsuite.subject import Subject
from benchsuite.training import Augmentation, TrainingJob, check_private, train
from benchsuite.training.batches import NO_LABEL, OUT
from benchsuite.training.private import GaussianNoise, leave_clipped_gradients
from benchsuite.training.private_dense import ClippedDenseSteps
from benchsuite.training.randomness import Purpose, epoch_samples, generator, torch_seed

POOL, TEST = sources.digits()
PRIVACY = Privacy(noise=0.7, clip=0.5)
SHORT = Recipe(epochs=3, batch_size=16, learning_rate=0.3, privacy=PRIVACY)
small_mlp = partial(mlp, 64, (16, 12), 10)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def job(recipe=SHORT, factory=small_mlp, models=(0, 1, 2), examples=80, dtype=torch.float64):
    """Each model on half of the examples."""
    design = Balanced(examples)
    rows = np.concatenate([design.rows(m, m + 1) for m in models])
    return TrainingJob(
        factory,
        recipe,
        torch.tensor(POOL.inputs()[:examples], dtype=dtype),
        torch.tensor(POOL.labels[:examples]),
        np.stack([np.flatnonzero(row) for row in rows]),
        tuple(models),
        0,
        (torch.tensor(TEST.inputs()[:60], dtype=dtype), torch.tensor(TEST.labels[:60])),
    )


def initial(some):
    states = [some.untrained(m).state_dict() for m in some.models]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def row(weights, i):
    return {name: tensor[i] for name, tensor in weights.items()}


def assert_close(got, expected, within=1e-6):
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=within, atol=within)


def no_bias():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 9, bias=False), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 10)
    )


def with_group_norm():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


# ---- stack and loop ----

RECIPES = {
    "sgd": SHORT,
    "adam, smoothing": replace(SHORT, optimizer="adam", learning_rate=0.01, label_smoothing=0.2),
    "decay": replace(SHORT, weight_decay=0.05),
    "shift and flip": replace(SHORT, augmentation=Augmentation(shift=2, flip=True)),
    "shift": replace(SHORT, augmentation=Augmentation(shift=1)),
    "clip alone": replace(SHORT, privacy=Privacy(0, 0.5)),
    "hardly clipped": replace(SHORT, privacy=Privacy(0.1, 3)),
    "early stopping": replace(SHORT, epochs=12, learning_rate=1.0, early_stopping=1),
    "one example a step": replace(SHORT, batch_size=1, learning_rate=0.02),
    "all examples": replace(SHORT, batch_size=100),
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("factory", [small_mlp, no_bias])
def test_dense_and_looped_train_the_same_models(recipe, factory):
    some = job(RECIPES[recipe], factory)
    dense = train(some, "dense")
    assert_close(dense, train(some, "looped"))
    for name, before in initial(some).items():
        assert ((dense[name] - before).abs().flatten(1).amax(1) > 1e-4).all()


def test_each_option_makes_other_models():
    trained = [train(job(recipe), "looped") for recipe in RECIPES.values()]
    assert len({round(float(weights["1.weight"].norm()), 9) for weights in trained}) == len(RECIPES)


@pytest.mark.parametrize("augmentation", [None, Augmentation(shift=2, flip=True)])
@pytest.mark.parametrize("models", [(5,), (5, 1), (9, 5, 7), (63, 62, 61, 5, 3, 2, 1)])
def test_a_model_does_not_depend_on_its_partners(models, augmentation):
    recipe = replace(SHORT, augmentation=augmentation)
    alone = train(job(recipe, models=(5,)), "dense")
    among = train(job(recipe, models=models), "dense")
    assert_close(row(among, models.index(5)), row(alone, 0), within=1e-9)


@pytest.mark.parametrize("factory", [small_mlp, with_group_norm])
def test_the_same_job_gives_the_same_bits_and_leaves_global_generators_alone(factory):
    some = job(factory=factory, dtype=torch.float32)
    strategies = ("dense", "looped") if factory is small_mlp else ("looped",)
    for strategy in strategies:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = train(some, strategy)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        again = train(some, strategy)
        assert all(torch.equal(first[name], again[name]) for name in first)
    one, two = (row(train(part, "looped"), 0) for part in (some.part(1, 2), some.part(1, 3)))
    assert all(torch.equal(one[name], two[name]) for name in one)


# ---- oracles ----


def textbook(some, at):
    """Abadi's Algorithm 1 for one model, one example at a time."""
    recipe, model_id, size = some.recipe, some.models[at], some.subsets.shape[1]
    model = some.untrained(model_id)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum
    )
    steps = -(-size // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * recipe.epochs)
    for epoch in range(recipe.epochs):
        torch_generator = torch.Generator().manual_seed(
            torch_seed(some.seed, model_id, Purpose.PRIVACY, epoch)
        )
        sampled = generator(some.seed, model_id, Purpose.SAMPLING, epoch)
        for _ in range(steps):
            sums = [torch.zeros_like(each) for each in model.parameters()]
            for position in np.flatnonzero(sampled.random(size) < recipe.batch_size / size):
                example = some.subsets[at][position]
                if example == OUT:
                    continue
                loss = cross_entropy(model(some.inputs[example][None]), some.labels[[example]])
                gradients = torch.autograd.grad(loss, list(model.parameters()))
                norm = torch.cat([g.flatten() for g in gradients]).norm()
                for total, g in zip(sums, gradients, strict=True):
                    total += g / max(1.0, float(norm) / recipe.privacy.clip)
            flat = torch.cat([total.flatten() for total in sums])
            drawn = torch.randn(len(flat), dtype=flat.dtype, generator=torch_generator)
            flat += recipe.privacy.noise * recipe.privacy.clip * drawn
            vector_to_parameters(flat / recipe.batch_size, sums)
            for each, total in zip(model.parameters(), sums, strict=True):
                each.grad = total
            optimizer.step()
            schedule.step()
    return model.state_dict()


@pytest.mark.parametrize("factory", [small_mlp, digits_cnn])
def test_the_loop_is_the_published_algorithm(factory):
    some = job(factory=factory)
    weights = train(some, "looped")
    for at in range(2):
        assert_close(row(weights, at), textbook(some, at))


@pytest.mark.parametrize("strategy", ["dense", "looped"])
def test_without_noise_and_clipping_whole_batches_are_those_of_plain_training(strategy):
    recipe = replace(SHORT, batch_size=40, epochs=6, privacy=Privacy(0, 1e6))
    plain = train(job(replace(recipe, privacy=None)), strategy)
    assert_close(train(job(recipe), strategy), plain, within=1e-9)


def clipped(some, strategy, inputs, labels):
    """Gradients [models, parameters] that one step leaves; models share the batch."""
    if strategy == "dense":
        weights, models = initial(some), len(some.models)
        steps = ClippedDenseSteps(some.untrained(0), weights, some)
        inputs = nn.functional.pad(inputs.flatten(1), (0, 1), value=1.0)  # as its job has them
        before = torch.cat([each.reshape(models, -1) for each in weights.values()], dim=1)
        each_its = inputs.expand(models, *inputs.shape), labels.expand(models, -1)
        no_noise = replace(some.recipe, privacy=replace(some.recipe.privacy, noise=0))
        steps.set_rate(1.0)
        steps(*each_its, None, GaussianNoise(replace(some, recipe=no_noise), 0))
        return before - torch.cat([each.reshape(models, -1) for each in weights.values()], dim=1)
    rows = []
    for model_id in some.models:
        model = some.untrained(model_id)
        leave_clipped_gradients(model, inputs, labels, some)
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return torch.stack(rows)


@pytest.mark.parametrize("strategy", ["dense", "looped"])
def test_no_example_moves_a_model_by_more_than_the_clip(strategy):
    inputs, labels = job().inputs, job().labels
    for clip, binding in ((0.05, True), (1e3, False)):
        some = job(replace(SHORT, privacy=Privacy(0, clip)))
        for i in range(5):
            got = 16 * clipped(some, strategy, inputs[i : i + 1], labels[i : i + 1])
            for of_model, model_id in zip(got, some.models, strict=True):
                model = some.untrained(model_id)
                loss = cross_entropy(model(inputs[i : i + 1]), labels[i : i + 1])
                whole = torch.cat(
                    [g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]
                )
                assert (float(whole.norm()) > clip) == binding
                expected = whole * clip / whole.norm() if binding else whole
                torch.testing.assert_close(of_model, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("strategy", ["dense", "looped"])
def test_padding_and_empty_batches_have_no_gradient(strategy):
    some = job()
    inputs, labels = some.inputs[:5], some.labels[:5]
    filled = torch.cat([labels[:3], torch.full((2,), NO_LABEL)])
    torch.testing.assert_close(
        clipped(some, strategy, inputs, filled), clipped(some, strategy, inputs[:3], labels[:3])
    )
    assert not clipped(some, strategy, inputs, torch.full((5,), NO_LABEL)).any()


# ---- noise ----


def noise_of_a_step(factory=small_mlp, privacy=PRIVACY, strategy="dense", models=(0, 1), batch=16):
    """What the noise changed in one step of whole size, by parameter, [models, ...]."""
    recipe = Recipe(1, batch, "sgd", 1.0, 0.0, schedule="constant", privacy=privacy)
    some = job(recipe, factory, models)
    some = replace(some, subsets=some.subsets[:, :batch])
    without = replace(some, recipe=replace(recipe, privacy=replace(privacy, noise=0)))
    noisy, quiet = train(some, strategy), train(without, strategy)
    return {name: noisy[name] - quiet[name] for name in noisy}


@pytest.mark.parametrize("strategy", ["dense", "looped"])
@pytest.mark.parametrize(("noise", "clip", "batch"), [(0.7, 0.5, 16), (3, 2, 16), (0.7, 0.5, 64)])
def test_noise_has_the_standard_deviation_of_the_algorithm(noise, clip, batch, strategy):
    wide = partial(mlp, 64, 128, 10)
    drawn = noise_of_a_step(wide, Privacy(noise, clip), strategy, batch=batch)
    batch = min(batch, 40)  # of more than a subset holds, all are expected
    every = torch.cat([each.flatten(1) for each in drawn.values()], dim=1) * batch / (noise * clip)
    assert every.shape[1] > 9000
    # Of n draws the deviation is off by 1 / sqrt(2 n) = .0075, the mean by .011: five times that.
    assert (every.std(1) - 1).abs().max() < 0.038
    assert every.mean(1).abs().max() < 0.055
    assert (every.abs() > 1.96).double().mean(1).sub(0.05).abs().max() < 0.012
    assert abs(float(torch.corrcoef(every)[0, 1])) < 0.055
    for name, each in drawn.items():  # of every parameter, however small
        assert each.std() * batch / (noise * clip) == pytest.approx(
            1, abs=4 / each[0].numel() ** 0.5
        ), name


def test_noise_is_of_its_own_in_each_step_and_epoch():
    some = job()
    gradients = [torch.zeros(3, 500, dtype=torch.float64) for _ in range(4)]
    for epoch, pair in enumerate((gradients[:2], gradients[2:])):
        noise = GaussianNoise(some, epoch)
        for each in pair:
            noise.add_to([each])
    every = torch.cat(gradients)
    assert (torch.corrcoef(every) - torch.eye(12)).abs().max() < 0.2


def test_an_empty_step_still_adds_noise():
    recipe = Recipe(1, 1, "sgd", 1.0, 0.0, schedule="constant", privacy=PRIVACY)
    some = job(recipe, models=range(64))
    some = replace(some, subsets=some.subsets[:, :2])
    empty = [m for m in range(64) if not epoch_samples(0, m, 0, 2, 2, 0.5)[0].any()]
    assert len(empty) > 1
    some = some.part(empty[0], empty[0] + 1)
    quiet = replace(some, recipe=replace(recipe, privacy=Privacy(0, 0.5)))
    for strategy in ("dense", "looped"):
        assert_close(train(quiet, strategy), initial(some), within=0)
        moved = train(some, strategy)["1.weight"] - initial(some)["1.weight"]
        assert moved.std() == pytest.approx(PRIVACY.noise * PRIVACY.clip * 2**0.5, rel=0.15)


# ---- sampling ----


def test_batches_are_poisson_samples_of_the_subset():
    recipe = replace(SHORT, batch_size=10)
    some = job(recipe, models=(0, 1, 2, 3), examples=200)
    sizes, counts, unequal = [], np.zeros((4, 200)), 0
    identified = replace(some, labels=torch.arange(200))
    for epoch in range(100):
        steps = 0
        for inputs, labels in identified.epoch(epoch):
            taken = labels != NO_LABEL
            assert torch.equal(inputs[taken], some.inputs[labels[taken]])
            per_model = taken.sum(1)
            assert labels.shape[1] == max(1, int(per_model.max()))
            unequal += int(per_model.min() < per_model.max())
            sizes += per_model.tolist()
            for at in range(4):
                numbers = labels[at][taken[at]].tolist()
                assert len(set(numbers)) == len(numbers)
                counts[at, numbers] += 1
            steps += 1
        assert steps == 10
    assert unequal > 900
    # 4,000 sizes, binomial of 100 at .1: mean 10 (+- .047), variance 9 (+- .2).
    assert np.mean(sizes) == pytest.approx(10, abs=0.25)
    assert np.var(sizes) == pytest.approx(9, abs=1.1)
    for at, subset in enumerate(some.subsets):
        assert counts[at].sum() == counts[at][subset].sum()
        assert np.abs(counts[at][subset] - 100).max() < 5 * 9.5
        assert counts[at][subset].std() > 6  # by chance, not once an epoch


def test_a_part_samples_and_shifts_what_the_whole_does():
    recipe = replace(SHORT, augmentation=Augmentation(shift=2, flip=True))
    whole = job(recipe, models=(0, 1, 2, 3))
    some = whole.part(1, 3)
    for epoch in range(3):
        for (a, of_a), (b, of_b) in zip(whole.epoch(epoch), some.epoch(epoch), strict=True):
            for at in range(2):
                kept, other = of_a[1 + at] != NO_LABEL, of_b[at] != NO_LABEL
                assert torch.equal(of_a[1 + at][kept], of_b[at][other])
                assert torch.equal(a[1 + at][kept], b[at][other])


def test_an_example_is_shifted_anew_each_time_it_is_sampled():
    recipe = Recipe(1, 1, augmentation=Augmentation(shift=2), privacy=PRIVACY)
    some = job(recipe, models=(0,))
    some = replace(some, subsets=some.subsets[:, :3], labels=torch.arange(80))
    seen = [
        inputs[0, i].numpy().tobytes()
        for epoch in range(100)
        for inputs, labels in some.epoch(epoch)
        for i in range(labels.shape[1])
        if labels[0, i] == some.subsets[0, 0]
    ]
    assert len(seen) > 60
    assert 15 < len(set(seen)) <= 25


def test_draws_are_those_that_banks_were_trained_with():
    # A failure means that every private bank's models change: raise training.SEMANTICS.
    digest = hashlib.sha256()
    counts, positions = epoch_samples(7, 3, 5, 100, 8, 0.13)
    for step in np.split(positions, counts.cumsum()[:-1]):
        digest.update(step.astype("<i8").tobytes() + b";")
    assert digest.hexdigest()[:16] == "63da7f994ca43596"
    assert torch_seed(7, 3, Purpose.PRIVACY, 5) == 6739238374299974490


# ---- examples that are OUT in places of their own ----

CANARIES = (0, 40, 41)


def game(out, recipe=SHORT, factory=small_mlp, models=(0, 1, 2), dtype=torch.float64):
    """Each model on 48 examples in places of their own, without those of its row of `out`."""
    some = job(recipe, factory, models, examples=48, dtype=dtype)
    subsets = np.tile(np.arange(48), (len(models), 1))
    for subset, gone in zip(subsets, out, strict=True):
        subset[list(gone)] = OUT
    return replace(some, subsets=subsets)


SOME_OUT = (CANARIES, CANARIES[:1], ())


@pytest.mark.parametrize("factory", [small_mlp, digits_cnn])
def test_a_model_without_an_example_is_the_published_algorithm_that_skips_it(factory):
    some = game(SOME_OUT, factory=factory)
    weights = train(some, "looped")
    for at in range(3):
        assert_close(row(weights, at), textbook(some, at))


@pytest.mark.parametrize("recipe", RECIPES)
def test_dense_and_looped_agree_without_an_example(recipe):
    some = game(SOME_OUT, RECIPES[recipe])
    dense = train(some, "dense")
    assert_close(dense, train(some, "looped"))
    everyone = train(game(((), (), ()), RECIPES[recipe]), "dense")
    assert not torch.allclose(dense["1.weight"][0], everyone["1.weight"][0])
    assert_close(row(dense, 2), row(everyone, 2), within=1e-9)


@pytest.mark.parametrize("augmentation", [None, Augmentation(shift=2, flip=True)])
def test_an_example_that_is_out_changes_no_batch_of_another(augmentation):
    recipe = replace(SHORT, augmentation=augmentation)
    with_it, without = (
        game([()] * 2, recipe, models=(0, 1)),
        game([CANARIES] * 2, recipe, models=(0, 1)),
    )
    assert with_it.steps == without.steps
    assert with_it.expected_batch == without.expected_batch
    numbers = torch.arange(48)  # for labels, so that a batch tells which examples are in it
    with_it, without = replace(with_it, labels=numbers), replace(without, labels=numbers)
    met = 0
    for epoch in range(3):
        for (a, of_a), (b, of_b) in zip(with_it.epoch(epoch), without.epoch(epoch), strict=True):
            gone = torch.isin(of_a, torch.tensor(CANARIES))
            assert torch.equal(of_a[~gone], of_b[~gone])
            kept = ~gone & (of_a != NO_LABEL)
            assert torch.equal(a[kept], b[kept])
            assert (of_b[gone] == NO_LABEL).all()
            assert not b[gone].any()
            met += int(gone.sum())
    assert met > 10


@pytest.mark.parametrize("strategy", ["dense", "looped"])
def test_a_step_with_and_without_an_example_differs_by_the_clip_at_most(strategy):
    recipe = Recipe(1, 48, "sgd", 1.0, 0.0, schedule="constant", privacy=PRIVACY)
    with_it, without = (
        train(game([gone] * 2, recipe, models=(0, 1)), strategy) for gone in ((), CANARIES[:1])
    )
    moved = torch.cat([(with_it[n] - without[n]).flatten(1) for n in with_it], dim=1)
    torch.testing.assert_close(moved.norm(dim=1) * 48, torch.full((2,), PRIVACY.clip).double())


@pytest.mark.parametrize("factory", [small_mlp, with_group_norm])
def test_what_an_example_that_is_out_holds_reaches_no_bit_of_a_model(factory):
    some = game([CANARIES] * 3, factory=factory, dtype=torch.float32)
    inputs, labels = some.inputs.clone(), some.labels.clone()
    inputs[list(CANARIES)] = torch.nan
    labels[list(CANARIES)] = 0
    other = replace(some, inputs=inputs, labels=labels)
    for strategy in ("dense", "looped") if factory is small_mlp else ("looped",):
        one, two = train(some, strategy), train(other, strategy)
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert all(tensor.isfinite().all() for tensor in one.values())


def test_a_model_of_no_example_still_has_its_steps_and_noise():
    empty = game([range(48)], models=(0,))
    for strategy in ("dense", "looped"):
        moved = train(empty, strategy)["1.weight"] - initial(empty)["1.weight"]
        assert moved.isfinite().all()
        assert moved.any()
    quiet = replace(empty, recipe=replace(SHORT, privacy=Privacy(0, 1)))
    assert_close(train(quiet, "dense"), initial(quiet), within=0)


def test_places_without_examples_need_a_private_recipe():
    with pytest.raises(
        ValueError, match=r"subsets hold places that are OUT, but recipe\.privacy is"
    ):
        game(SOME_OUT, replace(SHORT, privacy=None))


# ---- any model, and those that cannot ----


def test_a_model_with_group_norm_and_dropout_learns():
    recipe = replace(SHORT, epochs=20, privacy=Privacy(0.05, 1.0))
    some = job(recipe, with_group_norm, models=(0,))
    weights = row(train(some, "looped"), 0)
    model = with_group_norm().double().eval()
    inputs, labels = some.inputs[some.subsets[0]], some.labels[some.subsets[0]]
    before = cross_entropy(some.untrained(0).eval()(inputs), labels)
    model.load_state_dict(weights)
    assert cross_entropy(model(inputs), labels) < 0.8 * before


def test_frozen_parameters_stay():
    def half_frozen():
        model = small_mlp()
        model[1].weight.requires_grad_(False)
        return model

    some = job(factory=half_frozen)
    trained, before = train(some, "looped"), initial(some)
    assert torch.equal(trained["1.weight"], before["1.weight"])
    assert not torch.equal(trained["1.bias"], before["1.bias"])


def normalised():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 10)
    )


def subject(model, privacy=PRIVACY):
    pool = Dataset(POOL.images[:60], POOL.labels[:60])
    return Subject("some", pool, pool, model, Recipe(privacy=privacy))


def test_batch_norm_is_refused_by_name():
    message = r"layer 2 \(BatchNorm1d\) mixes the examples of a batch: use GroupNorm"
    with pytest.raises(ValueError, match=message):
        train(job(factory=normalised), "looped")
    with pytest.raises(ValueError, match=message):
        execution_for(subject(normalised), "cpu")
    execution_for(subject(normalised, privacy=None), "cpu")
    with pytest.raises(ValueError, match=r"layer 0 \(InstanceNorm2d\)"):
        check_private(nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True)))
    check_private(nn.Sequential(nn.InstanceNorm2d(3), nn.GroupNorm(1, 3), nn.LayerNorm(3)))


def test_a_stack_by_autograd_is_refused():
    with pytest.raises(ValueError, match="strategy='stacked' cannot train with recipe"):
        train(job(factory=digits_cnn), "stacked")


def test_private_models_that_are_not_dense_are_looped():
    assert execution_for(subject(small_mlp), "cpu").strategy == "dense"
    assert execution_for(subject(digits_cnn), "cpu").strategy == "looped"
    assert execution_for(subject(digits_cnn, privacy=None), "cpu").strategy == "stacked"
