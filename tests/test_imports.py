"""What an import brings along: nothing that is only needed now and then."""

import subprocess
import sys


def test_the_words_import_tensorflow_and_numpy_and_nothing_that_is_not_needed():
    words = "binary, checkpoint, init, layers, losses, metrics, models, optimizers, schedules, settings, tree"
    unwanted = "{'keras', 'matplotlib', 'PIL', 'scipy', 'sklearn', 'tensorboard', 'tfcore.formats'}"
    code = f"import sys; from tfcore import {words}; print(sorted({unwanted} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stdout + done.stderr
