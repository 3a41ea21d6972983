"""JAX's side of the training comparisons in benchmark.py: an epoch is one compiled lax.scan over its batches."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_process import serve
from jax import lax


def forward(description, weights, x):
    """Returns the logits. weights: [(w, b)] in the order of the layers, w [3, 3, I, O] or [I, O]; x: [N, H, W, C]."""
    weights = iter(weights)
    for kind, *options in description:
        if kind == "conv":
            w, b = next(weights)
            x = lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
        elif kind == "dense":
            w, b = next(weights)
            x = x @ w + b
        elif kind == "pool":
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        else:
            x = x.reshape(len(x), -1)
        x = jax.nn.relu(x) if "relu" in options else x
    return x


def cross_entropy(logits, labels):
    """Returns the mean loss; one logit is that of a sigmoid."""
    if logits.shape[1] == 1:
        return jnp.mean(jax.nn.softplus(logits[:, 0]) - labels * logits[:, 0])
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))


def adam(weights, grads, m, v, t, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-7):
    """Returns new weights and moments (arXiv:1412.6980, the order of computation of its section 2)."""
    rate = learning_rate * jnp.sqrt(1 - beta2**t) / (1 - beta1**t)
    m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, grads)
    v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, grads)
    return jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + epsilon), weights, m, v), m, v


def train(job):
    """Training on arrays that live on the device as uint8."""
    with np.load(Path(job["folder"]) / "data.npz") as arrays:
        images, labels = jnp.asarray(arrays["images"]), jnp.asarray(arrays["labels"])
        flat = [jnp.asarray(arrays[f"weight{i}"]) for i in range(len(arrays.files) - 2)]
    weights = list(zip(flat[::2], flat[1::2]))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = weights, zeros, jax.tree.map(jnp.zeros_like, weights), jnp.float32(0)
    size, generator = job["batch_size"], np.random.default_rng(0)

    def loss_fn(weights, x, y):
        return cross_entropy(forward(job["network"], weights, x.astype(jnp.float32) * job["scale"]), y)

    def run(state, images, labels, order):
        def step(state, rows):
            weights, m, v, t = state
            loss, grads = jax.value_and_grad(loss_fn)(weights, images[rows], labels[rows])
            return (*adam(weights, grads, m, v, t + 1, job["learning_rate"]), t + 1), loss

        state, losses = lax.scan(step, state, order)
        return state, losses.mean()

    run = jax.jit(run, donate_argnums=0)

    def take_steps(order):
        nonlocal state
        state, loss = run(state, images, labels, jnp.asarray(order.reshape(-1, size), jnp.int32))
        return {"loss": float(loss)}

    return {
        "step": lambda: take_steps(np.arange(size)),
        "epoch": lambda: take_steps(generator.permutation(len(labels))),
    }


if __name__ == "__main__":
    serve({"train": train}, {"jax": jax.__version__})
