"""Optimizers: each rule against NumPy by hand and Keras; all of them against the same problems."""

import math

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tfcore import optimizers, schedules, tree
from tfcore.optimizers import adam, adamw, averaged, clipped, momentum, rmsprop, sgd

# Each rule by hand: (w, list of gradients) -> the weights after each step, in float64.


def sgd_by_hand(w, grads, lr):
    path = []
    for g in grads:
        w = w - lr * g
        path.append(w)
    return path


def momentum_by_hand(w, grads, lr, mu, nesterov):
    velocity, path = 0, []
    for g in grads:
        velocity = mu * velocity - lr * g
        w = w + mu * velocity - lr * g if nesterov else w + velocity
        path.append(w)
    return path


def rmsprop_by_hand(w, grads, lr, decay, epsilon):
    square, path = 0, []
    for g in grads:
        square = decay * square + (1 - decay) * g * g
        w = w - lr * g / np.sqrt(square + epsilon)
        path.append(w)
    return path


def adam_by_hand(w, grads, lr, beta1, beta2, epsilon, decay=0.0):
    """Algorithm 1 of arXiv:1412.6980; its epsilon is divided by the same correction as the root."""
    m, v, path = 0, 0, []
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        corrected = np.sqrt(v / (1 - beta2**t)) + epsilon / math.sqrt(1 - beta2**t)
        w = w - lr * (m / (1 - beta1**t) / corrected + decay * w)
        path.append(w)
    return path


RULES = {
    "sgd": (sgd(0.1), lambda w, g: sgd_by_hand(w, g, 0.1)),
    "momentum": (momentum(0.1, momentum=0.8), lambda w, g: momentum_by_hand(w, g, 0.1, 0.8, False)),
    "nesterov": (momentum(0.1, momentum=0.8, nesterov=True), lambda w, g: momentum_by_hand(w, g, 0.1, 0.8, True)),
    "rmsprop": (rmsprop(0.1, decay=0.8, epsilon=0.01), lambda w, g: rmsprop_by_hand(w, g, 0.1, 0.8, 0.01)),
    "adam": (
        adam(0.1, beta1=0.8, beta2=0.95, epsilon=0.01),
        lambda w, g: adam_by_hand(w, g, 0.1, 0.8, 0.95, 0.01),
    ),
    "adamw": (
        adamw(0.1, weight_decay=0.3, decays=lambda path: True, epsilon=1e-3),
        lambda w, g: adam_by_hand(w, g, 0.1, 0.9, 0.999, 1e-3, decay=0.3),
    ),
}

# The same with Keras: 20 steps on the same gradients.

KERAS = {
    "sgd": (sgd(0.05), lambda: keras.optimizers.SGD(0.05)),
    "momentum": (momentum(0.05), lambda: keras.optimizers.SGD(0.05, momentum=0.9)),
    "nesterov": (momentum(0.05, nesterov=True), lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)),
    "rmsprop": (rmsprop(0.01), lambda: keras.optimizers.RMSprop(0.01)),
    "rmsprop of large epsilon": (rmsprop(0.01, epsilon=0.1), lambda: keras.optimizers.RMSprop(0.01, epsilon=0.1)),
    "adam": (adam(0.01), lambda: keras.optimizers.Adam(0.01)),
    "adam of large epsilon": (adam(0.01, epsilon=0.1), lambda: keras.optimizers.Adam(0.01, epsilon=0.1)),
    "adamw": (
        adamw(0.01, weight_decay=0.2, decays=lambda path: True),
        lambda: keras.optimizers.AdamW(0.01, weight_decay=0.2),
    ),
    "clipped adam": (clipped(adam(0.01), 1.5), lambda: keras.optimizers.Adam(0.01, global_clipnorm=1.5)),
    "clipped momentum": (
        clipped(momentum(0.05), 1.5),
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=1.5),
    ),
}

# For the properties that every optimizer has; `rate` is a number or a schedule.

