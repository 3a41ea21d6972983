"""The drawings render, whatever they are given, and say what they show."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfcore import plots
from tfcore.plots import page
from tfcore.plots.networks import mosaic

NAMES = ("Dog", "Cat")


def pixels_of(drawing):
    """Returns the pixels of a figure's PNG file, [H, W, 3] uint8."""
    return np.asarray(Image.open(io.BytesIO(plots.png(drawing))).convert("RGB"))


def texts(drawing):
    return [text.get_text() for ax in drawing.axes for text in ax.texts]


def predictions(rng, count):
    labels = rng.integers(0, 2, count)
    return 1 / (1 + np.exp(-rng.normal(2 * labels - 1.0, 1.5))), labels


def test_overview_has_six_panels_with_titles_and_labels(rng):
    probabilities, labels = predictions(rng, 3000)
    copies = probabilities.copy(), labels.copy()
    drawing = plots.overview(probabilities, labels, NAMES)
    assert len(drawing.axes) == 6
    assert all(ax.get_title() and ax.get_xlabel() and ax.get_ylabel() for ax in drawing.axes)
    assert pixels_of(drawing).shape == (800, 1300, 3)
    assert np.array_equal(probabilities, copies[0]) and np.array_equal(labels, copies[1])


def test_overview_writes_areas_and_the_best_threshold(rng):
    titles = [ax.get_title() for ax in plots.overview([0.05, 0.45, 0.35, 0.95], [0, 0, 1, 1], NAMES).axes]
    assert titles[:3] == [
        "Best accuracy 0.750 at threshold 0.1",
        "Precision and recall, area 0.833",
        "ROC, area 0.750",
    ]


def test_the_scatter_shows_at_most_2000_points_and_the_means_of_all(rng):
    probabilities, labels = predictions(rng, 3000)
    ax = plots.overview(probabilities, labels, NAMES).axes[4]
    x, y = ax.collections[0].get_offsets().T
    again = plots.overview(probabilities, labels, NAMES).axes[4].collections[0].get_offsets()
    assert np.array_equal(again, np.stack([x, y], axis=1)) and len(x) == 2000
    assert {(p, round(c)) for p, c in zip(y, x)} <= set(zip(probabilities, labels))
    assert [text.get_text() for text in ax.texts] == [f"{probabilities[labels == c].mean():.2f}" for c in (0, 1)]


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [([0.2, 0.6, 0.9], [0, 0, 0]), ([0.5, 0.5], [1, 1]), ([0.3], [1]), ([0.2, 0.6, 0.9], [0, 1, 1])],
    ids=["dogs", "cats", "one", "three"],
)
def test_overview_of_few_examples_or_one_class(probabilities, labels):
    drawing = plots.overview(np.array(probabilities, np.float32), labels, NAMES)
    assert ("one class only" in drawing.axes[2].get_title()) == (len(set(labels)) == 1)
    assert pixels_of(drawing).std() > 0


def test_overview_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        plots.overview([0.5, np.nan], [0, 1], NAMES)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_gallery_shows_each_picture_with_its_words(count, rng):
    images = rng.integers(0, 256, [count, 5, 4, 3], dtype=np.uint8)
    drawing = plots.gallery(images, [f"picture {i}" for i in range(count)], columns=4)
    shown = [image.get_array() for image in drawing.axes[0].images]
    assert len(shown) == count and all(np.array_equal(one, image) for one, image in zip(shown, images))
    assert texts(drawing) == ([f"picture {i}" for i in range(count)] or ["none"])
    assert pixels_of(drawing).std() > 0 or not count


def test_gray_pictures_go_from_black_to_white():
    pixels = pixels_of(plots.gallery(np.full([9, 8, 10, 1], 100, np.uint8)))
    assert [100, 100, 100] in pixels[100, 40:100].tolist()


def test_predictions_say_which_word_is_true_and_mark_the_mistakes(rng):
    images, p = rng.integers(0, 256, [2, 4, 4, 1], dtype=np.uint8), np.array([[0.9, 0.1], [0.25, 0.75]])
    drawing = plots.predictions(images, p, [0, 0], NAMES)
    assert texts(drawing) == ["true: Dog\nsaid: Dog 0.90", "true: Dog\nsaid: Cat 0.75"]
    assert [text.get_weight() for text in drawing.axes[0].texts] == ["normal", "bold"]
    assert texts(plots.predictions(images, p, None, NAMES)) == ["Dog 0.90", "Cat 0.75"]


