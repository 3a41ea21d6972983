import json
import os
import random
import signal

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save as to_bytes

from tfcore import checkpoint, optimizers, training, tree
from tfcore.models import cnn, mlp

SMALL = mlp.Config(image_shape=(4, 4, 1), hidden=(5,), classes=3)


def new_state(seed=0, config=SMALL, module=mlp):
    weights, stats = module.init(seed, config)
    return training.init_state(weights, stats, optimizers.adam())


def saved_values(state):
    parts = {"weights": state.weights, "stats": state.stats, "slots": state.slots, "step": state.step}
    return {path: leaf.numpy().tobytes() for path, leaf in tree.flatten(parts).items()}


def randomize(state, step):
    generator = np.random.default_rng(step)
    for leaf in tree.leaves({"w": state.weights, "s": state.slots}):
        leaf.assign(generator.normal(size=leaf.shape).astype(np.float32))
    state.step.assign(step)


def test_restores_every_bit_and_the_meta(tmp_path):
    state = new_state()
    randomize(state, 7)
    wanted = saved_values(state)
    path = checkpoint.save(tmp_path, state, {"epoch": 2, "best": {"accuracy": 0.5}})
    other = new_state(seed=1)
    assert checkpoint.restore(path, other) == {"epoch": 2, "best": {"accuracy": 0.5}}
    assert saved_values(other) == wanted


def test_keeps_the_last_two_and_the_best(tmp_path):
    state = new_state()
    for step in range(1, 7):
        randomize(state, step)
        checkpoint.save(tmp_path, state, {"epoch": step}, best=step == 2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        f"ckpt-{step:09d}.safetensors" for step in (5, 6)
    ]
    assert checkpoint.restore(tmp_path / checkpoint.BEST, state) == {"epoch": 2}
    assert int(state.step) == 2


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    state = new_state()
    randomize(state, 1)
    path = checkpoint.save(tmp_path, state, {"epoch": 1})
    whole, content = path.read_bytes(), tree.flatten(checkpoint.read(path)[0])
    generator = random.Random(0)
    noticed = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            tensors, meta = checkpoint.read(path)
        except ValueError:
            noticed += 1
            continue
        assert meta == {"epoch": 1}
        for name, array in tree.flatten(tensors).items():
            np.testing.assert_array_equal(array, content[name])
    assert noticed > 290


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_falls_back_to_the_newest_whole_one_and_says_so(tmp_path, share):
    state = new_state()
    for step in (1, 2):
        randomize(state, step)
        last = checkpoint.save(tmp_path, state, {"epoch": step})
    data = last.read_bytes()
    last.write_bytes(data[: int(len(data) * share)])
    heard = []
    assert checkpoint.latest(tmp_path, warn=heard.append).name == "ckpt-000000001.safetensors"
    assert len(heard) == 1 and "ckpt-000000002" in heard[0]


@pytest.mark.parametrize("broken", ["directory", "link to nowhere", "link to itself"])
def test_what_is_no_file_is_skipped_and_saving_goes_on(tmp_path, broken):
    state, heard = new_state(), []
    checkpoint.save(tmp_path, state, {"epoch": 0})
    path = tmp_path / "ckpt-000000009.safetensors"
    path.mkdir() if broken == "directory" else path.symlink_to("nowhere" if "nowhere" in broken else path.name)
    assert checkpoint.latest(tmp_path, warn=heard.append).name == "ckpt-000000000.safetensors"
    assert len(heard) == 1 and heard[0].startswith(f"skipped a broken checkpoint: no file {path}")
    state.step.assign(10)
    for _ in range(3):
        state.step.assign_add(1)
        checkpoint.save(tmp_path, state)
    assert checkpoint.latest(tmp_path).name == "ckpt-000000013.safetensors"


def test_broken_ones_that_are_newer_do_not_push_out_what_is_saved(tmp_path):
    for step in (7, 8, 9):
        (tmp_path / f"ckpt-00000000{step}.safetensors").write_bytes(b"")
    path = checkpoint.save(tmp_path, new_state(), {"epoch": 0})
    assert checkpoint.latest(tmp_path, warn=lambda text: None) == path


