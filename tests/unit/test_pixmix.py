import importlib

import numpy as np
import pytest

from benchsuite.data.pixmix import fractals, pixmix

module = importlib.import_module("benchsuite.data.pixmix")  # its name is the function's too

RNG = np.random.default_rng(0)
GREY = RNG.random((40, 1, 8, 8), dtype=np.float32)
KINDS = {
    "grey 8 x 8": GREY,
    "colour 32 x 32": RNG.random((12, 3, 32, 32), dtype=np.float32),
    "not square": RNG.random((12, 1, 6, 12), dtype=np.float32),
}
every_kind = pytest.mark.parametrize("images", KINDS.values(), ids=KINDS)


# ---- fractals ----


@pytest.mark.parametrize("size", [8, 28])
def test_fractals_are_pictures_and_differ(size):
    made = fractals(30, size, seed=1)
    assert made.shape == (30, size, size)
    assert made.min() >= 0
    assert made.max() <= 1
    assert (np.ptp(made, axis=(1, 2)) >= 0.4).all()
    assert (made.std(axis=(1, 2)) > 0.15 * 0.4).all()
    alike = np.corrcoef(made.reshape(30, -1)) - np.eye(30)
    assert np.abs(alike).max() < 0.95
    brighter_middle = made[:, 2:-2, 2:-2].mean(axis=(1, 2)) > made.mean(axis=(1, 2))
    assert 5 < brighter_middle.sum() < 25  # on dark paper and on bright


def test_fractals_are_fixed_by_seed_and_number():
    six = fractals(6, 8, seed=1)
    np.testing.assert_array_equal(fractals(3, 8, seed=1), six[:3])
    assert not np.isclose(fractals(6, 8, seed=2), six).all(axis=(1, 2)).any()


def test_points_stay_on_a_known_attractor(monkeypatch):
    """Maps that all shrink by a half about their fixed points never leave the hull of those."""
    monkeypatch.setattr(module, "_STRETCH", (0.5, 0.5))
    monkeypatch.setattr(module, "_rotation", lambda angle: np.tile(np.eye(2), (*angle.shape, 1, 1)))
    points = module._attractor(5000, np.random.default_rng(0))
    assert len(points) >= 5000
    assert np.abs(points).max() <= 2  # |shift| / (1 - 1/2)
    assert np.ptp(points, axis=0).min() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8, 0), "count is 0, expected 1 or more"),
        ((1, 3, 0), "size is 3, expected 4 or more"),
        ((1, 8, -1), "seed is -1, expected 0 or more"),
    ],
)
def test_fractals_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fractals(*arguments)


# ---- operations, on pictures small enough to be done by hand ----

RAMP = np.array([[[0.2, 0.4], [0.4, 0.6]]])
FLAT = np.full((1, 2, 2), 0.3)


def test_autocontrast_reaches_black_and_white_channel_by_channel():
    two = np.concatenate([RAMP, FLAT])
    np.testing.assert_allclose(
        module._autocontrast(two, 0, 1), [[[0, 0.5], [0.5, 1]], [[0.3, 0.3], [0.3, 0.3]]]
    )


def test_equalize_spreads_the_ranks():
    np.testing.assert_allclose(module._equalize(RAMP, 0, 1), [[[0, 1 / 3], [1 / 3, 1]]])
    np.testing.assert_array_equal(module._equalize(FLAT, 0, 1), FLAT)


def test_posterize_keeps_four_bits_and_at_higher_levels_fewer():
    greys = np.arange(256).reshape(1, 16, 16) / 255
    assert len(np.unique(module._posterize(greys, 0.2, 1))) == 16
    assert len(np.unique(module._posterize(greys, 0.3, 1))) == 8
    assert module._posterize(greys, 0.2, 1)[0, 15, 15] == 240 / 255


def test_solarize_turns_what_is_bright():
    np.testing.assert_allclose(module._solarize(RAMP, 0.5, 1), [[[0.2, 0.4], [0.4, 0.4]]])


