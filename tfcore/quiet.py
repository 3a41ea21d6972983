"""TensorFlow as `tf`, imported without what it says while it starts, and without Keras, h5py, scikit-learn and SciPy.

    from tfcore.quiet import tf

It would import these along; without them it starts sooner, in less memory. What needs one imports it afterwards, as
ever; `tf.keras` too. Where TensorFlow has been imported before, `tf` is that TensorFlow.
"""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["tf", "without_chatter"]


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Keeps from stderr what C++ prints there, however low its level; shows it after all when the block fails."""
    try:
        kept, file = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # there is no stderr, or no place for a file
        yield
        return
    if sys.stderr:
        sys.stderr.flush()
    with file as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(kept, chatter.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def _without(*names):
    """Hides packages that are not imported yet: a module that is None is as if it were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.enable()
    gc.freeze()  # the 390,000 objects stay: looking through them for garbage takes 0.14 s each time


if "tensorflow" in sys.modules:
    import tensorflow as tf
else:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_chatter(), _without("keras", "scipy", "h5py"):
        import tensorflow as tf

        tf.config.list_physical_devices()  # says more
    tf.get_logger().setLevel("ERROR")  # nor what Python warns of
