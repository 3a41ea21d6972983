"""A profile of some steps: what TensorFlow's profiler saw, as TensorBoard's page Profile and Chrome read it."""

import contextlib
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from tfcore import files
from tfcore.quiet import tf
from tfcore.run.plan import Plan
from tfcore.showing import warn

HOST = "run"  # stands in for the name of the machine
PLACES = (sys.prefix, sys.base_prefix, Path(__file__).parents[2], Path(tf.__file__).parents[1])  # of programs here
OWN = ("profile_options",)  # what a profile says of itself that holds a path


def checked(window: Any, plan: Plan) -> tuple[int, int] | None:
    """Returns the window (first, last): steps first .. last - 1 of a run; or None, which profiles nothing.

    Raises:
      ValueError: it is something else, or not within the run of `plan`.
    """
    if window is None:
        return None
    if not (isinstance(window, tuple | list) and len(window) == 2 and all(type(step) is int for step in window)):
        raise ValueError(f"profile={window!r} must be two steps (first, last), such as (100, 110)")
    (first, last), total = window, plan.epochs * plan.steps
    if not 0 <= first < last <= total:
        raise ValueError(f"profile={first}:{last} must go up, from 0 on to {total} at most: so many steps has this run")
    return first, last


class Profile:
    """Profiles the blocks of a run that hold steps of a window, as `checked` returned it.

    Its files are `folder`/plugins/profile/<time>/run.xplane.pb and run.trace.json.gz.
    """

    def __init__(self, folder: str | Path, window: tuple[int, int] | None) -> None:
        self._folder, self._window = Path(folder), window
        self._under_way, self._first = None, 0

    @contextlib.contextmanager
    def block(self, step: int, count: int) -> Iterator[None]:
        """Stands around what takes `count` steps from `step` on, and profiles it where one of them is in the window."""
        if self._window and not self._under_way and step < self._window[1] and step + count > self._window[0]:
            self._start(step)
        with tf.profiler.experimental.Trace("block", step_num=step, _r=1):  # what the page Profile calls a step
            yield
        if self._under_way and step + count >= self._window[1]:
            self._stop(step + count)

    def close(self) -> None:
        """Writes a profile that is under way; says so when the run had no step of the window."""
        if self._under_way:
            self._stop(None)
        elif self._window:
            warn(f"nothing was profiled: this start took none of steps {self._window[0]} to {self._window[1] - 1}")

    def _start(self, step):
        with self._sparing():
            self._under_way, self._first = tempfile.TemporaryDirectory(), step
            tf.profiler.experimental.start(self._under_way.name)

    def _stop(self, end):
        with self._under_way as written, self._sparing():
            tf.profiler.experimental.stop()
            folder = self._folder / "plugins" / "profile" / time.strftime("%Y_%m_%d_%H_%M_%S")
            write(folder, next(Path(written).rglob("*.xplane.pb")).read_bytes())
            steps = f"steps {self._first} to {end - 1}" if end else f"steps from {self._first} on"
            tqdm.write(f"profiled {steps}: {folder}")
        self._under_way = self._window = None

    @contextlib.contextmanager
    def _sparing(self):
        """Turns what fails in the block into one warning: the run goes on without a profile."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            warn(f"no profile can be made, the run goes on: {error}")
            if self._under_way:
                self._under_way.cleanup()
            self._under_way = self._window = None


def write(folder: Path, xplane: bytes) -> None:
    """Writes a profile, the bytes of an XSpace, without the machine's name and paths, and as a trace for Chrome."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    for place in sorted({*map(str, PLACES), os.getcwd(), os.path.expanduser("~")}, key=len, reverse=True):
        if len(place) > 2:  # XLA's programs say in which files their operations stand; the length must stay
            xplane = xplane.replace(place.encode(), b"/" * len(place.encode()))
    space = xplane_pb2.XSpace.FromString(xplane)
    space.hostnames[:] = [HOST]
    for plane in space.planes:
        kept = [stat for stat in plane.stats if plane.stat_metadata[stat.metadata_id].name not in OWN]
        del plane.stats[:]
        plane.stats.extend(kept)
    folder.mkdir(parents=True, exist_ok=True)
    trace = json.dumps(chrome_trace(space), separators=(",", ":"))
    for name, content in (("xplane.pb", space.SerializeToString()), ("trace.json.gz", gzip.compress(trace.encode()))):
        with files.durable(folder / f"{HOST}.{name}") as file:
            file.write(content)


def chrome_trace(space: Any) -> dict[str, Any]:
    """Returns an XSpace in Chrome's trace format: a plane is a process, a line a thread, times are in microseconds."""
    planes = [plane for plane in space.planes if plane.lines]
    began = min((line.timestamp_ns for plane in planes for line in plane.lines), default=0)
    events = []
    for pid, plane in enumerate(planes, 1):
        events.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": plane.name}})
        for tid, line in enumerate(plane.lines, 1):  # whose own numbers are too large for JavaScript
            where, start = {"pid": pid, "tid": tid}, (line.timestamp_ns - began) / 1e3
            events.append({"ph": "M", "name": "thread_name", **where, "args": {"name": line.name}})
            events += [
                {
                    "ph": "X",
                    "name": plane.event_metadata[event.metadata_id].name,
                    **where,
                    "ts": start + event.offset_ps / 1e6,
                    "dur": event.duration_ps / 1e6,
                }
                for event in line.events
            ]
    return {"displayTimeUnit": "ns", "traceEvents": events}
