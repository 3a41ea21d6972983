"""Shows what a convolution does: a picture under kernels made by hand, and under those that a run has learned.

python scripts/show_convolutions.py                                          # a digit; writes convolutions.png
python scripts/show_convolutions.py --picture=cat.jpg --output=cat_edges.png
python scripts/show_convolutions.py --run=logs/fashion_cnn/fashion_mnist-seed0
"""

import flags

from pathlib import Path

import numpy as np
from absl.flags import DEFINE_integer, DEFINE_string

from tfcore import files, recipes, tree
from tfcore.data import load, pictures
from tfcore.layers import conv2d, max_pool
from tfcore.plots import figure

KERNELS = {
    "as it is": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "blur": [[1 / 9] * 3] * 3,
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "vertical edges (Sobel)": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "horizontal edges (Sobel)": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "all edges (Laplace)": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
}
COLUMNS = 6


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_string("picture", None, "what: a picture; default: a digit that comes with scikit-learn", **more)
    DEFINE_string("run", None, "what: a run of train_cnn.py, whose first convolution is shown too", **more)
    DEFINE_integer("size", 128, "what: side to which --picture is brought", lower_bound=8, **more)
    DEFINE_string("output", "convolutions.png", "output: the file to write", **more)


def main(values, _):
    """Writes the picture: kernels in the first row, what they make of the image in the second, pooled in the third."""
    x = read_image(values)
    w = np.stack([np.array(kernel, np.float32) for kernel in KERNELS.values()], axis=-1)[:, :, np.newaxis, :]
    titles, kernels = list(KERNELS), [w]
    if values.run:
        kernels.append(learned_kernels(values.run))
        titles += [f"learned {i}" for i in range(kernels[-1].shape[-1])]
    w = np.concatenate(kernels, axis=-1)  # [3, 3, 1, K]
    responses = conv2d({"w": w}, x, padding="SAME")
    draw(values.output, titles, w, responses.numpy()[0], max_pool(responses).numpy()[0])
    print(f"wrote {values.output}: {len(titles)} kernels on {x.shape[1]}x{x.shape[2]} pixels")


def read_image(values):
    """Returns the picture in gray, [1, H, W, 1] float32 in 0 .. 1."""
    if not values.picture:
        return load("digits").test.images[:1].astype(np.float32) / 255
    image = pictures.decode(Path(values.picture).read_bytes(), (values.size, values.size), resize="pad", channels=1)
    return image[np.newaxis].astype(np.float32) / 255


def learned_kernels(directory):
    """Returns the first convolution of a run, [3, 3, 1, at most 12]: the mean over colours, each as large as 1."""
    _, weights, _, _ = recipes.load_run(directory)
    w = tree.flatten(weights).get("conv1/w")
    if w is None or w.shape[:2] != (3, 3):
        raise ValueError(f"--run={directory} has no 3x3 convolution conv1")
    w = w.mean(axis=2, keepdims=True)[..., :12]
    return w / np.abs(w).sum(axis=(0, 1, 2))


def draw(path, titles, kernels, responses, pooled):
    """Draws every kernel above its response and the pooled response, COLUMNS beside each other."""
    blocks = -(-len(titles) // COLUMNS)
    drawing, axes = figure(2 * COLUMNS, 5.6 * blocks, nrows=3 * blocks, ncols=COLUMNS)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, title in enumerate(titles):
        top, column = 3 * (i // COLUMNS), i % COLUMNS
        axes[top, column].set_title(title, fontsize=9)
        limit = np.abs(kernels[..., i]).max()
        axes[top, column].imshow(kernels[:, :, 0, i], cmap="RdBu", vmin=-limit, vmax=limit)
        axes[top + 1, column].imshow(responses[..., i], cmap="gray")
        axes[top + 2, column].imshow(pooled[..., i], cmap="gray")
    with files.durable(path) as file:
        drawing.savefig(file, format=Path(path).suffix[1:] or "png")


if __name__ == "__main__":
    flags.start(main, define)
