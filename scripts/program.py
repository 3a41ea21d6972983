"""A script as a process: its streams, closed or with nobody who reads them, and Ctrl-C while it still imports.

Imported before all else by `flags`, because TensorFlow takes seconds; it has an effect in a script of this folder only.
"""

import os
import sys
import tempfile

from tfcore import signals


def open_all():
    """Opens /dev/null in place of each of the three streams that is closed: else the next file would get its number."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def keep_going():
    """Makes what is printed that cannot be written, or not in the terminal's encoding, no error of the program."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Lasting):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Lasting(stream))


class Lasting:
    """A text stream that drops what cannot be written: `| head -1` has read enough, the disk of a log is full."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        """Writes `text`, or drops it."""
        self._tried(self._stream.write, text)
        return len(text)

    def flush(self):
        """Writes what is waiting, or drops it."""
        self._tried(self._stream.flush)

    def _tried(self, call, *arguments):
        try:
            call(*arguments)
        except (OSError, ValueError):  # ValueError: it was closed
            self._drop()

    def _drop(self):
        """Sends what is still in the buffer, and all that comes, to /dev/null: else it would fail at the end again."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()
        except (OSError, ValueError):
            pass


def _is_script():
    """True where the program is a script of this folder, and not a test or a notebook."""
    program = getattr(sys.modules["__main__"], "__file__", None) or ""
    return os.path.dirname(os.path.abspath(program)) == os.path.dirname(os.path.abspath(__file__))


if _is_script():
    open_all()
    signals.end_in_one_line()
    try:
        tempfile.gettempdir()  # TensorFlow cannot be imported without
    except OSError:
        sys.exit(f"{os.path.basename(sys.argv[0])}: there is no directory for temporary files: set TMPDIR to one")
