"""Downloads that end whole, verified and on time, or leave nothing under the final name."""

import fcntl
import hashlib
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

CHUNK = 1 << 16


def download(url, path, *, sha256, size, deadline=1800.0, attempts=3, connect_timeout=10.0):
    """Fetches `url` to `path`; a cut download is kept beside it as .part and continued where the server allows.

    Args:
      sha256: the hash of the file, in hexadecimal.
      size: its length in bytes; the download stops at one byte more.
      deadline: seconds for all attempts together.
      attempts: how often to try when the connection breaks.
      connect_timeout: seconds to wait for a connection and between two arrivals of data.
    Raises:
      OSError: it could not be had; the message says why and nothing is under `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    ends = time.monotonic() + deadline
    with open(part, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a second process waits here, then finds the finished file
        if path.exists():
            part.unlink(missing_ok=True)
            return
        for attempt in range(1, attempts + 1):
            try:
                _fetch(url, file, size, ends, connect_timeout)
                _verify(url, part, sha256)
                break
            except OSError as error:  # requests' errors are OSErrors too
                if attempt == attempts or time.monotonic() > ends or isinstance(error, PermissionError):
                    raise OSError(f"cannot download {url}: {_reason(error)}") from None
        os.fsync(file.fileno())
        os.replace(part, path)


def _fetch(url, file, size, ends, connect_timeout):
    """Appends to `file` what is missing of `url`. requests knows http and https only, also after a redirect."""
    import requests

    have = os.fstat(file.fileno()).st_size
    if have >= size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    headers["Accept-Encoding"] = "identity"
    with requests.get(url, headers=headers, stream=True, timeout=connect_timeout) as response:
        response.raise_for_status()
        if response.status_code != 206:  # the server sends all of it again
            file.truncate(0)
            have = 0
        with tqdm(
            total=size, initial=have, unit="B", unit_scale=True, desc=Path(url).name, disable=not sys.stderr.isatty()
        ) as bar:
            while chunk := response.raw.read1(CHUNK):
                have += len(chunk)
                if have > size:
                    file.truncate(0)
                    raise OSError(f"the server sends more than the {size} bytes of the published file")
                if time.monotonic() > ends:
                    raise OSError(f"not finished in time, {have} of {size} bytes came")
                file.write(chunk)
                bar.update(len(chunk))
        file.flush()
    if have < size:
        raise OSError(f"cut after {have} of {size} bytes")


def _verify(url, part, sha256):
    """Raises OSError, and empties the file, when the hash is not the published one."""
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        os.truncate(part, 0)
        raise OSError(f"its sha256 is {found[:16]}…, not the published {sha256[:16]}…")


def _reason(error):
    """Returns the innermost message of requests' nested errors, in one line."""
    while getattr(error, "args", None) and isinstance(error.args[0], BaseException):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return str(reason if reason is not None else error).splitlines()[0]
