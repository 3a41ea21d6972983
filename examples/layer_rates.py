"""One network whose layers learn at different rates, each with an optimizer of its own.

python examples/layer_rates.py
"""

import functools

from tfcore import losses, optimizers, training, tree
from tfcore.data import load, preprocess
from tfcore.models import mlp
from tfcore.optimizers import Optimizer
from tfcore.quiet import tf

config = mlp.Config(hidden=(128, 64))
forward = functools.partial(mlp.forward, config)


def by_layer(chosen):
    """An optimizer that is `chosen[layer]` for the weights under layer/."""

    def init(weights):
        return {layer: optimizer.init({layer: weights[layer]}) for layer, optimizer in chosen.items()}

    def update(weights, grads, slots, step):
        for layer, optimizer in chosen.items():
            optimizer.update({layer: weights[layer]}, {layer: grads[layer]}, slots[layer], step)

    return Optimizer(init, update)


adam = optimizers.adam
WAYS = {
    "all alike": {"dense1": adam(1e-3), "dense2": adam(1e-3), "logits": adam(1e-3)},
    "the first slowest": {"dense1": adam(1e-4), "dense2": adam(1e-3), "logits": adam(1e-2)},
    "the last slowest": {"dense1": adam(1e-2), "dense2": adam(1e-3), "logits": adam(1e-4)},
    "three rules": {"dense1": adam(1e-3), "dense2": optimizers.momentum(1e-2), "logits": optimizers.sgd(1e-1)},
}

if __name__ == "__main__":
    data, loss_fn = load("digits"), training.mean_loss(forward, losses.softmax_cross_entropy)
    part = preprocess(data.train.images), data.train.labels
    for name, chosen in WAYS.items():
        optimizer, (start, _) = by_layer(chosen), mlp.init(0, config)
        state = training.init_state(tree.variables(start), {}, optimizer)
        training.train_epochs(state, part, range(10), batch_size=50, loss_fn=loss_fn, optimizer=optimizer)
        moved = tree.map(lambda w, new: float(tf.norm(new - w) / tf.norm(w)), start, state.weights)
        accuracy = training.evaluate(forward, state.weights, {}, data.test)["accuracy"]
        shares = (f"{layer} by {moved[layer]['w']:.0%}" for layer in chosen)
        print(f"{name:<17}: test accuracy {accuracy:.3f}; what moved:", ", ".join(shares))
