"""Measures a run on pictures that it was not trained on.

python scripts/evaluate.py --run=logs/mnist_perceptron/mnist-seed0                     # the test part of its set
python scripts/evaluate.py --run=logs/mnist_perceptron/mnist-seed0 --dataset=digits    # of another set
python scripts/evaluate.py --run=logs/pets_best/cats_vs_dogs-seed0 --data_dir=photos   # all pictures CLASS/*.jpg
"""

import flags

import numpy as np
from absl.flags import DEFINE_enum, DEFINE_float, DEFINE_string

from tfcore import binary, recipes
from tfcore.data import Arrays, Splits, datasets, sources
from tfcore.run import report


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_string("run", None, "what: the run directory", required=True, **more)
    DEFINE_enum("dataset", None, sources.NAMES, "what: the set; default the run's own", **more)
    DEFINE_string("data_dir", None, "what: where its files are; default $TFCORE_DATA_DIR, then the cache", **more)
    DEFINE_float("max_bad_fraction", None, "what: how many pictures may be unusable; default as in training", **more)


def main(values, _):
    """Prints loss, accuracy and, per class, precision and recall; of two classes the measures at each threshold."""
    recipe, weights, stats, facts = recipes.load_run(values.run)
    part, name = load(values, recipe, facts)
    shape, class_names = recipe.model.image_shape, facts["class_names"]
    if part.images.shape[1:] != shape:
        raise ValueError(f"{name} has pictures {part.images.shape[1:]}, the run was trained on {shape}")
    logits = recipes.predictor(recipe)(weights, stats, part.images)
    task = recipes.task(recipe, Splits(part, part, part, tuple(class_names), name))
    measures = report.measure(task, logits, part, name) | report.of_classes(logits, part)
    width = max(len(name) for name in class_names)
    print(f"{'class':<{width}}  precision  recall  images")
    rows = zip(class_names, measures["precision"], measures["recall"], measures["confusion"])
    for class_name, precision, recall, counts in rows:
        print(f"{class_name:<{width}}  {precision:9.4f}  {recall:6.4f}  {sum(counts):6,}")
    if logits.shape[-1] <= 2:
        print_thresholds(measures)
    single = {key: v for key, v in measures.items() if isinstance(v, float) and "/" not in key}
    print(f"{name}, {len(part.labels):,} images: " + " ".join(f"{k} {v:.4f}" for k, v in single.items()))


def load(values, recipe, facts):
    """Returns the pictures to measure on, as `Arrays`, and their name.

    Of the set that the run was trained on this is the test part; of other pictures it is all of them.
    """
    name = values.dataset or recipe.dataset
    options = {"image_size": recipe.model.image_shape[:2], "resize": recipe.resize}
    most = recipe.max_bad_fraction if values.max_bad_fraction is None else values.max_bad_fraction
    options["max_bad_fraction"] = most
    pictures = facts.get("pictures", {})
    if name in sources.PICTURES:
        everything, classes, source = datasets.load_pictures(name, values.data_dir, **options)
        print(source.survey)
        if source.content == pictures.get("content") and source.order != pictures["order"]:
            raise ValueError("the run's pictures, renamed or moved: which of them it was trained on is not known")
        if source.content != pictures.get("content"):
            labels = renumbered(everything.labels, classes, facts["class_names"])
            return Arrays(everything.images, labels), f"{name}, other pictures than the run's"
    splits = datasets.load(name, values.data_dir, validation=0, **options)
    if len(splits.class_names) != len(facts["class_names"]):
        raise ValueError(
            f"{splits.name} has {len(splits.class_names)} classes, the run was trained on {len(facts['class_names'])}"
        )
    labels = splits.test.labels
    if splits.source:
        labels = renumbered(labels, splits.class_names, facts["class_names"])
    return Arrays(splits.test.images, labels), f"{splits.name} test"


def renumbered(labels, classes, wanted):
    """Returns the labels as numbers of the run's classes, which have the same names but for upper and lower case."""
    numbers = {name.lower(): i for i, name in enumerate(wanted)}
    unknown = [name for name in classes if name.lower() not in numbers]
    if unknown:
        raise ValueError(f"no class of the run is called {', '.join(unknown)}: name the folders {', '.join(wanted)}")
    return np.array([numbers[name.lower()] for name in classes], np.int32)[labels]


def print_thresholds(measures):
    """Prints accuracy, precision and recall of class 1 at each threshold."""
    print("threshold  accuracy  precision  recall")
    for threshold in binary.THRESHOLDS:
        row = (measures[f"{name}_at/{threshold}"] for name in ("accuracy", "precision", "recall"))
        print(f"{threshold:9}  {next(row):8.4f}  {next(row):9.4f}  {next(row):6.4f}")


if __name__ == "__main__":
    flags.start(main, define)