def test_motions_move_as_far_as_the_level_says():
    dot = np.zeros((1, 9, 9))
    dot[0, 4, 4] = 1
    moved = module._translate_x(dot, 1.0, 1)  # a third of nine pixels, to the left
    np.testing.assert_allclose(moved, np.roll(dot, -3, axis=2), atol=1e-12)
    moved = module._translate_y(dot, 1 / 6, -1)  # half a pixel downwards
    np.testing.assert_allclose(moved[0, 4:6, 4], 0.5)
    assert module._rotate(dot, 1.0, 1)[0, 4, 4] == pytest.approx(1)  # the centre stays
    white = module._translate_x(np.ones((1, 6, 6)), 0.25, 1)  # black comes in at the edge
    np.testing.assert_allclose(white, np.ones((1, 6, 1)) * [1, 1, 1, 1, 1, 0.5], atol=1e-12)
    line = np.zeros((1, 11, 11))
    line[0, :, 5] = 1
    sheared = module._shear_x(line, 1.0, 1)[0]
    np.testing.assert_allclose(sheared[[0, 10]].argmax(axis=1), [5, 2])
    np.testing.assert_allclose(sheared[10, 2], 1, atol=1e-12)
    across = module._shear_y(line.transpose(0, 2, 1), 1.0, 1)[0]
    np.testing.assert_allclose(across, sheared.T, atol=1e-12)


def test_a_turn_by_the_right_angle(monkeypatch):
    monkeypatch.setattr(module, "_DEGREES", 90)
    corner = np.zeros((2, 5, 5))
    corner[:, 0, 1] = 1
    for sign in (1, -1):
        turned = module._rotate(corner, 1.0, sign)
        np.testing.assert_allclose(turned, np.rot90(corner, -sign, (1, 2)), atol=1e-12)


# ---- mixing ----


def test_mixtures_of_two_pixels_by_hand():
    one, other = np.array([0.75]), np.array([0.25])
    np.testing.assert_allclose(module._added(one, other, 0.5, 0.5), 0.5)
    np.testing.assert_allclose(module._added(one, other, 1, -0.5), 0.875)
    np.testing.assert_allclose(module._multiplied(one, other, 1, 0), one)
    np.testing.assert_allclose(module._multiplied(one, other, 2, 2), 1.5**2 * 0.5**2 / 2)
    assert np.isfinite(module._multiplied(np.zeros(1), np.zeros(1), 1.5, -1.0)).all()


def test_weights_have_the_moments_of_their_beta_distributions():
    rng = np.random.default_rng(0)
    a, b = np.array([module._weights(2, rng) for _ in range(4000)]).T
    negative = b < 0
    assert 0.46 < negative.mean() < 0.54
    np.testing.assert_allclose(a[~negative].mean(), 2 / 3, atol=0.02)  # Beta(2, 1)
    np.testing.assert_allclose(a[~negative].var(), 1 / 18, atol=0.01)
    np.testing.assert_allclose(b[~negative].mean(), 1 / 3, atol=0.02)  # Beta(1, 2)
    np.testing.assert_allclose(a[negative].mean(), 4 / 3, atol=0.02)
    np.testing.assert_allclose(b[negative].mean(), -1 / 3, atol=0.02)
    assert abs(np.corrcoef(a[~negative], b[~negative])[0, 1]) < 0.1


# ---- PixMix ----


@every_kind
def test_results_are_pictures_of_the_same_form(images):
    before = images.copy()
    mixed = pixmix(images, seed=3)
    assert (mixed.shape, mixed.dtype) == (images.shape, np.float32)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    np.testing.assert_array_equal(images, before)
    assert (np.abs(mixed - images).max(axis=(1, 2, 3)) > 0.05).mean() > 0.6
    np.testing.assert_array_equal(pixmix(images, seed=3), mixed)
    assert (np.abs(pixmix(images, seed=4) - mixed).max(axis=(1, 2, 3)) > 0.05).mean() > 0.6


