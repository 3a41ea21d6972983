"""Pictures side by side, and what was found in a folder of them."""

import math
import textwrap

import numpy as np

from tfcore.plots.figures import drawable, figure

PICTURES, COLUMNS = 24, 8  # of `most_wrong`


def survey(found):
    """Draws the counts of the classes and the commonest sizes of an `folders.Survey`."""
    drawing, axes = figure(10, 4, ncols=2)
    sizes = list(found.sizes.items())[:12]
    places = range(len(found.counts))
    axes[0].bar(places, list(found.counts.values()))
    axes[0].set_xticks(places, drawable(found.counts))
    axes[0].set(ylabel="pictures")
    axes[1].barh([f"{width} x {height}" for (width, height), _ in sizes], [count for _, count in sizes])
    axes[1].set(xlabel="pictures", title="commonest sizes, width x height")
    axes[1].invert_yaxis()
    return drawing


def most_wrong(images, probabilities, labels, class_names):
    """Draws the first 24 pictures, 8 in a row, each with its true class and its probability of class 1.

    Args:
      images: [M, H, W, C] uint8, C is 1 or 3; in the order of `binary.most_wrong`.
      probabilities: [M] floats in 0..1.
      labels: [M], 0 or 1.
      class_names: the names of class 0 and class 1.
    Raises:
      ValueError: images are not uint8.
    """
    images, class_names = _pixels(images)[:PICTURES], drawable(class_names)
    rows = max(1, math.ceil(len(images) / COLUMNS))
    height = 1.5 * images.shape[1] / images.shape[2] + 0.4  # of a picture 1.5 inches wide, and its title
    drawing, axes = figure(1.5 * COLUMNS, height * rows, nrows=rows, ncols=COLUMNS, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, p, label in zip(axes.flat, images, probabilities, labels):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
        title = f"{class_names[int(label)]}, p({class_names[1]}) {float(p):.2f}"
        ax.set_title(textwrap.fill(title, 24), fontsize=9)
    return drawing


def contact_sheet(images, gap=2):
    """Puts R rows of K pictures side by side, `gap` white pixels between them.

    Args:
      images: [R, K, H, W, C] uint8, C is 1 or 3.
    Returns: [R H + (R - 1) gap, K W + (K - 1) gap, 3] uint8.
    Raises:
      ValueError: images are not uint8.
    """
    images = _pixels(images)
    rows, columns, height, width, _ = images.shape
    sheet = np.full([rows, height + gap, columns, width + gap, 3], 255, np.uint8)
    sheet[:, :height, :, :width] = images.transpose(0, 2, 1, 3, 4)  # rows of pixels before columns of pictures
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), 3)
    return sheet[: len(sheet) - gap, : sheet.shape[1] - gap]


def _pixels(images):
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"pictures to look at are uint8, 0 to 255, not {images.dtype}")
    return images