OPTIMIZERS = {
    "sgd": lambda rate: sgd(rate(0.3)),
    "momentum": lambda rate: momentum(rate(0.05)),
    "nesterov": lambda rate: momentum(rate(0.05), nesterov=True),
    "rmsprop": lambda rate: rmsprop(rate(0.05)),
    "adam": lambda rate: adam(rate(0.1)),
    "adamw": lambda rate: adamw(rate(0.1), weight_decay=1e-5),
    "clipped": lambda rate: clipped(adam(rate(0.1)), 1.0),
    "averaged": lambda rate: averaged(momentum(rate(0.05)), 0.9),
    "clipped and averaged": lambda rate: averaged(clipped(sgd(rate(0.3)), 5.0), 0.9),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def example(rng, dtype=np.float32):
    """Weights of two layers, inserted in an order that is not the alphabet's."""
    shapes = {"conv2": {"w": [3, 4], "b": [4]}, "conv10": {"w": [2], "b": []}}
    return tree.map(lambda shape: tf.Variable(rng.normal(size=shape).astype(dtype)), shapes)


def random_grads(weights, rng, scale=1.0):
    return tree.map(lambda w: tf.constant(scale * rng.normal(size=w.shape), w.dtype), weights)


def values(weights):
    return {path: leaf.numpy() for path, leaf in tree.flatten(weights).items()}


@pytest.mark.parametrize(("optimizer", "by_hand"), RULES.values(), ids=RULES.keys())
def test_rule_equals_numpy_by_hand(optimizer, by_hand, rng):
    weights = example(rng, np.float64)
    grads = [random_grads(weights, rng) for _ in range(6)]
    wanted = {path: by_hand(w, [values(g)[path] for g in grads]) for path, w in values(weights).items()}
    slots = optimizer.init(weights)
    for step, g in enumerate(grads):
        optimizer.update(weights, g, slots, tf.constant(step, tf.int64))
        for path, w in values(weights).items():
            np.testing.assert_allclose(w, wanted[path][step], rtol=1e-6, atol=1e-7, err_msg=f"{path} {step}")


@pytest.mark.parametrize(("optimizer", "reference"), KERAS.values(), ids=KERAS.keys())
def test_twenty_steps_equal_keras(optimizer, reference, rng):
    weights, reference = example(rng), reference()
    variables = [keras.Variable(w.numpy()) for w in tree.leaves(weights)]
    slots, step = optimizer.init(weights), tf.Variable(0, dtype=tf.int64)
    for i in range(20):
        grads = random_grads(weights, rng, scale=10.0 if i % 5 == 0 else 0.2)
        optimizer.update(weights, grads, slots, step)
        reference.apply(tree.leaves(grads), variables)
        step.assign_add(1)
    for w, variable in zip(tree.leaves(weights), variables):
        np.testing.assert_allclose(w, variable.numpy(), rtol=2e-5, atol=2e-6)


def test_adam_rule_is_tensors_in_tensors_out():
    g, m, v = tf.constant([2.0, -3.0]), tf.zeros([2]), tf.zeros([2])
    delta, m, v = optimizers.adam_rule(g, m, v, tf.constant(1.0), learning_rate=0.1, beta1=0.9, beta2=0.999, epsilon=0)
    np.testing.assert_allclose(delta, [-0.1, 0.1], rtol=1e-4)  # the first step has the length of the learning rate
    np.testing.assert_allclose(m, [0.2, -0.3], rtol=1e-5)
    np.testing.assert_allclose(v, [0.004, 0.009], rtol=1e-4)


def test_clipped_scales_all_gradients_by_the_global_norm_and_only_above_the_limit():
    for grads, wanted in (
        ({"a": [3.0], "b": {"c": [4.0]}}, [-0.6, -0.8]),
        ({"a": [0.3], "b": {"c": [0.4]}}, [-0.3, -0.4]),
    ):
        weights = {"a": tf.Variable([0.0]), "b": {"c": tf.Variable([0.0])}}
        optimizer = clipped(sgd(1.0), 1.0)
        optimizer.update(weights, tree.map(tf.constant, grads), optimizer.init(weights), tf.constant(0))
        np.testing.assert_allclose(np.concatenate([w.numpy() for w in tree.leaves(weights)]), wanted, rtol=1e-6)


def test_averaged_equals_the_moving_average_of_tensorflow(rng):
    weights, updates = {"w": tf.Variable(rng.normal(size=4).astype("f"))}, tf.Variable(0)
    optimizer, reference = averaged(sgd(0.3), 0.7), tf.train.ExponentialMovingAverage(0.7, num_updates=updates)
    reference.apply([weights["w"]])
    slots = optimizer.init(weights)
    for step in range(40):
        optimizer.update(weights, random_grads(weights, rng), slots, tf.constant(step, tf.int64))
        updates.assign(step + 1)
        reference.apply([weights["w"]])
        np.testing.assert_allclose(slots["average"]["w"], reference.average(weights["w"]), rtol=1e-4, atol=1e-5)
    assert (slots["average"]["w"].numpy() != weights["w"].numpy()).all()


def test_averaged_leaves_the_path_of_the_weights_alone(rng):
    plain, tracked = example(np.random.default_rng(1)), example(np.random.default_rng(1))
    inner, outer = momentum(0.1), averaged(momentum(0.1), 0.9)
    inner_slots, outer_slots = inner.init(plain), outer.init(tracked)
    for step in range(4):
        grads = random_grads(plain, rng)
        inner.update(plain, grads, inner_slots, tf.constant(step))
        outer.update(tracked, grads, outer_slots, tf.constant(step))
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(tree.leaves(plain), tree.leaves(tracked)))
    assert list(tree.flatten(outer_slots["average"])) == list(tree.flatten(tracked))


