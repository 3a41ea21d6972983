"""A network, a loss and an optimizer of one's own, through the run that everything else takes.

python examples/own_network.py      # again: it is complete; with another EPOCHS: it goes on
"""

from tfcore import layers, losses, run, tree
from tfcore.data import load, preprocess
from tfcore.init import fold_in
from tfcore.optimizers import Optimizer
from tfcore.quiet import tf

WIDTH, BLOCKS, EPOCHS = 32, 3, 20


def init(seed):
    """A residual network: stem, block1 ..., logits."""
    weights = {"stem": layers.conv2d_init(fold_in(seed, "stem"), 3, 1, WIDTH)}
    for i in range(1, BLOCKS + 1):
        weights[f"block{i}"] = layers.conv2d_init(fold_in(seed, f"block{i}"), 3, WIDTH, WIDTH)
    weights["logits"] = layers.dense_init(fold_in(seed, "logits"), WIDTH, 10)
    return weights, {}


def forward(weights, stats, images, *, training, seed=None):
    """x + relu(conv(x)), three times, then the mean over the picture."""
    x = layers.max_pool(tf.nn.relu(layers.conv2d(weights["stem"], preprocess(images))))
    for i in range(1, BLOCKS + 1):
        x = x + tf.nn.relu(layers.conv2d(weights[f"block{i}"], x))
    return layers.dense(weights["logits"], layers.global_avg_pool(x)), stats


def focal_loss(logits, labels, gamma=2.0):
    """(1 - p)^gamma times the cross-entropy -log p of the true class (Lin et al., arXiv:1708.02002)."""
    loss = losses.softmax_cross_entropy(logits, labels)
    return (1 - tf.exp(-loss)) ** gamma * loss


def lion(learning_rate, beta1=0.9, beta2=0.99):
    """w -= learning_rate sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g (Chen et al., arXiv:2302.06675)."""

    def update(weights, grads, slots, step):
        for w, g, m in zip(*map(tree.leaves, (weights, grads, slots["m"]))):
            w.assign_sub(learning_rate * tf.sign(beta1 * m + (1 - beta1) * g))
            m.assign(beta2 * m + (1 - beta2) * g)

    return Optimizer(lambda weights: {"m": tree.zeros_like(weights)}, update)


settings = {"width": WIDTH, "blocks": BLOCKS, "optimizer": "lion", "learning_rate": 1e-3}
task = run.Task(load("digits"), init, forward, focal_loss, lion(1e-3), name="residual", config=settings)
result = run.train(task, "logs/examples/residual", epochs=EPOCHS, batch_size=32)
print(f"test accuracy {result.test['accuracy']:.4f}")
