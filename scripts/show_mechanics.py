"""Draws the figures of docs/mechanics.md and makes its tables.

python scripts/show_mechanics.py                       # writes docs/mechanics_*.png and the tables of docs/mechanics.md
python scripts/show_mechanics.py --output=figures      # writes the figures there and only prints the tables
"""

import flags

from pathlib import Path

import mechanics_drawings as drawings
import numpy as np
import receptive_fields
from absl.flags import DEFINE_string
from tables import splice

from tfcore import files, mechanics
from tfcore.recipes import RECIPES

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "mechanics.md"
MARKS = "<!-- {}: python scripts/show_mechanics.py -->", "<!-- end of {} -->"

X = np.array([[3, 1, 0, 2], [0, 2, 4, 1], [1, 3, 2, 0], [2, 0, 1, 3]], np.float64)
W = np.array([[1, 0, 2], [0, 1, 0], [2, 0, 1]], np.float64)
WAYS = ((1, "VALID"), (2, "SAME"))
FEW = np.array([[1, 2], [3, 4]], np.float64)
DRAWN = ("fashion_cnn", "fashion_deep_cnn", "pets_cnn150", "pets_best")
NETWORKS = {
    **{f"`{name}`": RECIPES[name].model for name in (*DRAWN, "pets_cnn64_128", "pets_cnn64_128_best")},
    **{f"{n} convolutions alone": receptive_fields.stack(n) for n in (2, 4, 8, 16)},
}
STEPS = (0, 50, 200, 600)  # of learning the letters
PICTURES = ((28, 28, 1), (150, 150, 3), (224, 224, 3), (1080, 1920, 3), (2160, 4096, 3))
WIDE = 64  # outputs of the dense layer, kernels of the convolution


def define(values):
    """Defines the flags."""
    text = "output: directory of the figures; without it they and the tables are those of docs/mechanics.md"
    DEFINE_string("output", None, text, flag_values=values)


def main(values, _):
    """Writes the figures and prints the tables; those of the page too, unless the figures go elsewhere."""
    fields = {name: receptive_fields.measure(receptive_fields.cut(config)) for name, config in NETWORKS.items()}
    made = tables(fields)
    if values.output is None:
        text = PAGE.read_text()
        for name, table in made.items():
            text = splice(text, *(mark.format(name) for mark in MARKS), table)
        files.write_text(PAGE, text)
    drawn = {f"mechanics_{name}": drawing for name, drawing in figures(fields).items()}
    drawings.save(values.output or DOCS, drawn)
    print("\n\n".join(made.values()))
    print(f"\nwrote {len(drawn)} figures to {values.output or DOCS}")


# The figures


def figures(fields):
    """Returns {name: figure} of all figures of the page. fields: {name of NETWORKS: Field}."""
    photograph = gray_photograph()
    responses = [
        mechanics.conv2d(photograph[..., np.newaxis], kernel[..., np.newaxis, np.newaxis])[..., 0]
        for kernel in (mechanics.VERTICAL_EDGES, mechanics.HORIZONTAL_EDGES)
    ]
    return {
        "sliding": drawings.sliding(X, W, WAYS),
        "products": drawings.products(X, W),
        "dense": drawings.dense(X, W),
        "edges": drawings.edges(photograph, dict(zip(("vertical edges", "horizontal edges"), responses))),
        "letters": drawings.letters(
            {"E": np.pad(mechanics.E, 1), "A": np.pad(mechanics.A, 1)},
            {"vertical": mechanics.VERTICAL_STROKE, "diagonal": mechanics.DIAGONAL_STROKE},
        ),
        "learned": drawings.learned(*learned()),
        "pools": drawings.pools(X, FEW),
        "gradients": drawings.gradients(X[:3, :3], FEW, np.array([[1.0, -1.0], [2.0, 0.0]])),
        "touches": drawings.touches((6, 6), (3, 3)),
        "fields": drawings.fields({name: fields[f"`{name}`"] for name in DRAWN}),
    }


def gray_photograph():
    """Returns the photograph of a temple that comes with scikit-learn, half as large, [213, 320] in 0 .. 255."""
    from sklearn.datasets import load_sample_image

    return mechanics.avg_pool(load_sample_image("china.jpg").astype(np.float64)).mean(axis=2)