def test_adamw_decays_only_the_chosen_paths(rng):
    weights = example(rng)
    before, zero = values(weights), tree.map(lambda w: tf.zeros(w.shape), weights)
    optimizer = adamw(0.1, weight_decay=0.5, decays=lambda path: path == "conv10/w")
    slots = optimizer.init(weights)
    for step in range(3):
        optimizer.update(weights, zero, slots, tf.constant(step))
    after = values(weights)
    np.testing.assert_allclose(after.pop("conv10/w"), before.pop("conv10/w") * 0.95**3, rtol=1e-5)
    assert all(after[path].tobytes() == before[path].tobytes() for path in before)


def test_adamw_decays_kernels_unless_told_otherwise_and_adam_nothing(rng):
    for optimizer, moved in ((adamw(0.1, weight_decay=0.5), {"conv2/w", "conv10/w"}), (adam(0.1), set())):
        weights = example(rng)
        before, zero = values(weights), tree.map(lambda w: tf.zeros(w.shape), weights)
        optimizer.update(weights, zero, optimizer.init(weights), tf.constant(0))
        assert {path for path, w in values(weights).items() if (w != before[path]).any()} == moved


def test_kernels_are_the_leaves_called_w():
    paths = ["conv1/w", "mixed5b/b5x5/0/conv/w", "conv1/b", "conv1/norm/scale", "w/b", "raw", "w"]
    assert [optimizers.is_kernel(path) for path in paths] == [True, True, False, False, False, False, True]


# What holds for every optimizer.


def quadratic(weights):
    """Condition number 10; the minimum is at w = [1, -2], b = 3."""
    a, b = weights["layer"]["w"] - tf.constant([1.0, -2.0]), weights["layer"]["b"] - 3.0
    return 0.5 * (2 * a[0] ** 2 + 0.2 * a[1] ** 2 + b**2 + a[0] * b)


POINTS = np.random.default_rng(7).normal(size=[60, 2]).astype(np.float32)
CLASSES = (POINTS @ [2.0, -1.0] + 0.5 + np.random.default_rng(8).normal(size=60) > 0).astype(np.float32)


def logistic_regression(weights):
    z = tf.linalg.matvec(tf.constant(POINTS), weights["layer"]["w"]) + weights["layer"]["b"]
    penalty = tf.reduce_sum(weights["layer"]["w"] ** 2) + weights["layer"]["b"] ** 2
    return tf.reduce_mean(tf.nn.softplus(z) - CLASSES * z) + 0.02 * penalty


