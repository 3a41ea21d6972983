"""The step and the loop: one meaning in every mode, nothing silent, nothing half-done."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfcore import losses, metrics as measures, training, tree
from tfcore.data import batch_indices
from tfcore.models import cnn, mlp
from tfcore.optimizers import adam, momentum, sgd

CONFIGS = {
    "perceptron": (mlp, mlp.Config((6, 6, 1), (12,), 3)),
    "cnn": (cnn, cnn.Config((8, 8, 1), ((8,),), hidden=(32,), classes=3)),
    "cnn with batch norm": (cnn, cnn.Config((8, 8, 1), ((4, 3),), hidden=(6,), classes=3, batch_norm=True)),
}
every_model = pytest.mark.parametrize("name", CONFIGS)


def loss_of(model, config):
    """The loss function of a classifier: mean cross-entropy, accuracy, new statistics."""

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        logits, new_stats = model.forward(config, weights, stats, images, training=True, seed=seed)
        loss = tf.reduce_mean(losses.softmax_cross_entropy(logits, labels))
        return loss, ({"accuracy": measures.accuracy(logits, labels)}, new_stats)

    return loss_fn


def problem(name, optimizer, seed=1, **options):
    """Returns a fresh state and the training step, a function of (batch, seed) that changes it."""
    model, config = CONFIGS[name]
    state = training.init_state(*model.init(seed, config), optimizer, **options)
    loss_fn = loss_of(model, config)
    return state, functools.partial(training.train_step, state, loss_fn=loss_fn, optimizer=optimizer)


def batches(name, count, n=16, seed=5):
    rng, (_, config) = np.random.default_rng(seed), CONFIGS[name]
    shape = [count, n, *config.image_shape]
    return tf.constant(rng.uniform(0, 1, shape), tf.float32), tf.constant(rng.integers(0, 3, [count, n]), tf.int32)


def row(block, i):
    return tuple(part[i] for part in block)


def arrays(state):
    """Every number of a state, by path."""
    parts = {"weights": state.weights, "stats": state.stats, "slots": state.slots, "step": state.step}
    return {path: leaf.numpy() for path, leaf in tree.flatten(parts).items()}


def assert_close(found, wanted, rtol=1e-4, atol=1e-6):
    assert found.keys() == wanted.keys()
    for path in wanted:
        np.testing.assert_allclose(found[path], wanted[path], rtol=rtol, atol=atol, err_msg=path)


def same_bits(found, wanted):
    return {path: value.tobytes() for path, value in found.items()} == {p: v.tobytes() for p, v in wanted.items()}


# The step.


@every_model
def test_the_step_is_the_same_eagerly_in_a_graph_and_under_xla(name):
    block, results = batches(name, 5), {}
    for mode in ("eager", "graph", "xla"):
        state, step = problem(name, momentum(0.1))
        run = step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")
        metrics = [run(row(block, i), 7) for i in range(5)]
        results[mode] = arrays(state), [{key: value.numpy() for key, value in m.items()} for m in metrics]
    for mode in ("graph", "xla"):
        assert_close(results[mode][0], results["eager"][0], rtol=1e-3, atol=1e-5)
        for found, wanted in zip(results[mode][1], results["eager"][1]):
            assert_close(found, wanted, rtol=1e-3, atol=1e-5)
    assert results["eager"][0]["step"] == 5


def test_one_step_by_hand():
    """Softmax regression: the gradient is x' (p - target) / n."""
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=[7, 4]), rng.integers(0, 3, 7)
    config = mlp.Config((2, 2, 1), (), 3)
    weights, stats = mlp.init(1, config)
    w = weights["logits"]["w"].numpy().astype(np.float64)
    state = training.init_state(weights, stats, sgd(0.5))
    metrics = training.train_step(
        state, (tf.constant(x, tf.float32), labels), 0, loss_fn=loss_of(mlp, config), optimizer=sgd(0.5)
    )
    error = (scipy.special.softmax(x @ w, axis=1) - np.eye(3)[labels]) / 7
    np.testing.assert_allclose(weights["logits"]["w"], w - 0.5 * x.T @ error, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weights["logits"]["b"], -0.5 * error.sum(axis=0), rtol=1e-4, atol=1e-6)
    wanted = {
        "loss": -scipy.special.log_softmax(x @ w, axis=1)[np.arange(7), labels].mean(),
        "accuracy": np.mean((x @ w).argmax(axis=1) == labels),
        "gradient_norm": np.sqrt(np.sum((x.T @ error) ** 2) + np.sum(error.sum(axis=0) ** 2)),
    }
    assert_close({key: value.numpy() for key, value in metrics.items()}, wanted, rtol=1e-5)
    assert state.step.numpy() == 1 and state.step.dtype == tf.int64


