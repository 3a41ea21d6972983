"""A few labels, and thousands of pictures without: expectation maximization of one normal distribution a class.

python examples/few_labels.py                                           # digits, their pixels; 5 labels of each
python examples/few_labels.py cats_vs_dogs 100 inception_v3_notop.h5    # what a trunk says of p/255; 100 labels of each
"""

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression

from tfcore import checkpoint, training
from tfcore.data import load
from tfcore.layers import flatten
from tfcore.models import inception_v3
from tfcore.quiet import tf

BLOCKS, TRUNK = [f"mixed{i}" for i in range(3, 8)], inception_v3.Config(top=False, endpoint="mixed7")


def features(weights, stats, x, *, training):
    """Returns the mean of each feature of five blocks, over a picture and its mirror image: [N, 3840]; and stats."""
    found, _ = inception_v3.endpoints(TRUNK, weights, stats, tf.concat([x, tf.reverse(x, [2])], 0), training=training)
    return sum(tf.split(tf.concat([tf.reduce_mean(found[name], [1, 2]) for name in BLOCKS], axis=1), 2)), stats


def whitened(x, others, ridge=0.3):
    """Returns features x [N, D] and others in coordinates in which x has covariance 1, less where it varies little."""
    root = np.linalg.cholesky(np.cov(x, rowvar=False) + ridge * np.eye(x.shape[1])).astype(x.dtype)
    return [tf.linalg.triangular_solve(root, part.T).numpy().T for part in (x, others)]


def learned(x, rows, labels, guess, sharpness=6.0):
    """Returns z -> scores [N, C], learned from x [N, D], labels of its `rows`, and first probabilities guess [N, C]."""
    for _ in range(20):
        guess[rows] = np.eye(guess.shape[1])[labels]
        means = guess.T @ x / guess.sum(0)[:, None]
        scores = x @ means.T - (means**2).sum(1) / 2  # all classes have one covariance, 1 in these coordinates
        guess = tf.nn.softmax(sharpness * scores / scores.std()).numpy()
    return lambda z: z @ means.T - (means**2).sum(1) / 2


if __name__ == "__main__":
    name, count, *path = sys.argv[1:] or ["digits", "5"]
    data = load(name, validation=2048)
    labels, right = data.train.labels, []
    each = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    weights = inception_v3.fold(*checkpoint.import_keras_h5(*path, TRUNK)) if path else {}
    read = tf.function(features if path else lambda weights, stats, x, *, training: (flatten(x), stats))
    x, test = (training.predict(read, weights, {}, part.images, batch_size=50) for part in (data.train, data.test))
    x, test = ((part - x.mean(0)) / (x.std(0) + 1e-6) for part in (x, test))
    x_white, test_white = whitened(x, test)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.choice(those, min(int(count), len(those)), replace=False) for those in each])
        first = LogisticRegression(C=0.01, max_iter=1000).fit(x[rows], labels[rows])
        says = learned(x_white, rows, labels[rows], first.predict_proba(x))
        right.append([np.mean(y == data.test.labels) for y in (first.predict(test), says(test_white).argmax(1))])
    for way, mean, spread in zip(("these alone", "all pictures"), np.mean(right, 0), np.std(right, 0, ddof=1)):
        print(f"{name}, {count} labels a class, from {way:<12}: test accuracy {mean:.4f} ± {spread:.4f}")