def logistic_optimum():
    """The minimum by SciPy, from the same points in float64."""

    def cost(p):
        z = POINTS @ p[:2] + p[2]
        return np.mean(np.logaddexp(0, z) - CLASSES * z) + 0.02 * np.sum(p**2)

    return scipy.optimize.minimize(cost, np.zeros(3), tol=1e-10).x


def minimize(problem, optimizer, weights, steps):
    """Takes the steps in one graph."""
    slots, step = optimizer.init(weights), tf.Variable(0, dtype=tf.int64)

    @tf.function
    def run():
        for _ in tf.range(steps):
            with tf.GradientTape() as tape:
                loss = problem(weights)
            optimizer.update(weights, tape.gradient(loss, weights), slots, step)
            step.assign_add(1)

    run()
    return slots


@every_optimizer
@pytest.mark.parametrize("problem", [quadratic, logistic_regression], ids=lambda problem: problem.__name__)
def test_every_optimizer_solves_the_same_problem(make, problem):
    weights = {"layer": {"w": tf.Variable([-1.0, 1.0]), "b": tf.Variable(0.0)}}
    slots = minimize(problem, make(lambda peak: schedules.cosine(peak, 800)), weights, 800)
    wanted = [1.0, -2.0, 3.0] if problem is quadratic else logistic_optimum()
    for found in (weights, slots.get("average", weights)):
        found = [*found["layer"]["w"].numpy(), found["layer"]["b"].numpy()]
        np.testing.assert_allclose(found, wanted, atol=0.01)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw", "clipped"])
def test_adaptive_optimizers_find_the_minimum_of_rosenbrock(name):
    weights = {"layer": {"w": tf.Variable([-1.2, 1.0])}}

    def rosenbrock(weights):
        x = weights["layer"]["w"]
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    minimize(rosenbrock, OPTIMIZERS[name](lambda peak: schedules.cosine(0.05, 3000)), weights, 3000)
    np.testing.assert_allclose(weights["layer"]["w"], [1.0, 1.0], atol=0.1)


@every_optimizer
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_one_trace_over_changing_steps_and_the_same_weights_as_eager(make, jit, rng):
    optimizer = make(lambda peak: schedules.cosine(peak, 6, warmup_steps=2))
    eager, graph = example(np.random.default_rng(1)), example(np.random.default_rng(1))
    eager_slots, graph_slots = optimizer.init(eager), optimizer.init(graph)
    traces = []

    @tf.function(jit_compile=jit)
    def update(grads, step):
        traces.append(1)
        optimizer.update(graph, grads, graph_slots, step)

    for step in range(6):
        grads = random_grads(eager, rng)
        optimizer.update(eager, grads, eager_slots, tf.constant(step, tf.int64))
        update(grads, tf.constant(step, tf.int64))
    assert len(traces) == 1
    for found, wanted in ((graph, eager), (graph_slots, eager_slots)):
        for path, leaf in tree.flatten(wanted).items():
            np.testing.assert_allclose(tree.flatten(found)[path], leaf, rtol=1e-4, atol=1e-6, err_msg=path)


@every_optimizer
def test_the_learning_rate_follows_the_schedule(make, rng):
    weights = example(rng)
    optimizer = make(lambda peak: schedules.piecewise([1, 2], [0.0, peak, 0.0]))
    slots, moved = optimizer.init(weights), []
    grads = random_grads(weights, rng)
    fresh = tree.map(lambda slot: slot.numpy(), slots)
    for step in range(3):
        before = values(weights)
        tree.assign(slots, fresh)
        optimizer.update(weights, grads, slots, tf.constant(step, tf.int64))
        moved.append(all((w != before[path]).all() for path, w in values(weights).items()))
    assert moved == [False, True, False]


@every_optimizer
def test_slots_are_separate_variables_in_the_structure_of_the_weights(make, rng):
    weights = example(rng)
    slots = tree.flatten(make(float).init(weights))
    assert all(isinstance(slot, tf.Variable) and not slot.trainable for slot in slots.values())
    assert len({id(variable) for variable in [*slots.values(), *tree.leaves(weights)]}) == len(slots) + 4
    for path, slot in slots.items():
        weight = next(w for end, w in tree.flatten(weights).items() if path.endswith(end))
        assert slot.shape == weight.shape and slot.dtype == weight.dtype
        assert (slot.numpy() == (weight.numpy() if path.startswith("average") else 0)).all()