@every_model
def test_one_batch_overfits(name):
    _, step = problem(name, adam(0.005))
    batch, step = row(batches(name, 1), 0), tf.function(step)
    first = step(batch, 0)["loss"].numpy()
    for _ in range(400):
        metrics = step(batch, 0)
    assert first > 0.8
    assert metrics["loss"].numpy() < 0.05 and metrics["accuracy"].numpy() == 1


def test_batch_norm_statistics_move_with_the_step():
    state, step = problem("cnn with batch norm", sgd(0.0))
    images, labels = row(batches("cnn with batch norm", 1), 0)
    convolved = tf.nn.conv2d(images, state.weights["conv1"]["w"], 1, "VALID").numpy().astype(np.float64)
    step((images, labels), 0)
    np.testing.assert_allclose(state.stats["conv1"]["mean"], 0.01 * convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(state.stats["conv1"]["variance"], 0.99 + 0.01 * convolved.var((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_random_masks_change_with_the_step_and_repeat_with_the_run(jit):
    model, config = mlp, mlp.Config((6, 6, 1), (40,), 3, dropout=0.5)
    batch = row(batches("perceptron", 1), 0)

    optimizer = sgd(0.0)  # only the mask changes the loss
    state = training.init_state(*model.init(1, config), optimizer)
    step = functools.partial(training.train_step, loss_fn=loss_of(model, config), optimizer=optimizer)
    graph = tf.function(lambda seed: step(state, batch, seed), jit_compile=jit)

    def run(seed):
        state.step.assign(0)
        return [graph(tf.constant(seed))["loss"].numpy() for _ in range(4)]

    assert len(set(run(3))) == 4
    assert run(3) == run(3)
    assert not set(run(3)) & set(run(4))


# What learns.


def test_frozen_weights_do_not_move_and_have_no_slots():
    state, step = problem("cnn", adam(0.1), learns=lambda path: path.startswith("logits/") or path == "dense1/b")
    learning = {"logits/w", "logits/b", "dense1/b"}
    assert set(tree.flatten(state.trainable)) == learning
    assert set(tree.flatten(state.slots)) == {f"{slot}/{path}" for slot in "mv" for path in learning}
    assert all(state.weights["logits"][key] is state.trainable["logits"][key] for key in ("w", "b"))
    before, block = arrays(state), batches("cnn", 3)
    run = tf.function(step)
    for i in range(3):
        run(row(block, i), 0)
    moved = {path for path, value in arrays(state).items() if value.tobytes() != before[path].tobytes()}
    assert {path.removeprefix("weights/") for path in moved if path.startswith("weights/")} == learning


def test_freezing_does_not_change_the_gradients_of_what_learns():
    batch, updates = row(batches("perceptron", 1), 0), []
    for learns in (lambda path: True, lambda path: path == "logits/w"):
        state, step = problem("perceptron", sgd(0.1), learns=learns)
        step(batch, 0)
        updates.append(state.weights["logits"]["w"].numpy())
    np.testing.assert_allclose(updates[0], updates[1], rtol=1e-6)


def test_the_state_before_the_first_step():
    model, config = CONFIGS["perceptron"]
    weights, stats = model.init(1, config)
    state = training.init_state(weights, stats, adam())
    assert state.weights is weights and state.stats is stats
    assert state._fields == ("weights", "trainable", "stats", "slots", "step")
    assert state.step.numpy() == 0 and state.step.dtype == tf.int64
    assert set(tree.flatten(state.trainable)) == set(tree.flatten(weights))


# What goes wrong.


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_a_weight_without_influence_is_named_by_its_path(graph):
    weights = {"used": {"w": tf.Variable(1.0)}, "idle": {"w": tf.Variable(2.0), "b": tf.Variable(3.0)}}
    state = training.init_state(weights, {}, sgd())

    def loss_fn(weights, stats, batch, seed):
        return weights["used"]["w"] * batch, ({}, stats)

    def step():
        return training.train_step(state, 2.0, 0, loss_fn=loss_fn, optimizer=sgd())

    with pytest.raises(ValueError, match="no gradient reaches idle/w, idle/b: the loss does not depend on it"):
        (tf.function(step) if graph else step)()
    assert [w.numpy() for w in tree.leaves(weights)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda w, stats: w, r"loss_fn: it must return loss, \(metrics, new_stats\)"),
        (lambda w, stats: (w, stats), r"loss_fn: it must return loss, \(metrics, new_stats\)"),
        (lambda w, stats: (w, ({"a": None}, stats)), r"loss_fn: it must return loss, \(metrics, new_stats\)"),
        (lambda w, stats: (tf.stack([w, w]), ({}, stats)), r"loss_fn: loss is float32\[2\], .*take the mean"),
        (lambda w, stats: (w, ({"a": tf.zeros([3])}, stats)), r"loss_fn: a is float32\[3\]"),
        (lambda w, stats: (tf.cast(w, tf.int32), ({}, stats)), r"loss_fn: loss is int32\[\]"),
        (lambda w, stats: (w, ({}, {})), r"loss_fn: new_stats do not fit the stats: mean: missing in the new_stats"),
        (lambda w, stats: (w, ({}, {"mean": tf.zeros([2])})), "mean: new_stats has 2, state wants scalar"),
    ],
)
def test_a_loss_fn_that_returns_something_else_is_told_what(result, words):
    state = training.init_state({"w": tf.Variable(1.0)}, {"mean": tf.Variable(0.0)}, sgd())
    loss_fn = lambda weights, stats, batch, seed: result(weights["w"] * 2, stats)  # noqa: E731
    with pytest.raises(ValueError, match=words):
        training.train_step(state, None, 0, loss_fn=loss_fn, optimizer=sgd())


def test_a_state_that_does_not_learn_is_refused():
    with pytest.raises(ValueError, match="learns: it is true for none of w"):
        training.init_state({"w": tf.Variable(1.0)}, {}, sgd(), learns=lambda path: False)


def test_what_is_not_finite_shows_in_the_metrics_and_by_path():
    """In a loop of one's own nothing is guarded; `all_finite` and `not_finite` are there to ask."""
    weights = {"good": tf.Variable(2.0), "root": tf.Variable(0.0)}
    state = training.init_state(weights, {"mean": tf.Variable(1.0)}, momentum())

    def loss_fn(weights, stats, batch, seed):
        return weights["good"] + tf.sqrt(weights["root"]), ({}, stats)

    assert training.all_finite(state) and training.not_finite(state) == []
    metrics = training.train_step(state, None, 0, loss_fn=loss_fn, optimizer=momentum())
    assert np.isfinite(metrics["loss"]) and not np.isfinite(metrics["gradient_norm"])
    assert not training.all_finite(state) and training.not_finite(state) == ["weights/root", "slots/m/root"]


def test_a_metric_called_loss_is_what_is_reported():
    state = training.init_state({"w": tf.Variable(3.0)}, {}, sgd(1.0))
    loss_fn = lambda weights, stats, *_: (2 * weights["w"], ({"loss": weights["w"]}, stats))  # noqa: E731
    assert training.train_step(state, None, 0, loss_fn=loss_fn, optimizer=sgd(1.0))["loss"].numpy() == 3
    assert state.weights["w"].numpy() == 1  # what is minimized has the slope 2


def test_reprs_are_one_line():
    state, _ = problem("cnn with batch norm", adam())
    assert repr(state).startswith("TrainState(weights: 10 arrays, ") and len(repr(state)) < 200


# The loop.


def loop(name, optimizer, jit=False):
    """Returns a fresh state and the compiled loop over (block, count)."""
    model, config = CONFIGS[name]
    state = training.init_state(*model.init(1, config), optimizer)
    run = functools.partial(training.train_loop, state, loss_fn=loss_of(model, config), optimizer=optimizer)
    return state, tf.function(lambda block, count: run(block, count, 7), jit_compile=jit)


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@every_model
def test_the_loop_takes_the_same_steps_one_by_one(name, jit):
    block = batches(name, 6)
    state, run = loop(name, momentum(0.1), jit)
    single, step = problem(name, momentum(0.1))
    metrics = [step(row(block, i), 7) for i in range(4)]
    totals = run(block, tf.constant(4))
    assert_close(arrays(state), arrays(single), rtol=1e-3, atol=1e-5)
    assert state.step.numpy() == 4
    assert set(totals) == {"loss", "gradient_norm", "accuracy"}
    for key in ("loss", "accuracy"):
        np.testing.assert_allclose(totals[key], sum(m[key].numpy() for m in metrics), rtol=1e-4)
    np.testing.assert_allclose(totals["gradient_norm"], metrics[-1]["gradient_norm"], rtol=1e-4)


def test_the_loop_is_traced_once_for_any_count():
    block, (state, run) = batches("perceptron", 3), loop("perceptron", sgd(0.1))
    for count in (3, 1, 0, 2):
        totals = run(block, tf.constant(count))
        assert count or all(total.numpy() == 0 for total in totals.values())
    assert state.step.numpy() == 6
    assert run.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", ["perceptron", "cnn with batch norm"])
def test_epochs_are_the_steps_over_the_batches_of_batch_indices(name):
    (x, labels), (model, config), optimizer = row(batches(name, 1, n=50), 0), CONFIGS[name], adam(1e-2)
    forward = functools.partial(model.forward, config)
    loss_fn = training.mean_loss(forward, losses.softmax_cross_entropy)
    state = training.init_state(*model.init(1, config), optimizer)
    options = {"batch_size": 16, "loss_fn": loss_fn, "optimizer": optimizer, "seed": 3}
    history = training.train_epochs(state, (x, labels), range(2, 5), **options)
    other, step = problem(name, optimizer)
    for epoch, measured in zip(range(2, 5), history):
        found = [
            step(tuple(tf.gather(part, rows) for part in (x, labels)), 3) for rows in batch_indices(3, epoch, 50, 16)
        ]
        for key in ("loss", "accuracy"):
            np.testing.assert_allclose(measured[key], np.mean([m[key] for m in found]), rtol=1e-5)
    for path, value in arrays(state).items():
        np.testing.assert_allclose(value, arrays(other)[path], rtol=1e-4, atol=1e-6, err_msg=path)


def test_epochs_take_any_structure_of_arrays():
    state = training.init_state({"w": tf.Variable(0.0)}, {}, sgd(0.1))

    def loss_fn(weights, stats, batch, seed):
        return tf.reduce_mean((weights["w"] - batch["near"][0]) ** 2 + batch["near"][1]), ({}, stats)

    source = {"near": (np.full(8, 2.0, np.float32), np.zeros(8, np.float32))}
    history = training.train_epochs(state, source, range(30), batch_size=4, loss_fn=loss_fn, optimizer=sgd(0.1))
    assert list(history[0]) == ["loss"] and float(state.weights["w"]) == pytest.approx(2, abs=1e-4)


def test_the_names_of_the_metrics_are_found_without_a_step():
    state, _ = problem("cnn", sgd())
    model, config = CONFIGS["cnn"]
    batch = tf.TensorSpec([4, 8, 8, 1]), tf.TensorSpec([4], tf.int32)
    assert training.metric_names(loss_of(model, config), state, batch, 0) == ("accuracy",)


# One trace.


RETRACES = {
    "argument 1": ([np.float32(1), np.zeros([4, 2], np.float32)], [np.float32(1), np.zeros([5, 2], np.float32)]),
    r"argument 0\['x'\]": ([{"x": np.zeros([4]), "y": np.zeros([4])}], [{"x": np.zeros([3]), "y": np.zeros([4])}]),
    r"argument 0\['a'\]\['b'\]": ([{"a": {"b": np.zeros([2], "f")}}], [{"a": {"b": np.zeros([2], "d")}}]),
    "argument 2": ([1, 2, 3], [1, 2, 4]),
    "argument 0": ([(np.zeros([4, 2]), np.zeros([4]))], [(np.zeros([3, 2]), np.zeros([3]))]),
}


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("argument", RETRACES)
def test_another_trace_is_refused_and_names_the_argument(argument, jit):
    def step(*args):
        return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32) + 1, args)

    first, other = RETRACES[argument]
    run = training.traced_once(step, jit=jit)
    as_tensors = functools.partial(tf.nest.map_structure, lambda x: x if isinstance(x, int) else tf.constant(x))
    run(*as_tensors(first))
    run(*as_tensors(first))
    with pytest.raises(ValueError, match=f"step would be traced again: {argument}") as error:
        run(*as_tensors(other))
    assert str(error.value).count("argument") == 1
    run(*as_tensors(first))
    assert run.experimental_get_tracing_count() <= 2


