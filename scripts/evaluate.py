"""Measures a run on pictures that it was not trained on.

python scripts/evaluate.py --run=logs/mnist_perceptron/mnist-seed0                     # the test part of its set
python scripts/evaluate.py --run=logs/mnist_perceptron/mnist-seed0 --dataset=digits    # of another set
python scripts/evaluate.py --run=logs/pets_best/cats_vs_dogs-seed0 --data_dir=photos   # all pictures CLASS/*.jpg
"""

import numpy as np
from _command import FLAGS, flags, run_dir, start

from tfcore import binary, build, report
from tfcore.data import datasets

flags.DEFINE_string("run", None, "the run directory", required=True)
flags.DEFINE_enum("dataset", None, ["auto", *datasets.NAMES], "the set; default the run's own")
flags.DEFINE_string("data_dir", None, "where its files are; default $TFCORE_DATA_DIR, then the user's cache")
flags.DEFINE_float("max_bad_fraction", None, "how many pictures may be unusable, 0 to 1; default as in training")


def main(_):
    """Prints loss, accuracy and, per class, precision and recall; of two classes the measures at each threshold."""
    recipe, weights, stats, facts = run_dir.load_run(FLAGS.run)
    part, name = load(recipe, facts)
    shape, class_names = recipe.model.image_shape, facts["class_names"]
    if part.images.shape[1:] != shape:
        raise ValueError(f"{name} has pictures {part.images.shape[1:]}, the run was trained on {shape}")
    logits = build.make_predict(recipe)(weights, stats, part.images)
    measures = report.report(logits, part, class_names, build.make_loss(recipe))
    width = max(len(name) for name in class_names)
    print(f"{'class':<{width}}  precision  recall  images")
    rows = zip(class_names, measures["precision"], measures["recall"], measures["confusion"])
    for class_name, precision, recall, counts in rows:
        print(f"{class_name:<{width}}  {precision:9.4f}  {recall:6.4f}  {sum(counts):6,}")
    if logits.shape[-1] <= 2:
        print_thresholds(measures)
    single = {key: v for key, v in measures.items() if isinstance(v, float) and "/" not in key}
    print(f"{name}, {len(part.labels):,} images: " + " ".join(f"{k} {v:.4f}" for k, v in single.items()))


def load(recipe, facts):
    """Returns the pictures to measure on, as `Arrays`, and their name.

    Of the set that the run was trained on this is the test part; of other pictures it is all of them.
    """
    name = FLAGS.dataset or recipe.dataset
    if name == "auto":
        name, _ = datasets.first_at_hand(("mnist", "digits"), FLAGS.data_dir)
    options = {"image_size": recipe.model.image_shape[:2], "resize": recipe.resize}
    options["max_bad_fraction"] = recipe.max_bad_fraction if FLAGS.max_bad_fraction is None else FLAGS.max_bad_fraction
    if name in datasets.PICTURES:
        everything, classes, source = datasets.load_pictures(name, FLAGS.data_dir, **options)
        print(source.survey)
        if source.content == facts.get("content") and source.order != facts["order"]:
            raise ValueError("the run's pictures, renamed or moved: which of them it was trained on is not known")
        if source.content != facts.get("content"):
            labels = renumbered(everything.labels, classes, facts["class_names"])
            return datasets.Arrays(everything.images, labels), f"{name}, other pictures than the run's"
    splits = datasets.load(name, FLAGS.data_dir, validation=0, **options)
    if len(splits.class_names) != len(facts["class_names"]):
        raise ValueError(
            f"{splits.name} has {len(splits.class_names)} classes, the run was trained on {len(facts['class_names'])}"
        )
    labels = splits.test.labels
    if splits.source:
        labels = renumbered(labels, splits.class_names, facts["class_names"])
    return datasets.Arrays(splits.test.images, labels), f"{splits.name} test"


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
    start(main)
