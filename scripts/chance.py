"""Whether two groups of runs differ by more than chance: in words, with how it was decided."""

import warnings

import numpy as np

LEVEL = 0.05  # of a p-value; 1.96 standard errors are the same
SURE = 1.96


def by_seeds(a, b):
    """Returns as text whether the difference exceeds the spread between seeds. a, b: the accuracies of each seed."""
    if min(len(a), len(b)) < 2:
        return "seeds: not compared, it takes two seeds or more on both sides"
    p = welch(a, b)
    word = "exceeds" if p < LEVEL else "does not exceed"
    return f"seeds: {word} their spread (Welch's t-test, {len(a)} and {len(b)} seeds: p = {p:.2g}, limit {LEVEL})"


def welch(a, b):
    """Returns the p-value of Welch's t-test: how often seeds alone would make a difference as large."""
    from scipy.stats import ttest_ind  # here, for it takes a while

    if np.ptp(a) == np.ptp(b) == 0:  # no spread at all: the test would divide by it
        return float(a[0] == b[0])
    with warnings.catch_warnings():  # of nearly equal numbers, such as one image of a thousand
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ttest_ind(a, b, equal_var=False).pvalue)


def by_images(accuracies, counts, *, shared):
    """Returns as text whether the difference exceeds what a finite test set explains.

    Args:
      accuracies: the two, 0 to 1.
      counts: of how many images each.
      shared: True where these are the same images: then the errors go together, and the difference's is smaller.
    """
    error = np.sqrt(sum(p * (1 - p) / n for p, n in zip(accuracies, counts)))
    word = "exceeds" if abs(accuracies[0] - accuracies[1]) > SURE * error else "does not exceed"
    images = " and ".join(f"{n:,}" for n in dict.fromkeys(counts))
    bound = "; an upper bound, for both saw the same images" if shared else ""
    return f"images: {word} {SURE * error:.4f}, what {images} explain ({SURE} binomial standard errors{bound})"
