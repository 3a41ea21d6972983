"""Checks of a set before it is learned from: pictures that are in two parts, or twice with two labels, or empty;
classes that are rare; labels that do not belong to their pictures."""

import hashlib

import numpy as np

from tfcore.check.finding import Finding, finding
from tfcore.data.splits import PARTS, Splits, check_splits

NEAREST, FEW = 10, 50
LOPSIDED = 10  # times as many pictures of the commonest class as of the rarest


def data(splits: Splits) -> list[Finding]:
    """Returns the findings of a `tfcore.data.Splits`; each names the part, and the index of the first that is wrong."""
    found = [_fits(splits)]
    if not found[0]:
        return found
    hashes = {part: _hashes(getattr(splits, part).images) for part in PARTS}
    labels = {part: np.asarray(getattr(splits, part).labels) for part in PARTS}
    found += [_in_two_parts(hashes), _two_labels(hashes, labels, splits.class_names), _constant(splits)]
    return [*found, _balance(labels, splits.class_names), _neighbours(splits)]


@finding("images and labels")
def _fits(splits):
    check_splits(splits)
    sizes = ", ".join(f"{len(getattr(splits, part).labels):,} {part}" for part in PARTS)
    return True, f"{sizes}, {len(splits.class_names)} classes"


def _blocks(images):
    """Yields (index of the first, some pictures), so that what is on disk is read in parts."""
    for start in range(0, len(images), 1024):
        yield start, np.asarray(images[start : start + 1024])


def _hashes(images):
    """Returns one hash for each picture."""
    return [
        hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()
        for _, block in _blocks(images)
        for image in block
    ]


@finding("pictures in two parts")
def _in_two_parts(hashes):
    known, again = {}, []
    for part, found in hashes.items():
        again += [f"{part}[{i}] is {known[key]}" for i, key in enumerate(found) if key in known]
        known = {**{key: f"{part}[{i}]" for i, key in reversed(list(enumerate(found)))}, **known}
    if again:
        return False, f"{len(again):,}, {again[0]}: what is measured there was learned by heart"
    return True, "none"


@finding("pictures with two labels")
def _two_labels(hashes, labels, class_names):
    known, wrong = {}, []
    for part in PARTS:
        for i, (key, label) in enumerate(zip(hashes[part], labels[part])):
            where, other = known.setdefault(key, (f"{part}[{i}]", label))
            if other != label:
                wrong.append(f"{where} is {class_names[other]}, the same picture {part}[{i}] is {class_names[label]}")
    return (False, f"{len(wrong):,}: {wrong[0]}") if wrong else (True, "none")


@finding("pictures of one colour")
def _constant(splits):
    empty = []
    for part in PARTS:
        for start, block in _blocks(getattr(splits, part).images):
            flat = block.reshape(len(block), -1, block.shape[-1])
            alike = (flat.min(axis=1) == flat.max(axis=1)).all(axis=1)
            empty += [f"{part}[{start + i}]" for i in np.flatnonzero(alike)]
    return (False, f"{len(empty):,}, the first is {empty[0]}") if empty else (True, "none")


@finding("balance of the classes")
def _balance(labels, class_names):
    counts = {part: np.bincount(labels[part], minlength=len(class_names)) for part in PARTS}
    missing = [f"{class_names[c]} in {part}" for part in PARTS for c in np.flatnonzero(counts[part] == 0)]
    if missing:
        return False, f"no picture of {', '.join(missing[:5])}"
    train, common = counts["train"], int(np.argmax(counts["train"]))
    rare, share = int(np.argmin(train)), counts["test"][common] / counts["test"].sum()
    text = f"{train[rare]:,} of {class_names[rare]} to {train[common]:,} of {class_names[common]} in train; "
    text += f"who always says {class_names[common]} is right for {share:.1%} of test"
    return bool(train[common] <= LOPSIDED * train[rare]), text


@finding("labels belong to pictures")
def _neighbours(splits):
    """The nearest pictures of train have a picture's label more often than by chance, by four standard deviations."""
    (known, known_labels), (asked, labels) = _some(splits.train, 10_000), _some(splits.validation, 1_000)
    if len(labels) < FEW or len(known_labels) < FEW:
        return True, f"not asked of fewer than {FEW} pictures"
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T
    nearest = np.argpartition(distances, NEAREST, axis=1)[:, :NEAREST]
    rate = np.mean(known_labels[nearest] == labels[:, np.newaxis])
    shares = [np.bincount(part, minlength=len(splits.class_names)) / len(part) for part in (known_labels, labels)]
    chance = float(shares[0] @ shares[1])
    least = chance + 4 * (chance * (1 - chance) / nearest.size) ** 0.5
    text = f"of a picture's {NEAREST} nearest in train {rate:.1%} have its label, by chance {chance:.1%}"
    return bool(rate > least), text if rate > least else f"{text}: they may be shuffled"


def _some(part, most):
    """Returns evenly spaced examples of a part: a coarse grid of pixels, [N, D], of mean 0 and deviation 1; labels."""
    rows = np.unique(np.linspace(0, len(part.labels) - 1, most).astype(int))
    step = [max(1, side // 16) for side in part.images.shape[1:3]]
    x = np.stack([np.asarray(part.images[i : i + 1])[0, :: step[0], :: step[1]] for i in rows])
    x = x.reshape(len(rows), -1).astype(np.float32)
    x = x - x.mean(axis=1, keepdims=True)
    return x / (x.std(axis=1, keepdims=True) + 1e-6), np.asarray(part.labels)[rows]
