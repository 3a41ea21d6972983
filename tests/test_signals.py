"""Signals in small programs of their own: what is noted, what ends at once, and the second one."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tfcore import signals


def child(code):
    """Starts a program and waits until it says "ready"."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import os, signal, sys, time; sys.argv = ['it.py']\n" + textwrap.dedent(code)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


BUSY = """
    import hashlib
    from tfcore import signals
    with signals.stop_requested() as stop:
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # C that looks at no signal, for minutes
"""


@pytest.mark.parametrize("second", signals.STOPS, ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_within_a_second_whatever_c_does(second):
    process = child(BUSY)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(second)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + second
    assert time.monotonic() - began < 1 + 2  # of a machine that does other things too
    assert errors == f"it.py: ended by {second.name}\n"


def test_signals_of_two_kinds_in_one_call_print_nothing_of_python():
    """Both are pending when Python looks: the thread that ends the process may or may not be faster."""
    process = child("""
        from tfcore import signals
        with signals.stop_requested() as stop:
            signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOPS)
            print("ready", flush=True)
            time.sleep(0.5)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOPS)
            time.sleep(20)
    """)
    for number in signals.STOPS:
        process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (130, 143)
    assert errors.count("\n") == 1 and "ended by" in errors


def test_one_signal_is_noted_and_the_handlers_come_back():
    before = [signal.getsignal(number) for number in signals.STOPS]
    with signals.stop_requested() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop == [signal.SIGTERM]
        with pytest.raises(signals.Asked), stop.at_once():
            pytest.fail("it had come before")
    assert [signal.getsignal(number) for number in signals.STOPS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_block_that_may_end_at_once_does():
    with signals.stop_requested() as stop, pytest.raises(signals.Asked), stop.at_once():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        pytest.fail("it went on")
    assert stop == [signal.SIGINT] and not stop.raising


def test_where_an_event_loop_is_told_of_signals_it_still_is_and_the_second_one_raises():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer)
    try:
        with pytest.raises(signals.Asked), signals.stop_requested() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop == [signal.SIGINT]
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("it went on")
        assert os.read(reader, 9) == bytes([signal.SIGINT] * 2)
    finally:
        assert signal.set_wakeup_fd(before) == writer


def test_a_signal_to_a_forked_child_is_not_one_of_its_parent():
    process = child("""
        from tfcore import signals
        with signals.stop_requested() as stop:
            if not os.fork():
                time.sleep(20)
                os._exit(len(stop))
            print("ready", flush=True)
            os.wait()
            time.sleep(0.3)
            print(stop, flush=True)
    """)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    inner = int(open(children).read())  # noqa: SIM115
    os.kill(inner, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(inner, signal.SIGTERM)
    time.sleep(0.2)
    with contextlib.suppress(ProcessLookupError):  # the second signal may have ended it
        os.kill(inner, signal.SIGKILL)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "[]\n")


def test_one_line_where_there_is_nothing_to_save():
    process = child("""
        from tfcore import signals
        signals.end_in_one_line()
        kept = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as while TensorFlow is imported
        print("ready", flush=True)
        time.sleep(20)
    """)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "it.py: ended by SIGINT\n")