def learned():
    """Learns the letters from noise. Returns an E and an A, {step: kernels}, and {step: accuracy on new pictures}."""
    generator = np.random.default_rng(0)
    pictures, labels = mechanics.letters(generator, STEPS[-1])
    kernels = 0.1 * generator.normal(size=[3, 3, 1, 2])
    every = [kernels, *(new for _, new in mechanics.learn(kernels, pictures, labels))]
    tests = mechanics.letters(np.random.default_rng(1), 500)
    examples = np.stack([pictures[list(labels).index(label), ..., 0] for label in (0, 1)])
    return examples, {n: every[n] for n in STEPS}, {n: accuracy(every[n], *tests) for n in STEPS}


def accuracy(kernels, pictures, labels):
    """Returns how many pictures are of the class whose kernel answers strongest."""
    return np.mean([mechanics.strongest(x, kernels)[0].argmax() for x in pictures] == labels)


# The tables


def tables(fields):
    """Returns {mark: table in Markdown} of the page. fields: {name of NETWORKS: Field}."""
    return {"sliding": sliding(), "lenet": lenet(), "growth": growth(), "fields": field_table(fields)}


def markdown(heads, rows):
    """Returns a table in Markdown."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (heads, ["---"] * len(heads), *rows))


def sliding():
    """Returns the table of the steps of the sliding dot product."""
    rows = []
    for stride, padding in WAYS:
        for i, j, window in mechanics.windows(X[..., np.newaxis], W.shape, stride, padding):
            terms = [f"{drawings.number(a)}·{drawings.number(b)}" for a, b in zip(window.ravel(), W.ravel())]
            y = drawings.number(np.sum(window[..., 0] * W))
            rows.append([f"{stride}, {padding}", f"({i}, {j})", " + ".join(terms), y])
    return markdown(["stride, padding", "place", "window times kernel", "output"], rows)


def lenet():
    """Returns the table of LeNet-5's layers."""
    rows = [["input", "–", "28 x 28 x 1", 784, "–", 1]]
    for layer, (shape, parameters, field) in zip(mechanics.LENET5, mechanics.stages((28, 28, 1), mechanics.LENET5)):
        kind = "kernels" if layer.channels else "mean"
        window = f"{kind} of {layer.side} x {layer.side}{', zeros around' if layer.padding == 'SAME' else ''}"
        rows.append([layer.name, window, " x ".join(map(str, shape)), f"{np.prod(shape):,}", f"{parameters:,}", field])
    rows.append(["all", "", "", "", f"{sum(int(row[4].replace(',', '')) for row in rows[1:]):,}", ""])
    return markdown(["layer", "windows", "shape", "numbers", "parameters", "one of them sees"], rows)


def growth():
    """Returns the table of the parameters of a first layer, as the picture grows."""
    rows = []
    for shape in PICTURES:
        inputs = int(np.prod(shape))
        dense, conv = mechanics.dense_parameters(inputs, WIDE), mechanics.conv_parameters((3, 3), shape[2], WIDE)
        size = f"{shape[1]} x {shape[0]} x {shape[2]}"
        rows.append([size, f"{inputs:,}", f"{dense:,}", f"{4 * dense / 1e6:,.1f} MB", f"{conv:,}"])
    return markdown(["picture", "inputs", f"dense, {WIDE}", "in float32", f"convolution 3 x 3, {WIDE}"], rows)


def field_table(fields):
    """Returns the table of the fields, {name of NETWORKS: Field}."""
    rows = []
    for name, field in fields.items():
        layers = receptive_fields.layers(NETWORKS[name])
        convolutions = sum(layer.channels is not None for layer in layers)
        pools = [layer.side for layer in layers if layer.channels is None and layer.side > 1]
        row = [name, convolutions, ", ".join(map(str, pools)) or "–", field.side, f"{field.effective:.1f}"]
        rows.append([*row, f"{field.effective / field.side:.0%}"])
    return markdown(["network", "convolutions", "pools", "side in theory", "in effect", "of it"], rows)


if __name__ == "__main__":
    flags.start(main, define)
