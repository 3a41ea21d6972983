"""A whole program: a perceptron on digits, with a loop of its own; then the same network through a run.

python examples/mnist.py
"""

import functools

from tfcore import losses, metrics, optimizers, run, training
from tfcore.data import batch_indices, load, preprocess
from tfcore.models import mlp
from tfcore.quiet import tf

data, config = load("digits"), mlp.Config(hidden=(128,))
weights, stats = mlp.init(0, config)
optimizer = optimizers.adam(3e-3)
state = training.init_state(weights, stats, optimizer)


def forward(weights, stats, images, *, training, seed=None):
    return mlp.forward(config, weights, stats, preprocess(images), training=training, seed=seed)


def loss_fn(weights, stats, batch, seed):
    images, labels = batch
    logits, stats = forward(weights, stats, images, training=True, seed=seed)
    loss = tf.reduce_mean(losses.softmax_cross_entropy(logits, labels))
    return loss, ({"accuracy": metrics.accuracy(logits, labels)}, stats)


@tf.function
def step(images, labels):
    return training.train_step(state, (images, labels), 0, loss_fn=loss_fn, optimizer=optimizer)


for epoch in range(10):
    for rows in batch_indices(0, epoch, len(data.train.labels), 50):
        measured = step(data.train.images[rows], data.train.labels[rows])
    print(f"epoch {epoch + 1}  loss {float(measured['loss']):.4f}  finite {bool(training.all_finite(state))}")
print(training.evaluate(functools.partial(mlp.forward, config), weights, stats, data.test))

# The same functions as a Task: checkpoints, exact resume, curves in TensorBoard, plots, an export, a report.
task = run.Task(data, functools.partial(mlp.init, config=config), forward, losses.softmax_cross_entropy, optimizer)
result = run.train(task, "logs/examples/mnist", epochs=10, batch_size=50)
print(result.test["accuracy"])
