"""The black box of a run that stopped on what is not finite, its replay, and runs that look at every operation."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tfcore import checkpoint, layers, losses, optimizers, run, training, tree
from tfcore.data import Arrays, Splits
from tfcore.init import as_seed
from tfcore.run import blackbox, blocks, directory, numerics

BAD = 255  # the first pixel of the batch that is not finite
KINDS = ("forward", "gradient", "update", "stats", "data")


def made(kind, *, rate=0.1, name="poisoned", **changes):
    """A perceptron of two layers in which a flagged batch brings what is not finite, as `kind` says."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 200, [40, 6], np.uint8)
    images = images.astype(np.float32) if kind == "data" else images
    images[17, 0] = np.nan if kind == "data" else BAD
    part = Arrays(images, generator.integers(0, 3, 40).astype(np.int32))

    def init(seed):
        weights = {"dense1": layers.dense_init(seed, 6, 5), "logits": layers.dense_init(seed, 5, 3)}
        return weights, {"mean": tf.Variable(0.0)}

    def forward(weights, stats, images, *, training, seed=None):
        x = tf.cast(images, tf.float32) / 255
        flag = tf.reduce_max(tf.cast(tf.cast(images, tf.float32) >= BAD, tf.float32))
        x = tf.nn.relu(layers.dense(weights["dense1"], x, name="dense1"))
        if kind == "forward":
            x = tf.math.log((1 - flag) * (x + 1))  # -inf, in no name scope
        if kind == "gradient":
            x += tf.sqrt((1 - flag) * (x + 1))  # 0, whose gradient is 0.5 / 0
        if training and kind == "stats":
            stats = {"mean": stats["mean"] + 1 / (1 - flag)}
        return layers.dense(weights["logits"], layers.dropout(x, rate=0.3, seed=seed), name="logits"), stats

    def update(weights, grads, slots, step):
        for w, g in zip(tree.leaves(weights), tree.leaves(grads)):
            w.assign_sub(rate * g)
            if kind == "update":  # both are finite, their sum is not
                w.assign_sub(tf.where(step == 2, 3e38, 0.0) * tf.sign(g))
                w.assign_sub(tf.where(step == 2, 3e38, 0.0) * tf.sign(g))

    optimizer = optimizers.Optimizer(lambda weights: {}, update)
    splits, config = Splits(part, part, part, ("a", "b", "c"), "made"), {"kind": kind, "rate": rate}
    fields = {"name": name, "config": config, **changes}
    return run.Task(splits, init, forward, losses.softmax_cross_entropy, optimizer, **fields)


def evaluated(part):
    """A perceptron that is finite in training, and not in the forward pass of validation, or only of the test."""
    task = made("")

    def poisoned(weights, stats, images, *, training, seed=None):
        logits, stats = task.forward(weights, stats, images, training=training, seed=seed)
        return logits if training else tf.math.log(logits - 1e9), stats

    return dataclasses.replace(task, **{"forward" if part == "validation" else "test_forward": poisoned})


def stop(task, place, **options):
    """Trains until it stops, and returns the error."""
    with pytest.raises(FloatingPointError) as error:
        run.train(task, place, **{"epochs": 3, "batch_size": 1, "steps_per_loop": 7, **options})
    return str(error.value)


def values(path):
    return {name: leaf.tobytes() for name, leaf in tree.flatten(checkpoint.read(path)[0]).items()}


WANTED = {
    "forward": ("Log", "forward pass", "behind dense1"),
    "gradient": ("SqrtGrad", "gradient", "behind dense1"),
    "update": ("AssignSubVariableOp", "update", "at dense1/w"),
    "stats": ("RealDiv", "forward pass", ""),
    "data": ("RealDiv", "forward pass", ""),
}