@every_optimizer
def test_gradients_are_not_changed_and_their_order_does_not_matter(make, rng):
    one, other = example(np.random.default_rng(1)), example(np.random.default_rng(1))
    optimizer, grads = make(float), random_grads(one, rng)
    before = values(grads)
    turned = {"conv10": {"b": grads["conv10"]["b"], "w": grads["conv10"]["w"]}, "conv2": grads["conv2"]}
    optimizer.update(one, grads, optimizer.init(one), tf.constant(0))
    optimizer.update(other, turned, optimizer.init(other), tf.constant(0))
    assert all(values(grads)[path].tobytes() == before[path].tobytes() for path in before)
    for path, w in values(one).items():
        np.testing.assert_allclose(values(other)[path], w, rtol=1e-6)


@every_optimizer
def test_a_missing_gradient_is_named_by_its_path(make, rng):
    weights = example(rng)
    optimizer = make(float)
    for grads in ({"conv2": {"w": weights["conv2"]["w"]}}, {**weights, "conv2": {**weights["conv2"], "b": None}}):
        with pytest.raises(ValueError, match=r"conv2/b.*: no gradient or no slot for this weight"):
            optimizer.update(weights, grads, optimizer.init(weights), tf.constant(0))


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw", "averaged"])
def test_a_sparse_gradient_counts_like_the_dense_one(name):
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    sparse, dense = {"w": tf.Variable(table)}, {"w": tf.Variable(table)}
    rows = tf.IndexedSlices(
        tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), tf.constant([2, 0, 2]), tf.constant([4, 2])
    )
    optimizer = OPTIMIZERS[name](float)
    optimizer.update(sparse, {"w": rows}, optimizer.init(sparse), tf.constant(0))
    full = tf.constant([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0], [0.0, 0.0]])
    optimizer.update(dense, {"w": full}, optimizer.init(dense), tf.constant(0))
    np.testing.assert_allclose(sparse["w"], dense["w"], rtol=1e-6)


def test_rate_at_takes_a_number_a_variable_and_a_schedule():
    rate = tf.Variable(0.5)
    assert float(optimizers.rate_at(0.25, 3)) == 0.25
    assert float(optimizers.rate_at(rate, 3)) == 0.5
    assert float(optimizers.rate_at(lambda step: step / 4, 3)) == 0.75
    assert optimizers.rate_at(np.float64(0.1), 0).dtype == tf.float32


def step_by_rule(weights, grads, slots, step, *, learning_rate, weight_decay, beta1, beta2, epsilon):
    """What `adamw` says that it does: the decay, then `adam_rule`."""
    for path, w in tree.flatten(weights).items():
        g, m, v = (tree.flatten(part)[path] for part in (grads, slots["m"], slots["v"]))
        rate = tf.cast(optimizers.rate_at(learning_rate, step), g.dtype)
        if weight_decay:
            w.assign_sub(rate * weight_decay * w)
        t = tf.cast(step, g.dtype) + 1
        options = {"learning_rate": rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
        delta, new_m, new_v = optimizers.adam_rule(g, m, v, t, **options)
        m.assign(new_m)
        v.assign(new_v)
        w.assign_add(delta)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_the_fused_adam_has_the_bits_of_the_rule_that_is_shown(mode, dtype, weight_decay, rng):
    options = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7, "weight_decay": weight_decay}
    optimizer = adamw(**options, decays=lambda path: True)
    shapes = {"dense": {"w": [103, 31], "b": [7]}, "scale": []}  # whole vectors of the processor, and what is left
    fused = tree.map(lambda shape: tf.Variable(rng.normal(size=shape).astype(dtype)), shapes)
    shown = tree.variables(fused)
    fused_slots, shown_slots = optimizer.init(fused), optimizer.init(shown)

    def both(grads, step):
        optimizer.update(fused, grads, fused_slots, step)
        step_by_rule(shown, grads, shown_slots, step, **options)

    both = both if mode == "eager" else tf.function(both, jit_compile=mode == "xla", autograph=False)
    for step in range(100):
        both(random_grads(fused, rng, scale=(1e-4, 1.0, 30.0)[step % 3]), tf.constant(step, tf.int64))
    for found, wanted in ((fused, shown), (fused_slots, shown_slots)):
        for path, leaf in tree.flatten(wanted).items():
            assert tree.flatten(found)[path].numpy().tobytes() == leaf.numpy().tobytes(), path


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16], ids=lambda dtype: dtype.name)
def test_adam_refuses_weights_in_which_its_averages_stand_still(dtype):
    weights = {"conv1": {"w": tf.Variable(tf.ones([2], dtype)), "b": tf.Variable([1.0])}}
    for optimizer in (adam(), averaged(adamw(), 0.9)):
        with pytest.raises(ValueError, match=r"^conv1/w: adam wants float32 or float64 weights"):
            optimizer.init(weights)