def test_float_pictures_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        plots.gallery(np.zeros([1, 2, 2, 3]))


@pytest.mark.parametrize("shape", [(3, 3, 1, 5), (3, 3, 3, 20), (5, 5, 7, 2), (28, 28, 1, 40)])
def test_filters_are_on_one_scale_of_both_signs(shape, rng):
    kernels = rng.normal(size=shape)
    drawing = plots.filters(kernels, name="conv1/w", count=16)
    assert f"{min(16, shape[3])} of {shape[3]} filters" in drawing.axes[0].get_title()
    if shape[2] == 1:
        low, high = drawing.axes[0].images[0].get_clim()
        assert -low == high == pytest.approx(np.abs(kernels[..., :16]).max(), rel=1e-5)
    assert pixels_of(drawing).std() > 0


def test_a_mosaic_keeps_each_tile_and_leaves_gaps_empty(rng):
    tiles = rng.normal(size=[5, 2, 3])
    sheet = mosaic(tiles, 3)
    assert sheet.shape == (2 * 3 - 1, 3 * 4 - 1)
    for i, tile in enumerate(tiles):
        top, left = 3 * (i // 3), 4 * (i % 3)
        np.testing.assert_allclose(sheet[top : top + 2, left : left + 3], tile, rtol=1e-6)
    assert np.isfinite(sheet).sum() == tiles.size


def shown_below(drawing, words):
    """Returns the arrays that are drawn between the line of text that begins with `words` and the next line."""
    (ax,) = drawing.axes
    lines = sorted(text.get_position()[1] for text in ax.texts if text.get_fontsize() == 9)
    (top,) = (text.get_position()[1] for text in ax.texts if text.get_text().startswith(words))
    end = min([y for y in lines if y > top], default=np.inf)
    return [image for image in ax.images if top < image.get_extent()[3] < end]


def test_layers_are_drawn_as_they_are_each_on_its_scale(rng):
    maps = rng.normal(size=[6, 5, 9]) * np.array([1, 1, 50, 1, 1, 1, 1, 1, 60])
    outputs = {"conv1": maps, "block": rng.normal(size=[9, 4]), "dense1": np.arange(5.0), "logits": np.array([3.0, -1])}
    drawing = plots.layers(
        rng.integers(0, 256, [6, 5, 3], dtype=np.uint8), outputs, {}, title="a run", class_names=["Dog", "Cat"], count=2
    )
    first, second = shown_below(drawing, "conv1 gives 6x5x9: 2 of 9 channels, those that vary most; dark ")
    np.testing.assert_allclose(first.get_array(), maps[..., 2], rtol=1e-5)
    np.testing.assert_allclose(second.get_array(), maps[..., 8], rtol=1e-5)
    assert first.get_clim() == second.get_clim() == pytest.approx((maps[..., [2, 8]].min(), maps[..., [2, 8]].max()))
    assert [one.get_array().shape for one in shown_below(drawing, "block gives 3x3x4")] == [(3, 3)] * 2
    (strip,) = shown_below(drawing, "dense1 gives 5 numbers; dark 0, bright 4")
    assert strip.get_array().tolist() == [[0, 1, 2, 3, 4]]
    assert {"a run", "picture: 6x5x3", "2", "8", "3.00", "-1.00", "Dog", "Cat"} <= set(texts(drawing))
    assert pixels_of(drawing).std() > 0


def test_kernels_stand_above_what_they_give_on_one_scale_of_both_signs(rng):
    w1, w2 = rng.normal(size=[3, 3, 3, 4]), rng.normal(size=[3, 3, 4, 2])
    w2[:, :, 1, 0] *= 9
    w2[:, :, 3, 1] *= 9
    outputs = {"conv1": rng.normal(size=[5, 5, 4]), "conv2": rng.normal(size=[3, 3, 2])}
    kernels = {"conv1": w1, "conv2": w2}
    drawing = plots.layers(rng.integers(0, 256, [6, 6, 3], dtype=np.uint8), outputs, kernels, count=4)
    colours = [one.get_array() for one in shown_below(drawing, "conv1: 4 of 4 kernels of 3x3x3; black")]
    limit = np.abs(w1).max()
    for i, colour in enumerate(colours):
        np.testing.assert_allclose(colour, 0.5 + w1[..., i] / (2 * limit), atol=1e-6)
    slices = shown_below(drawing, "conv2: 2 of 2 kernels of 3x3x4; black")
    for one, wanted in zip(slices, (w2[:, :, 1, 0], w2[:, :, 3, 1]), strict=True):
        np.testing.assert_allclose(one.get_array(), wanted, rtol=1e-5)
        assert one.get_clim() == pytest.approx((-np.abs(w2).max(), np.abs(w2).max()))
    centre = lambda one: sum(one.get_extent()[:2])  # noqa: E731
    for kernel, answer in zip(slices, shown_below(drawing, "conv2 gives")):
        assert centre(kernel) == pytest.approx(centre(answer)) and kernel.get_extent()[3] < answer.get_extent()[3]


def test_templates_are_those_of_the_largest_numbers_and_one_logit_names_its_class(rng):
    w, hidden = rng.normal(size=[8, 8, 1, 20]), np.zeros(20)
    hidden[[4, 17]] = 2, -3
    image = rng.integers(0, 256, [8, 8, 1], dtype=np.uint8)
    outputs = {"dense1": hidden, "logits": np.array([0.5])}
    drawing = plots.layers(image, outputs, {"dense1": w}, class_names=["Dog", "Cat"], count=2)
    drawn = shown_below(drawing, "dense1: 2 of 20 templates of 8x8x1")
    for one, i in zip(drawn, (4, 17), strict=True):
        np.testing.assert_allclose(one.get_array(), w[..., 0, i], rtol=1e-5)
    assert "Cat above 0" in texts(drawing) and "logits gives 1 number" in texts(drawing)


def test_curves_have_whole_epochs_the_reported_one_and_the_test():
    rows = [{"epoch": e, "train": {"loss": 1 / e}, "validation": {"loss": 2.0, "accuracy": 0.5}} for e in (1, 2, 3)]
    drawing = plots.curves(rows, reported=2, test={"loss": 1.25, "accuracy": 0.75})
    assert [ax.get_title() for ax in drawing.axes] == ["test loss 1.2500", "test accuracy 0.7500"]
    assert all(tick == int(tick) for tick in drawing.axes[0].get_xticks())
    assert "reported, epoch 2" in [text.get_text() for text in drawing.axes[0].get_legend().get_texts()]


def test_a_figure_shows_itself_in_jupyter():
    drawing, _ = plots.figure(2, 2)
    assert drawing._repr_png_().startswith(b"\x89PNG")


def test_a_jpeg_of_photographs_is_smaller_and_as_large(rng):
    photographs = rng.integers(0, 256, [25, 15, 15, 3], dtype=np.uint8).repeat(10, 1).repeat(10, 2)
    drawing = plots.gallery(photographs + rng.integers(0, 9, photographs.shape, dtype=np.uint8))
    png, jpeg = plots.png(drawing), plots.jpeg(drawing)
    assert len(jpeg) < len(png) / 2
    assert Image.open(io.BytesIO(jpeg)).size == Image.open(io.BytesIO(png)).size


def test_a_page_is_whole_by_itself_and_escapes_its_words():
    drawn = page.picture(plots.png(plots.figure(1, 1)[0]), 'cat & "dog"')
    text = page.page("a < b", [("first", [page.table([("<b>", 3, 0.12345678)], head=("name", "n", "x")), drawn])])
    assert "a &lt; b" in text and "&lt;b&gt;" in text and "0.1235" in text and "cat &amp; &quot;dog&quot;" in text
    assert "data:image/png;base64," in text and "http" not in text


def test_bars_are_as_long_as_their_shares_and_escape_their_names():
    text = page.bars([("<b>", 0.75), ("dog", 0.125)])
    assert "&lt;b&gt;" in text and "<b>" not in text
    assert "width: 75.0%" in text and "0.750" in text and "width: 12.5%" in text and "0.125" in text


def test_a_jpeg_on_a_page_is_called_one():
    assert "data:image/jpeg;base64,/9j/" in page.picture(b"\xff\xd8\xff", "a")


def test_matplotlib_and_sklearn_wait_until_they_are_needed():
    code = "import sys; from tfcore import plots; print({'matplotlib', 'sklearn'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "set()"
