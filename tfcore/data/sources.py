"""Where the sets that have a name are: on disk, or where they are published."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from tfcore.data.download import download

PICTURES = ("cats_vs_dogs", "folder")
NAMES = ("mnist", "fashion_mnist", "digits", *PICTURES)

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGIT_CLASSES = tuple("0123456789")

_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# Each set: its address, its classes, and of each published file the length and the sha256.
SOURCES = {
    "mnist": (_MNIST, DIGIT_CLASSES, {
        "train-images-idx3-ubyte": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    }),
    "fashion_mnist": (_FASHION, FASHION_CLASSES, {
        "train-images-idx3-ubyte": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        "train-labels-idx1-ubyte": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        "t10k-images-idx3-ubyte": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        "t10k-labels-idx1-ubyte": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    }),
}  # fmt: skip

# Of each set's labels the sha256: all these files have one form, so that one set could pass for another.
OWNERS = {
    "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13": "mnist",
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5": "mnist",
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": "fashion_mnist",
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9": "fashion_mnist",
}


CATS_VS_DOGS = (
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    824887076,
    "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
)
QUICK = 20.0  # seconds that a set nobody asked for by name may take to come


def cache_dir() -> Path:
    """Returns the user's cache, ~/.cache/tfcore unless XDG_CACHE_HOME says otherwise."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfcore"
    except RuntimeError:
        raise FileNotFoundError("there is no home directory for the cache: set XDG_CACHE_HOME to a directory") from None


def find_files(
    name: str, data_dir: str | Path | None = None, *, deadline: float = 1800.0, attempts: int = 3
) -> dict[str, Path]:
    """Returns {published name: path} of a set's four files; downloads what is nowhere.

    Args:
      name, data_dir: as in `load`; the files are in the folder `name` there, or in `data_dir` itself.
      deadline: seconds for all downloads together.
      attempts: how often to try each.
    Raises:
      OSError: a file is missing from `data_dir`, or cannot be downloaded.
    """
    (address, _, files), places = SOURCES[name], _places(data_dir)
    ends, found = time.monotonic() + deadline, _found_files(name, places)
    for file in (file for file in files if file not in found):
        if data_dir:
            hint = "put it there, or leave data_dir=... out to download it"
            raise FileNotFoundError(f"no {file}.gz in {places[0] / name}: {hint}")
        (size, sha256), path, left = files[file], places[-1] / name / f"{file}.gz", ends - time.monotonic()
        download(f"{address}{file}.gz", path, sha256=sha256, size=size, deadline=left, attempts=attempts)
        found[file] = path
    return found


def _found_files(name, places):
    """Returns {published name: path} of those files of a set that are on disk."""
    candidates = (
        (file, place / sub / (file + end))
        for file in SOURCES[name][2] for place in reversed(places) for sub in (".", name) for end in ("", ".gz")
    )  # fmt: skip
    return {file: path for file, path in candidates if path.is_file()}  # the last one counts


def _places(data_dir):
    """Returns where to look, in this order; the last one is where a download goes."""
    if data_dir:
        return [Path(data_dir).expanduser()]
    given = os.environ.get("TFCORE_DATA_DIR")
    return [*([Path(given).expanduser()] if given else []), cache_dir()]


def find_pictures(name: str, data_dir: str | Path | None = None) -> Path:
    """Returns the folder or zip of a set of pictures; downloads cats_vs_dogs where it is nowhere. As `find_files`.

    Raises:
      ValueError: "folder" without `data_dir`.
      OSError: it is not in `data_dir`, or cannot be downloaded.
    """
    if name == "folder" and not data_dir:
        raise ValueError("dataset=folder wants data_dir=..., a folder CLASS/*.jpg, or a zip of one")
    places = _places(data_dir)
    path = places[0] if name == "folder" else _found_pictures(name, places, data_dir)
    if path:
        return path
    url, size, sha256 = CATS_VS_DOGS
    if data_dir:
        hint = "put it there, or leave data_dir=... out"
        raise FileNotFoundError(f"no {' or '.join(_picture_files())} in {places[0]}: {hint}")
    path = places[-1] / name / Path(url).name
    download(url, path, sha256=sha256, size=size)
    return path


def _picture_files():
    return "PetImages", "PetImages.zip", Path(CATS_VS_DOGS[0]).name


def _found_pictures(name, places, data_dir):
    """Returns the folder or zip of cats_vs_dogs on disk, or None."""
    for path in (place / sub / file for place in places for sub in (name, ".") for file in _picture_files()):
        if path.exists():
            return path
    itself = data_dir and (places[0].is_file() or (places[0] / "Cat").is_dir() or (places[0] / "cat").is_dir())
    return places[0] if itself else None


def first_at_hand(names: Iterable[str], data_dir: str | Path | None = None) -> tuple[str, str]:
    """Returns the first of these sets that is on disk or can be fetched within seconds, and why it is that one.

    Args:
      names: of sets. Only MNIST and Fashion-MNIST are fetched, for QUICK seconds at most, and not with a `data_dir`;
        digits is always at hand.
      data_dir: as in `load`.
    Returns: the name, and a short sentence such as "cats_vs_dogs is not on disk; fashion_mnist is".
    Raises:
      FileNotFoundError: none is at hand.
    """
    ends, where = time.monotonic() + QUICK, f"in {data_dir}" if data_dir else "on disk"
    missing = []
    for name in names:
        how = _at_hand(name, data_dir, ends)
        if how is None:
            missing.append(name)
            continue
        why = f"{name} {how or f'is {where}'}"
        if missing:
            why = f"{_missing(missing, where)}; {name} {how or 'is'}"
        elif name == "cats_vs_dogs":
            why = f"the photographs are {where}"
        return name, why
    raise FileNotFoundError(_missing(missing, where))


def _at_hand(name, data_dir, ends):
    """Returns "" when the set is on disk, None when it is not at hand, else the words for where it comes from."""
    places = _places(data_dir)
    if name == "digits":
        return "comes with scikit-learn"
    if name == "folder":
        return "" if data_dir and places[0].exists() else None
    if name == "cats_vs_dogs":
        return "" if _found_pictures(name, places, data_dir) else None
    if len(_found_files(name, places)) == len(SOURCES[name][2]):
        return ""
    try:
        find_files(name, data_dir, deadline=ends - time.monotonic(), attempts=1)
        return "was fetched"
    except OSError:
        return None


def _missing(names, where):
    """Returns that none of the sets is there: "neither mnist nor fashion_mnist is on disk or quickly fetched"."""
    fetched = where == "on disk" and any(name in SOURCES for name in names)
    if len(names) == 1:
        return f"{names[0]} is neither {where} nor quickly fetched" if fetched else f"{names[0]} is not {where}"
    listed = f"neither {' nor '.join(names)}" if len(names) == 2 else f"none of {', '.join(names)}"
    return f"{listed} is {where}{' or quickly fetched' if fetched else ''}"