def test_a_picture_depends_on_its_original_and_position_alone():
    mixed = pixmix(GREY, seed=3)
    np.testing.assert_array_equal(pixmix(GREY[:7], seed=3), mixed[:7])
    chosen = np.array([31, 2, 17])
    np.testing.assert_array_equal(pixmix(GREY[chosen], seed=3, positions=chosen), mixed[chosen])
    same = pixmix(np.repeat(GREY[:1], 40, axis=0), seed=3)
    assert len(np.unique(same.round(4), axis=0)) > 20


def test_without_rounds_half_of_the_images_stay_and_half_are_changed_once(monkeypatch):
    many = np.repeat(GREY, 10, axis=0)
    mixed = pixmix(many, seed=0, rounds=0)
    stayed = (mixed == many).all(axis=(1, 2, 3)).mean()
    assert 0.42 < stayed < 0.58
    monkeypatch.setattr(module, "_OPERATIONS", (lambda image, level, sign: 1 - image,))
    mixed = pixmix(many, seed=0, rounds=0)
    changed = np.isclose(mixed, 1 - many, atol=1e-6).all(axis=(1, 2, 3))
    assert ((mixed == many).all(axis=(1, 2, 3)) ^ changed).all()
    assert 0.42 < changed.mean() < 0.58


def test_it_mixes_up_to_four_times_and_adds_as_often_as_it_multiplies(monkeypatch):
    counts = {"_added": np.zeros(600), "_multiplied": np.zeros(600)}
    images = np.arange(600, dtype=np.float32)[:, None, None, None] / 600
    images = np.tile(images, (1, 1, 4, 4))

    def spy(kind):
        def mix(image, other, a, b):
            counts[kind][round(image[0, 0, 0] * 600)] += 1
            return image

        return mix

    for kind in counts:
        monkeypatch.setattr(module, kind, spy(kind))
    monkeypatch.setattr(module, "_OPERATIONS", (lambda image, level, sign: image,))
    np.testing.assert_array_equal(pixmix(images, seed=0), images)
    mixes = sum(counts.values())
    times = np.bincount(mixes.astype(int))
    assert len(times) == 5
    assert (np.abs(times - 120) < 40).all()  # 10 being the standard deviation
    assert 0.44 < counts["_added"].sum() / mixes.sum() < 0.56


def test_one_image_in_ten_comes_out_as_it_was():
    many = np.repeat(GREY, 15, axis=0)
    unchanged = (pixmix(many, seed=0) == many).all(axis=(1, 2, 3)).mean()
    assert 0.06 < unchanged < 0.14


def test_severities_make_images_differ_more():
    def change(**arguments):
        return float(np.abs(pixmix(GREY, seed=0, **arguments) - GREY).mean())

    assert change(mixing_severity=0.5) > change(mixing_severity=4) > change(mixing_severity=50)
    gentle = change(rounds=0, operation_severity=0.1)
    assert change(rounds=0, operation_severity=10) > gentle


def test_the_fractal_is_mixed_into_blank_images():
    blank = np.full((30, 1, 28, 28), 0.5, dtype=np.float32)
    marked = np.ptp(pixmix(blank, seed=0)[:, :, 8:20, 8:20], axis=(1, 2, 3)) > 0.02
    assert 0.3 < marked.mean() < 0.9


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (GREY[:, 0], {}, "images"),
        (GREY[:, :, :3], {}, r"images have shape \(40, 1, 3, 8\), expected .* 4 x 4"),
        (GREY * 255, {}, r"images go from .* to 25.*, expected from 0 to 1: scale them"),
        (GREY - 1, {}, "images go from -"),
        (GREY, {"mixing_severity": 0}, "mixing_severity=0, .* expected above 0"),
        (GREY, {"operation_severity": 11}, "operation_severity=11, .* from 0.1 to 10"),
        (GREY, {"rounds": -1}, "rounds=-1, expected .* 0 or more"),
        (
            GREY,
            {"positions": [1, 2]},
            "positions have shape .*an integer from 0 for each of the 40",
        ),
        (GREY, {"positions": -np.ones(40, int)}, "positions have"),
        (GREY, {"positions": np.ones(40)}, "positions have shape .* dtype float64"),
    ],
)
def test_what_cannot_be_mixed_is_named(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        pixmix(images, 0, **arguments)
