"""SavedModel: a network as a directory that TensorFlow, its command line and TensorFlow Serving read, without tfcore.

Its signatures take pictures of any size and do all the rest: decoding, resizing, preprocessing, views, classes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import files, tree
from tfcore.data import decoding
from tfcore.formats.served import Served, probabilities
from tfcore.quiet import tf
from tfcore.types import Tree

FACTS = Path("assets.extra", "tfcore.json")  # TensorFlow leaves this directory to others
_END = "/.ATTRIBUTES/VARIABLE_VALUE"


def write(path: str | Path, served: Served) -> None:
    """Writes a `served.Served` to the directory `path`, durably.

    Signatures, both of which give {"class_name": [N], the likeliest; "probabilities": [N, classes];
    "class_names": [N, classes], whose they are}:
      serving_default: {"pictures": [N, H, W, C] uint8}, of any one size.
      encoded: {"files": [N] strings}, the bytes of JPEG or PNG files.
    """
    module = _module(served)
    with files.durable_directory(path) as directory:
        tf.saved_model.save(module, str(directory), signatures={"serving_default": module.pictures,
                                                                "encoded": module.encoded})  # fmt: skip
        (directory / FACTS).parent.mkdir(exist_ok=True)
        (directory / FACTS).write_text(json.dumps(served.facts))


def _module(served):
    """Returns a tf.Module whose variables are the weights and stats, and whose functions are the signatures."""
    height, width, channels = served.image_shape
    module = tf.Module()
    kept = {name: tree.variables(getattr(served, name)) for name in ("weights", "stats")}
    module.weights, module.stats = kept["weights"], kept["stats"]  # it wraps the dictionaries at their place
    network = served._replace(weights=module.weights, stats=module.stats)
    options = {"resize": served.resize}

    def answers(images):
        shares = probabilities(network, images)
        names = tf.constant(served.class_names)
        every = tf.repeat(names[tf.newaxis], tf.shape(shares)[0], axis=0)
        return {
            "class_name": tf.gather(names, tf.argmax(shares, axis=1)),
            "probabilities": shares,
            "class_names": every,
        }

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, channels], tf.uint8)], autograph=False)
    def pictures(pictures):
        return answers(decoding.fitted(pictures, (height, width), **options))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encoded(files):
        one = lambda data: decoding.decode(data, (height, width), channels=channels, **options)  # noqa: E731
        return answers(tf.map_fn(one, files, fn_output_signature=tf.TensorSpec(served.image_shape, tf.uint8)))

    module.pictures, module.encoded = pictures, encoded
    return module


def read(path: str | Path) -> tuple[Tree, Tree, dict[str, Any]]:
    """Reads what `write` wrote. Returns weights, stats (trees of arrays) and the facts.

    Raises:
      ValueError: it is no such directory, or damaged.
    """
    path = Path(path)
    try:
        facts = json.loads((path / FACTS).read_text())
        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        flat = {n.removesuffix(_END): reader.get_tensor(n) for n in reader.get_variable_to_shape_map() if _END in n}
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
        raise ValueError(f"{path} is not a whole SavedModel of tfcore ({str(error).splitlines()[0]})") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{path / FACTS} holds no dictionary")
    nested = tree.unflatten({name: np.asarray(array) for name, array in sorted(flat.items())})
    return nested.get("weights", {}), nested.get("stats", {}), facts
