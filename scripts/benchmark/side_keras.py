"""Keras' side of the comparisons, as its users write it."""

import functools
import math
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from process import serve
from sides import has_convolutions, in_best_form, read_arrays


def load(job):
    """Returns the images as float32 arrays, the labels, and new_model(**of compile) with the parent's weights."""
    images, y, weights = read_arrays(job)
    x = images.astype("float32") * job["scale"]

    def new_model(**options):
        model = network(job["network"], x.shape[1:])
        model.set_weights(weights)
        return compiled(model, job, **options)

    return x, y, new_model


def network(description, shape):
    """Returns the network of a list of layers, as `ours.network` describes it. shape: (H, W, C) of a picture."""
    conv = functools.partial(layers.Conv2D, kernel_size=3)
    makers = {"conv": conv, "pool": layers.MaxPooling2D, "flatten": layers.Flatten, "dense": layers.Dense}

    def layer(kind, size=None, activation=None):
        return makers[kind](size, activation=activation) if size else makers[kind]()

    return keras.Sequential([keras.Input(shape), *(layer(*words) for words in description)])


def compiled(model, job, **options):
    """Returns the model, compiled with Adam, the cross-entropy and the accuracy."""
    if job["loss"] == "sigmoid":
        loss, accuracy = keras.losses.BinaryCrossentropy(from_logits=True), keras.metrics.BinaryAccuracy(threshold=0)
    else:
        loss, accuracy = keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
    model.compile(keras.optimizers.Adam(job["learning_rate"]), loss, metrics=[accuracy], **options)
    return model


def forms(job):
    """Returns what `compile` is given: for a perceptron nothing, or by keras_jit what makes it fast."""
    most = job["trial"] or job["steps"]  # more steps in one execution than there are would say nothing
    if job["side"] == "keras_jit":
        return [{"jit_compile": True, "steps_per_execution": min(steps, most)} for steps in (200, 50, 10)]
    several = [{"steps_per_execution": min(steps, most)} for steps in (10, 50)]
    return [{}, *several] if has_convolutions(job) else [{}]


def train(job):
    """`fit`, which shuffles; in the precision of the recipe."""
    if job["recipe"]["precision"] == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    x, y, new_model = load(job)
    size = job["batch_size"]

    def make(**options):
        model = new_model(**options)

        def take_steps(count):
            history = model.fit(x[: count * size], y[: count * size], batch_size=size, verbose=0).history
            return {"result": history["loss"][0]}

        return take_steps

    @functools.cache
    def with_slots():
        model = new_model()
        model.optimizer.build(model.trainable_variables)
        return model

    def save():
        path = Path(job["folder"]) / "saved.keras"
        with_slots().save(path)
        return {"result": path.stat().st_size / 1e6}

    return {**in_best_form(job, forms(job), make), "save": save}


def reach(job):
    """`fit` until the validation accuracy is the job's: as the post trains, or (keras_best) with all that is faster.

    That is the batch size and the schedule of tfcore's recipe, its precision, several steps in an execution, and XLA
    where there are only dense layers.
    """
    best = job["side"] == "keras_best"
    said = job if best else job["post"]
    size, steps, rate = said["batch_size"], said["steps"], said["learning_rate"]
    images, y, _ = read_arrays(job)
    held_out = (np.load(Path(job["folder"]) / f"validation_{name}.npy") for name in ("images", "labels"))
    if best and job["recipe"]["precision"] == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    if best:
        most, warmup = steps * said["epochs"], int(steps * job["recipe"]["warmup_epochs"])
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate, most - warmup, warmup_target=rate if warmup else None, warmup_steps=warmup
        )
    options = {"jit_compile": not has_convolutions(job), "steps_per_execution": min(50, steps)} if best else {}
    model = compiled(network(job["network"], images.shape[1:]), {**job, "learning_rate": rate}, **options)
    x, shown = (a.astype("float32") * job["scale"] for a in (images, next(held_out)))
    until = Until(job["goal"], "val_binary_accuracy" if job["loss"] == "sigmoid" else "val_accuracy")
    known = {"validation_data": (shown, next(held_out)), "validation_batch_size": 500, "callbacks": [until]}
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=0).batch(size, drop_remainder=True)

    def train_until():
        model.fit(batches.repeat().prefetch(2), epochs=said["epochs"], steps_per_epoch=steps, verbose=0, **known)
        if not until.epoch:
            raise SystemExit(f"{until.best:.4f} after {said['epochs']} epochs, the goal is {job['goal']}")
        return {"result": until.best, "form": f"epoch {until.epoch}"}

    return {"reach": train_until}


