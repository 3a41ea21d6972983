"""Shows what transfer gives: Fashion-MNIST's classes 5-9 with few labels, from scratch and on a trunk from classes 0-4.

python scripts/show_transfer.py                     # writes docs/transfer.json and the table of docs/photographs.md
python scripts/show_transfer.py --labels=10 --seeds=0,1
python scripts/show_transfer.py --table             # only the table, from docs/transfer.json

Each network sees the same labelled pictures and takes the same number of steps; the spread is over the seeds, which
choose the pictures, the first weights and the order. The path is that of train_transfer.py.
"""

import flags

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from absl.flags import DEFINE_boolean, DEFINE_integer, DEFINE_list, DEFINE_string
from tables import splice

from tfcore import files, recipes
from tfcore.data import Arrays, Splits, load
from tfcore.data.datasets import split
from tfcore.models import cnn, mlp, transfer as network
from tfcore.recipes import Recipe, stages, trunks

WHOLE = cnn.Config(blocks=((32, 32), (64, 64)), padding="SAME", batch_norm=True, hidden=(64,), classes=5)
TRUNK = dataclasses.replace(WHOLE, top=False)
MOVED = network.fit(network.Config(TRUNK, mlp.Config(hidden=(64,))), image_shape=(28, 28, 1), classes=5)
FEW = Recipe("few_labels", "fashion_mnist", WHOLE, batch_size=25, epochs=100, validation=1, steps_per_epoch=2)
DOCS = Path(__file__).parent.parent / "docs"
RESULTS, PAGE = DOCS / "transfer.json", DOCS / "photographs.md"
BEGIN, END = "<!-- transfer: python scripts/show_transfer.py -->", "<!-- end of transfer -->"


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_string("data_dir", None, "what: where the data is; default $TFCORE_DATA_DIR, then the cache", **more)
    DEFINE_list("labels", ["10", "50"], "what: labelled pictures per class", **more)
    DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "what: seeds", **more)
    DEFINE_integer("trunk_epochs", 5, "training: epochs of the trunk on classes 0-4", lower_bound=1, **more)
    DEFINE_string("logdir", None, "output: keep the runs here instead of a temporary directory", **more)
    DEFINE_boolean("table", False, "output: only write the table", **more)


def main(values, _):
    """Measures, unless only the table is wanted, and writes the table."""
    if not values.table:
        files.write_text(RESULTS, json.dumps(measured(values), indent=1) + "\n")
    made = table(json.loads(RESULTS.read_text()))
    files.write_text(PAGE, splice(PAGE.read_text(), BEGIN, END, made))
    print(f"\n{made}")


def measured(values):
    """Returns the rows of docs/transfer.json: trains the trunk once, then every network with every seed."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        logdir = Path(values.logdir or scratch)
        splits = load("fashion_mnist", values.data_dir)
        recipe = Recipe("trunk", "fashion_mnist", WHOLE, epochs=values.trunk_epochs, precision="bfloat16")
        trained = recipes.train(recipe, logdir / "trunk", splits=of_classes(splits, range(5)))
        trunk = trunks.load_trunk(MOVED, trained.run_dir / "export" / "weights.safetensors")
        for count in flags.integers("labels", values.labels):
            for seed in (int(s) for s in values.seeds):
                few = of_classes(splits, range(5, 10), count, seed)
                for name, accuracy in compare(few, trunk, seed, logdir / f"{count}-{seed}").items():
                    rows.append({"labels_per_class": count, "network": name, "seed": seed, "test_accuracy": accuracy})
    return rows


def of_classes(splits, classes, count=0, seed=0):
    """Returns the splits with only some classes, numbered from 0, and `count` training pictures of each (0: all)."""

    def chosen(part, count=0):
        parts = [Arrays(part.images[part.labels == c], part.labels[part.labels == c] - classes[0]) for c in classes]
        parts = [split(p, count, seed)[1] if count else p for p in parts]
        return Arrays(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))

    names = tuple(splits.class_names[c] for c in classes)
    return Splits(chosen(splits.train, count), chosen(splits.validation), chosen(splits.test), names, splits.name)


def compare(splits, trunk, seed, logdir):
    """Returns {network: test accuracy} of the three ways to learn from `splits`."""
    scratch = dataclasses.replace(FEW, seed=seed)
    frozen = dataclasses.replace(scratch, model=MOVED)
    whole = dataclasses.replace(MOVED, learns_from="conv3")
    fine = dataclasses.replace(frozen, model=whole, learning_rate=1e-4, epochs=50)
    return {
        "from scratch": recipes.train(scratch, logdir / "scratch", splits=splits).test["accuracy"],
        "frozen trunk": stages.train(frozen, logdir / "frozen", trunk, splits).test["accuracy"],
        "frozen, then fine-tuned from conv3": stages.train(
            frozen, logdir / "tuned", trunk, splits, fine_tune=fine
        ).test["accuracy"],
    }


def table(rows):
    """Returns the table in Markdown: the mean over the seeds, the standard deviation, least and most."""
    lines = ["| labels per class | network | test accuracy | least | most |", "|---|---|---|---|---|"]
    for count, name in dict.fromkeys((r["labels_per_class"], r["network"]) for r in rows):
        mine = [r["test_accuracy"] for r in rows if (r["labels_per_class"], r["network"]) == (count, name)]
        spread = f" ± {np.std(mine, ddof=1):.4f}" if len(mine) > 1 else ""
        lines.append(f"| {count} | {name} | {np.mean(mine):.4f}{spread} | {min(mine):.4f} | {max(mine):.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    flags.start(main, define)