@every_optimizer
def test_float64_weights_keep_their_dtype_and_move(make, rng):
    weights = example(rng, np.float64)
    before, optimizer = values(weights), make(float)
    optimizer.update(weights, random_grads(weights, rng), optimizer.init(weights), tf.constant(0))
    assert all(w.dtype == np.float64 and (w != before[path]).all() for path, w in values(weights).items())


WRONG = {
    "learning_rate=-0.1 must be at least 0 and finite": lambda: momentum(-0.1),
    "learning_rate=nan must be at least 0 and finite": lambda: rmsprop(np.float32(np.nan)),
    "learning_rate=inf must be at least 0 and finite": lambda: adam(math.inf),
    "learning_rate='0.1' must be at least 0 and finite": lambda: adamw("0.1"),
    "learning_rate=1e+39 must be at least 0 and finite": lambda: sgd(1e39),
    "momentum=1.0 must be at least 0 and below 1": lambda: momentum(momentum=1.0),
    "nesterov=1 must be True or False": lambda: momentum(nesterov=1),
    "decay=-0.9 must be at least 0 and below 1": lambda: rmsprop(decay=-0.9),
    "epsilon=0 must be positive and finite": lambda: rmsprop(epsilon=0),
    "beta1=1 must be at least 0 and below 1": lambda: adam(beta1=1),
    "beta2=99.9 must be at least 0 and below 1": lambda: adam(beta2=99.9),
    "epsilon=-1e-07 must be positive and finite": lambda: adamw(epsilon=-1e-7),
    "weight_decay=-0.1 must be at least 0 and finite": lambda: adamw(weight_decay=-0.1),
    "max_norm=0.0 must be positive and finite": lambda: clipped(sgd(), 0.0),
    "decay=1.0 must be at least 0 and below 1": lambda: averaged(sgd(), 1.0),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_argument_is_refused_in_one_sentence_when_the_optimizer_is_made(message):
    with pytest.raises(ValueError) as error:
        WRONG[message]()
    assert str(error.value) == message


def test_every_name_makes_its_optimizer():
    wanted = {"sgd": sgd(0.1), "momentum": momentum(0.1), "nesterov": momentum(0.1, nesterov=True)}
    wanted |= {"rmsprop": rmsprop(0.1), "adam": adam(0.1), "adamw": adamw(0.1)}
    assert optimizers.OPTIMIZERS.keys() == wanted.keys()
    for name, make in optimizers.OPTIMIZERS.items():
        found, same = {"w": tf.Variable([1.0, -2.0])}, {"w": tf.Variable([1.0, -2.0])}
        for optimizer, weights in ((make(learning_rate=0.1), found), (wanted[name], same)):
            slots = optimizer.init(weights)
            for step in range(2):
                optimizer.update(weights, {"w": tf.constant([0.3, 4.0])}, slots, tf.constant(step))
        assert found["w"].numpy().tolist() == same["w"].numpy().tolist()
    optimizers.OPTIMIZERS["adamw"](learning_rate=0.1, weight_decay=0.2)
