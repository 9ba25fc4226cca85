import dataclasses
import hashlib
import pickle

import numpy as np
import pytest

from benchsuite.data import Dataset

LABELS = np.array([0, 1, 2, 0])


def grey(seed=0, n=4):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 5), dtype=np.uint8)


def colour(seed=0, n=4):
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 5, 3), dtype=np.uint8)


def test_length_classes_and_one_group_by_default():
    data = Dataset(grey(), LABELS.astype(np.uint8), name="toy")
    assert (len(data), data.classes, data.name) == (4, 3, "toy")
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.groups, [0, 0, 0, 0])


def test_a_class_without_examples_still_counts():
    assert Dataset(grey(), np.array([0, 5, 5, 0])).classes == 6


def test_grey_inputs_get_a_channel_and_the_unit_scale():
    images = grey()
    inputs = Dataset(images, LABELS).inputs()
    assert inputs.shape == (4, 1, 3, 5)
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    np.testing.assert_array_equal(inputs[:, 0], images.astype(np.float32) / np.float32(255))


def test_colour_inputs_have_their_channels_first():
    images = colour()
    inputs = Dataset(images, LABELS).inputs()
    assert inputs.shape == (4, 3, 6, 5)
    assert inputs.flags.c_contiguous
    assert inputs[2, 1, 4, 3] == np.float32(images[2, 4, 3, 1]) / np.float32(255)


@pytest.mark.parametrize("shape", [(4, 7), (4, 1, 8, 8), (4, 2, 3, 4, 5)])
def test_float_inputs_are_taken_as_they_are(shape):
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    images = np.asfortranarray(images)
    inputs = Dataset(images, LABELS).inputs()
    np.testing.assert_array_equal(inputs, images)
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    assert inputs.flags.writeable  # torch.from_numpy warns otherwise


def test_nothing_outside_changes_a_data_set():
    images, labels, groups = grey(), LABELS.copy(), np.arange(4)
    data = Dataset(images, labels, groups)
    before = data.digest
    images += 1
    labels += 1
    groups += 1
    assert Dataset(data.images, data.labels, data.groups).digest == before
    data.inputs()[:] = 0
    assert Dataset(data.images, data.labels, data.groups).digest == before


@pytest.mark.parametrize("field", ["images", "labels", "groups"])
def test_arrays_are_read_only(field):
    data = Dataset(grey(), LABELS)
    with pytest.raises(ValueError, match="read-only"):
        getattr(data, field)[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(data, field, None)


def test_a_pickled_copy_is_equal_and_still_read_only():
    data = Dataset(grey(), LABELS, np.array(["a", "b", "a", "a"]), name="toy")
    copy = pickle.loads(pickle.dumps(data))
    assert copy == data
    assert copy.name == "toy"
    assert not copy.images.flags.writeable


def test_the_digest_is_what_its_docstring_says():
    data = Dataset(grey(), LABELS)
    sha = hashlib.sha256()
    for array in (grey(), LABELS, np.zeros(4, np.int64)):
        sha.update(f"{array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    assert data.digest == sha.hexdigest()


def test_the_digest_does_not_depend_on_name_layout_or_label_width():
    data = Dataset(grey(), LABELS, name="one")
    same = Dataset(np.asfortranarray(grey()), LABELS.astype(np.uint8), np.zeros(4, np.int8), "two")
    assert data.digest == same.digest
    assert data == same
    assert len({data, same}) == 1


def test_the_digest_of_word_groups_does_not_depend_on_the_array_s_width():
    words = np.array(["a", "b", "a", "b"])
    assert Dataset(grey(), LABELS, words) == Dataset(grey(), LABELS, words.astype("<U9"))


def test_the_digest_depends_on_every_array_and_on_shape():
    images = grey()
    one_pixel = images.copy()
    one_pixel[3, 2, 4] ^= 1
    floats = images.astype(np.float32)
    variants = [
        Dataset(images, LABELS),
        Dataset(one_pixel, LABELS),
        Dataset(images.reshape(4, 5, 3), LABELS),
        Dataset(floats, LABELS),
        Dataset(floats.reshape(4, 15), LABELS),
        Dataset(images, np.array([0, 1, 2, 1])),
        Dataset(images, LABELS, np.array([0, 0, 0, 1])),
        Dataset(images, LABELS, np.array(["0", "0", "0", "0"])),
    ]
    assert len({data.digest for data in variants}) == len(variants)
    assert len(set(variants)) == len(variants)
    assert variants[0] != variants[0].digest


def test_replace_changes_one_field():
    data = Dataset(grey(), LABELS, name="toy")
    renamed = dataclasses.replace(data, name="other")
    assert renamed == data
    assert renamed.name == "other"


def test_subset_keeps_order_groups_and_name():
    data = Dataset(grey(), LABELS, np.array(["a", "b", "c", "d"]), name="toy")
    part = data.subset([3, 1, 1])
    np.testing.assert_array_equal(part.images, grey()[[3, 1, 1]])
    np.testing.assert_array_equal(part.labels, [0, 1, 1])
    np.testing.assert_array_equal(part.groups, ["d", "b", "b"])
    assert part.name == "toy"
    assert data.subset([3, 1], name="pair").name == "pair"
    assert data.subset(np.array([False, True, False, True])) == data.subset([1, 3])


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([], ValueError, "chooses no example"),
        (np.zeros(4, bool), ValueError, "chooses no example"),
        (np.ones(3, bool), ValueError, r"shape \(3,\).*bool \[4\]"),
        ([0.0, 1.0], ValueError, "dtype float64"),
        ([[0, 1]], ValueError, r"shape \(1, 2\)"),
        ([0, 4], IndexError, "holds 4, expected positions from 0 to 3"),
        ([0, -1], IndexError, "holds -1"),
        ([0, 3], ValueError, "single class 0"),
    ],
)
def test_a_bad_subset_is_refused(indices, error, message):
    with pytest.raises(error, match=message):
        Dataset(grey(), LABELS).subset(indices)


