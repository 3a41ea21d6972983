"""Transfer learning: a trunk that was trained on something else, and a head of dense layers on its features.

The paths are ``trunk/...`` and ``head/...``, then those of the two networks. The trunk always runs with
`training=False`: its batch norm statistics do not move, whether or not its weights learn.
"""

import dataclasses

from tfcore import settings
from tfcore.models import cnn, inception_v3, mlp


@dataclasses.dataclass(frozen=True)
class Config:
    """The network of the InceptionV3 post unless told otherwise: mixed7, then flatten, 1024 relu, dropout 0.2, 1.

    trunk: of `cnn` or `inception_v3`, with top=False.
    head: of `mlp`; its image_shape is the trunk's feature_shape.
    learns_from: the first part of the trunk that learns, such as "mixed6" or "conv3"; "" freezes all of it.
    """

    trunk: cnn.Config | inception_v3.Config = inception_v3.Config(top=False, endpoint="mixed7")
    head: mlp.Config = mlp.Config((7, 7, 768), (1024,), 1, dropout=0.2)
    learns_from: str = ""

    def __post_init__(self):
        """Raises ValueError: trunk or head is another network, the trunk has a top or no part `learns_from`."""
        trunks = isinstance(self.trunk, cnn.Config | inception_v3.Config)
        settings.require(trunks, "trunk", type(self.trunk), "must be a Config of cnn or inception_v3")
        settings.require(not self.trunk.top, "trunk.top", self.trunk.top, "must be top=False: the head reads features")
        settings.require(isinstance(self.head, mlp.Config), "head", type(self.head), "must be a Config of mlp")
        if self.learns_from != "":
            settings.one_of("learns_from", self.learns_from, trunk_of(self).parts(self.trunk))

    @property
    def image_shape(self):
        """The pictures that the trunk reads, (H, W, C)."""
        return self.trunk.image_shape

    @property
    def classes(self):
        """The width of the logits."""
        return self.head.classes


def trunk_of(config):
    """Returns the module of the trunk: its `init`, `forward` and `feature_shape`."""
    return cnn if isinstance(config.trunk, cnn.Config) else inception_v3


def fit(config, *, image_shape, classes):
    """Returns the configuration for other pictures and classes; the head's input follows."""
    trunk = dataclasses.replace(config.trunk, image_shape=tuple(image_shape))
    features = trunk_of(config).feature_shape(trunk)
    return dataclasses.replace(
        config, trunk=trunk, head=dataclasses.replace(config.head, image_shape=features, classes=classes)
    )


def init(seed, config):
    """Draws the weights {"trunk", "head"}. Returns weights, stats.

    Raises:
      ValueError: the head does not read what the trunk gives; `fit` makes it so.
    """
    features = trunk_of(config).feature_shape(config.trunk)
    if config.head.image_shape != features:
        raise ValueError(f"the trunk gives {features}, the head reads {config.head.image_shape}: call `fit`")
    trunk, stats = trunk_of(config).init(seed, config.trunk)
    head, _ = mlp.init(seed, config.head)
    return {"trunk": trunk, "head": head}, {"trunk": stats}


def forward(config, weights, stats, x, *, training, seed=None):
    """Returns logits [N, classes] and `stats` unchanged.

    Args:
      weights, stats: as `init` returns them; variables, tensors or arrays.
      x: [N, H, W, C] floating.
      training: with a `seed`, the head's dropout is on; the trunk is not told.
    """
    trunk = trunk_of(config)
    features, _ = trunk.forward(config.trunk, weights["trunk"], stats.get("trunk", {}), x, training=False)
    logits, _ = mlp.forward(config.head, weights["head"], {}, features, training=training, seed=seed)
    return logits, stats


def learns(config):
    """Returns the predicate of the weights that learn: the head, and the trunk from `learns_from` on."""
    parts = trunk_of(config).parts(config.trunk)
    learning = parts[parts.index(config.learns_from) :] if config.learns_from else []
    return lambda path: path.startswith("head/") or path.split("/")[1] in learning