class Until(keras.callbacks.Callback):
    """Ends `fit` at the first epoch after which a measure is the goal; `epoch` is its number, 0 where there is none."""

    def __init__(self, goal, measure):
        super().__init__()
        self.goal, self.measure, self.epoch, self.best = goal, measure, 0, 0.0

    def on_epoch_end(self, epoch, logs):
        self.best = max(self.best, logs[self.measure])
        if logs[self.measure] >= self.goal:
            self.epoch, self.model.stop_training = epoch + 1, True


def predict(job):
    """`predict` and `evaluate`, in batches as large as tfcore's."""
    x, y, new_model = load(job)
    model = new_model()
    return {
        "predict": lambda: {"result": float(np.abs(model.predict(x, batch_size=500, verbose=0)).mean())},
        "evaluate": lambda: {"result": model.evaluate(x, y, batch_size=500, verbose=0)[0]},
    }


def augmentation(job):
    """The preprocessing layers with tfcore's ranges, in one tf.function."""
    keras.utils.set_random_seed(0)  # of the layers' draws
    ranges = job["augment"]
    fill, shear = ranges["fill"], math.tan(math.radians(ranges["shear"]))
    model = keras.Sequential(
        [
            layers.RandomTranslation(ranges["shift"], ranges["shift"], fill_mode=fill),
            layers.RandomShear(x_factor=shear, fill_mode=fill),
            layers.RandomRotation(ranges["rotation"] / 360, fill_mode=fill),
            layers.RandomZoom(ranges["zoom"], ranges["zoom"], fill_mode=fill),
            layers.RandomFlip("horizontal"),
            layers.RandomContrast(ranges["contrast"]),
            layers.RandomBrightness(ranges["brightness"]),
        ]
    )
    images = tf.constant(np.load(Path(job["folder"]) / "images.npy"))
    changed = tf.function(lambda: model(tf.cast(images, tf.float32), training=True))

    def batches():
        for _ in range(job["calls"]):
            pictures = changed().numpy()
        return {"result": float(pictures.mean())}

    return {"batches": batches}


def transfer_learning(job):
    """The post's network: the frozen trunk runs in each step of `fit`."""
    folder, shape = Path(job["folder"]), tuple(job["shape"])
    images, y, head = read_arrays(job)
    x = images.astype("float32") * job["scale"]
    base = keras.applications.InceptionV3(include_top=False, weights=str(folder / "trunk.h5"), input_shape=shape)
    base.trainable = False
    features = layers.Flatten()(base.get_layer(job["endpoint"]).output)
    features = layers.Dropout(0.2)(layers.Dense(1024, activation="relu")(features))
    model = compiled(keras.Model(base.input, layers.Dense(1)(features)), job)
    for variable, value in zip(model.trainable_variables, head):
        variable.assign(value)

    def fit():
        history = model.fit(x, y, batch_size=job["batch_size"], epochs=job["epochs"], verbose=0).history
        return {"result": history["binary_accuracy"][-1]}

    return {"fit": fit}


KINDS = {
    "train": train,
    "reach": reach,
    "predict": predict,
    "augmentation": augmentation,
    "transfer": transfer_learning,
}

if __name__ == "__main__":
    serve(KINDS, {"tensorflow": tf.__version__, "keras": keras.__version__})
