"""Stochastic weight averaging, and the loss along the line between two runs (arXiv:1803.05407, arXiv:1912.05671).

python examples/averaging.py
"""

import functools

import numpy as np

from tfcore import losses, optimizers, training, tree
from tfcore.data import load, preprocess
from tfcore.models import mlp

config, optimizer = mlp.Config(hidden=(64, 64)), optimizers.momentum(0.02)
forward = functools.partial(mlp.forward, config)
loss_fn = training.mean_loss(forward, losses.softmax_cross_entropy)
learn = functools.partial(training.train_epochs, batch_size=25, loss_fn=loss_fn, optimizer=optimizer)


def between(a, b, t):
    """The point (1 - t) a + t b on the line between two trees of weights."""
    return tree.map(lambda a, b: (1 - t) * a + t * b, a, b)


def mean_of(trees):
    """The mean of several trees of weights, the first time as it comes, then moved by 1 / n of what is new."""
    average = trees[0]
    for n, weights in enumerate(trees[1:], start=2):
        average = between(average, weights, 1 / n)
    return average


def run(part, weights, epochs, seed):
    """Returns the weights after each epoch."""
    state, visited = training.init_state(tree.variables(weights), {}, optimizer), []
    for epoch in epochs:
        learn(state, part, [epoch], seed=seed)
        visited.append(tree.map(np.asarray, state.weights))
    return visited


if __name__ == "__main__":
    data = load("digits")
    part = preprocess(data.train.images), data.train.labels
    measure = functools.partial(training.evaluate, forward, stats={}, source=data.test)
    first = run(part, mlp.init(0, config)[0], range(10), seed=0)
    ends = {"the same start": run(part, mlp.init(0, config)[0], range(10), seed=1)[-1],
            "another start": run(part, mlp.init(1, config)[0], range(10), seed=1)[-1],
            "the 3rd epoch on": run(part, first[2], range(3, 10), seed=1)[-1]}  # fmt: skip
    for name, end in ends.items():
        along = [measure(weights=between(first[-1], end, t))["loss"] for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
        print(f"test loss from one run to another, from {name:<16}:", *(f"{loss:.3f}" for loss in along))
    tail = [measure(weights=w)["loss"] for w in first[3:]]
    print(f"epochs 4 to 10: test loss {min(tail):.3f} to {max(tail):.3f}; ", end="")
    print(f"of the mean of their weights {measure(weights=mean_of(first[3:]))['loss']:.3f}")
