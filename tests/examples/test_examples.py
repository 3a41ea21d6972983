"""Each program of examples/ against a reference from outside: finite differences, dense matrices, NumPy, SciPy.

The programs themselves run in tests/test_docs.py, as commands of docs/research.md.
"""

import functools
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import tensorflow as tf

from tfcore import losses, optimizers, tree
from tfcore.models import cnn, mlp

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
RESEARCH = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem not in ("mnist", "own_network"))


def example(name):
    """Returns the words of a program, which does not run."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example"))


def doubles(weights, rng, spread=0.1):
    """Returns float64 tensors near the given weights, biases off 0."""
    return tree.map(lambda w: tf.constant(np.asarray(w, np.float64) + rng.normal(0, spread, w.shape)), weights)


def slope(f, at, direction, step=1e-5):
    """Returns the central difference of f along a direction, both trees."""
    above = f(tree.map(lambda w, d: w + step * d, at, direction))
    below = f(tree.map(lambda w, d: w - step * d, at, direction))
    return float(above - below) / (2 * step)


def assert_gradient(f, at, rng):
    """The gradient of f at a tree agrees with finite differences along three directions."""
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = f(at)
    grads = tape.gradient(value, at)
    for _ in range(3):
        direction = tree.map(lambda w: rng.normal(size=w.shape), at)
        found = sum(np.sum(g * d) for g, d in zip(tree.leaves(grads), tree.leaves(direction)))
        np.testing.assert_allclose(found, slope(f, at, direction), rtol=1e-5, atol=1e-8)


def batch(rng, n=6, classes=10, side=28):
    return rng.uniform(size=[n, side, side, 1]), np.arange(n) % classes


@pytest.mark.parametrize("name", RESEARCH)
def test_a_program_is_short_and_says_how_to_run_it(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 60
    assert f"python examples/{name}.py" in text and "import keras" not in text
    assert f"python examples/{name}.py" in (EXAMPLES.parent / "docs" / "research.md").read_text()


def test_maml_s_gradient_is_that_of_the_whole_including_the_inner_steps(rng):
    maml = example("maml")
    weights = doubles(mlp.init(0, maml.config)[0], rng)
    tasks = [(batch(rng, classes=3), batch(rng, classes=3)) for _ in range(2)]
    assert_gradient(lambda w: maml.loss_fn(w, {}, tasks, 0)[0], weights, rng)


def test_maml_s_steps_are_gradient_descent(rng):
    maml = example("maml")
    weights, (x, labels) = doubles(mlp.init(0, maml.config)[0], rng), batch(rng, classes=3)
    by_hand = tree.map(np.array, weights)
    for _ in range(maml.STEPS):
        hidden = np.maximum(x.reshape(6, -1) @ by_hand["dense1"]["w"] + by_hand["dense1"]["b"], 0)
        logits = hidden @ by_hand["logits"]["w"] + by_hand["logits"]["b"]
        error = (scipy.special.softmax(logits, axis=1) - np.eye(3)[labels]) / 6
        back = (error @ by_hand["logits"]["w"].T) * (hidden > 0)
        grads = {"dense1": {"w": x.reshape(6, -1).T @ back, "b": back.sum(0)},
                 "logits": {"w": hidden.T @ error, "b": error.sum(0)}}  # fmt: skip
        by_hand = tree.map(lambda w, g: w - maml.RATE * g, by_hand, grads)
    for found, wanted in zip(tree.leaves(maml.adapted(weights, x, labels)), tree.leaves(by_hand)):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_maml_s_tasks_have_new_names_for_their_classes_and_no_picture_twice(rng):
    maml = example("maml")
    pictures = SimpleNamespace(images=rng.integers(0, 255, [90, 4, 4, 1], np.uint8), labels=np.arange(90) % 3)
    (support, names), (query, asked) = maml.draw(rng, pictures, [0, 1, 2])
    assert support.shape == (15, 4, 4, 1) and query.shape == (30, 4, 4, 1)
    assert np.bincount(names).tolist() == [5] * 3 and np.bincount(asked).tolist() == [10] * 3
    assert len({row.tobytes() for row in np.concatenate([support, query])}) == 45


def test_hessian_products_and_lanczos_equal_the_dense_hessian(rng):
    hessian = example("hessian")
    x, labels = batch(rng, n=20, side=7)
    like = mlp.init(0, hessian.config)[0]
    at = tree.to_vector(doubles(like, rng))

    def loss(vector):
        return hessian.loss_fn(tree.from_vector(vector, like), {}, (x, labels), 0)[0]

    with tf.GradientTape() as outer:
        outer.watch(at)
        with tf.GradientTape() as inner:
            inner.watch(at)
            value = loss(at)
        grads = inner.gradient(value, at)
    dense = outer.jacobian(grads, at).numpy()
    product = tf.function(functools.partial(hessian.hessian_product, loss))
    v = rng.normal(size=len(at))
    np.testing.assert_allclose(product(at, v), dense @ v, rtol=1e-9, atol=1e-12)
    step = 1e-5 * v
    with tf.GradientTape(persistent=True) as tape:
        ends = [at + step, at - step]
        tape.watch(ends)
        values = [loss(end) for end in ends]
    above, below = (tape.gradient(value, end) for value, end in zip(values, ends))
    np.testing.assert_allclose(product(at, v), (above - below) / 2e-5, rtol=1e-4, atol=1e-7)
    found = hessian.lanczos(lambda v: dense @ v, len(at), 60)
    np.testing.assert_allclose(found[-5:], np.linalg.eigvalsh(dense)[-5:], rtol=1e-6)


def test_private_sgd_clips_the_gradient_of_each_example(rng):
    private = example("private_sgd")
    weights, (x, labels) = doubles(mlp.init(0, private.config)[0], rng), batch(rng)
    each = []
    for i in range(6):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, _ = mlp.forward(private.config, weights, {}, x[i : i + 1], training=True)
            value = losses.softmax_cross_entropy(logits, labels[i : i + 1])
        each.append(np.concatenate([np.ravel(g) for g in tree.leaves(tape.gradient(value, weights))]))
    norms = np.linalg.norm(each, axis=1)
    most = np.median(norms)  # some are clipped, some not
    wanted = sum(g * min(1, most / norm) for g, norm in zip(each, norms))
    found = tree.to_vector(private.clipped_sum(weights, (x, labels), tf.constant(most)))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 0.05, 300), (2.0, 0.05, 300), (1.5, 0.01, 1000)])
def test_private_sgd_s_epsilon_equals_numerical_integration(noise, rate, steps):
    def moment(a):  # E of the likelihood ratio of the noisy sums with and without an example, to the power a
        def f(z):
            ratio = np.log(1 - rate + rate * np.exp((2 * z - 1) / (2 * noise**2)))
            return np.exp(a * ratio - z**2 / (2 * noise**2)) / (noise * np.sqrt(2 * np.pi))

        return scipy.integrate.quad(f, -40 * noise, 80 * noise, points=np.linspace(0, 40, 20), limit=500)[0]

    wanted = min((steps * np.log(moment(a)) - np.log(1e-4)) / (a - 1) for a in range(2, 33))
    assert example("private_sgd").spent(noise, rate, steps, 1e-4) == pytest.approx(wanted, rel=1e-5)


def test_the_gradient_penalty_is_the_squared_slope_and_has_a_gradient_itself(rng):
    penalty = example("gradient_penalty")
    weights, (x, labels) = doubles(mlp.init(0, penalty.config)[0], rng), batch(rng, n=3)
    loss_fn = penalty.penalized(0.7)
    total, (metrics, _) = loss_fn(weights, {}, (tf.constant(x), labels), 0)
    slopes = np.zeros(x.shape)
    for at in np.ndindex(*x.shape[1:]):
        moved = [x.copy(), x.copy()]
        for sign, picture in zip((1e-6, -1e-6), moved):
            picture[(slice(None), *at)] += sign
        above, below = (penalty.example_losses(weights, picture, labels).numpy() for picture in moved)
        slopes[(slice(None), *at)] = (above - below) / 2e-6
    squared = (slopes**2).sum(axis=(1, 2, 3)).mean()
    np.testing.assert_allclose(metrics["slope"], squared, rtol=1e-5)
    np.testing.assert_allclose(total, metrics["loss"] + 0.7 * squared, rtol=1e-5)
    assert_gradient(lambda w: loss_fn(w, {}, (tf.constant(x), labels), 0)[0], weights, rng)


def test_averaging_is_the_mean_and_the_line_ends_in_its_ends(rng):
    averaging = example("averaging")
    trees = [{"a": {"w": rng.normal(size=[2, 3])}, "b": rng.normal(size=4)} for _ in range(5)]
    mean = averaging.mean_of(trees)
    np.testing.assert_allclose(mean["a"]["w"], np.mean([t["a"]["w"] for t in trees], axis=0), rtol=1e-12)
    np.testing.assert_allclose(mean["b"], np.mean([t["b"] for t in trees], axis=0), rtol=1e-12)
    for t, wanted in ((0, trees[0]["b"]), (1, trees[1]["b"]), (0.25, 0.75 * trees[0]["b"] + 0.25 * trees[1]["b"])):
        np.testing.assert_allclose(averaging.between(trees[0], trees[1], t)["b"], wanted, rtol=1e-12)


def test_the_hypernetwork_makes_the_layer_and_learns_through_it(rng):
    hyper = example("hypernetwork")
    weights, (x, labels) = doubles(hyper.init(0), rng, 0.01), batch(rng)
    made = weights["codes"].numpy() @ weights["maker"]["w"].numpy() + weights["maker"]["b"].numpy()
    hidden = np.maximum(x.reshape(6, -1) @ made[:, :-1].T + made[:, -1], 0)
    logits, _ = hyper.forward(weights, {}, x, training=True)
    np.testing.assert_allclose(logits, hidden @ weights["logits"]["w"] + weights["logits"]["b"], rtol=1e-9, atol=1e-9)
    f = lambda w: tf.reduce_mean(losses.softmax_cross_entropy(hyper.forward(w, {}, x, training=True)[0], labels))  # noqa: E731
    assert_gradient(f, weights, rng)


def test_distillation_is_the_divergence_and_its_gradient_the_difference(rng):
    distillation = example("distillation")
    student, teacher, t = rng.normal(size=[4, 10]) * 3, rng.normal(size=[4, 10]) * 3, distillation.TEMPERATURE
    p, q = scipy.special.softmax(teacher / t, axis=1), scipy.special.softmax(student / t, axis=1)
    logits = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        values = distillation.distilled(logits, tf.constant(teacher))
    np.testing.assert_allclose(values, t**2 * scipy.special.rel_entr(p, q).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(tape.gradient(values, logits), t * (q - p), rtol=1e-7, atol=1e-12)


def test_whitened_features_have_covariance_one_but_for_the_ridge(rng):
    few, x = example("few_labels"), rng.normal(size=[500, 6]) @ rng.normal(size=[6, 6])
    white, other = few.whitened(x, x[:3], ridge=1e-9)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(6), atol=1e-6)
    np.testing.assert_allclose(other, white[:3])
    white, _ = few.whitened(x, x, ridge=2.0)
    covariance = np.cov(x, rowvar=False)
    distances = (
        x @ np.linalg.inv(covariance + 2.0 * np.eye(6)) @ x.T
    )  # what a rotation of the coordinates does not change
    np.testing.assert_allclose(white @ white.T, distances, rtol=1e-8)


def test_pictures_without_labels_mend_what_few_labels_get_wrong(rng):
    """Two classes whose means are 4 standard deviations apart in one of 20 directions: the best line has 0.977."""
    labels = np.arange(2000) % 2
    x = rng.normal(size=[2000, 20])
    x[:, 0] += 4 * labels - 2
    few, rows = example("few_labels"), np.arange(8)
    nearest = -np.stack([np.linalg.norm(x - x[rows][labels[rows] == c].mean(0), axis=1) for c in (0, 1)], axis=1)
    x, _ = few.whitened(x, x)
    right = np.mean(few.learned(x, rows, labels[rows], scipy.special.softmax(nearest, axis=1))(x).argmax(1) == labels)
    assert np.mean(nearest.argmax(1) == labels) < 0.95 and 0.97 < right < 0.985


def test_a_lottery_ticket_keeps_the_largest_and_the_rest_neither_acts_nor_learns(rng):
    lottery = example("lottery_ticket")
    w = rng.normal(size=[20, 15])
    mask = lottery.largest(tf.constant(w), 0.1).numpy()
    assert mask.sum() == 30 and set(np.unique(mask)) == {0, 1}
    assert np.abs(w[mask == 1]).min() > np.abs(w[mask == 0]).max()
    weights, (x, labels) = doubles(mlp.init(0, lottery.config)[0], rng), batch(rng)
    masks = tree.map(lambda w: lottery.largest(w, 0.3), tree.select(weights, optimizers.is_kernel))
    wild = tree.merge(weights, tree.map(lambda m, w: w + 1e3 * (1 - m), masks, weights))
    outputs = [lottery.forward(masks, w, {}, x, training=True)[0].numpy() for w in (weights, wild)]
    np.testing.assert_array_equal(*outputs)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(
            losses.softmax_cross_entropy(lottery.forward(masks, weights, {}, x, training=True)[0], labels)
        )
    grads = tape.gradient(loss, weights)
    for path, m in tree.flatten(masks).items():
        g = tree.flatten(grads)[path].numpy()
        assert not g[m.numpy() == 0].any() and g[m.numpy() == 1].any()


def small_cnn(rng):
    """A network of two convolutions in float64, and its second half by hand: what the last pool gives to logits."""
    config = cnn.Config(image_shape=(12, 12, 1), blocks=((3,), (4,)), hidden=(), classes=5)
    weights = doubles(cnn.init(0, config)[0], rng)
    rest = lambda a: tf.reshape(a, [len(a), -1]) @ weights["logits"]["w"] + weights["logits"]["b"]  # noqa: E731
    return functools.partial(cnn.forward, config), weights, rest


def test_grad_cam_equals_its_definition_by_finite_differences(rng):
    saliency = example("saliency")
    forward, weights, rest = small_cnn(rng)
    x, labels = tf.constant(rng.uniform(size=[2, 12, 12, 1])), np.array([3, 1])
    y = x
    for name in ("conv1", "conv2"):
        y = tf.nn.relu(tf.nn.conv2d(y, weights[name]["w"], 1, "VALID") + weights[name]["b"])
        y = tf.nn.max_pool2d(y, 2, 2, "VALID")
    a, slopes = y.numpy(), np.zeros(y.shape)
    for at in np.ndindex(*a.shape):
        ends = [a.copy(), a.copy()]
        ends[0][at] += 1e-5
        ends[1][at] -= 1e-5
        above, below = (rest(end).numpy()[at[0], labels[at[0]]] for end in ends)
        slopes[at] = (above - below) / 2e-5
    wanted = np.maximum((slopes.mean(axis=(1, 2), keepdims=True) * a).sum(axis=-1), 0)
    found = saliency.grad_cam(forward, weights, {}, x, labels, "conv2")[..., 0]
    assert wanted.any()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_attacks_stay_in_their_ball_and_the_first_step_is_the_sign_of_the_slope(rng):
    saliency = example("saliency")
    forward, weights, _ = small_cnn(rng)
    x, labels = tf.constant(rng.uniform(size=[2, 12, 12, 1])), np.array([3, 1])

    def loss(x):
        return losses.softmax_cross_entropy(forward(weights, {}, x, training=False)[0], labels)

    slopes = np.zeros(x.shape)
    for at in np.ndindex(12, 12, 1):
        ends = [x.numpy(), x.numpy()]
        for sign, end in zip((1e-6, -1e-6), ends):
            end[(slice(None), *at)] += sign
        slopes[(slice(None), *at)] = (loss(ends[0]) - loss(ends[1])) / 2e-6
    fgsm, pgd = (saliency.attacked(loss, x, 0.05, steps=steps).numpy() for steps in (1, 10))
    wanted = np.clip(x + 0.05 * np.sign(np.where(abs(slopes) < 1e-7, 0, slopes)), 0, 1)
    np.testing.assert_allclose(fgsm, wanted, atol=1e-9)
    assert np.abs(pgd - x).max() <= 0.05 + 1e-12 and pgd.min() >= 0 and pgd.max() <= 1
    of_x, of_fgsm, of_pgd = (float(tf.reduce_sum(loss(moved))) for moved in (x, fgsm, pgd))
    assert of_pgd > of_fgsm > of_x


def test_the_custom_layer_is_a_cosine_and_its_gradient_is_right(rng):
    custom = example("custom_layer")
    weights, x = (
        {"w": tf.constant(rng.normal(size=[3, 5])), "scale": tf.constant(2.0, tf.float64)},
        rng.normal(size=[4, 5]),
    )
    w = weights["w"].numpy()
    cosine = (x @ w.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(w, axis=1)
    np.testing.assert_allclose(custom.cosine(weights, tf.constant(x)), 2 * cosine, rtol=1e-12)
    direction = rng.normal(size=[4, 3])
    at = {"weights": weights, "x": tf.constant(x)}
    assert_gradient(lambda at: tf.reduce_sum(direction * custom.cosine(at["weights"], at["x"])), at, rng)


def test_the_tangent_kernel_equals_its_formula_and_j_j_transposed(rng):
    tangent = example("tangent_kernel")
    weights = tree.map(lambda w: tf.cast(w, tf.float64), tangent.init(0, 20))
    a, b = rng.normal(size=[4, 49]), rng.normal(size=[3, 49])
    w, out = (weights[name].numpy() for name in ("hidden", "out"))
    hidden = [np.maximum(x @ w / 7, 0) for x in (a, b)]
    gates = [(h > 0) * out[:, 0] for h in hidden]
    wanted = 2 / 20 * (hidden[0] @ hidden[1].T + (a @ b.T) / 49 * (gates[0] @ gates[1].T))
    np.testing.assert_allclose(tangent.kernel(weights, tf.constant(a), tf.constant(b)), wanted, rtol=1e-9)


def test_linear_training_is_gradient_descent_on_the_linear_part(rng):
    tangent = example("tangent_kernel")
    weights = tree.map(lambda w: tf.cast(w, tf.float64), tangent.init(0, 20))
    x, new, y = rng.normal(size=[6, 49]), rng.normal(size=[2, 49]), rng.normal(size=6)
    both = np.concatenate([x, new])
    kernel = tangent.kernel(weights, tf.constant(both), tf.constant(x)).numpy()
    f = tangent.output(weights, both).numpy()
    for _ in range(tangent.STEPS):
        f = f - tangent.RATE * 2 / 6 * kernel @ (f[:6] - y)
    np.testing.assert_allclose(tangent.linear_training(weights, tf.constant(x), y, tf.constant(new)), f[6:], rtol=1e-6)


def test_layers_learn_by_their_own_optimizers(rng):
    rates = example("layer_rates")
    weights = {name: {"w": tf.Variable(rng.normal(size=3))} for name in ("a", "b", "c")}
    start = tree.map(lambda w: w.numpy().copy(), weights)
    optimizer = rates.by_layer(
        {"a": optimizers.sgd(0.1), "b": optimizers.momentum(0.2, momentum=0.5), "c": optimizers.sgd(0.0)}
    )
    slots, m = optimizer.init(weights), 0
    wanted = tree.map(np.copy, start)
    for step in range(3):
        grads = tree.map(lambda w: rng.normal(size=w.shape), weights)
        optimizer.update(weights, tree.map(tf.constant, grads), slots, tf.constant(step))
        m = 0.5 * m + grads["b"]["w"]
        wanted["a"]["w"] -= 0.1 * grads["a"]["w"]
        wanted["b"]["w"] -= 0.2 * m
    for name in ("a", "b", "c"):
        np.testing.assert_allclose(weights[name]["w"], wanted[name]["w"], rtol=1e-6)
    assert (weights["c"]["w"].numpy() == start["c"]["w"]).all()


def test_the_temperature_is_scipy_s_and_the_calibration_error_is_counted_by_hand(rng):
    calibration = example("calibration")
    labels = rng.integers(0, 5, 400)
    logits = (3 * rng.normal(size=[400, 5]) + 4 * np.eye(5)[labels]).astype(np.float32)

    def loss(t):
        return -scipy.special.log_softmax(logits.astype(float) / t, axis=1)[np.arange(400), labels].mean()

    best = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-7}).x
    assert calibration.temperature(logits, labels) == pytest.approx(best, rel=1e-3)
    p = scipy.special.softmax(logits.astype(float), axis=1)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    total = 0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15 + (low > 0.93))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration.calibration_error(logits, labels) == pytest.approx(total, abs=1e-5)