def with_value(value):
    images = np.zeros((4, 7), np.float32)
    images[2, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "labels", "groups", "message"),
    [
        (grey(), LABELS[:3], None, r"labels has shape \(3,\), expected \(4,\)"),
        (grey(), LABELS[:, None], None, r"labels has shape \(4, 1\)"),
        (grey(), LABELS, np.arange(5), r"groups has shape \(5,\), expected \(4,\)"),
        (grey().tolist(), LABELS, None, r"images is a list.*numpy.asarray"),
        (grey(), [0, 1, 2, 0], None, "labels is a list"),
        (grey(), LABELS, ["a"] * 4, "groups is a list"),
        (grey().astype(np.float64), LABELS, None, r'dtype float64.*\.astype\("float32"\)'),
        (grey().astype(np.int64), LABELS, None, "images has dtype int64, expected uint8"),
        (grey().astype(">f4"), LABELS, None, "images has dtype >f4"),
        (grey().reshape(4, 15), LABELS, None, r"uint8 and shape \(4, 15\)"),
        (np.zeros(4, np.float32), LABELS, None, r"float32 and shape \(4,\)"),
        (np.float32(1) * np.ones(()), LABELS, None, "images"),
        (colour().transpose(0, 3, 1, 2), LABELS, None, r"channels first.*transpose\(0, 2, 3, 1\)"),
        (grey(n=0), LABELS[:0], None, "images is empty"),
        (np.zeros((4, 0), np.float32), LABELS, None, "images is empty"),
        (with_value(np.nan), LABELS, None, r"images must be finite.*\[2, 3\]"),
        (with_value(np.inf), LABELS, None, "images must be finite"),
        (grey(), LABELS.astype(np.float32), None, r'labels has dtype float32.*\.astype\("int64"\)'),
        (grey(), LABELS > 0, None, "labels has dtype bool"),
        (grey(), np.array([0, 1, -1, 0]), None, r"labels\[2\] is -1"),
        (grey(), np.full(4, 7), None, "labels holds the single class 7"),
        (grey(), LABELS, np.zeros(4), "groups has dtype float64"),
        (grey(), LABELS, np.array(["a"] * 4, object), "groups has dtype object"),
    ],
)
def test_bad_input_is_named_in_one_line(images, labels, groups, message):
    with pytest.raises(ValueError, match=message) as caught:
        Dataset(images, labels, groups)
    assert "\n" not in str(caught.value)


def test_it_is_shown_without_its_pixels():
    assert repr(Dataset(grey(), LABELS, name="toy")) == "Dataset('toy', uint8 [4, 3, 5], 3 classes)"
