"""The drawings of two classes render, whatever the predictions, and say what they show."""

import subprocess
import sys

import numpy as np
import pytest

from tfcore import plots

NAMES = ("Dog", "Cat")


def predictions(rng, count):
    labels = rng.integers(0, 2, count)
    return 1 / (1 + np.exp(-rng.normal(2 * labels - 1.0, 1.5))), labels


def test_overview_has_six_panels_with_titles_and_labels(rng):
    probabilities, labels = predictions(rng, 3000)
    copies = probabilities.copy(), labels.copy()
    drawing = plots.overview(probabilities, labels, NAMES)
    assert len(drawing.axes) == 6
    assert all(ax.get_title() and ax.get_xlabel() and ax.get_ylabel() for ax in drawing.axes)
    pixels = plots.to_pixels(drawing)
    assert pixels.shape == (800, 1300, 3) and pixels.dtype == np.uint8
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
    assert plots.to_pixels(drawing).std() > 0


def test_overview_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        plots.overview([0.5, np.nan], [0, 1], NAMES)


@pytest.mark.parametrize(("count", "axes"), [(0, 8), (1, 8), (9, 16), (30, 24)])
def test_most_wrong_is_a_grid_of_at_most_24_titled_pictures(count, axes, rng):
    images = rng.integers(0, 256, [count, 5, 4, 3], dtype=np.uint8)
    drawing = plots.most_wrong(images, np.full(count, 0.034), np.arange(count) % 2, NAMES)
    titles = [ax.get_title() for ax in drawing.axes if ax.images]
    assert len(drawing.axes) == axes
    assert titles == ["Dog, p(Cat) 0.03", "Cat, p(Cat) 0.03"] * 12 if count > 24 else len(titles) == count
    assert all(np.array_equal(ax.images[0].get_array(), image) for ax, image in zip(drawing.axes, images))


def test_most_wrong_draws_gray_pictures_from_black_to_white():
    images = np.full([9, 8, 10, 1], 100, np.uint8)
    pixels = plots.to_pixels(plots.most_wrong(images, [0.5] * 9, [1] * 9, NAMES))
    assert pixels.shape == (2 * 160, 1200, 3)
    assert [100, 100, 100] in pixels[100, 40:100].tolist()


def test_float_pictures_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        plots.most_wrong(np.zeros([1, 2, 2, 3]), [0.5], [0], NAMES)
    with pytest.raises(ValueError, match="uint8"):
        plots.contact_sheet(np.zeros([1, 1, 2, 2, 3]))


def test_contact_sheet_of_gray_pictures_by_hand():
    images = np.array([[[[1, 2]], [[3, 4]]], [[[5, 6]], [[7, 8]]]], np.uint8)[..., np.newaxis]  # 2 x 2 of 1 x 2 pixels
    sheet = plots.contact_sheet(images, gap=1)
    assert sheet.shape == (3, 5, 3) and sheet.dtype == np.uint8
    assert sheet[..., 0].tolist() == [[1, 2, 255, 3, 4], [255] * 5, [5, 6, 255, 7, 8]]
    assert np.array_equal(sheet[..., 0], sheet[..., 1]) and np.array_equal(sheet[..., 0], sheet[..., 2])


@pytest.mark.parametrize("gap", [0, 2, 5])
def test_contact_sheet_keeps_each_picture(gap, rng):
    images = rng.integers(0, 255, [2, 3, 4, 5, 3], dtype=np.uint8)
    copy = images.copy()
    sheet = plots.contact_sheet(images, gap=gap)
    assert sheet.shape == (8 + gap, 15 + 2 * gap, 3)
    for (r, k), _ in np.ndenumerate(images[:, :, 0, 0, 0]):
        top, left = r * (4 + gap), k * (5 + gap)
        assert np.array_equal(sheet[top : top + 4, left : left + 5], images[r, k])
    assert np.all(sheet == 255, axis=2).sum() == sheet.shape[0] * sheet.shape[1] - 2 * 3 * 4 * 5
    assert np.array_equal(images, copy)


def test_matplotlib_and_sklearn_wait_until_they_are_needed():
    code = "import sys; from tfcore import plots; print({'matplotlib', 'sklearn'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "set()"
