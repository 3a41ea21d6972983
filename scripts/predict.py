"""Classifies pictures with a run: the class, its probability, and the three most likely classes.

python scripts/predict.py --run=logs/fashion_cnn/fashion_mnist-seed0 picture.png
python scripts/predict.py --run=logs/fashion_cnn/fashion_mnist-seed0 --invert photos/
python scripts/predict.py --run=logs/pets_best/cats_vs_dogs-seed0 --report=predictions.html photos/

MNIST and Fashion-MNIST show bright things on black: --invert turns dark on white into that. The page of --report shows
the pictures themselves with what is said of them; it is one file, to be opened in a browser or sent.
"""

import flags

import functools
import sys
from pathlib import Path

import numpy as np
import predictions_page
from absl.flags import DEFINE_boolean, DEFINE_string

from tfcore import metrics, recipes
from tfcore.data import pictures
from tfcore.data.listing import read_file


def define(values):
    """Defines the flags."""
    DEFINE_string("run", None, "what: the run directory", required=True, flag_values=values)
    DEFINE_boolean("invert", False, "what: make dark bright and bright dark", flag_values=values)
    DEFINE_string("report", None, "output: the page of pictures and predictions to write, x.html", flag_values=values)


def main(values, arguments):
    """Prints a line per picture; those that cannot be read are named at the end, and the exit status is 1."""
    if not arguments:
        raise flags.usage_error("name pictures or folders of pictures after the flags")
    recipe, weights, stats, facts = recipes.load_run(values.run)
    with predictions_page.opened(values.report) as report:
        classify = functools.partial(likeliest, recipes.predictor(recipe), weights, stats, facts["class_names"])
        predicted, unusable = [], []
        for path, named in find_pictures(arguments):
            name = predictions_page.shown_name(path, named)
            try:
                data = read_file(path)
                top = classify(decode(data, recipe, values.invert))
                if report:
                    predicted.append(predictions_page.Predicted(name, predictions_page.thumbnail(data), top))
            except (OSError, ValueError) as error:
                unusable.append((path, name, getattr(error, "strerror", None) or str(error)))
                continue
            words = [f"{class_name} {share:.3f}" for class_name, share in top]
            print(f"{path}  {words[0]}  ({', '.join(words)})")
        if report:
            title = f"Predictions of {recipe.name} on {recipe.dataset}, seed {recipe.seed}"
            report.write(predictions_page.html(title, predicted, [row[1:] for row in unusable]).encode())
    if report:
        print(f"wrote {values.report}")
    if unusable:
        reasons = "; ".join(f"{path}: {reason}" for path, _, reason in unusable)
        raise ValueError(f"{len(unusable)} not usable: {reasons}")


def likeliest(predict, weights, stats, class_names, image):
    """Returns the three likeliest classes of a picture with their probabilities, the likeliest first."""
    scores = metrics.probabilities(predict(weights, stats, image[np.newaxis])).numpy()[0]
    return [(class_names[i], float(scores[i])) for i in np.argsort(-scores)[:3]]


def find_pictures(arguments):
    """Yields (path, what was named) of the files that were named, and of the pictures in named folders, by name."""
    for named in map(Path, arguments):
        if not named.is_dir():
            yield named, named
            continue
        inside = sorted(
            p for p in named.rglob("*") if p.suffix.lower() in pictures.SUFFIXES and not p.name.startswith(".")
        )
        if not inside:
            print(f"{named}: no pictures in this folder", file=sys.stderr)
        yield from ((path, named) for path in inside)


def decode(data, recipe, invert):
    """Returns the picture as the network saw its training pictures, [H, W, C] uint8. data: the file's bytes."""
    *image_size, channels = recipe.model.image_shape
    image = pictures.decode(data, tuple(image_size), resize=recipe.resize, channels=channels)
    return 255 - image if invert else image


if __name__ == "__main__":
    flags.start(main, define, positional=True)
