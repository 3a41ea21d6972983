"""JAX's side of the training: arrays that live on the device as uint8, one compiled call an epoch or a step."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from process import serve
from sides import has_convolutions, in_best_form, read_arrays


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
    """A step for each call, or a scan over all of them: on a processor convolutions inside a scan are very slow."""
    images, labels, first = read_arrays(job)
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    size, generator = job["batch_size"], np.random.default_rng(0)

    dtype = jnp.dtype(job["recipe"]["precision"])

    def loss_fn(weights, x, y):
        weights = jax.tree.map(lambda w: w.astype(dtype), weights)
        x = (x.astype(jnp.float32) * job["scale"]).astype(dtype)
        return cross_entropy(forward(job["network"], weights, x).astype(jnp.float32), y)

    def step(state, images, labels, rows):
        weights, m, v, t, total = state
        loss, grads = jax.value_and_grad(loss_fn)(weights, images[rows], labels[rows])
        return *adam(weights, grads, m, v, t + 1, job["learning_rate"]), t + 1, total + loss

    def scan(state, images, labels, order):
        return lax.scan(lambda state, rows: (step(state, images, labels, rows), None), state, order)[0]

    step_alone, all_steps = jax.jit(step, donate_argnums=0), jax.jit(scan, donate_argnums=0)

    def make(loop):
        weights = list(zip(map(jnp.array, first[::2]), map(jnp.array, first[1::2])))
        zeros = (jax.tree.map(jnp.zeros_like, weights) for _ in "mv")
        state = weights, *zeros, jnp.float32(0), jnp.float32(0)

        def take_steps(count):
            nonlocal state
            order = generator.permutation(count * size).astype(np.int32).reshape(count, size)
            if loop == "scan":
                state = all_steps(state, images, labels, order)
            else:
                for rows in order:
                    state = step_alone(state, images, labels, rows)
            *kept, total = state
            state = *kept, jnp.float32(0)
            return {"result": float(total) / count}

        return take_steps

    forms = [{"loop": "step"}, {"loop": "scan"}]
    return in_best_form(job, forms if has_convolutions(job) else forms[::-1], make)


if __name__ == "__main__":
    serve({"train": train}, {"jax": jax.__version__})
