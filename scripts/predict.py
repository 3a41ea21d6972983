"""Classifies pictures with a run: the class, its probability, and the three most likely classes.

python scripts/predict.py --run=logs/fashion_cnn/fashion_mnist-seed0 picture.png
python scripts/predict.py --run=logs/fashion_cnn/fashion_mnist-seed0 --invert photos/

MNIST and Fashion-MNIST show bright things on black: --invert turns dark on white into that.
"""

import flags

import sys
from pathlib import Path

import numpy as np
from absl.flags import DEFINE_boolean, DEFINE_string

from tfcore import metrics, recipes
from tfcore.data import pictures
from tfcore.data.listing import read_file


def define(values):
    """Defines the flags."""
    DEFINE_string("run", None, "what: the run directory", required=True, flag_values=values)
    DEFINE_boolean("invert", False, "what: make dark bright and bright dark", flag_values=values)


def main(values, arguments):
    """Prints a line per picture; those that cannot be read are named at the end, and the exit status is 1."""
    if not arguments:
        raise flags.usage_error("name pictures or folders of pictures after the flags")
    recipe, weights, stats, facts = recipes.load_run(values.run)
    class_names = facts["class_names"]
    predict = recipes.predictor(recipe)
    unusable = []
    for path in find_pictures(arguments):
        try:
            image = read(path, recipe, values.invert)
        except (OSError, ValueError) as error:
            unusable.append(f"{path}: {error}")
            continue
        scores = metrics.probabilities(predict(weights, stats, image[np.newaxis])).numpy()[0]
        top = [f"{class_names[i]} {scores[i]:.3f}" for i in np.argsort(-scores)[:3]]
        print(f"{path}  {top[0]}  ({', '.join(top)})")
    if unusable:
        raise ValueError(f"{len(unusable)} not usable: " + "; ".join(unusable))


def find_pictures(arguments):
    """Returns the files that were named, and the pictures in the folders that were named, by name."""
    found = []
    for path in map(Path, arguments):
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in pictures.SUFFIXES and not p.name.startswith(".")
            )
            if not inside:
                print(f"{path}: no pictures in this folder", file=sys.stderr)
            found += inside
        else:
            found.append(path)
    return found


def read(path, recipe, invert):
    """Returns the picture as the network saw its training pictures, [H, W, C] uint8."""
    *image_size, channels = recipe.model.image_shape
    image = pictures.decode(read_file(path), tuple(image_size), resize=recipe.resize, channels=channels)
    return 255 - image if invert else image


if __name__ == "__main__":
    flags.start(main, define, positional=True)
