"""The posts' networks in Keras, as its users write them: `compile` and `fit`, with the posts' own settings.

What reproduce.py trains with --sides=keras, on the same examples in the same split.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

LOSSES = {
    "softmax_cross_entropy": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "sigmoid_cross_entropy": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
}


def train(recipe, splits):
    """Trains a recipe's network with a plain `fit`. Returns the test's and the validation's measures.

    Raises:
      ValueError: the recipe has something that its post's program has not.
    """
    keras.utils.set_random_seed(recipe.seed)
    model = network(recipe)
    model.compile(keras.optimizers.Adam(recipe.learning_rate), LOSSES[recipe.loss](), metrics=[accuracy(recipe)])
    images, labels = (np.asarray(array) for array in splits.train)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(labels), seed=recipe.seed)
    batches = batches.batch(recipe.batch_size).prefetch(2)
    steps = recipe.steps_per_epoch or None
    model.fit(
        batches.repeat() if steps else batches, epochs=recipe.epochs, steps_per_epoch=steps, shuffle=False, verbose=2
    )
    return measures(model, splits.test, recipe), measures(model, splits.validation, recipe)


def network(recipe):
    """Returns the model: pixels scaled, blocks of convolutions with a pool behind each, dense layers, logits."""
    config = recipe.model
    odd = recipe.optimizer != "adam" or recipe.augment.changes or config.dropout or getattr(config, "batch_norm", False)
    if odd or recipe.loss not in LOSSES:
        raise ValueError(f"recipe={recipe.name}: there is no Keras program for it")
    model = keras.Sequential([keras.Input(config.image_shape), layers.Rescaling(recipe.scale)])
    for block in getattr(config, "blocks", ()):
        for channels in block:
            model.add(layers.Conv2D(channels, 3, padding=config.padding.lower(), activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    noise = keras.initializers.RandomNormal(stddev=1.0)
    start = {"kernel_initializer": noise, "bias_initializer": noise} if config.init == "normal" else {}
    for width in config.hidden:
        model.add(layers.Dense(width, activation=getattr(config, "hidden_activation", "relu"), **start))
    model.add(layers.Dense(config.classes, **start))
    return model


def accuracy(recipe):
    """Returns the metric to watch: of one logit, or of many."""
    return keras.metrics.BinaryAccuracy(threshold=0) if recipe.loss.startswith("sigmoid") else "accuracy"


def measures(model, part, recipe):
    """Returns {"loss", "accuracy"} of a part of the set, and of two classes the correlation "pearson"."""
    labels = np.asarray(part.labels)
    logits = model.predict(np.asarray(part.images), batch_size=256, verbose=0)
    found = {"loss": float(LOSSES[recipe.loss]()(labels.reshape(-1, 1), logits))}
    if logits.shape[1] > 1:
        return {**found, "accuracy": float(np.mean(logits.argmax(1) == labels))}
    p = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    pearson = float(np.corrcoef(p, labels)[0, 1]) if np.ptp(p) else 0.0
    return {**found, "accuracy": float(np.mean((p > 0.5) == labels)), "pearson": pearson}
