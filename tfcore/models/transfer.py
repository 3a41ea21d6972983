"""Transfer learning: a trunk that was trained on something else, and a head of dense layers on its features.

The paths are ``trunk/...`` and ``head/...``, then those of the two networks. The trunk always runs with
`training=False`: its batch norm statistics do not move, whether or not its weights learn.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType

from tfcore import settings
from tfcore.models import cnn, inception_v3, mlp
from tfcore.quiet import tf
from tfcore.types import Array, Seed, Tensor, Tree


@dataclasses.dataclass(frozen=True)
class Config:
    """The network of the InceptionV3 post unless told otherwise: mixed7, then flatten, 1024 relu, dropout 0.2, 1.

    trunk: of `cnn` or `inception_v3`, with top=False.
    head: of `mlp`; its image_shape is that of the features.
    pool_features: the head reads the mean of the features over height and width, (1, 1, C).
    learns_from: the first part of the trunk that learns, such as "mixed6" or "conv3"; "" freezes all of it.
    """

    trunk: cnn.Config | inception_v3.Config = inception_v3.Config(top=False, endpoint="mixed7")
    head: mlp.Config = mlp.Config((7, 7, 768), (1024,), 1, dropout=0.2)
    pool_features: bool = False
    learns_from: str = ""

    def __post_init__(self):
        """Raises ValueError: trunk or head is another network, the trunk has a top or no part `learns_from`."""
        trunks = isinstance(self.trunk, cnn.Config | inception_v3.Config)
        settings.require(trunks, "trunk", type(self.trunk), "must be a Config of cnn or inception_v3")
        settings.require(not self.trunk.top, "trunk.top", self.trunk.top, "must be top=False: the head reads features")
        settings.require(isinstance(self.head, mlp.Config), "head", type(self.head), "must be a Config of mlp")
        settings.flag("pool_features", self.pool_features)
        if self.learns_from != "":
            settings.one_of("learns_from", self.learns_from, trunk_of(self).parts(self.trunk))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The pictures that the trunk reads, (H, W, C)."""
        return self.trunk.image_shape

    @property
    def classes(self) -> int:
        """The width of the logits."""
        return self.head.classes


def trunk_of(config: Config) -> ModuleType:
    """Returns the module of the trunk: its `init`, `forward` and `feature_shape`."""
    return cnn if isinstance(config.trunk, cnn.Config) else inception_v3


def feature_shape(config: Config) -> tuple[int, int, int]:
    """Returns (H, W, C) of what the head reads."""
    height, width, channels = trunk_of(config).feature_shape(config.trunk)
    return (1, 1, channels) if config.pool_features else (height, width, channels)


def fit(config: Config, *, image_shape: tuple[int, int, int], classes: int) -> Config:
    """Returns the configuration for other pictures and classes; the head's input follows."""
    config = dataclasses.replace(config, trunk=dataclasses.replace(config.trunk, image_shape=(*image_shape,)))
    head = dataclasses.replace(config.head, image_shape=feature_shape(config), classes=classes)
    return dataclasses.replace(config, head=head)


def init(seed: Seed, config: Config) -> tuple[Tree, Tree]:
    """Draws the weights {"trunk", "head"}. Returns weights, stats.

    Raises:
      ValueError: the head does not read what the trunk gives; `fit` makes it so.
    """
    features = feature_shape(config)
    if config.head.image_shape != features:
        raise ValueError(f"the trunk gives {features}, the head reads {config.head.image_shape}: call `fit`")
    trunk, stats = trunk_of(config).init(seed, config.trunk)
    head, _ = mlp.init(seed, config.head)
    return {"trunk": trunk, "head": head}, {"trunk": stats}


def forward(
    config: Config, weights: Tree, stats: Tree, x: Array, *, training: bool, seed: Seed | None = None
) -> tuple[Tensor, Tree]:
    """Returns logits [N, classes] and `stats` unchanged.

    Args:
      weights, stats: as `init` returns them; variables, tensors or arrays.
      x: [N, H, W, C] floating.
      training: with a `seed`, the head's dropout is on; the trunk is not told.
    """
    trunk, trunk_stats = weights["trunk"], stats.get("trunk", {})
    if isinstance(config.trunk, inception_v3.Config):  # its norms do not move: a pass over memory less for each
        trunk, trunk_stats = inception_v3.fold(trunk, trunk_stats), {}
    features, _ = trunk_of(config).forward(config.trunk, trunk, trunk_stats, x, training=False)
    logits, _ = mlp.forward(config.head, weights["head"], {}, pooled(config, features), training=training, seed=seed)
    return logits, stats


def pooled(config: Config, features: Tensor) -> Tensor:
    """Returns what the head reads of the trunk's features: [N, H', W', C'] floating."""
    return tf.reduce_mean(features, [1, 2], keepdims=True) if config.pool_features else features


def learns(config: Config) -> Callable[[str], bool]:
    """Returns the predicate of the weights that learn: the head, and the trunk from `learns_from` on."""
    parts = trunk_of(config).parts(config.trunk)
    learning = parts[parts.index(config.learns_from) :] if config.learns_from else []
    return lambda path: path.startswith("head/") or path.split("/")[1] in learning
