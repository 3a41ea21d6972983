"""The small files of a run: JSON values that are checked as they are read, and the rows of metrics.jsonl."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfcore import files

FORMAT = 1  # of config.json, result.json, of each start in environment.json and of each row of metrics.jsonl
START_OVER = "put it back, or clean=True to start over"


def read_json(path: Path, kinds: dict[str, Any] | None = None, *, advice: str = START_OVER) -> Any:
    """Returns the JSON values of a file.

    Args:
      kinds: {name: type} of what it must have, where it is a dictionary; None takes any values.
    Raises:
      ValueError: it is damaged, or of another format; the message names the file, and ends with `advice`.
    """
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {advice}") from None
    for part in values if isinstance(values, list) else [values]:
        check_format(path, part)
    if problem := problem_of(values, kinds) if kinds else "":
        raise ValueError(f"{path} is damaged ({problem}): {advice}")
    return values


def check_format(path: Path, values: dict[str, Any]) -> None:
    """Raises ValueError: what was read from `path` names another version of its format than FORMAT."""
    found = values.get("format", FORMAT) if isinstance(values, dict) else FORMAT  # the first files named none
    if found != FORMAT:
        raise ValueError(f"{path} has version {found} of its format, this tfcore reads {FORMAT}")


def problem_of(values: Any, kinds: dict[str, Any]) -> str:
    """Returns in words why the values are not a dictionary with members of these kinds, "" where they are."""
    if not isinstance(values, dict):
        return "it is no JSON object"
    for name, kind in kinds.items():
        if not isinstance(values.get(name), kind) or isinstance(values.get(name), bool):
            return f"{name} is not what it should be" if name in values else f"it has no {name}"
    return ""


ROW = {"epoch": int, "step": int, "train": dict, "validation": dict}


def rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of metrics.jsonl; a last line that was cut while it was written is left out.

    Raises:
      ValueError: another line is damaged.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            problem = problem_of(values, ROW)
        except (ValueError, RecursionError) as error:
            problem = str(error)
        if not problem:
            check_format(path, values)
            found.append(values)
        elif number < len(lines):  # the last one has no end yet
            raise ValueError(f"{path}: line {number} is damaged ({problem}): {START_OVER}")
    return found


def set_rows(path: Path, kept: list[dict[str, Any]]) -> None:
    """Writes metrics.jsonl anew."""
    files.write_text(path, "".join(json.dumps({"format": FORMAT, **row}) + "\n" for row in kept))


def append(path: Path, row: dict[str, Any]) -> None:
    """Adds a JSON row to a file of lines, durably."""
    with naming(path), open(path, "a") as file:
        file.write(json.dumps({"format": FORMAT, **row}) + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path to an error of the system that names no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename or error.errno is None or error.strerror != os.strerror(error.errno):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