@pytest.mark.parametrize(("kind", "jit"), [*((kind, False) for kind in KINDS), ("forward", True)])
def test_the_black_box_holds_the_step_and_its_replay_names_the_operation(kind, jit, tmp_path, capsys):
    task = made(kind)
    message = stop(task, tmp_path / "run", jit=jit)
    facts, batch, path = blackbox.read(tmp_path / "run")
    assert message.startswith(f"step {facts['step']}: loss ")
    assert f"run.replay(task, '{tmp_path / 'run'}')" in message and "\n" not in message
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert facts["config"] == {name: value for name, value in config.items() if name != "id"}
    assert facts["seed"] == 0 and facts["not_finite"] and facts["train_examples"] == 40
    if kind not in ("update", "data"):
        assert batch.images.numpy().tolist() == task.splits.train.images[17].reshape(1, 1, 6).tolist()
    capsys.readouterr()
    found = run.replay(task, tmp_path / "run")
    assert (found.op, found.phase, found.where) == WANTED[kind]
    if kind in ("forward", "stats"):
        assert "test_postmortem.py:" in found.line and found.line.endswith("in forward")
    assert any("nan" in text if kind == "data" else "inf" in text for text in found.outputs)
    out = capsys.readouterr().out
    assert f"is not finite is {found.op}, in the {found.phase}" in out and "\n  input  float32" in out
    assert ("compiled with XLA" in out) == jit
    assert ("before it batch/images is not finite: float32 1x1x6" in out) == (kind == "data")
    run.replay(task, tmp_path / "run")  # it changes nothing
    assert blackbox.read(tmp_path / "run")[0] == facts and path.exists()


def test_the_state_of_the_black_box_is_the_one_before_the_step(tmp_path):
    """It has the bits of a run without the bad batch that is stopped at that step."""
    stop(made("forward"), tmp_path / "run")
    facts, _, path = blackbox.read(tmp_path / "run")
    task = made("forward")
    state = training.init_state(*task.init(as_seed(0)), task.optimizer)
    checkpoint.restore(path, state)
    assert int(state.step) == facts["step"] == checkpoint.read(path)[0]["step"]
    again = stop(made("forward"), tmp_path / "again", steps_per_loop=1) if facts["step"] else ""
    assert again and values(blackbox.read(tmp_path / "again")[2]) == values(path)


@pytest.mark.parametrize("kind", ["forward", "gradient", "update"])
def test_check_numerics_names_operation_and_step_from_the_start(kind, tmp_path):
    message = stop(made(kind), tmp_path / "run", check_numerics=True, jit=True)
    facts, _, _ = blackbox.read(tmp_path / "run")
    op, phase, where = WANTED[kind]
    assert message.startswith(f"step {facts['step']}: {op} in the {phase}{', ' + where if where else ''}")
    assert "; its inputs: float32" in message and "\n" not in message
    assert run.replay(made(kind), tmp_path / "run").op == op


def test_check_numerics_is_another_run_and_finds_what_the_loss_does_not_show(tmp_path):
    def hides(weights, stats, images, *, training, seed=None):
        logits = layers.dense(weights["logits"], layers.dense(weights["dense1"], tf.cast(images, tf.float32) / 255))
        hidden = tf.where(images[:1, :1] == BAD, tf.math.log(tf.zeros([1, 1])), 0.0)
        return tf.where(tf.math.is_finite(hidden), hidden, 0.0) + logits, stats

    base = made("none")
    task = run.Task(base.splits, base.init, hides, base.loss, base.optimizer)
    run.train(task, tmp_path / "run", epochs=1, batch_size=4)
    assert not (tmp_path / "run" / "stopped").exists()
    assert "check_numerics" not in (tmp_path / "run" / "config.json").read_text()
    with pytest.raises(ValueError, match="check_numerics was None, now True"):
        run.train(task, tmp_path / "run", epochs=2, batch_size=4, check_numerics=True)
    with pytest.raises(
        FloatingPointError, match=r"^step 0: Log in the forward pass \(test_postmortem.py:\d+ in hides\)"
    ):
        run.train(task, tmp_path / "watched", epochs=1, batch_size=4, check_numerics=True)


