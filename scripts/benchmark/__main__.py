"""Times tfcore beside Keras, PyTorch and JAX on the same work, in turns, and prints the ratios.

python scripts/benchmark                                       # all works, 5 rounds; more than an hour
python scripts/benchmark --works=mnist_perceptron --rounds=7
python scripts/benchmark --works=time_to_accuracy              # from the start of a process to a validation accuracy
python scripts/benchmark --quick                               # fewer images, one round; within three minutes
python scripts/benchmark --works=fashion_cnn --sides=torch     # with only some of the peers

Each side is a process of its own. All start from the same weights and see as many images in batches of the same size.
They take turns, so that only one works at a time, after a warm-up that does not count and in which a peer that can do
the work in several ways finds its fastest; --quick takes the one that usually is. The figure is the median. The loss of
the last round shows that all learned the same.
PyTorch and JAX take part where `make bench-peers` has installed them, into .venv-peers.
Results go to docs/benchmarks.json and into the table of docs/speed.md; rows of works that were not run stay.
"""

import dataclasses
import functools
import shutil
import sys
from pathlib import Path

from absl.flags import DEFINE_boolean, DEFINE_integer, DEFINE_list, DEFINE_string

sys.path.insert(0, str(Path(__file__).parents[1]))
import flags

import results
from process import ROOT
from table import report
from works import IN_PEERS, SIDES, WORKS, Options, measured

from tfcore import processor
from tfcore.quiet import tf

RESULTS, PAGE = ROOT / "docs" / "benchmarks.json", ROOT / "docs" / "speed.md"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_list("works", None, f"what: what to time, of {', '.join(WORKS)}; default all", **more)
    DEFINE_list("sides", None, f"what: the peers to compare with, of {', '.join(SIDES)}; default all", **more)
    DEFINE_integer("rounds", 5, "what: counted rounds of each side, 1 with --quick", lower_bound=1, **more)
    DEFINE_boolean("quick", False, "what: fewer images, one round", **more)
    DEFINE_string("data_dir", None, "what: where the data is; default $TFCORE_DATA_DIR, then the cache", **more)
    DEFINE_string("peers_python", None, f"what: Python that has torch and jax; default {PEERS_PYTHON}", **more)
    DEFINE_integer("images", 0, "what: at most so many images in a work, 0 for what each says", lower_bound=0, **more)
    DEFINE_boolean("write", True, "output: write docs/benchmarks.json and the table of docs/speed.md", **more)


def main(values, _):
    """Runs every work, prints what came of it and writes the results.

    Raises:
      ValueError: a work or a side failed; the others were run and written.
    """
    works, options, failures = works_of(values.works) or list(WORKS), options_of(values), []
    wanted = {peer for name in works for peer in WORKS[name].targets if peer in (options.sides or SIDES)}
    if left_out := [] if options.peers_python else sorted(wanted.intersection(IN_PEERS)):
        print(f"without {' and '.join(left_out)}: `make bench-peers` installs them, --peers_python names a Python")
    for name in works:
        if WORKS[name].precision == "bfloat16" and not processor.has_bfloat16():
            print(f"{name}: left out, this processor has no instructions for bfloat16")
            continue
        note = functools.partial(noted, failures, name)
        try:
            row = measured(name, WORKS[name], dataclasses.replace(options, report=note))
        except (ValueError, OSError, tf.errors.OpError) as error:
            note(str(error).strip().splitlines()[0])
            continue
        print(report(row), flush=True)
        if values.write:
            results.write(results.merged(results.read(RESULTS), row, list(WORKS)), RESULTS, PAGE)
    if failures:
        raise ValueError(f"{len(failures)} failed: {', '.join(dict.fromkeys(failures))}; see above")


def noted(failures, name, message):
    """Prints why a work, or a side of it, failed, and adds its name to `failures`."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    failures.append(name)


def options_of(values):
    """Returns the Options that the flags say."""
    if values.peers_python and not shutil.which(values.peers_python):
        raise flags.usage_error(f"--peers_python={values.peers_python}: no such program")
    return Options(
        rounds=1 if values.quick and not values["rounds"].present else values.rounds,
        quick=values.quick,
        data_dir=values.data_dir,
        sides=tuple(chosen("sides", values.sides, SIDES)),
        peers_python=values.peers_python or (str(PEERS_PYTHON) if PEERS_PYTHON.exists() else None),
        images=values.images,
    )


def works_of(names):
    """Returns the works of a list flag; time_to_accuracy stands for all that begin so."""
    group = "time_to_accuracy"
    whole = [work for work in WORKS if work.startswith(group)]
    return chosen("works", [work for name in names or [] for work in (whole if name == group else [name])], WORKS)


def chosen(flag, names, known):
    """Returns the names of a list flag, [] where it was not given.

    Raises:
      flags.Error: one of them is unknown.
    """
    if unknown := [name for name in names or [] if name not in known]:
        raise flags.usage_error(f"--{flag}={','.join(unknown)}: choose from {', '.join(known)}")
    return list(names or [])


if __name__ == "__main__":
    flags.start(main, define)
