"""What an import brings along: TensorFlow and NumPy, nothing that is only needed now and then, and no chatter."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from tfcore.quiet import tf
with_tensorflow = set(sys.modules)
{statement}
heavy = {{"PIL", "h5py", "keras", "matplotlib", "requests", "scipy", "sklearn", "tensorboard", "tqdm"}}
found = {modules}
print(*sorted(heavy & {{name.split(".")[0] for name in found}}), *(n for n in found if n.startswith("tfcore.formats")))
"""
WORDS = "binary, check, checkpoint, gradients, init, layers, losses, metrics, models, optimizers"
WORDS += ", schedules, settings, training, tree"


def heavy(statement, modules="set(sys.modules) - with_tensorflow"):
    program = PROGRAM.format(statement=statement, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("statement", ["import tfcore.data, tfcore.data.augment", f"from tfcore import {WORDS}"])
def test_the_words_import_nothing_but_tensorflow_and_numpy(statement):
    assert heavy(statement) == []


@pytest.mark.slow
def test_what_was_kept_away_can_be_imported_afterwards():
    assert heavy("", "sys.modules") == ["requests"]  # TensorFlow cannot do without it
    assert {"h5py", "keras", "scipy"} <= set(heavy("import h5py, scipy; tf.keras.layers.Dense"))


def test_the_package_itself_imports_nothing():
    program = "import sys; before = set(sys.modules); import tfcore; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tfcore"]
