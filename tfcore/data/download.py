"""Downloads that end whole, verified and on time, or leave nothing under the final name."""

import contextlib
import hashlib
import os
import queue
import threading
import time
import urllib.parse
from pathlib import Path

from tfcore.data.meter import meter
from tfcore.files import locked, sync_directory

CHUNK = 1 << 16
MAX_REDIRECTS = 5
MAX_DIGITS = 20  # of the length that a server announces
MAX_SHOWN = 300  # characters of what a server says


class _Refused(OSError):
    """What another attempt would not change."""


def download(
    url: str,
    path: str | Path,
    *,
    size: int,
    sha256: str | None = None,
    md5: str | None = None,
    deadline: float = 1800.0,
    attempts: int = 3,
    connect_timeout: float = 10.0,
) -> None:
    """Fetches `url` to `path`; a cut download is kept beside it as .part and continued where the server allows.

    Args:
      sha256, md5: the published hash of the file, in hexadecimal; md5 only where no better one is published.
      size: its length in bytes; the download stops at one byte more.
      deadline: seconds for all attempts together, the wait for another process that fetches the same file included.
      attempts: how often to try when the connection breaks.
      connect_timeout: seconds to wait for a connection and between two arrivals of data.
    Raises:
      OSError: it could not be had; the message says why and nothing is under `path`.
    """
    path, published = Path(path), ("sha256", sha256) if sha256 else ("md5", md5)
    part, ends = path.with_name(path.name + ".part"), time.monotonic() + deadline
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(path.parent, ends):  # a second process waits here, then finds the finished file
            if not path.exists():
                with open(part, "ab", buffering=0) as file:  # unbuffered: the length of the file is what has come
                    _fetch_verified(url, file, part, published, size, ends, attempts, connect_timeout)
                    os.fsync(file.fileno())
                os.replace(part, path)
                sync_directory(path.parent)
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot download {_shown(str(url))}: {_reason(error)}") from None


@contextlib.contextmanager
def _alone(directory, ends):
    """Holds `directory`, for which it waits until `ends`."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(directory))
                break
            except BlockingIOError as error:
                if time.monotonic() > ends:
                    raise _Refused(str(error)) from None
                time.sleep(0.05)
        yield


def _fetch_verified(url, file, part, published, size, ends, attempts, timeout):
    """Completes `file`, which is `part`, in at most that many attempts."""
    for left in reversed(range(max(attempts, 1))):
        try:
            _fetch(url, file, size, ends, timeout)
            return _verify(part, *published)
        except OSError as error:  # requests' errors are OSErrors too
            if not left or time.monotonic() > ends or isinstance(error, _Refused):
                raise


def _fetch(url, file, size, ends, timeout):
    """Appends to `file` what is missing of `url`."""
    have = os.fstat(file.fileno()).st_size
    if have == size:
        return
    if have > size:
        file.truncate(0)
        have = 0
    with contextlib.closing(_arrivals(url, have, timeout, ends)) as arrivals:
        response = next(arrivals)
        have = _begin(response, file, have, size)
        with meter(Path(url).name, size, "MB", done=have, scale=10**6) as advance:
            for chunk in arrivals:
                have += len(chunk)
                if have > size:
                    file.truncate(0)
                    raise _Refused(f"the server sends more than the {size} bytes of the published file")
                if file.write(chunk) < len(chunk):
                    raise _Refused("the disk is full")
                advance(len(chunk))
    if have < size:
        raise OSError(f"cut after {have} of {size} bytes")


def _begin(response, file, have, size):
    """Returns how much of `file` the response continues; empties the file when it does not.

    Raises:
      OSError: an error status, or an answer that is not the published file.
    """
    status, length = response.status_code, response.headers.get("Content-Length", "")
    start = have if status == 206 else 0  # any other status: the server sends all of it again
    if len(length) > MAX_DIGITS:
        raise _Refused(f"the server announces a length of {len(length):,} digits")
    total = start + int(length) if length.isascii() and length.isdecimal() else size
    if status == 416:
        file.truncate(0)
        raise OSError(f"the server has less than the {have} bytes that came before")
    if status >= 400:
        raise (_Refused if status < 500 else OSError)(f"the server says {status} {response.reason or ''}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _Refused("the server sends an HTML page, not the file")
    if total != size:
        raise _Refused(f"the server announces {total} bytes, the published file has {size}")
    if start == 0:
        file.truncate(0)
    return start


def _arrivals(url, have, timeout, ends):
    """Yields the response, then its body from byte `have` as it comes.

    A socket's timeout begins anew with each byte, and looking up a name has none. So another thread waits for the
    network, and this one for that thread, until `ends`; a thread left behind stops at the next byte or timeout.
    """
    arrived, left = queue.Queue(maxsize=16), threading.Event()
    timeout = max(0.01, min(timeout, ends - time.monotonic()))
    threading.Thread(target=_receive, args=(url, have, timeout, arrived, left), daemon=True).start()
    try:
        while True:
            try:
                item = arrived.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                item = None
            if time.monotonic() > ends or item is None:
                raise _Refused("not finished in time")
            if isinstance(item, Exception):
                raise item if isinstance(item, OSError) else OSError(_reason(item))
            if item == b"":
                return
            yield item
    finally:
        left.set()
        with contextlib.suppress(queue.Empty):
            while True:  # makes room, in case the thread waits for it
                arrived.get_nowait()


def _receive(url, have, timeout, arrived, left):
    """Puts the response, each piece of its body and b"" into the queue, or the error; ends when `left` is set."""
    try:
        with _get(url, {"Range": f"bytes={have}-"} if have else {}, timeout) as response:
            arrived.put(response)
            while not left.is_set() and (chunk := response.raw.read1(CHUNK)):
                arrived.put(chunk)
        arrived.put(b"")
    except Exception as error:  # whatever it is, it belongs to the thread that waits
        arrived.put(error)


def _get(url, headers, timeout):
    """Returns the response to a GET, its body unread, after redirects. requests knows http and https only.

    It would read the body of each redirect, however long; so it is shown none, and they are followed here.
    """
    import requests

    session = requests.Session()
    session.get_redirect_target = lambda response: None
    headers = {"Accept-Encoding": "identity", **headers}
    for _ in range(MAX_REDIRECTS + 1):
        try:
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
        except ValueError as error:  # an address that is none, or neither http nor https
            raise _Refused(_reason(error)) from None
        if not response.is_redirect:
            return response
        url = urllib.parse.urljoin(url, response.headers["Location"])
        response.close()
    raise _Refused(f"more than {MAX_REDIRECTS} redirects")


def _verify(part, algorithm, published):
    """Raises OSError, and empties the file, when the hash is not the published one."""
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != published:
        os.truncate(part, 0)
        raise OSError(f"its {algorithm} is {found[:16]}…, not the published {published[:16]}…")


def _reason(error):
    """Returns the innermost message of requests' nested errors, in one line."""
    from urllib3.exceptions import MaxRetryError  # which comes with requests

    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    if isinstance(error, MaxRetryError) and error.reason:
        error = error.reason
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return _shown(text) or type(error).__name__


def _shown(text):
    """Returns a text of a server's in one line of moderate length, without what would steer a terminal."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
