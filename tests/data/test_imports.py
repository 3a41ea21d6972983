"""What importing the words costs: TensorFlow and NumPy, nothing that only some programs need."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from tfcore.quiet import tf
with_tensorflow = set(sys.modules)
{statement}
heavy = {{"PIL", "h5py", "keras", "matplotlib", "pandas", "requests", "scipy", "sklearn", "tqdm"}}
print(*sorted(heavy & {{name.split(".")[0] for name in {modules}}}))
"""


def heavy(statement, modules="sys.modules"):
    program = PROGRAM.format(statement=statement, modules=modules)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("statement", ["import tfcore.data, tfcore.data.augment", "from tfcore import training"])
def test_the_words_import_nothing_but_tensorflow_and_numpy(statement):
    assert heavy(statement, "set(sys.modules) - with_tensorflow") == []


def test_tensorflow_itself_brings_requests_alone():
    assert heavy("") == ["requests"]


def test_what_was_kept_away_can_be_imported_afterwards():
    assert {"h5py", "keras", "scipy"} <= set(heavy("import h5py, scipy; tf.keras.layers.Dense"))