def test_never_starts_over_in_silence(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    checkpoint.save(tmp_path, new_state(), {}).write_bytes(b"")
    with pytest.raises(ValueError, match="none of 1 checkpoints is whole; clean=True starts over"):
        checkpoint.latest(tmp_path, warn=lambda text: None)


def test_a_file_that_does_not_fit_lists_every_path_and_loads_nothing(tmp_path):
    config = cnn.Config(image_shape=(12, 12, 1), blocks=((8,), (8,)), hidden=(5,))
    wide = cnn.Config(image_shape=(12, 12, 1), blocks=((8,), (16,)), hidden=(5,))
    path = checkpoint.save(tmp_path, new_state(config=config, module=cnn), {})
    state = new_state(config=wide, module=cnn)
    before = saved_values(state)
    with pytest.raises(ValueError) as error:
        checkpoint.restore(path, state)
    assert "conv2/w: file has 3x3x8x8, model wants 3x3x8x16 (filters=8?)" in str(error.value)
    assert "conv2/b: file has 8, model wants 16" in str(error.value)
    assert "dense1/w: file has 8x5, model wants 16x5" in str(error.value)
    assert saved_values(state) == before


def test_missing_and_extra_entries_are_named(tmp_path):
    path = checkpoint.save(tmp_path, new_state(), {})
    state = new_state(config=mlp.Config(image_shape=(4, 4, 1), hidden=(5, 5), classes=3))
    with pytest.raises(ValueError, match="dense2/w: missing in the file"):
        checkpoint.restore(path, state)


def test_exported_weights_come_back_and_need_no_variables(tmp_path):
    weights, stats = cnn.init(0, cnn.Config(image_shape=(8, 8, 1), blocks=((4,),), batch_norm=True))
    path = tmp_path / "weights.safetensors"
    checkpoint.export_weights(path, weights, stats, metadata={"epoch": 3})
    again, again_stats, metadata = checkpoint.import_weights(path)
    assert metadata == {"epoch": 3}
    assert tree.mismatches(again, weights) == [] and tree.mismatches(again_stats, stats) == []
    assert list(tree.flatten(again)) == list(tree.flatten(weights))
    for a, b in zip(tree.leaves(again), tree.leaves(weights)):
        np.testing.assert_array_equal(a, b.numpy())
    assert isinstance(tree.leaves(weights)[0], tf.Variable)  # exporting replaced nothing in the dictionary


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04\x95pickle", b"\xff" * 64])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors"):
        checkpoint.import_weights(path)


def crafted(path, names, *, meta=None, header=None):
    """Writes a file as `checkpoint.write` would, with any names; `header` replaces the whole of ours."""
    tensors = {name: np.zeros([2], np.float32) for name in names}
    made = {"meta": meta, "names": list(names), "digest": checkpoint._digest(tensors, meta)}
    path.write_bytes(to_bytes(tensors, metadata={"tfcore": header or json.dumps(made)}))
    return path


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["weights", "weights/a"], "weights is a leaf, so there is no weights/a"),
        (["weights/a/b", "weights/a"], "weights/a is a leaf, so there is no weights/a/b"),
        (["weights/a", "weights/a/b/c"], "weights/a is a leaf, so there is no weights/a/b/c"),
        (["weights//a"], "the path 'weights//a' has empty parts"),
        (["/weights/a"], "the path '/weights/a' has empty parts"),
        (["weights/"], "the path 'weights/' has empty parts"),
        ([""], "the path '' has empty parts"),
        (["/"], "the path '/' has empty parts"),
        (["weights/" + "a/" * 5000 + "a"], "the path 'weights/a/"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_names_that_make_no_tree_are_refused_in_one_sentence(names, reason, tmp_path):
    path = crafted(tmp_path / "weights.safetensors", names, meta={})
    for read in (checkpoint.read, checkpoint.import_weights, lambda path: checkpoint.restore(path, new_state())):
        with pytest.raises(ValueError) as error:
            read(path)
        assert str(error.value).startswith(f"{path} is not a whole safetensors file ({reason}")
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_random_names_are_a_tree_or_one_sentence(tmp_path):
    generator = random.Random(0)
    for _ in range(300):
        words = ["weights", "a", "b", "", "..", "é"]
        names = {"/".join(generator.choices(words, k=generator.randrange(1, 4))) for _ in range(3)}
        path = crafted(tmp_path / "weights.safetensors", sorted(names), meta={})
        try:
            weights, stats, _ = checkpoint.import_weights(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert isinstance(weights, dict) and isinstance(stats, dict)


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "3",
        "{}",
        '{"meta": {}, "names": 3, "digest": ""}',
        '{"meta": {}, "names": [[]], "digest": ""}',
        "[" * 9**5,
    ],
    ids=lambda text: text[:40],
)
def test_a_header_that_is_not_ours_is_refused(header, tmp_path):
    path = crafted(tmp_path / "weights.safetensors", ["weights/a"], header=header)
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a whole safetensors file"):
        checkpoint.read(path)


