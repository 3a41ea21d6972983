"""Starts the workers of a run on this machine, each with its TF_CONFIG, and ends them together.

python scripts/launch.py --workers=2 -- python scripts/train_cnn.py --dataset=fashion_mnist
python scripts/launch.py --workers=2 --restarts=3 -- python scripts/train_cnn.py --dataset=fashion_mnist
"""

import flags

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from absl.flags import DEFINE_boolean, DEFINE_integer

ENDING = 8.0  # seconds that workers have to end by themselves, once one has
KILLING = 3.0  # and then after SIGTERM
THREADS = "TF_NUM_INTRAOP_THREADS"


def define(values):
    """Defines the flags."""
    given = {"flag_values": values, "lower_bound": 0}
    DEFINE_integer("workers", 2, "what: how many processes", flag_values=values, lower_bound=1)
    DEFINE_integer("restarts", 0, "what: how often they start again, from the last checkpoint", **given)
    DEFINE_boolean("share_cores", True, "more what: give each worker its part of the cores", flag_values=values)


def main(values, command):
    """Runs the command in all workers, again where one failed and --restarts allows it; "python" is this one."""
    if not command:
        raise flags.usage_error("after -- comes the command, such as -- python scripts/train_cnn.py")
    command = [sys.executable if command[0] in ("python", "python3") else command[0], *command[1:]]
    for left in reversed(range(values.restarts + 1)):
        with Workers(command, values.workers, share_cores=values.share_cores) as workers:
            status, sentence = workers.wait()
        if status == 0:
            return
        if status in (2, 130, 143) or not left:  # wrong usage, or asked to stop
            break
        print(f"launch.py: {sentence}; started again, {left} left", file=sys.stderr, flush=True)
    if sentence:
        print(f"launch.py: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(status)


class Workers:
    """The processes of a run on this machine, whose lines are printed, or told, with its number before each."""

    def __init__(self, command, count, *, share_cores=True, cluster=True, tell=None):
        self._command, self._signum, self._tell = command, 0, tell or functools.partial(print, flush=True)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if share_cores:  # else each of them takes all cores, and they wait for each other
            environment.setdefault(THREADS, str(max(1, len(os.sched_getaffinity(0)) // count)))
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.processes, self._readers = [], []
        for i in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
            self._start({**environment, **({"TF_CONFIG": json.dumps(config)} if cluster else {})})

    def _start(self, environment):
        """Starts a process in a group of its own, so that Ctrl-C reaches it once, from here."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(self._command, **streams, env=environment, process_group=0)
        reader = threading.Thread(target=self._read, args=(process.stdout, len(self.processes)), daemon=True)
        reader.start()
        self.processes.append(process)
        self._readers.append(reader)

    def _read(self, stream, number):
        for line in stream:
            self._tell(f"[{number}] {line.decode(errors='backslashreplace').rstrip()}")

    def __enter__(self):
        self._before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for process in self.processes:
            _send(process, signal.SIGKILL)  # of a group that has ended it reaches what that left
            process.wait()
        for reader in self._readers:
            reader.join(1.0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, signum, frame):
        self._signum = signum
        for process in self.processes:
            _send(process, signum)

    def wait(self):
        """Waits until all have ended, or ends those that are left when one has failed.

        Returns: the exit status, and in words who failed first, "" where none did or a signal was passed on.
        """
        while not (failed := self._failed()) and any(process.poll() is None for process in self.processes):
            time.sleep(0.05)
        if failed:
            self._end()
        if self._signum:
            return 128 + self._signum, ""
        return failed or (0, "")

    def _failed(self):
        """Returns status and description of the first process that has failed."""
        for i, process in enumerate(self.processes):
            status = process.poll()
            if status:
                how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
                return (128 - status if status < 0 else status), f"worker {i} {how}"
        return None

    def _end(self):
        """Lets the processes end by themselves, then asks them to; what still lives is killed at the end."""
        for signum, seconds in ((None, ENDING), (signal.SIGTERM, KILLING)):
            for process in self.processes:
                if signum and process.poll() is None:
                    _send(process, signum)
            end = time.monotonic() + seconds
            while time.monotonic() < end and any(process.poll() is None for process in self.processes):
                time.sleep(0.05)


def _send(process, signum):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signum)


def free_ports(count):
    """Returns ports of this machine that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [found.getsockname()[1] for found in sockets]


if __name__ == "__main__":
    flags.start(main, define, positional=True)
