"""Augmentation against SciPy's affine_transform, NumPy's mirrors and turns, and 3x3 matrices."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tfcore.data.augment import Augment, affine, apply, draw, elastic, examples, sample, transform, views

DX, DY, SHEAR, ZOOM_X, ZOOM_Y, TURN, MIRROR, BRIGHTNESS, CONTRAST = range(9)
SCIPY = {"nearest": "nearest", "constant": "grid-constant", "reflect": "reflect"}
FULL = Augment(shift=0.3, shear=30, zoom=0.4, rotation=90, flip=True, brightness=0.3, contrast=0.5)
SIZES = [(8, 8), (9, 7), (5, 12), (28, 28), (1, 6)]


def draws(n=1, **values):
    """Draws of 0 for everything but `values`; mirror 0 is: not mirrored."""
    rows = np.zeros((n, 9), np.float32)
    for name, value in values.items():
        rows[:, globals()[name.upper()]] = value
    return rows


def pictures(rng, n, height, width, channels=1):
    return rng.integers(0, 256, (n, height, width, channels), np.uint8)


def matrix(config, row, height, width):
    """The map from output to input pixels (x, y, 1) as a product of 3x3 matrices, each the inverse of one change."""
    radians = math.radians
    shear, turn = radians(config.shear * row[SHEAR]), radians(config.rotation * row[TURN])
    move = np.array([[1, 0, -config.shift * width * row[DX]], [0, 1, -config.shift * height * row[DY]], [0, 0, 1]])
    lean = np.array([[1, -math.sin(shear), 0], [0, math.cos(shear), 0], [0, 0, 1]])
    cos, sin = math.cos(turn), math.sin(turn)
    rotate = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    scale = np.diag([1 + config.zoom * row[ZOOM_X], 1 + config.zoom * row[ZOOM_Y], 1])
    mirror = np.diag([-1 if config.flip and row[MIRROR] < 0 else 1, 1, 1])
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    return centre @ mirror @ scale @ rotate @ lean @ move @ np.linalg.inv(centre)


def resample(image, m, fill):
    """SciPy's answer; its axes are y, x. image: [H, W, C]."""
    linear, offset = m[1::-1, 1::-1], m[1::-1, 2]
    options = {"order": 1, "mode": SCIPY[fill]}
    bands = [
        scipy.ndimage.affine_transform(image[..., c].astype(np.float64), linear, offset, **options)
        for c in range(image.shape[-1])
    ]
    return np.stack(bands, axis=-1)


@pytest.mark.parametrize("fill", SCIPY)
@pytest.mark.parametrize(("height", "width"), SIZES[:4])
def test_transform_agrees_with_scipy(rng, fill, height, width):
    images = pictures(rng, 12, height, width, 3)
    rows = rng.uniform(-1, 1, (12, 9))
    maps = np.stack([matrix(FULL, row, height, width) for row in rows])
    flat = np.concatenate([maps.reshape(12, 9)[:, :6], np.zeros((12, 2))], axis=1).astype(np.float32)
    out = transform(images.astype(np.float32), flat, fill=fill)
    assert out.dtype == tf.float32
    wanted = [resample(image, m, fill) for image, m in zip(images, maps)]
    np.testing.assert_allclose(out, wanted, atol=0.05)


@pytest.mark.parametrize("fill", SCIPY)
@pytest.mark.parametrize(("height", "width"), SIZES[:4])
def test_apply_agrees_with_scipy(rng, fill, height, width):
    """One grey level: the result is rounded."""
    config = Augment(shift=0.4, shear=40, zoom=0.5, rotation=180, flip=True, fill=fill)
    images, rows = pictures(rng, 10, height, width), rng.uniform(-1, 1, (10, 9)).astype(np.float32)
    out = apply(config, images, rows).numpy()
    wanted = [resample(image, matrix(config, row, height, width), fill) for image, row in zip(images, rows)]
    np.testing.assert_allclose(out.astype(int), wanted, atol=1)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_affine_is_the_product_of_the_single_maps(rng, height, width):
    rows = rng.uniform(-1, 1, (50, 9)).astype(np.float32)
    found = affine(FULL, rows, height, width).numpy()
    wanted = np.stack([matrix(FULL, row, height, width)[:2].ravel() for row in rows])
    assert found.shape == (50, 8) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, :6], wanted, atol=1e-4)
    assert not found[:, 6:].any()


