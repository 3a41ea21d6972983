"""A hypernetwork: a small network whose output is the weights of a layer of another (Ha et al., arXiv:1609.09106).

python examples/hypernetwork.py

Each of the 64 hidden units has a code of 8 numbers; from it one dense layer makes the unit's 784 weights and its bias.
"""

from tfcore import layers, losses, optimizers, training, tree
from tfcore.data import load, preprocess
from tfcore.init import fold_in
from tfcore.quiet import tf

UNITS, CODE, PIXELS = 64, 8, 784


def init(seed):
    """Returns the weights that are learned; those of the hidden layer are not among them."""
    codes = tf.random.stateless_normal([UNITS, CODE], fold_in(seed, "codes"))
    maker = layers.dense_init(fold_in(seed, "maker"), CODE, PIXELS + 1)
    maker["w"].assign(maker["w"] * (2 / PIXELS) ** 0.5)  # so that what it makes is as large as he_normal's
    logits = layers.dense_init(fold_in(seed, "logits"), UNITS, 10)
    return {"codes": tf.Variable(codes), "maker": maker, "logits": logits}


def produced(weights):
    """The weights of the hidden layer, {"w": [784, 64], "b": [64]}, as a function of codes and maker."""
    made = layers.dense(weights["maker"], weights["codes"])  # 64 x 785
    return {"w": tf.transpose(made[:, :PIXELS]), "b": made[:, PIXELS]}


def forward(weights, stats, x, *, training, seed=None):
    hidden = layers.dense(produced(weights), layers.flatten(x))
    return layers.dense(weights["logits"], tf.nn.relu(hidden)), stats


if __name__ == "__main__":
    data, weights, optimizer = load("digits"), init(0), optimizers.adam(3e-3)
    part = preprocess(data.train.images), data.train.labels
    state = training.init_state(weights, {}, optimizer)
    loss_fn = training.mean_loss(forward, losses.softmax_cross_entropy)
    history = training.train_epochs(state, part, range(30), batch_size=50, loss_fn=loss_fn, optimizer=optimizer)
    whole = {"hidden": produced(weights), "logits": weights["logits"]}
    print(f"{tree.count(weights):,} weights learn to make a network of {tree.count(whole):,}")
    print(f"train loss {history[0]['loss']:.3f} in the first epoch, {history[-1]['loss']:.3f} in the last")
    print(f"test accuracy {training.evaluate(forward, weights, {}, data.test)['accuracy']:.3f}")
