"""Keras' side of the comparisons in benchmark.py, as its users write it."""

import math
import os
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from benchmark_process import serve
from keras import layers

STEPS_PER_EXECUTION = (10, 50, 200)  # of which keras_jit takes the best


def load(job):
    """Returns the images as float32 arrays, the labels, and a new model with the parent's weights."""
    with np.load(Path(job["folder"]) / "data.npz") as arrays:
        x, y = arrays["images"].astype("float32") * job["scale"], arrays["labels"]
        weights = [arrays[f"weight{i}"] for i in range(len(arrays.files) - 2)]

    def new_model(**options):
        model = network(job["network"], x.shape[1:])
        model.set_weights(weights)
        return compiled(model, job, **options)

    return x, y, new_model


def network(description, shape):
    """Returns the network of a list of layers: ["conv", channels, activation], ["pool"], ["flatten"], ["dense", ...].

    shape: (H, W, C) of a picture.
    """
    makers = {
        "conv": lambda channels, activation: layers.Conv2D(channels, 3, activation=activation),
        "pool": lambda: layers.MaxPooling2D(),
        "flatten": lambda: layers.Flatten(),
        "dense": lambda width, activation: layers.Dense(width, activation=activation),
    }
    return keras.Sequential([keras.Input(shape), *(makers[kind](*options) for kind, *options in description)])


def compiled(model, job, **options):
    """Returns the model, compiled with Adam, the cross-entropy and the accuracy."""
    if job["loss"] == "sigmoid":
        loss, accuracy = keras.losses.BinaryCrossentropy(from_logits=True), keras.metrics.BinaryAccuracy(threshold=0)
    else:
        loss, accuracy = keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
    model.compile(keras.optimizers.Adam(job["learning_rate"]), loss, metrics=[accuracy], **options)
    return model


def train(job):
    """`fit`; the side keras_jit is compiled and takes many steps in one call."""
    x, y, new_model = load(job)
    size = job["batch_size"]
    model = new_model(**({"jit_compile": True} if job["side"] == "keras_jit" else {}))
    chosen = {}

    def step():
        return {"loss": model.fit(x[:size], y[:size], batch_size=size, verbose=0).history["loss"][0]}

    def epoch():
        return {"loss": model.fit(x, y, batch_size=size, verbose=0).history["loss"][0], **chosen}

    def tuned_epoch():  # the first one finds the number of steps and starts again
        nonlocal model
        if not chosen:
            chosen["steps_per_execution"] = best_steps(new_model, x, y, size)
            model = new_model(jit_compile=True, **chosen)
            step()
        return epoch()

    return {"step": step, "epoch": tuned_epoch if job["side"] == "keras_jit" else epoch}


def best_steps(new_model, x, y, size):
    """Returns the steps_per_execution with which the second epoch of a new model is fastest."""
    seconds = {}
    for steps in sorted({min(steps, len(y) // size) for steps in STEPS_PER_EXECUTION}):
        model = new_model(jit_compile=True, steps_per_execution=steps)
        model.fit(x, y, batch_size=size, verbose=0)
        began = time.perf_counter()
        model.fit(x, y, batch_size=size, verbose=0)
        seconds[steps] = time.perf_counter() - began
    return min(seconds, key=seconds.get)


def predict(job):
    """`predict` and `evaluate`, in batches as large as tfcore's."""
    x, y, new_model = load(job)
    model = new_model()
    return {
        "predict": lambda: {"loss": float(np.abs(model.predict(x, batch_size=500, verbose=0)).mean())},
        "evaluate": lambda: {"loss": model.evaluate(x, y, batch_size=500, verbose=0)[0]},
    }


def augmentation(job):
    """The preprocessing layers with tfcore's ranges, in one tf.function."""
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
        return {"loss": float(pictures.mean())}

    return {"batches": batches}


def transfer_learning(job):
    """The post's network: the frozen trunk runs in each step of `fit`."""
    folder, shape = Path(job["folder"]), tuple(job["shape"])
    with np.load(folder / "data.npz") as arrays:
        x, y = arrays["images"].astype("float32") * job["scale"], arrays["labels"]
        head = [arrays[f"weight{i}"] for i in range(len(arrays.files) - 2)]
    base = keras.applications.InceptionV3(include_top=False, weights=str(folder / "trunk.h5"), input_shape=shape)
    base.trainable = False
    features = layers.Flatten()(base.get_layer(job["endpoint"]).output)
    features = layers.Dropout(0.2)(layers.Dense(1024, activation="relu")(features))
    model = compiled(keras.Model(base.input, layers.Dense(1)(features)), job)
    for variable, value in zip(model.trainable_variables, head):
        variable.assign(value)

    def fit():
        history = model.fit(x, y, batch_size=job["batch_size"], epochs=job["epochs"], verbose=0).history
        return {"loss": history["loss"][-1], "accuracy": history["binary_accuracy"][-1]}

    return {"fit": fit}


KINDS = {"train": train, "predict": predict, "augmentation": augmentation, "transfer": transfer_learning}

if __name__ == "__main__":
    serve(KINDS, {"tensorflow": tf.__version__, "keras": keras.__version__})
