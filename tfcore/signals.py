"""Ctrl-C and SIGTERM: noted where there is something to save, raised where not; the second one ends the process."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)
_watched: set[int] = set()  # the pipes of this process, of `second_ends`


class Asked(KeyboardInterrupt):
    """A signal came inside `Requests.at_once`, or a second one where nothing watches for it."""


class Requests(list):
    """The numbers of the signals that came, the first first."""

    raising = False

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Is the handler: it only takes the number down, so that two signals in one call are no trouble."""
        self.append(signum)
        impatient = len(self) > 1 and not _watched  # as in Jupyter, where no thread of ours ends the process
        if self.raising or impatient:
            self.raising = False
            raise Asked

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Ends the block, which changes nothing that lasts, when a signal comes or has come: it raises Asked."""
        if self:
            raise Asked
        self.raising = True
        try:
            yield
        finally:
            self.raising = False


@contextlib.contextmanager
def stop_requested() -> Iterator[Requests]:
    """Yields the Requests that receive SIGINT and SIGTERM; the second ends the process, as `second_ends` says."""
    received = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {number: signal.signal(number, received.note) for number in STOPS}
    try:
        with second_ends():
            yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _let_go_in_child():
    """Stops a forked child from writing its signals into the pipe of its parent, who would count them as its own."""
    if _watched:
        signal.set_wakeup_fd(-1)
        _watched.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextlib.contextmanager
def second_ends() -> Iterator[None]:
    """While the block runs the second SIGINT or SIGTERM ends the process with 128 + its number, whatever C++ does.

    Python's own handlers wait until C++ returns; a thread that reads what the system's handler wrote does not. Where
    something else, such as an event loop, is told of signals already, this does nothing. Call it in the main thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
        yield
        return
    _watched.add(writer)
    thread = threading.Thread(target=_watch, args=(reader,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        _watched.discard(writer)
        signal.set_wakeup_fd(-1)
        os.close(writer)  # so that the thread ends
        thread.join()


def _watch(reader):
    """Reads the numbers of signals until the other end is closed."""
    count = 0
    while numbers := os.read(reader, 64):
        for number in numbers:
            count += number in STOPS
            if count == 2:
                end_now(number)
    os.close(reader)


def end_in_one_line() -> None:
    """Makes the first SIGINT or SIGTERM end the process at once with one line: where nothing is to be saved or removed.

    An exception would not do while modules are imported: it may become another one there, with a traceback.
    """
    stderr = os.dup(2)  # descriptor 2 is another file while TensorFlow is imported
    for number in STOPS:
        signal.signal(number, lambda signum, frame: end_now(signum, stderr))


def end_now(signum: int, stderr: int = 2) -> None:
    """Ends the process at once with one line on stderr; what is being written is left as after a kill."""
    line = f"{os.path.basename(sys.argv[0])}: ended by {signal.Signals(signum).name}\n"
    with contextlib.suppress(OSError):
        os.write(stderr, (("\n" if os.isatty(stderr) else "") + line).encode(errors="replace"))  # below a bar
    os._exit(128 + signum)
