import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.training import Augmentation, Recipe, TrainingJob, template
from benchsuite.training.batches import augmented, seeded
from benchsuite.training.randomness import epoch_orders


def job(recipe, models=(0, 1, 2), size=10, image=(1, 3, 3)):
    inputs = torch.arange(20 * np.prod(image), dtype=torch.float32).view(20, *image)
    subsets = np.stack([np.arange(m, m + size) for m in models])
    factory = lambda: nn.Linear(3, 2)  # noqa: E731
    return TrainingJob(factory, recipe, inputs, torch.arange(20), subsets, models, seed=5)


def test_an_epoch_shows_each_model_its_subset_once_in_its_own_order():
    some = job(Recipe(batch_size=4))
    batches = []
    for inputs, labels in some.epoch(2):
        batches.append(labels)
        assert torch.equal(inputs, some.inputs[labels])  # each image is that of its label
    assert [labels.shape for labels in batches] == [(3, 4), (3, 4), (3, 2)]
    seen = torch.cat(batches, dim=1).numpy()
    np.testing.assert_array_equal(seen, epoch_orders(5, (0, 1, 2), 2, some.subsets))
    np.testing.assert_array_equal(np.sort(seen, axis=1), np.sort(some.subsets, axis=1))


def test_a_part_sees_what_the_whole_sees():
    recipe = Recipe(batch_size=4, augmentation=Augmentation(shift=1, flip=True))
    whole, part = job(recipe), job(recipe).part(1, 3)
    for (inputs, labels), (some_inputs, some_labels) in zip(
        whole.epoch(0), part.epoch(0), strict=True
    ):
        assert torch.equal(inputs[1:], some_inputs)
        assert torch.equal(labels[1:], some_labels)


def naive(image, shift, flip):
    """An image [channels, height, width] moved against the shift, then mirrored."""
    moved = np.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            y, x = row + shift[0], column + shift[1]
            if 0 <= y < height and 0 <= x < width:
                moved[:, row, column] = image[:, y, x]
    return moved[:, :, ::-1] if flip else moved


@pytest.mark.parametrize(("shift", "flip"), [(0, True), (1, False), (1, True), (4, True)])
def test_augmentation_is_the_naive_one(shift, flip):
    draw = np.random.default_rng(0)
    images = draw.random((2, 6, 3, 4, 5), dtype=np.float32)
    shifts = draw.integers(-shift, shift, (2, 6, 2), endpoint=True)
    flips = draw.random((2, 6)) < 0.5
    got = augmented(
        torch.tensor(images), Augmentation(shift, flip), torch.tensor(shifts), torch.tensor(flips)
    )
    for m in range(2):
        for b in range(6):
            expected = naive(images[m, b], shifts[m, b], flip and flips[m, b])
            np.testing.assert_array_equal(got[m, b].numpy(), expected)


def test_augmentation_is_new_each_epoch_and_leaves_the_pool_alone():
    some = job(Recipe(batch_size=10, augmentation=Augmentation(shift=1)))
    before = some.inputs.clone()
    ((first, labels),), ((second, _),) = some.epoch(0), some.epoch(1)
    assert not torch.equal(first, some.inputs[labels])
    assert not torch.equal(first, second)
    assert torch.equal(some.inputs, before)


def test_augmentation_of_features_is_refused():
    some = job(Recipe(augmentation=Augmentation(shift=1)), image=(9,))
    with pytest.raises(ValueError, match=r"augmentation needs images.*\[10, 9\].*=None"):
        next(some.epoch(0))


def test_initial_weights_are_the_factorys_own_for_this_model():
    some = job(Recipe())
    weights = [some.untrained(m).weight for m in (0, 1, 2)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(some.part(1, 2).untrained(1).weight, weights[1])
    bound = 1 / np.sqrt(3)
    assert all(weight.abs().max() <= bound for weight in weights)


def test_generators_are_put_back_even_after_an_error():
    def broken():
        torch.rand(3)
        raise KeyError("no weights")

    torch.manual_seed(3)
    before = torch.get_rng_state()
    template(lambda: nn.Linear(2, 2))
    with pytest.raises(KeyError), seeded(0):
        broken()
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(1):
        first = torch.rand(2)
    with seeded(1):
        assert torch.equal(torch.rand(2), first)


def test_whoever_wants_the_training_to_end_raises_before_an_epoch():
    def end():
        raise InterruptedError("enough")

    some = job(Recipe())
    ended = TrainingJob(
        some.factory, some.recipe, some.inputs, some.labels, some.subsets, some.models, 5, None, end
    )
    with pytest.raises(InterruptedError, match="enough"):
        next(ended.part(0, 1).epoch(0))
