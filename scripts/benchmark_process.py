"""A side of a comparison as a process of its own: both ends of its pipes, and the turns that the sides take.

The parent writes a job (JSON) in one line, then one word a line: an action of the side, "ready", or "memory". The child
answers each word with one line of JSON; to an action it says how many seconds it took. Nothing here imports more than
the standard library, so that it runs in every environment.
"""

import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time


class Died(Exception):
    """A side ended before it answered; says which one and what it said last."""


def serve(kinds, versions):
    """Answers the parent until it closes the pipe: the child's end.

    Args:
      kinds: {kind: job -> {action: () -> {"loss": ...}}}; job["kind"] says which to make.
      versions: {package: version} that the figures depend on.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not come between the answers
    job = json.loads(sys.stdin.readline())
    actions, anonymous = kinds[job["kind"]](job), 0.0
    for line in sys.stdin:
        action, began, reply = line.strip(), time.perf_counter(), {}
        if action in actions:
            reply = actions[action]()
            reply = {"seconds": time.perf_counter() - began, **reply}
            anonymous = max(anonymous, status_mb("RssAnon"))
        elif action == "memory":
            reply = {"peak_mb": peak_mb(), "rss_mb": status_mb("VmRSS"), "anonymous_mb": anonymous}
            reply["versions"] = {"python": platform.python_version(), **versions}
        answers.write(json.dumps(reply) + "\n")


def peak_mb():
    """Returns the largest memory that this process has had.

    From /proc where there is one: ru_maxrss also counts what the parent had when it started this process.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return status_mb("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def status_mb(field):
    """Returns a field of /proc/self/status, VmRSS or RssAnon or another, in MB; 0 where there is none."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@contextlib.contextmanager
def side(name, command, job, environment=None):
    """Starts a process and yields ask(action) -> its answer, with "since_start", seconds from start to answer.

    ask raises Died when the process has ended. At the end of the block the process ends too.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )

        def ask(action):
            try:
                process.stdin.write(f"{action}\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                raise Died(f"{name} {_end(process)}: {_last_line(stderr)}")
            return {**json.loads(line), "since_start": time.perf_counter() - began}

        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job) + "\n")
            yield ask
        finally:
            _close(process)


def _close(process):
    """Ends a process: by closing its pipe, then by force."""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=10)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
    process.stdout.close()


def _end(process):
    status = process.wait()
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def _last_line(file):
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def turn(asks, action, report):
    """Asks each side in turn and returns {side: answer}. One that died is reported and taken out of `asks`."""
    answers = {}
    for name in list(asks):
        try:
            answers[name] = asks[name](action)
        except Died as died:
            report(str(died))
            del asks[name]
    return answers


def compare(commands, job, action, rounds, *, first="ready", warmups=1, environment=None, report=print):
    """Runs every side in a process of its own, in turns; only one of them works at any time.

    Args:
      commands: {side: command line}; a side's job also names it, job["side"].
      action: what is timed, `rounds` times each, after `warmups` that do not count.
      first: what each is asked first, before the next one starts.
    Returns: {side: {"first": answer, "rounds": [answers], "memory": answer}} of those that lived to the end.
    """
    with contextlib.ExitStack() as stack:
        asks, firsts = {}, {}
        for name, command in commands.items():
            ask = stack.enter_context(side(name, command, {**job, "side": name}, environment))
            started = {name: ask}
            firsts |= turn(started, first, report)
            asks |= started
        answers = [turn(asks, action, report) for _ in range(warmups + rounds)][warmups:]
        ends = turn(asks, "memory", report)
    return {
        name: {"first": firsts[name], "rounds": [answer[name] for answer in answers], "memory": end}
        for name, end in ends.items()
    }
