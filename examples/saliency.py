"""What a trained network looks at, and what fools it: saliency, Grad-CAM, FGSM and PGD, drawn to logs/examples/.

python examples/saliency.py     # of a small network, which it trains first; or of a run: saliency.py logs/…/…
"""

import dataclasses
import functools
import sys

import numpy as np

from tfcore import activations, losses, metrics, plots, recipes
from tfcore.data import preprocess
from tfcore.gradients import gradient
from tfcore.models import cnn
from tfcore.quiet import tf


@functools.partial(tf.function, autograph=False)
def grad_cam(forward, weights, stats, x, labels, layer):
    """relu(sum over channels of a times the mean of d logit / d a), a of `layer` (arXiv:1610.02391). [N, H', W', 1]."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        found, _ = activations.recorded(forward)(weights, stats, x, training=False)
        logit = tf.gather(found["logits"], labels, axis=1, batch_dims=1)
    slopes = tf.reduce_mean(tape.gradient(logit, found[layer]), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(slopes * found[layer], axis=-1, keepdims=True))


def attacked(loss, x, size, steps):
    """Steps up the loss, each pixel at most `size` away: FGSM (arXiv:1412.6572) is one, PGD (arXiv:1706.06083) many."""
    moved, least, most = x, tf.maximum(x - size, 0.0), tf.minimum(x + size, 1.0)
    for _ in range(steps):
        moved = tf.clip_by_value(moved + 2.5 * size / steps * tf.sign(gradient(loss, moved)), least, most)
    return moved


if __name__ == "__main__":
    place = sys.argv[1] if len(sys.argv) > 1 else "logs/examples/saliency"
    if len(sys.argv) == 1:  # once: the second time it is complete
        small = cnn.Config(blocks=((16,), (32,)), hidden=(64,))
        recipes.train(dataclasses.replace(recipes.RECIPES["digits_cnn128"], model=small), place)
    recipe, weights, stats, _ = recipes.load_run(place)
    images, labels = (part[:300] for part in recipes.load_data(recipe).test)

    def forward(weights, stats, x, *, training):  # of pixels in 0 .. 1
        return cnn.forward(recipe.model, weights, stats, 255 * recipe.scale * x + recipe.offset, training=training)

    loss = lambda x: losses.softmax_cross_entropy(forward(weights, stats, x, training=False)[0], labels)  # noqa: E731
    x = preprocess(images)
    rows = {"picture": x, "FGSM": attacked(loss, x, 0.1, steps=1), "PGD": attacked(loss, x, 0.1, steps=10)}
    for name, row in rows.items():
        print(f"{name:<7}  accuracy {metrics.accuracy(forward(weights, stats, row, training=False)[0], labels):.3f}")
    cam = grad_cam(forward, weights, stats, x, labels, cnn.parts(recipe.model)[-1])
    rows |= {"saliency": tf.abs(gradient(loss, x)), "Grad-CAM": tf.image.resize(cam, x.shape[1:3])}
    bright = [row[:6] / (np.max(row[:6], axis=(1, 2, 3), keepdims=True) + 1e-9) for row in rows.values()]
    drawing = plots.gallery(np.uint8(255 * np.concatenate(bright)), np.repeat(list(rows), 6), columns=6)
    plots.save("logs/examples", {"saliency": drawing})
