"""How a run shows things: names that any terminal, font and file takes, and failures to show that do not end it."""

import contextlib
import sys
import unicodedata


def readable(name: str) -> str:
    r"""Returns a name as it can be shown anywhere: bytes that are not UTF-8 as \xe9, control characters as \x1b."""
    return "".join(_escaped(c) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in name)


def _escaped(character):
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


EXTRAS = {  # what an installation may lack, and the extra of tfcore that brings it
    "matplotlib": "plots",
    "ai_edge_litert": "export",
    "onnxruntime": "export",
    "tf2onnx": "export",
    "optuna": "sweep",
    "pdoc": "docs",
    "scipy": "dev",
}


def with_extra(error: Exception) -> str:
    """Returns the text of an error; of a package that is missing with what to install."""
    name = (error.name or "").split(".")[0] if isinstance(error, ImportError) else ""
    return f"{name} is not installed: pip install tfcore[{EXTRAS[name]}]" if name in EXTRAS else str(error)


def warn(text: str) -> None:
    """Prints the first line of `text` on stderr, where there is one."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        if sys.stderr:
            print(text.splitlines()[0], file=sys.stderr, flush=True)
