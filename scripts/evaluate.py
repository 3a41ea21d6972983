"""Measures a run on the test part of its data.

python scripts/evaluate.py --run=logs/mnist_perceptron/mnist-seed0
python scripts/evaluate.py --run=logs/mnist_perceptron/mnist-seed0 --dataset=digits    # on another set
"""

from _command import FLAGS, build, flags, run, run_dir, start

from tfcore.data import datasets

flags.DEFINE_string("run", None, "the run directory", required=True)
flags.DEFINE_enum("dataset", None, datasets.NAMES, "the set; default the run's own")
flags.DEFINE_string("data_dir", None, "where its files are; default $TFCORE_DATA_DIR, then the user's cache")


def main(_):
    """Prints loss, accuracy and, per class, precision and recall."""
    recipe, weights, stats, class_names = run_dir.load_run(FLAGS.run)
    image_size = recipe.model.image_shape[:2]
    splits = datasets.load(FLAGS.dataset or recipe.dataset, FLAGS.data_dir, validation=0, image_size=image_size)
    images, shape = splits.test.images, recipe.model.image_shape
    if images.shape[1:] != shape or len(splits.class_names) != len(class_names):
        raise ValueError(
            f"{splits.name} has pictures {images.shape[1:]} of {len(splits.class_names)} classes, "
            f"the run was trained on {shape} and {len(class_names)}"
        )
    logits = build.make_predict(recipe)(weights, stats, images)
    measures = run.report(splits.test, logits, build.make_loss(recipe))
    width = max(len(name) for name in class_names)
    print(f"{'class':<{width}}  precision  recall  images")
    rows = zip(class_names, measures["precision"], measures["recall"], measures["confusion"])
    for name, precision, recall, counts in rows:
        print(f"{name:<{width}}  {precision:9.4f}  {recall:6.4f}  {sum(counts):6,}")
    single = {key: value for key, value in measures.items() if isinstance(value, float)}
    print(f"{splits.name} test, {len(images):,} images: " + " ".join(f"{k} {v:.4f}" for k, v in single.items()))


if __name__ == "__main__":
    start(main)
