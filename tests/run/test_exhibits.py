"""What a run shows: which examples, and what of its network."""

import numpy as np
import pytest
import tensorflow as tf
from test_run import made_set, own_task

from tfcore.layers import conv2d, conv2d_init, dense, dense_init, flatten
from tfcore.run import exhibits


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        ([3, 1, 3, 0, 2, 1], [0, 1, 2, 3]),
        ([0, 0, 0, 0, 1, 1, 1, 1], [0, 2, 4, 7]),  # sorted by class
        ([1, 1, 1, 1, 1], [0, 1, 2, 3]),
        ([0, 1], [0, 1]),
    ],
    ids=["mixed", "sorted", "one class", "few"],
)
def test_the_first_examples_are_shown_or_some_of_all_over_a_sorted_part(labels, rows):
    assert exhibits.first_rows(np.array(labels), 4).tolist() == rows


@pytest.mark.parametrize("kind", ["convolution", "templates", "neither"])
def test_the_filters_are_those_of_what_reads_the_picture(kind):
    weights = {"first": conv2d_init(0, 3, 2, 4) if kind == "convolution" else dense_init(0, 5 * 6 * 2, 7)}
    path, filters = exhibits.first_filters(weights, (5, 6, 2) if kind != "neither" else (4, 4, 1))
    if kind == "neither":
        assert path == "" and filters is None
        return
    assert path == "first/w" and filters.shape == {"convolution": (3, 3, 2, 4), "templates": (5, 6, 2, 7)}[kind]
    np.testing.assert_array_equal(filters.ravel(), weights["first"]["w"].numpy().ravel())


@pytest.mark.drawn
def test_the_projector_gets_the_layer_before_the_logits_of_a_mean_over_places():
    weights = {"conv": conv2d_init(0, 3, 1, 4), "last": dense_init(1, 6 * 6 * 4, 3)}

    def forward(weights, stats, images, *, training, seed=None):
        x = conv2d(weights["conv"], tf.cast(images, tf.float32) / 255, padding="VALID", name="conv")
        return dense(weights["last"], flatten(x), name="last"), stats

    task = own_task(made_set(), forward=forward)
    vectors, names, sprites = exhibits.projected(task, weights, {})
    images, labels = task.splits.validation
    x = tf.nn.conv2d(tf.cast(images, tf.float32) / 255, weights["conv"]["w"], 1, "VALID") + weights["conv"]["b"]
    np.testing.assert_allclose(vectors, tf.reduce_mean(x, [1, 2]), rtol=1e-4, atol=1e-5)
    assert names == [task.splits.class_names[label] for label in labels]
    np.testing.assert_array_equal(sprites, np.repeat(images, 3, 3))
