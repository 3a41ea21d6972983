"""What is told of a long job: lines at least every 30 seconds in a log, a bar in a terminal."""

import io
import sys

import pytest

from tfcore.data.meter import meter


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def work(clock, steps, *arguments, **options):
    """Does (seconds, how much) after each other."""
    with meter(*arguments, clock=clock, **options) as advance:
        for seconds, much in steps:
            clock.now += seconds
            advance(much)


def test_a_log_gets_a_line_every_thirty_seconds_and_a_last_one(capsys):
    work(Clock(), [(10, 100)] * 10, "decoding", 1000, "pictures")
    assert capsys.readouterr() == (
        "decoding: 300 of 1,000 pictures, 10 a second, 70 s left\n"
        "decoding: 600 of 1,000 pictures, 10 a second, 40 s left\n"
        "decoding: 900 of 1,000 pictures, 10 a second, 10 s left\n"
        "decoding: 1,000 pictures in 100.0 s, 10 a second\n",
        "",
    )


def test_what_was_there_before_counts_as_done_but_not_for_the_rate(capsys):
    steps = [(40, 20_000_000), (1, 9_000_000_000)]
    work(Clock(), steps, "a.gz", 9_120_000_000, "MB", done=100_000_000, scale=10**6)
    assert capsys.readouterr().out == (
        "a.gz: 120.0 of 9,120.0 MB, 0.5 a second, 300 min left\na.gz: 9,020.0 MB in 41.0 s, 220.0 a second\n"
    )


def test_a_job_that_fails_or_a_log_that_nobody_reads(capsys, monkeypatch):
    with pytest.raises(ValueError), meter("decoding", 3, "pictures"):
        raise ValueError
    assert capsys.readouterr().out == ""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    work(Clock(), [(40, 1)] * 3, "decoding", 3, "pictures")


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    work(Clock(), [(40, 1)] * 3, "decoding", 3, "pictures")
    assert "decoding: 100%" in terminal.getvalue() and "3/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_notebook_gets_a_bar(capsys, monkeypatch):
    import tqdm.auto

    told = []

    class Bar:
        __module__ = "tqdm.notebook"

        def __init__(self, **options):
            told.append(options["total"])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            told.append(n)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    work(Clock(), [(40, 1)] * 3, "decoding", 3, "pictures")
    assert told == [3, 1, 1, 1] and capsys.readouterr() == ("", "")
