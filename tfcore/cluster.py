"""The workers of a cluster: what TF_CONFIG says of them, whether they are there, and who is gone.

A worker is asked by a connection to its port, which answers without being spoken to: before TensorFlow's server runs a
`Door` does, then the server itself. A stopped process takes connections and answers nothing.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

COME = 35.0  # seconds in which all workers must have come
MEET = 12.0  # and then have begun together
ANSWER = 3.0  # in which a worker answers
REFUSED, SILENT = 6.0, 12.0  # after which one is gone whose port is closed, or does not answer
EVERY = 2.0  # between two questions
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'


class Cluster(NamedTuple):
    """Addresses of all workers, "host:port", the chief's first, and the number of this one."""

    addresses: tuple[str, ...]
    index: int  # type: ignore[assignment]  # a tuple has a method of this name

    @property
    def others(self) -> list[int]:
        """The numbers of the other workers."""
        return [i for i in range(len(self.addresses)) if i != self.index]

    def name(self, i: int) -> str:
        """Returns "worker 1 (host:port)"."""
        return f"worker {i} ({self.addresses[i]})"


def from_environment(text: str | None = None) -> Cluster:
    """Returns the Cluster of TF_CONFIG, the variable that TensorFlow reads, or of `text` in its place.

    Raises:
      ValueError: it is missing, or not what it should be; the sentence shows what is.
    """
    text = os.environ.get("TF_CONFIG", "") if text is None else text
    if not text.strip():
        raise ValueError(f"strategy=multi_worker reads the variable TF_CONFIG, which is not set: {EXAMPLE}")
    try:
        found = json.loads(text)
        jobs, task = found["cluster"], found["task"]
        kind, index = task["type"], task["index"]
        addresses = [(job, str(address)) for job in ("chief", "worker") for address in jobs.get(job, [])]
        index = addresses.index((kind, str(jobs[kind][int(index)])))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG does not name this worker ({type(error).__name__}: {error}): {EXAMPLE}") from None
    cluster = Cluster(tuple(address for _, address in addresses), index)
    for address in cluster.addresses:
        host_and_port(address)
    if len(set(cluster.addresses)) < len(cluster.addresses):
        raise ValueError(f"TF_CONFIG names an address twice: {', '.join(cluster.addresses)}")
    return cluster


def host_and_port(address: str) -> tuple[str, int]:
    """Returns ("host", 2222) of "host:2222". Raises ValueError: it is something else."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"TF_CONFIG: {address!r} must be host:port, such as host1:2222")
    return host.strip("[]"), int(port)


def trouble(address: str, seconds: float = ANSWER) -> str:
    """Returns in words why a worker's port says nothing within so many seconds, "" where it does."""
    try:
        with socket.create_connection(host_and_port(address), timeout=seconds) as connection:
            connection.settimeout(seconds)
            return "" if connection.recv(1) else "its port is closed"
    except TimeoutError:
        return "it does not answer"
    except ConnectionError:
        return "its port is closed"
    except OSError as error:
        return f"it cannot be reached: {error.strerror or error}"


@contextlib.contextmanager
def door(address: str) -> Iterator[None]:
    """Answers on the port of this worker while the block runs, so that the others see that it has come.

    Raises:
      OSError: the port is in use.
    """
    _, port = host_and_port(address)
    try:
        listener = socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise OSError(f"port {port} of this worker, from TF_CONFIG, cannot be opened: {error.strerror}") from None

    def answer():
        with contextlib.suppress(OSError):  # it is closed
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(b"tfcore\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def wait_for_all(cluster: Cluster, seconds: float = COME) -> None:
    """Waits until the port of every other worker answers.

    Raises:
      ConnectionError: some did not within so many seconds; it names them.
    """
    missing, end, reasons = cluster.others, time.monotonic() + seconds, {}
    while missing:
        reasons = {i: trouble(cluster.addresses[i], 1.0) for i in missing}
        missing = [i for i in missing if reasons[i]]
        if missing and time.monotonic() > end:
            absent = ", ".join(f"{cluster.name(i)}: {reasons[i]}" for i in missing)
            raise ConnectionError(f"waited {seconds:.0f} s for all {len(cluster.addresses)} workers; {absent}")
        time.sleep(0.1 if missing else 0)


class Watch:
    """Asks the other workers again and again, in a thread, and ends this process when one is gone.

    The process may wait in C++ for that worker, without end and deaf to signals; so it is ended from here.
    """

    def __init__(self, cluster: Cluster, *, end: Callable[[str], object] | None = None) -> None:
        self._cluster, self._end = cluster, end or end_process
        self._over = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    @contextlib.contextmanager
    def begun_within(self, seconds: float) -> Iterator[None]:
        """Ends this process unless the block, in which all workers begin, has ended within so many seconds."""
        self._deadline = time.monotonic() + seconds
        yield
        self._deadline = None

    def _watch(self):
        heard = dict.fromkeys(self._cluster.others, time.monotonic())
        while not self._over.wait(EVERY):
            for i in self._cluster.others:
                reason, now = trouble(self._cluster.addresses[i]), time.monotonic()
                if self._over.is_set():
                    return
                heard[i] = heard[i] if reason else now
                patience = REFUSED if reason == "its port is closed" else SILENT
                if now - heard[i] > patience:
                    self._end(gone(self._cluster.name(i), reason))
            if self._deadline and time.monotonic() > self._deadline:
                self._end(f"the workers have come, but did not begin together; {self._silent()}")

    def _silent(self):
        reasons = {i: trouble(self._cluster.addresses[i]) for i in self._cluster.others}
        found = [f"{self._cluster.name(i)}: {reason}" for i, reason in reasons.items() if reason]
        return ", ".join(found) or f"others are {', '.join(map(self._cluster.name, self._cluster.others))}"


def gone(name: str, reason: str) -> str:
    """Returns the sentence with which a process ends when another worker is gone."""
    return f"{name} is gone ({reason}), so this one ends; the same command on all goes on from the last checkpoint"


def first_gone(cluster: Cluster, seconds: float = SILENT) -> str:
    """Returns the sentence of the first other worker that is found to be gone, "" where all answer for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i in cluster.others:
            if reason := trouble(cluster.addresses[i]):
                return gone(cluster.name(i), reason)
        time.sleep(0.5)
    return ""


def end_process(sentence: str) -> None:
    """Ends the process at once, with status 1 and one line on stderr; checkpoints are whole whenever that is."""
    with contextlib.suppress(OSError):
        os.write(2, f"{os.path.basename(sys.argv[0])}: {sentence}\n".encode(errors="replace"))
    os._exit(1)
