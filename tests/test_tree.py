"""Trees: the paths, and what holds for every function over them."""

import numpy as np
import pytest
import tensorflow as tf

from tfcore import tree


def example():
    return {"conv2": {"w": 1, "b": 2}, "conv10": {"norm": {"scale": 3}}, "a": 4}


def test_flatten_joins_keys_and_keeps_the_order_of_insertion():
    assert list(tree.flatten(example()).items()) == [("conv2/w", 1), ("conv2/b", 2), ("conv10/norm/scale", 3), ("a", 4)]
    assert tree.leaves(example()) == [1, 2, 3, 4]


def test_unflatten_is_the_inverse_of_flatten():
    back = tree.unflatten(tree.flatten(example()))
    assert back == example()
    assert list(back) == ["conv2", "conv10", "a"]


@pytest.mark.parametrize("flat", [{"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}, {"a/b/c": 1, "a/b": 2}], ids=list)
def test_a_leaf_is_not_the_beginning_of_another_path(flat):
    with pytest.raises(ValueError, match=r"^a(/b)? is a leaf, so there is no a/b"):
        tree.unflatten(flat)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b"])
def test_a_path_has_no_empty_parts(path):
    with pytest.raises(ValueError, match=f"the path '{path}' has empty parts"):
        tree.unflatten({path: 1})


def test_an_empty_tree_has_no_paths():
    assert tree.flatten({}) == tree.flatten({"a": {}}) == {}
    assert tree.unflatten({}) == {}
    assert tree.count({}) == 0


def test_map_takes_the_leaves_at_the_same_path_whatever_the_order():
    other = {"a": 40, "conv10": {"norm": {"scale": 30}}, "conv2": {"b": 20, "w": 10}}
    assert tree.map(lambda x, y: x + y, example(), other) == {
        "conv2": {"w": 11, "b": 22},
        "conv10": {"norm": {"scale": 33}},
        "a": 44,
    }


def test_select_keeps_paths_and_shares_the_leaves():
    weights = {"conv1": {"w": tf.Variable([1.0]), "b": tf.Variable([2.0])}, "logits": {"w": tf.Variable([3.0])}}
    kernels = tree.select(weights, lambda path: path.endswith("/w"))
    assert list(tree.flatten(kernels)) == ["conv1/w", "logits/w"]
    assert kernels["conv1"]["w"] is weights["conv1"]["w"]
    assert tree.select(weights, lambda path: False) == {}


def test_merge_replaces_leaves_and_leaves_its_arguments_alone():
    before, changes = example(), {"conv2": {"b": -2}, "conv10": {"norm": {"scale": -3}}}
    assert tree.flatten(tree.merge(before, changes)) == {"conv2/w": 1, "conv2/b": -2, "conv10/norm/scale": -3, "a": 4}
    assert before == example()
    assert changes == {"conv2": {"b": -2}, "conv10": {"norm": {"scale": -3}}}


def test_a_tree_is_one_vector_and_back():
    weights = {"b": {"w": np.arange(6.0).reshape(2, 3), "c": np.float64(7)}, "a": np.array([8.0])}
    vector = tree.to_vector(weights)
    assert vector.numpy().tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    back = tree.from_vector(vector, weights)
    assert list(tree.flatten(back)) == ["b/w", "b/c", "a"]
    assert all((a.numpy() == b).all() and a.shape == b.shape for a, b in zip(tree.leaves(back), tree.leaves(weights)))


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"shape \[3\], the tree has 2 numbers"):
        tree.from_vector(np.zeros(3), {"a": np.zeros(2)})


def test_a_gradient_goes_through_both():
    like = {"a": np.zeros([2, 1]), "b": np.zeros(3)}
    with tf.GradientTape() as tape:
        vector = tf.constant([1.0, 2, 3, 4, 5])
        tape.watch(vector)
        weights = tree.from_vector(vector, like)
        value = tf.reduce_sum(tree.to_vector({"b": weights["b"] * 2, "a": weights["a"] * 3}) ** 2)
    assert tape.gradient(value, vector).numpy().tolist() == [18, 36, 24, 32, 40]


def test_count_multiplies_shapes_and_a_scalar_is_one():
    assert tree.count(
        {"a": {"w": np.zeros([3, 3, 1, 64]), "b": tf.Variable(tf.zeros([64]))}, "step": tf.constant(0)}
    ) == (576 + 64 + 1)


def test_variables_are_copies():
    source = {"a": tf.Variable([1.0, 2.0]), "b": {"c": np.array([3.0])}}
    copy = tree.variables(source)
    source["a"].assign([9.0, 9.0])
    assert copy["a"].numpy().tolist() == [1.0, 2.0]
    assert copy["b"]["c"].numpy().tolist() == [3.0]
    assert not copy["a"].trainable


def test_zeros_like_takes_structure_shape_and_dtype():
    zeros = tree.zeros_like({"a": tf.Variable([[1.0, 2.0]]), "b": {"c": np.ones([3])}})
    assert [(path, v.shape.as_list(), v.dtype) for path, v in tree.flatten(zeros).items()] == [
        ("a", [1, 2], tf.float32),
        ("b/c", [3], tf.float64),
    ]
    assert all(not v.numpy().any() for v in tree.leaves(zeros))


def test_mismatches_names_each_bad_path_in_plain_words():
    wanted = {"conv2": {"w": np.zeros([3, 3, 64, 128], np.float32), "b": np.zeros([128], np.float32)}}
    found = {"conv2": {"w": np.zeros([3, 3, 64, 64], np.float32)}, "x": np.zeros([1], np.float32)}
    assert tree.mismatches(found, wanted) == [
        "conv2/b: missing in the file",
        "x: in the file, not in the model",
        "conv2/w: file has 3x3x64x64, model wants 3x3x64x128",
    ]
    assert tree.mismatches(wanted, wanted) == []


def test_mismatches_sees_another_dtype_and_a_scalar():
    (problem,) = tree.mismatches({"a": np.float64(1)}, {"a": np.float32(1)}, found_name="run", wanted_name="step")
    assert (
        problem.startswith("a: run has") and "float64" in problem and "step wants" in problem and "float32" in problem
    )
    (problem,) = tree.mismatches({"a": np.zeros([])}, {"a": np.zeros([1])})
    assert "file has scalar" in problem and "model wants 1" in problem


def test_assign_assigns_by_path():
    variables = {"a": {"w": tf.Variable([1.0]), "b": tf.Variable([2.0])}}
    tree.assign(variables, {"a": {"b": np.array([20.0], np.float32), "w": tf.constant([10.0])}})
    assert [v.numpy().item() for v in tree.leaves(variables)] == [10.0, 20.0]


@pytest.mark.parametrize(
    "values",
    [
        {"a": tf.constant([5.0])},
        {"a": tf.constant([5.0]), "b": tf.constant([6.0, 7.0]), "c": tf.constant([1.0])},
        {"a": tf.constant([5.0]), "b": tf.constant([6.0])},
        {"a": tf.constant([5.0]), "b": tf.constant([6.0, 7.0], tf.float64)},
    ],
    ids=["missing", "extra", "shape", "dtype"],
)
def test_assign_refuses_what_does_not_fit_and_assigns_nothing(values):
    variables = {"a": tf.Variable([1.0]), "b": tf.Variable([2.0, 3.0])}
    with pytest.raises(ValueError, match=r"cannot assign: [bc]: "):
        tree.assign(variables, values)
    assert variables["a"].numpy().tolist() == [1.0]
    assert variables["b"].numpy().tolist() == [2.0, 3.0]