@pytest.mark.parametrize("fill", SCIPY)
@pytest.mark.parametrize(("height", "width"), SIZES[:4])
def test_sampling_agrees_with_scipy(rng, fill, height, width):
    images = pictures(rng, 6, height, width, 3).astype(np.float32)
    x, y = (rng.uniform(-0.6 * side, 1.6 * side, (6, height, width)).astype(np.float32) for side in (width, height))
    wanted = [
        [scipy.ndimage.map_coordinates(i[..., c], [b, a], order=1, mode=SCIPY[fill]) for c in range(3)]
        for i, a, b in zip(images, x, y)
    ]
    np.testing.assert_allclose(sample(images, x, y, fill=fill), np.moveaxis(wanted, 1, -1), atol=0.05)


def test_elastic_distortions_are_smooth_as_large_as_they_say_and_of_no_two_images_the_same():
    config, height, width, n = Augment(elastic=0.05), 24, 32, 2000
    rows = draw(0, 0, n)
    x, y = elastic(config, rows, affine(config, rows, height, width), height, width)
    moved = np.stack([x - np.arange(width), y - np.arange(height)[:, None]])  # [2, N, H, W]
    rms = np.sqrt((moved**2).mean(axis=(1, 2, 3))) / [width, height]
    np.testing.assert_allclose(rms, 0.05, rtol=0.03)
    assert abs(np.diff(moved, axis=3)).max() < 0.05 * width * 2 * np.pi * 6 / width  # the steepest sum of the waves
    flat = moved.reshape(2, n, -1)
    correlations = np.corrcoef(np.concatenate([flat[0, :, 5], flat[1, :, 5]]).reshape(2, n), np.asarray(rows).T)
    assert abs(correlations - np.diag(np.diag(correlations))).max() < 0.1  # x, y and the draws know nothing of another


@pytest.mark.parametrize("fill", SCIPY)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_draws_of_zero_change_nothing(rng, fill, height, width):
    images = pictures(rng, 3, height, width, 3)
    config = Augment(shift=0.3, shear=30, zoom=0.4, rotation=90, flip=True, brightness=1, contrast=1, fill=fill)
    np.testing.assert_array_equal(apply(dataclasses.replace(config, elastic=0.3), images, draws(3)), images)
    np.testing.assert_array_equal(apply(config, images, draws(3)), images)


def test_ranges_of_zero_change_nothing(rng):
    images, config = pictures(rng, 4, 7, 6), Augment()
    np.testing.assert_array_equal(apply(config, images, draw(0, 0, 4)), images)
    np.testing.assert_array_equal(apply(Augment(flip=True), images, abs(draw(0, 0, 4))), images)
    assert not config.moves and not config.tones


@pytest.mark.parametrize("width", [1, 2, 7, 8, 299])
def test_flip_is_an_exact_mirror(rng, width):
    images = pictures(rng, 3, 5, width, 3)
    out = apply(Augment(flip=True), images, draws(3, mirror=[-1, 1, -1e-6]))
    np.testing.assert_array_equal(out, np.stack([images[0, :, ::-1], images[1], images[2, :, ::-1]]))


def test_half_of_the_images_are_mirrored():
    config = Augment(flip=True)
    mirrored = affine(config, draw(3, 0, 10_000), 8, 8).numpy()[:, 0] < 0
    assert abs(mirrored.mean() - 0.5) < 5 * 0.005  # five standard errors


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-1, 0), (0, 1), (0, -1), (0.5, -1)])
def test_shift_moves_right_and_down_by_a_fraction_of_the_side(rng, dx, dy):
    images = pictures(rng, 1, 8, 16)
    out = apply(Augment(shift=0.25, fill="constant"), images, draws(dx=dx, dy=dy))
    right, down = round(4 * dx), round(2 * dy)
    wanted = np.zeros_like(images)
    inside = (np.arange(n) for n in (8, 16))
    for y, x in np.stack(np.meshgrid(*inside, indexing="ij"), -1).reshape(-1, 2):
        if 0 <= y - down < 8 and 0 <= x - right < 16:
            wanted[0, y, x] = images[0, y - down, x - right]
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("fill", SCIPY)
def test_fill_is_what_numpy_pads(rng, fill):
    images = pictures(rng, 1, 1, 8)
    out = apply(Augment(shift=0.5, fill=fill), images, draws(dx=1)).numpy().ravel()
    mode = {"nearest": "edge", "constant": "constant", "reflect": "symmetric"}[fill]
    np.testing.assert_array_equal(out, np.pad(images.ravel(), (4, 0), mode)[:8])


