"""A set larger than the memory that the process may have trains from its map."""

import subprocess
import sys

import pytest

PROGRAM = """
import dataclasses, resource, sys
import numpy as np
import tensorflow as tf
from tfcore import recipes
from tfcore.data import Arrays, Splits
from tfcore.data.order import take
from tfcore.models import mlp

folder, gigabytes = sys.argv[1], float(sys.argv[2])
shape = (125, 94, 3)
n = int(gigabytes * 2**30) // int(np.prod(shape))
with open(folder + "/images.u8", "wb") as file:
    file.truncate(n * int(np.prod(shape)))
images = np.memmap(folder + "/images.u8", np.uint8, "r", shape=(n, *shape))
labels = (np.arange(n) % 2).astype(np.int32)

def part(rows):
    return Arrays(take(images, rows), labels[rows])

recipe = dataclasses.replace(
    recipes.RECIPES["pets_perceptron"], model=mlp.Config(image_shape=shape, hidden=(8,)), batch_size=64, epochs=2,
    steps_per_epoch=100, steps_per_loop=10,
)
rows = np.arange(n)
splits = Splits(part(rows[256:]), part(rows[:128]), part(rows[128:256]), ("a", "b"), "generated")
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**30,) * 2)
recipes.train(recipe, folder + "/run", splits=splits)
status = dict(line.split(":") for line in open("/proc/self/status"))
print("anonymous MB", int(status["RssAnon"].split()[0]) // 1024)
"""


@pytest.mark.slow
def test_training_reads_from_the_map(tmp_path):
    """6 GB of pictures, 1 GB of memory beyond what TensorFlow holds before the first step."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), "6"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "epoch 2/2" in done.stdout
    assert int(done.stdout.split()[-1]) < 2048