def test_the_refusal_says_what_was_and_what_is():
    run = training.traced_once(lambda batch: batch["x"] + 1)
    run({"x": tf.zeros([4, 2])})
    with pytest.raises(ValueError, match=r"argument 0\['x'\] was 4x2 float32, now 5x2 float32$"):
        run({"x": tf.zeros([5, 2])})


def test_values_of_tensors_and_variables_may_change_within_one_trace():
    traces, v = [], tf.Variable(1.0)

    def step(x, i, state):
        traces.append(1)
        return x + tf.cast(i, tf.float32) + state["v"]

    run = training.traced_once(step)
    for i in range(4):
        assert run(tf.constant(2.0), tf.constant(i), {"v": v}).numpy() == 3.0 + 2 * i
        v.assign_add(1.0)
    assert len(traces) == 1


def test_a_state_is_an_argument_that_a_step_may_have():
    model, config = CONFIGS["perceptron"]
    state = training.init_state(*model.init(1, config), sgd(0.1))
    step = functools.partial(training.train_step, loss_fn=loss_of(model, config), optimizer=sgd(0.1))
    run, block = training.traced_once(lambda state, batch: step(state, batch, 0)), batches("perceptron", 3)
    for i in range(3):
        run(state, row(block, i))
    assert state.step.numpy() == 3
    with pytest.raises(ValueError, match="would be traced again: argument 1") as error:
        run(state, row(batches("perceptron", 1, n=3), 0))
    assert "argument 0" not in str(error.value)


