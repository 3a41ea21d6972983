"""Lottery tickets: most weights are taken away, and the rest learns again from where it began (arXiv:1803.03635).

python examples/lottery_ticket.py
"""

import functools

from tfcore import losses, optimizers, training, tree
from tfcore.data import load, preprocess
from tfcore.init import fold_in
from tfcore.models import mlp
from tfcore.optimizers import is_kernel
from tfcore.quiet import tf

config = mlp.Config(hidden=(128, 64))


def masked(weights, masks):
    """The weights times their masks; a path that has none is as it is."""
    return tree.merge(weights, tree.map(lambda mask, w: mask * w, masks, weights))


def forward(masks, weights, stats, x, *, training, seed=None):
    return mlp.forward(config, masked(weights, masks), stats, x, training=training, seed=seed)


def largest(w, keep):
    """1 for the fraction `keep` of the entries that are farthest from 0, 0 for the others."""
    size = tf.reshape(tf.abs(w), [-1])
    least = tf.sort(size)[-max(1, round(keep * len(size)))]
    return tf.cast(tf.abs(w) >= least, w.dtype)


def learned(start, masks, part):
    optimizer = optimizers.adam(2e-3)
    state = training.init_state(tree.variables(start), {}, optimizer)
    loss_fn = training.mean_loss(functools.partial(forward, masks), losses.softmax_cross_entropy)
    training.train_epochs(state, part, range(20), batch_size=50, loss_fn=loss_fn, optimizer=optimizer)
    return state.weights


if __name__ == "__main__":
    data, (start, _), (other, _) = load("digits"), mlp.init(0, config), mlp.init(1, config)
    part = preprocess(data.train.images), data.train.labels

    def measure(weights, masks):
        return training.evaluate(functools.partial(forward, masks), weights, {}, data.test)["accuracy"]

    masks = tree.map(tf.ones_like, tree.select(start, is_kernel))
    noise = tree.map(lambda w: tf.random.stateless_normal(w.shape, fold_in(2, w.shape[0])), masks)
    ticket = learned(start, masks, part)
    print(f"test accuracy with all weights {measure(ticket, masks):.3f}")
    for keep in (0.2, 0.05, 0.02, 0.01):
        pick = functools.partial(largest, keep=keep)
        masks, chance = tree.map(pick, tree.select(masked(ticket, masks), is_kernel)), tree.map(pick, noise)
        ticket = learned(start, masks, part)
        print(f"{keep:3.0%} of them: the ticket {measure(ticket, masks):.3f}, ", end="")
        print(f"its mask from another start {measure(learned(other, masks, part), masks):.3f}, ", end="")
        print(f"a mask by chance {measure(learned(start, chance, part), chance):.3f}")
