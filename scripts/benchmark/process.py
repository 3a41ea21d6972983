"""A side of a comparison as a process of its own: both ends of its pipes, and the turns that the sides take.

The parent writes a job (JSON) in one line, then one word a line: an action of the side, "ready", or "memory". The child
answers each word with one line of JSON. Nothing here needs more than the standard library.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Died(Exception):
    """A side ended before it answered; says which one and what it said last."""


def serve(kinds, versions):
    """Answers the parent until it closes the pipe: the child's end.

    Args:
      kinds: {kind: job -> {action: () -> {"result": number, ...}}}; job["kind"] says which to make.
      versions: {package: version} that the figures depend on.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not come between the answers
    job = json.loads(sys.stdin.readline())
    actions, anonymous = kinds[job["kind"]](job), 0.0
    actions |= {
        "ready": dict,
        "memory": lambda: {"peak_mb": peak_mb(), "anonymous_mb": anonymous, "versions": versions},
    }
    versions = {"python": platform.python_version(), **versions}
    for line in sys.stdin:
        began, reply = time.perf_counter(), actions[line.strip()]()
        answers.write(json.dumps({"seconds": time.perf_counter() - began, **reply}) + "\n")
        anonymous = max(anonymous, status_mb("RssAnon"))


def peak_mb():
    """Returns the largest memory that this process has had.

    From /proc where there is one: ru_maxrss also counts what the parent had when it started this process.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return status_mb("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def status_mb(field):
    """Returns a field of /proc/self/status, VmHWM or RssAnon, in MB; 0 where there is none."""
    with contextlib.suppress(OSError):
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields[field].split()[0]) * 1024 / 1e6
    return 0.0


@contextlib.contextmanager
def side(name, command, job):
    """Starts a process and yields ask(action) -> its answer, with "since_start", seconds from start to answer.

    ask raises Died when the process has ended. At the end of the block the process ends too.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # tfcore need not be installed
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    began, pipe = time.perf_counter(), subprocess.PIPE
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, text=True, env=environment)

        def tell(line):
            with contextlib.suppress(BrokenPipeError):  # that no answer comes says enough
                process.stdin.write(f"{line}\n")
                process.stdin.flush()

        def ask(action):
            tell(action)
            if answer := process.stdout.readline():
                return {**json.loads(answer), "since_start": time.perf_counter() - began}
            status = process.wait()
            stderr.seek(0)
            said = (stderr.read().strip().splitlines() or ["it said nothing"])[-1].strip()
            end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise Died(f"{name} {end}: {said}")

        try:
            tell(json.dumps({**job, "side": name}))
            yield ask
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(timeout=10)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()
            process.stdout.close()


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


def in_turns(commands, job, rounds, *, warmups=1, report=print):
    """Runs every side in a process of its own; they start together, then only one of them works at any time.

    Args:
      commands: {side: command line}; a side's job also names it, job["side"].
      job: job["action"] is timed, `rounds` times each, after `warmups` that do not count.
    Returns: {side: {"rounds": [answers], "memory": answer}} of those that lived to the end.
    """
    with contextlib.ExitStack() as stack:
        asks = {name: stack.enter_context(side(name, command, job)) for name, command in commands.items()}
        turn(asks, "ready", report)
        answers = [turn(asks, job["action"], report) for _ in range(warmups + rounds)][warmups:]
        ends = turn(asks, "memory", report)
    return {name: {"rounds": [answer[name] for answer in answers], "memory": end} for name, end in ends.items()}


def once(commands, job, rounds, *, report=print):
    """As `in_turns`, of what is too long to be repeated, or shows itself at once."""
    return in_turns(commands, job, 1, warmups=0, report=report)


def from_start(commands, job, rounds, *, report=print):
    """As `in_turns`, timed from the start of a process to its answer, each time in new ones, one after the other."""
    found = {name: [] for name in commands}
    for _ in range(rounds + (rounds > 1)):  # the first of several does not count: it reads the libraries from disk
        for name in list(found):
            raw = once({name: commands[name]}, job, 1, report=report)
            if name not in raw:
                del found[name]
                continue
            (answer,), memory = raw[name]["rounds"], raw[name]["memory"]
            found[name].append(({**answer, "seconds": answer["since_start"]}, memory))
    return {
        name: {"rounds": [answer for answer, _ in pairs[-rounds:]], "memory": pairs[-1][1]}
        for name, pairs in found.items()
    }