# Evaluation.


def linear_model(classes, n=23):
    """Returns a forward pass, a set of n images in bytes and their logits by NumPy."""
    rng = np.random.default_rng(6)
    images = rng.integers(0, 256, [n, 4, 3, 2], dtype=np.uint8)
    w = rng.normal(size=[24, classes])
    shapes = []

    def forward(weights, stats, x, *, training):
        assert not training
        shapes.append(tuple(x.shape))
        return tf.reshape(x, [len(x), 24]) @ weights["w"], stats

    return forward, {"w": tf.constant(w, tf.float32)}, images, images.reshape(n, 24) / 255 @ w, shapes


@pytest.mark.parametrize("batch_size", [1, 7, 22, 23, 500])
def test_evaluation_is_exact_with_a_ragged_last_batch(batch_size):
    forward, weights, images, logits, shapes = linear_model(4)
    labels = np.random.default_rng(7).integers(0, 4, 23).astype(np.int32)
    found = training.evaluate(forward, weights, {}, (images, labels), batch_size=batch_size)
    wanted = -scipy.special.log_softmax(logits, axis=1)[np.arange(23), labels].mean()
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)
    assert found["accuracy"] == np.mean(logits.argmax(axis=1) == labels)
    assert all(type(value) is float for value in found.values())
    assert set(shapes) == {(min(batch_size, 23), 4, 3, 2)}  # one shape, so one trace
    assert len(shapes) == -(-23 // batch_size)


def test_evaluation_of_two_classes_from_one_logit():
    forward, weights, images, logits, _ = linear_model(1)
    labels = np.random.default_rng(8).integers(0, 2, 23).astype(np.int32)
    found = training.evaluate(forward, weights, {}, (images, labels), batch_size=5)
    z = logits[:, 0]
    assert found["loss"] == pytest.approx(np.mean(np.logaddexp(0, z) - labels * z), rel=1e-5)
    assert found["accuracy"] == np.mean((z > 0) == labels)
    squared = training.evaluate(forward, weights, {}, (images, labels), loss=losses.sigmoid_mse)["loss"]
    assert squared == pytest.approx(np.mean((scipy.special.expit(z) - labels) ** 2), rel=1e-5)


def test_predictions_keep_the_order_and_leave_the_images_alone():
    forward, weights, images, logits, _ = linear_model(4)
    before = images.copy()
    found = training.predict(forward, weights, {}, images, batch_size=10)
    assert found.dtype == np.float32 and found.shape == (23, 4)
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
    assert (images == before).all()


# Two devices.

REPLICAS = '''
import json
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from test_training import CONFIGS, batches, loss_of, problem, row
from tfcore.optimizers import adam, momentum
from tfcore import training, tree

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2

def halves(batch):
    def half(context):
        i = context.replica_id_in_sync_group
        return tuple(part[8 * i : 8 * i + 8] for part in batch)
    return strategy.experimental_distribute_values_from_function(half)

def difference(name, optimizer, **options):
    """Three steps of two half batches against three steps of the whole batch."""
    block = batches(name, 3)
    with strategy.scope():
        state, step = problem(name, optimizer, **options)
    run = tf.function(lambda batch: strategy.run(step, (batch, 7)))
    found = [{key: strategy.experimental_local_results(value) for key, value in run(halves(row(block, i))).items()}
             for i in range(3)]
    single, step = problem(name, optimizer, **options)
    wanted = [step(row(block, i), 7) for i in range(3)]
    copies = [strategy.experimental_local_results(leaf)
              for leaf in [*tree.leaves(state.weights), *tree.leaves(state.stats), *tree.leaves(state.slots)]]
    return {
        "weights": max(float(np.abs(a.numpy() - b.numpy()).max())
                       for a, b in zip(tree.leaves(state.weights), tree.leaves(single.weights))),
        "metrics": max(abs(float(copy) - float(w[key])) for f, w in zip(found, wanted) for key in w if key != "finite"
                       for copy in f[key]),
        "replicas agree": all(len(c) == 2 and c[0].numpy().tobytes() == c[1].numpy().tobytes() for c in copies),
        "steps": [int(copy.numpy()) for copy in strategy.experimental_local_results(state.step)],
    }

def frozen_trunk():
    """Batch norm that runs on its moving statistics: they reach the step as variables and stay as they are."""
    model, config = CONFIGS["cnn with batch norm"]
    def loss_fn(weights, stats, batch, seed):
        logits, new_stats = model.forward(config, weights, stats, batch[0], training=False)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch[1], logits)), ({}, new_stats)
    with strategy.scope():
        state = training.init_state(*model.init(1, config), adam(), learns=lambda path: path.startswith("logits/"))
    step = lambda batch: training.train_step(state, batch, 0, loss_fn=loss_fn, optimizer=adam())
    before = [leaf.numpy().tobytes() for leaf in tree.leaves(state.stats)]
    try:
        tf.function(lambda batch: strategy.run(step, (batch,)))(halves(row(batches("cnn with batch norm", 1), 0)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[-300:]
    unchanged = before == [leaf.numpy().tobytes() for leaf in tree.leaves(state.stats)]
    return {"steps": int(state.step.numpy()), "unchanged": unchanged}

def shows_nan():
    """A NaN in the second half only: both replicas show it."""
    with strategy.scope():
        state, step = problem("cnn", adam(0.01))
    images, labels = row(batches("cnn", 1), 0)
    images = images.numpy()
    images[12] = np.nan
    def copies():
        return [copy.numpy().tobytes() for leaf in [*tree.leaves(state.weights), *tree.leaves(state.slots), state.step]
                for copy in strategy.experimental_local_results(leaf)]
    before = copies()
    metrics = tf.function(lambda batch: strategy.run(step, (batch, 7)))(halves((tf.constant(images), labels)))
    norms = strategy.experimental_local_results(metrics["gradient_norm"])
    return {"finite": [bool(tf.math.is_finite(norm)) for norm in norms], "moved": copies() != before}

print(json.dumps({
    "cnn": difference("cnn", momentum(0.1)),
    "frozen": difference("cnn", adam(0.01), learns=lambda path: path.startswith("logits/")),
    "batch norm": difference("cnn with batch norm", momentum(0.1)),
    "frozen trunk": frozen_trunk(),
    "nan": shows_nan(),
}))
'''


@pytest.fixture(scope="module")
def replicas():
    """The results of REPLICAS, which runs in a process of its own: devices are configured before TensorFlow starts."""
    here = pathlib.Path(__file__).resolve()
    paths = [str(here.parent), str(here.parent.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow  # test_distribution.py has the quick comparison
@pytest.mark.parametrize("name", ["cnn", "frozen", "batch norm"])
def test_two_replicas_of_half_batches_give_the_weights_of_one_full_batch(replicas, name):
    found = replicas[name]
    assert found["weights"] < 1e-5 and found["metrics"] < 1e-4
    assert found["replicas agree"] and found["steps"] == [3, 3]


@pytest.mark.slow
def test_a_frozen_trunk_of_batch_norm_trains_on_two_replicas(replicas):
    assert replicas["frozen trunk"] == {"steps": 1, "unchanged": True}


@pytest.mark.slow
def test_a_nan_on_one_replica_shows_on_both(replicas):
    assert replicas["nan"] == {"finite": [False, False], "moved": True}


def test_all_reduce_of_one_replica_is_the_identity():
    values = {"a": tf.constant(1.0), "b": [tf.constant(2.0)]}
    assert training.all_reduce(values) is values
