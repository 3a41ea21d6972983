"""TensorFlow as `tf`, without Keras, scikit-learn and SciPy, which it would import along and no script needs.

A script starts sooner so, in less memory. Keras can be imported afterwards as ever. Where TensorFlow has been imported
before, this is that TensorFlow.
"""

import sys

alone = {"tensorflow", "keras"}.isdisjoint(sys.modules)
if alone:
    sys.modules["keras"] = None  # as if it were not installed, which TensorFlow allows for
try:
    import tensorflow as tf  # noqa: F401
finally:
    if alone:
        del sys.modules["keras"]