@pytest.mark.parametrize(("turn", "quarters"), [(1, 1), (-1, -1), (0.0, 0)])
@pytest.mark.parametrize("side", [6, 7])
def test_rotation_is_counter_clockwise(rng, turn, quarters, side):
    images = pictures(rng, 1, side, side)
    out = apply(Augment(rotation=90), images, draws(turn=turn)).numpy()
    np.testing.assert_array_equal(out[0], np.rot90(images[0], quarters))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_half_a_turn_reverses_both_axes(rng, height, width):
    images = pictures(rng, 1, height, width)
    np.testing.assert_array_equal(apply(Augment(rotation=180), images, draws(turn=1)), images[:, ::-1, ::-1])


def test_zoom_shows_less_or_more_of_each_axis():
    """A ramp stays a ramp about the same centre; its slope is the part that is seen."""
    y, x = np.mgrid[:9, :9].astype(np.uint8)
    for name, ramp in (("zoom_x", x), ("zoom_y", y)):
        for value in (-1, 0.5):
            out = apply(Augment(zoom=0.5), 10 * ramp[None, :, :, None], draws(**{name: value})).numpy()
            wanted = np.clip(40 + (1 + 0.5 * value) * 10.0 * (ramp.astype(float) - 4), 0, 80)
            np.testing.assert_allclose(out[0, ..., 0], wanted, atol=0.501)


@pytest.mark.parametrize("value", [1, -1])
def test_shear_makes_lines_upright_that_lean_by_it(value):
    """The line x = -tan(30 degrees) y, y downwards, becomes the middle column."""
    y, x = np.mgrid[:41, :41] - 20
    line = np.exp(-(((x + value * math.tan(math.radians(30)) * y) / 1.5) ** 2))
    out = apply(Augment(shear=30), (255 * line)[None, :, :, None].astype(np.uint8), draws(shear=value)).numpy()[
        0, ..., 0
    ]
    np.testing.assert_array_equal(out[5:-5].argmax(axis=1), 20)


@pytest.mark.parametrize("value", [-1, -0.4, 0.3, 1])
def test_brightness_adds(rng, value):
    images = pictures(rng, 2, 5, 6, 3)
    out = apply(Augment(brightness=0.4), images, draws(2, brightness=value))
    np.testing.assert_array_equal(out, np.clip(np.rint(images + np.float64(102 * value)), 0, 255))


@pytest.mark.parametrize("value", [-1, -0.4, 0.3, 1])
def test_contrast_scales_about_the_mean_of_each_image(rng, value):
    images = pictures(rng, 3, 5, 6, 3)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    out = apply(Augment(contrast=0.5), images, draws(3, contrast=value)).numpy()
    np.testing.assert_allclose(out, np.clip(mean + (images - mean) * (1 + 0.5 * value), 0, 255), atol=0.502)


def test_contrast_of_minus_one_leaves_the_mean(rng):
    images = pictures(rng, 2, 5, 6)
    out = apply(Augment(contrast=1), images, draws(2, contrast=-1)).numpy()
    np.testing.assert_array_equal(out, np.broadcast_to(np.rint(images.mean((1, 2, 3), keepdims=True)), out.shape))


def test_tone_is_changed_after_the_move(rng):
    images, rows = pictures(rng, 4, 8, 8), rng.uniform(-1, 1, (4, 9)).astype(np.float32)
    moved = apply(Augment(shift=0.5, fill="constant"), images, rows)
    both = apply(Augment(shift=0.5, fill="constant", contrast=0.5, brightness=0.2), images, rows).numpy().astype(int)
    np.testing.assert_allclose(both, apply(Augment(contrast=0.5, brightness=0.2), moved, rows), atol=1)


def test_draw_is_a_function_of_seed_epoch_and_index():
    first = draw(1, 2, 100).numpy()
    tf.random.set_seed(9)
    np.testing.assert_array_equal(draw(1, 2, 100), first)
    np.testing.assert_array_equal(tf.function(draw)(1, tf.constant(2), 100), first)
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert (draw(seed, epoch, 100).numpy() != first).mean() > 0.9
    assert len(np.unique(first, axis=0)) == 100


def test_draw_is_uniform_between_minus_one_and_one():
    drawn = draw(5, 0, 20_000).numpy()
    assert drawn.dtype == np.float32 and drawn.min() >= -1 and drawn.max() <= 1
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(drawn.var(0), 1 / 3, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(9), atol=0.04)


