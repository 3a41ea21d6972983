"""Trained trunks: where their weights come from, and how they read a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tfcore import checkpoint, tree
from tfcore.data.download import download
from tfcore.data.sources import cache_dir
from tfcore.models import inception_v3, transfer
from tfcore.recipes import exports
from tfcore.recipes.finished import not_finite
from tfcore.types import Tree

URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
SIZE, MD5 = 87910968, "bcbd6486424b2319ff4ef7d526e38f63"
PIXELS = {"-1..1": (1 / 127.5, -1.0), "0..1": (1 / 255, 0.0)}  # name: scale, offset of a stored pixel


class Trunk(NamedTuple):
    """weights, stats: trees; pixels: how the file wants its pictures read, (scale, offset); why: in words."""

    weights: Tree
    stats: Tree
    pixels: tuple[float, float]
    why: str

    def digest(self) -> str:
        """Returns a hash of weights and stats."""
        return tree.digest({"weights": self.weights, "stats": self.stats})


def published_weights() -> Path:
    """Returns the path of InceptionV3's ImageNet weights in the user's cache; downloads them when they are not there.

    Raises:
      OSError: they cannot be downloaded; the message says what file to put where.
    """
    path = cache_dir() / "weights" / URL.rsplit("/", 1)[1]
    if not path.exists():
        try:
            download(URL, path, md5=MD5, size=SIZE)
        except OSError as error:
            raise OSError(f"{error}; put the file at {path}, or name another with weights=") from None
    return path


def load_trunk(config: transfer.Config, path: str | Path) -> Trunk:
    """Returns the Trunk in a Keras .h5 of InceptionV3, or in an export of ours: a file, a SavedModel, or a whole run.

    Files of Keras want pixels in -1 .. 1, as the published one was trained; ours say how they read.

    Args:
      config: a `transfer.Config`.
      path: of ours, the export of any run whose network has the trunk's paths; further paths are left out.
    Raises:
      ValueError: the file does not fit; every bad path is listed and nothing is loaded.
      OSError: it cannot be read.
    """
    if Path(path).suffix == ".h5":
        if not isinstance(config.trunk, inception_v3.Config):
            raise ValueError(f"{path}: only InceptionV3's weights are read from .h5, the trunk is another network")
        weights, stats = checkpoint.import_keras_h5(path, config.trunk)
        refuse(path, not_finite(weights) + not_finite(stats))
        return Trunk(weights, stats, PIXELS["-1..1"], "as Keras' weights want them")
    weights, stats, facts = exports.read(path)
    settings = facts.get("config", {})
    pixels = settings.get("scale", 1 / 255), settings.get("offset", 0.0)
    if "trunk" in weights:
        weights, stats = weights["trunk"], stats.get("trunk", {})
    wanted = transfer.trunk_of(config).init(0, config.trunk)
    chosen = [tree.select(f, tree.flatten(w).__contains__) for f, w in zip((weights, stats), wanted)]
    problems = [problem for f, w in zip(chosen, wanted) for problem in tree.mismatches(f, w)]
    refuse(path, problems + [problem for part in chosen for problem in not_finite(part)])
    return Trunk(chosen[0], chosen[1], pixels, "as the run that trained it did")


def refuse(path: str | Path, problems: Sequence[str]) -> None:
    """Raises ValueError where there are problems with a trunk's file: it lists them."""
    if problems:
        raise ValueError(f"{path} does not fit the trunk: {'; '.join(problems)}")
