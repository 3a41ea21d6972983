"""Shows what convolutions do: a picture under kernels made by hand, or under every layer of a run.

python scripts/show_convolutions.py                                          # a digit; writes convolutions.png
python scripts/show_convolutions.py cat.jpg --output=cat_edges.png
python scripts/show_convolutions.py --run=logs/fashion_cnn/fashion_mnist-seed0             # its first test picture
python scripts/show_convolutions.py --run=logs/pets_best/cats_vs_dogs-seed0 cat.jpg        # or one that is named

Of a run its plots/layers.png and plots/filters.png are written.
"""

import flags

from pathlib import Path

import numpy as np
from absl.flags import DEFINE_integer, DEFINE_string

from tfcore import files, plots, recipes, tree
from tfcore.data import load, pictures
from tfcore.data.listing import read_file
from tfcore.layers import conv2d, max_pool
from tfcore.quiet import tf
from tfcore.recipes.assemble import make_forward
from tfcore.run import exhibits

KERNELS = {
    "as it is": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "blur": [[1 / 9] * 3] * 3,
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "vertical edges (Sobel)": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "horizontal edges (Sobel)": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "all edges (Laplace)": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
}


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_string("run", None, "what: a run whose layers are shown, instead of kernels made by hand", **more)
    DEFINE_string("data_dir", None, "what: where the run's set is; default $TFCORE_DATA_DIR, then the cache", **more)
    DEFINE_integer("size", 128, "what: side to which a picture is brought, without --run", lower_bound=8, **more)
    DEFINE_string("output", None, "output: the file to write; default convolutions.png, or the run's plots/", **more)


def main(values, arguments):
    """Writes the figures, and says which."""
    if len(arguments) > 1:
        raise flags.usage_error("name one picture, or none")
    if values.output and Path(values.output).suffix.lower() != ".png":
        raise flags.usage_error(f"--output={values.output} must end in .png")
    if values.output and not Path(values.output).parent.is_dir():
        raise ValueError(f"output={values.output} cannot be written: there is no folder {Path(values.output).parent}")
    if values.run:
        show_run(values, *arguments)
    else:
        show_kernels(values.output or "convolutions.png", values.size, *arguments)


# Kernels made by hand


def show_kernels(output, size, picture=None):
    """Draws the kernels in the first row, what they make of a picture in the second, and that pooled in the third."""
    if picture:
        x = decoded(picture, (size, size), resize="pad", channels=1)[np.newaxis]
    else:
        x = load("digits").test.images[:1]
    w = np.stack([np.array(kernel, np.float32) for kernel in KERNELS.values()], axis=-1)[:, :, np.newaxis, :]
    responses = conv2d({"w": w}, x.astype(np.float32) / 255, padding="VALID")  # zeros around it would make edges
    write(output, drawn(w[:, :, 0], responses.numpy()[0], max_pool(responses).numpy()[0]))
    print(f"wrote {output}: {len(KERNELS)} kernels on {x.shape[1]}x{x.shape[2]} pixels")


def drawn(kernels, responses, pooled):
    """Returns the figure. kernels: [3, 3, K]; responses, pooled: [H, W, K]."""
    drawing, axes = plots.figure(13, 6.6, nrows=3, ncols=len(KERNELS))
    for i, title in enumerate(KERNELS):
        limit = np.abs(responses[..., i]).max() or 1.0
        # What finds edges gives 0 where a picture is even, which is gray; dark and bright are the two signs.
        low = -limit if abs(kernels[..., i].sum()) < 1e-6 else 0.0
        scale = f"black {low:.1f}, white {limit if low else 1.0:.1f}"
        largest = np.abs(kernels[..., i]).max()
        axes[0, i].imshow(kernels[..., i], cmap="gray", vmin=-largest, vmax=largest)
        for (row, column), number in np.ndenumerate(kernels[..., i]):
            color = "black" if number > -0.3 * largest else "white"
            axes[0, i].text(column, row, f"{number:.2g}", color=color, ha="center", va="center", fontsize=9)
        for ax, image, words in zip(axes[1:, i], (responses, pooled), (scale, "the largest of 2x2")):
            ax.imshow(image[..., i], cmap="gray", vmin=low, vmax=limit if low else 1.0)
            ax.set_title(words, fontsize=8)
        axes[0, i].set_title(title, fontsize=9)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    return drawing


# A run


def show_run(values, picture=None):
    """Draws a picture under every layer of a run; without --output also the filters of its first layer."""
    recipe, weights, stats, facts = recipes.load_run(values.run)
    weights = tree.map(tf.convert_to_tensor, weights)
    if recipe.model.image_shape[2] not in (1, 3):
        raise ValueError(f"run={values.run} reads features, not pictures: name the run of the whole network, one up")
    image, where = read_image(recipe, values, picture)
    run = f"run {Path(values.run).resolve().name} of {recipe.name} on {recipe.dataset}, seed {recipe.seed}"
    words = {"title": f"{run}: {where}", "class_names": facts["class_names"]}
    figures = exhibits.of_layers(make_forward(recipe), weights, stats, image, **words)
    place = Path(values.run) / "plots"
    if values.output:
        write(values.output, figures["layers"])
    else:
        plots.save(place, figures)
    names = [values.output] if values.output else [place / f"{name}.png" for name in figures]
    print(f"wrote {' and '.join(map(str, names))}: {where}")


def read_image(recipe, values, picture):
    """Returns the picture that was named, or the first test picture of the run's set, and which it is in words."""
    shape = recipe.model.image_shape
    if picture:
        return decoded(picture, shape[:2], resize=recipe.resize, channels=shape[2]), Path(picture).name
    try:
        splits = recipes.load_data(recipe, values.data_dir)
    except (OSError, ValueError) as error:
        cure = "say where it is with --data_dir, or name a picture"
        raise ValueError(f"the run's set is not at hand ({error}): {cure}") from None
    image, label = splits.test.images[0], splits.test.labels[0]
    if image.shape != shape:
        raise ValueError(f"{splits.name} has pictures {image.shape}, the run was trained on {shape}: name a picture")
    return np.asarray(image), f"first picture of the test part ({splits.class_names[label]})"


def decoded(path, image_size, **options):
    """Returns what `pictures.decode` makes of a file; its errors name the file."""
    try:
        return pictures.decode(read_file(path), image_size, **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write(path, drawing):
    """Writes a figure as a PNG file."""
    with files.durable(path) as file:
        file.write(plots.png(drawing))


if __name__ == "__main__":
    flags.start(main, define, positional=True)
