"""Distillation: a perceptron learns what a convolutional network says of each picture (arXiv:1503.02531).

python examples/distillation.py                 # on digits
python examples/distillation.py fashion_mnist   # on a part of Fashion-MNIST, where it is on disk; minutes

The teacher is the network of the recipe fashion_cnn_best. The student sees no picture of class 3, and yet learns it:
the teacher's word of a 2, of which a hundredth goes to 3, says what a 3 is like.
"""

import functools
import sys

from tfcore import losses, optimizers, training
from tfcore.data import Arrays, load, preprocess
from tfcore.models import cnn, mlp
from tfcore.quiet import tf
from tfcore.recipes import RECIPES

TEMPERATURE, UNSEEN = 8.0, 3
large, small = RECIPES["fashion_cnn_best"].model, mlp.Config(hidden=(64,))
teacher, student = functools.partial(cnn.forward, large), functools.partial(mlp.forward, small)


def distilled(logits, says):
    """T^2 times the divergence of the student from the teacher, KL(teacher || student), both at temperature T; [N].

    says: the teacher's logits. With T^2 the gradients are as large as at T = 1.
    """
    targets = tf.nn.softmax(says / TEMPERATURE)
    entropy = -tf.reduce_sum(tf.math.xlogy(targets, targets), axis=1)
    return TEMPERATURE**2 * (losses.softmax_cross_entropy(logits / TEMPERATURE, targets) - entropy)


def learned(model, config, part, loss_fn, epochs):
    optimizer = optimizers.adam(1e-3)
    state = training.init_state(*model.init(0, config), optimizer)
    training.train_epochs(state, part, range(epochs), batch_size=32, loss_fn=loss_fn, optimizer=optimizer)
    return state.weights


def from_teacher(weights, stats, batch, seed):
    logits, _ = student(weights, stats, batch[0], training=True)
    return tf.reduce_mean(distilled(logits, batch[1])), ({}, stats)


if __name__ == "__main__":
    data = load(*sys.argv[1:] or ["digits"], train_examples=10_000)
    x, labels = preprocess(data.train.images).numpy(), data.train.labels
    from_labels = functools.partial(training.mean_loss, loss=losses.softmax_cross_entropy)
    taught = learned(cnn, large, (x, labels), from_labels(teacher), epochs=15)
    says, seen = training.predict(tf.function(teacher), taught, {}, x), labels != UNSEEN
    alone = learned(mlp, small, (x[seen], labels[seen]), from_labels(student), epochs=40)
    with_it = learned(mlp, small, (x[seen], says[seen]), from_teacher, epochs=40)

    rare = Arrays(*(a[data.test.labels == UNSEEN] for a in data.test))
    ways = {"the teacher": (teacher, taught), "from labels": (student, alone), "from the teacher": (student, with_it)}
    for name, (forward, weights) in ways.items():
        right = [training.evaluate(forward, weights, {}, part)["accuracy"] for part in (data.test, rare)]
        print(f"{data.name}, {name:<16}: test accuracy {right[0]:.3f}, of class {UNSEEN} {right[1]:.3f}")