@pytest.mark.parametrize("names", [["weights"], ["weights/a", "stats"], ["stats/a"]], ids=str)
def test_a_file_without_weights_is_refused(names, tmp_path):
    path = crafted(tmp_path / "weights.safetensors", names, meta={})
    with pytest.raises(ValueError, match=r"weights\.safetensors holds no weights/…"):
        checkpoint.import_weights(path)


def test_a_file_that_memory_cannot_hold_is_not_read(tmp_path):
    """A header that is honest about 4 TB of nothing; the file takes no space on the disk."""
    header = json.dumps({"weights/w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 2**42)
    with pytest.raises(ValueError, match=r"weights\.safetensors has 4,398,0.* bytes, the machine has a memory of"):
        checkpoint.read(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_of_another_program_is_named_so(metadata, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(to_bytes({"weights/a": np.zeros(2)}, metadata=metadata))
    with pytest.raises(ValueError, match=r"not a whole safetensors file \(it was not written by tfcore"):
        checkpoint.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("depth", [50, 400, 700, 900, 990, 5_000, 100_000])
def test_deep_metadata_is_one_sentence(depth, tmp_path):
    meta = '{"a":' * depth + "1" + "}" * depth
    header = f'{{"names": ["weights/a"], "digest": "", "meta": {meta}}}'
    with pytest.raises(ValueError, match=r"weights\.safetensors is ") as error:
        checkpoint.read(crafted(tmp_path / "weights.safetensors", ["weights/a"], header=header))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_meta_is_a_dictionary(tmp_path):
    with pytest.raises(ValueError, match="its meta is not a dictionary"):
        checkpoint.read(crafted(tmp_path / "weights.safetensors", ["weights/a"], meta=[1]))


@pytest.mark.slow
def test_killed_while_saving_leaves_whole_checkpoints(tmp_path):
    """A child saves weights that all equal the step; whatever is found after a kill must say so too."""
    generator = random.Random(0)
    arrays = {f"weights/{i}": np.zeros([64, 64], np.float32) for i in range(8)}
    kills = 0
    for _ in range(25):
        child = os.fork()
        if child == 0:
            for step in range(10**6):
                tensors = {name: array + step for name, array in arrays.items()}
                checkpoint.write(tmp_path / "ckpt-000000001.safetensors", tensors, {"step": step})
        try:
            signal.sigtimedwait([], generator.uniform(0.005, 0.03))  # lets the child work for that long
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if not (tmp_path / "ckpt-000000001.safetensors").exists():
            continue
        tensors, meta = checkpoint.read(tmp_path / "ckpt-000000001.safetensors")
        assert {float(v) for leaf in tree.leaves(tensors) for v in (leaf.min(), leaf.max())} == {float(meta["step"])}
        kills += 1
    assert kills > 15