def test_watched_steps_have_the_values_of_compiled_ones(tmp_path):
    results = []
    for watched in (False, True):
        task = made("none")
        state = training.init_state(*task.init(as_seed(0)), task.optimizer)
        block, count = blocks.block_of(task.splits.train, np.arange(20).reshape(5, 4)), 5
        take = (
            blocks.watched(task, state, as_seed(0))
            if watched
            else blocks.compiled(task, state, as_seed(0), block, jit=False)
        )
        results.append((take(block, count), [leaf.numpy() for leaf in tree.leaves(state.weights)], int(state.step)))
    (sums, weights, step), (other, others, steps) = results
    assert sums == pytest.approx(other, rel=1e-4) and step == steps == 5
    for a, b in zip(weights, others):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_another_task_a_damaged_box_and_none_are_refused_in_a_sentence(tmp_path):
    task, place = made("forward"), tmp_path / "run"
    with pytest.raises(FileNotFoundError, match=r"no stopped/stopped\.json there"):
        run.replay(task, place)
    stop(task, place)
    with pytest.raises(ValueError, match=r"stopped with another task: rate was 0\.1, now 0\.2"):
        run.replay(made("forward", rate=0.2), place)
    facts = json.loads((place / "stopped" / "stopped.json").read_text())
    broken = [({}, "damaged"), ([], "damaged"), ({"format": 9}, "version 9 of its format, this tfcore reads 1")]
    names = ("seed", "why", "config", "step")
    broken += [({**facts, name: None}, rf"damaged \({name} is not what it should be") for name in names]
    broken += [({**facts, "config": {"config": {}}}, "its run cannot be")]
    for values, words in [("{", "damaged"), *((json.dumps(values), words) for values, words in broken)]:
        (place / "stopped" / "stopped.json").write_text(values)
        with pytest.raises(ValueError, match=rf"stopped\.json .*{words}"):
            run.replay(task, place)
    (place / "stopped" / "stopped.json").write_text(json.dumps(facts))
    labels, wide = np.zeros([1, 1], np.int32), np.zeros([2, 1], np.float32)
    two = dict.fromkeys(blocks.Block._fields, wide)
    for batch in ({}, {"images": labels}, {"images": labels, "labels": labels, "draws": wide}, two):
        checkpoint.write(place / "stopped" / "batch.safetensors", batch, {})
        with pytest.raises(ValueError, match=r"batch\.safetensors does not hold the images"):
            run.replay(task, place)
    (place / "stopped" / "batch.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"batch\.safetensors"):
        run.replay(task, place)


def test_a_step_that_is_finite_when_taken_eagerly_is_told_so(tmp_path, monkeypatch, capsys):
    stop(made("forward"), tmp_path)
    facts = tmp_path / "stopped" / "stopped.json"
    facts.write_text(facts.read_text().replace('"jit": false', '"jit": true'))
    monkeypatch.setattr(numerics, "step", lambda *args: {})
    assert run.replay(made("forward"), tmp_path) is None
    out = capsys.readouterr().out
    assert "the output of every operation is finite\nthe run was compiled with XLA, which draws other" in out


def test_a_disk_without_room_for_the_black_box_does_not_hide_why_the_run_stopped(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device", "batch.safetensors")

    monkeypatch.setattr(blackbox, "write", full)
    message = stop(made("forward"), tmp_path)
    assert "not finite: " in message and "no black box could be written ([Errno 28]" in message


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_part_whose_logits_are_not_finite_leaves_a_black_box_too(part, tmp_path, capsys):
    task = evaluated(part)
    message = stop(task, tmp_path, epochs=1)
    assert f"{part}" in message and "120 of 120 logits are not finite; run.replay(task" in message
    facts, batch, _ = blackbox.read(tmp_path)
    assert facts["part"] == part and facts["step"] == 40 and batch.images.shape == (1, 32, 6)
    capsys.readouterr()
    found = run.replay(task, tmp_path)
    assert found.op == "Log" and found.phase == "forward pass"
    assert f"the forward pass on the {part} part after step 40 taken again" in capsys.readouterr().out


def test_clean_forgets_the_black_box(tmp_path):
    stop(made("forward"), tmp_path)
    with pytest.raises(FloatingPointError):
        run.train(made("forward"), tmp_path, epochs=1, batch_size=4, clean=True, check_numerics=True)
    assert "Log in the forward pass" in blackbox.read(tmp_path)[0]["why"]
    directory.forget(tmp_path)
    assert not (tmp_path / "stopped").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64", "float16"])
def test_a_tensor_is_described_with_its_largest_entries(dtype):
    tensor = tf.cast([[1.0, -8.0, np.nan], [np.inf, 2.0, -np.inf]], dtype)
    words = f"{dtype} 2x3, -8 to 2, 1 nan, 1 inf, 1 -inf; largest -8 at [0, 1], 2 at [1, 1], 1 at [0, 0]"
    assert numerics.described(tensor) == words
    assert numerics.described(tf.constant(np.nan)) == "float32 scalar, 1 nan"
    assert numerics.described(tf.zeros([0, 3])) == "float32 0x3"