@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_an_image_is_changed_alike_in_any_batch(rng, batch_size):
    images, rows = pictures(rng, 12, 9, 8), draw(1, 2, 12)
    together, order = apply(FULL, images, rows).numpy(), rng.permutation(12)
    for batch in order.reshape(-1, batch_size):
        np.testing.assert_array_equal(apply(FULL, images[batch], tf.gather(rows, batch)), together[batch])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("config", [FULL, Augment(flip=True), Augment(contrast=0.1), Augment()])
def test_type_and_shape_are_kept_and_known_in_the_graph(rng, config, channels):
    images = pictures(rng, 2, 7, 5, channels)
    in_graph = tf.function(apply).get_concrete_function(
        config, tf.TensorSpec([None, 7, 5, channels], tf.uint8), tf.TensorSpec([None, 9])
    )
    rows = draw(0, 0, 2)
    out = in_graph(tf.constant(images), rows)
    assert in_graph.output_shapes.as_list() == [None, 7, 5, channels]
    assert out.dtype == tf.uint8 and out.shape == images.shape
    np.testing.assert_array_equal(out, apply(config, images, rows))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("shift", "shear", "zoom", "rotation", "brightness", "contrast")
        for value in (-0.1, 181)
    ]
    + [("shift", 1.1), ("zoom", 1), ("shear", 90), ("shift", math.nan), ("fill", "wrap"), ("fill", "NEAREST")],
)
def test_settings_without_meaning_are_refused(name, value):
    with pytest.raises(ValueError, match=f"augmentation {name}=") as caught:
        Augment(**{name: value})
    assert "\n" not in str(caught.value)


def test_whole_pixels_move_pictures_without_blurring_them():
    images = np.random.default_rng(0).integers(0, 256, [20, 9, 12, 1]).astype(np.uint8)
    config = Augment(shift=0.2, flip=True, whole_pixels=True)
    draws = draw(0, 0, 20)
    moved = apply(config, tf.constant(images), draws).numpy()
    for image, result, (dx, dy, *_, mirror, _, _) in zip(images, moved, draws.numpy()):
        image = image[:, ::-1] if mirror < 0 else image
        dx, dy = round(0.2 * 12 * dx), round(0.2 * 9 * dy)
        padded = np.pad(image, [(9, 9), (12, 12), (0, 0)], mode="edge")
        np.testing.assert_array_equal(result, padded[9 - dy : 18 - dy, 12 - dx : 24 - dx])


@pytest.mark.parametrize(("flip", "shift"), [(False, 0), (True, 0), (False, 1), (True, 2)])
def test_views_are_all_moves_and_their_mirror_images(flip, shift):
    images = np.random.default_rng(0).integers(0, 256, [3, 6, 7, 2]).astype(np.uint8)
    shown = views(tf.constant(images), flip=flip, shift=shift).numpy()
    padded = np.pad(images, [(0, 0), (shift, shift), (shift, shift), (0, 0)], mode="edge")
    moved = [padded[:, y : y + 6, x : x + 7] for y in range(2 * shift + 1) for x in range(2 * shift + 1)]
    np.testing.assert_array_equal(shown, np.concatenate(moved + [view[:, :, ::-1] for view in moved] * flip))


@pytest.mark.parametrize("config", [FULL, Augment(flip=True), Augment(contrast=0.5)], ids=["full", "flip", "contrast"])
def test_examples_are_the_images_and_what_the_epochs_make_of_them(rng, config):
    """The draws are those of a set of 20, of which 3 are shown."""
    images, rows = pictures(rng, 3, 8, 6, 3), np.array([1, 4, 19])
    change = functools.partial(apply, config)
    found = examples(change, 5, images, rows, 20, epochs=4)
    assert found.shape == (3, 5, 8, 6, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, 0], images)
    for epoch in range(4):
        np.testing.assert_array_equal(found[:, 1 + epoch], apply(config, images, draw(5, epoch, 20).numpy()[rows]))
    assert examples(change, 5, images, rows, 20).shape[1] == 8


@pytest.mark.parametrize(
    ("config", "changes"),
    [(Augment(), False), (Augment(fill="reflect"), False), (Augment(flip=True), True), (Augment(contrast=0.1), True)],
)
def test_changes_says_whether_anything_changes(config, changes):
    assert bool(config.changes) is changes
