"""Times tfcore beside Keras, PyTorch and JAX on the same work, in turns, and prints the ratios.

python scripts/benchmark.py                                       # all works, 5 rounds; more than an hour
python scripts/benchmark.py --works=mnist_perceptron --rounds=7
python scripts/benchmark.py --quick                               # fewer images, 3 rounds; within 2 minutes
python scripts/benchmark.py --works=fashion_cnn --sides=torch     # with only some of the peers

Each side is a process of its own, so that peak memory and the time to the first finished step are its own. All start
from the same weights and see as many images in batches of the same size. They take turns, so that only one works at a
time, after a warm-up that does not count; the figure is the median. The loss of the last round shows that all learned
the same. PyTorch and JAX take part where `make bench-peers` has installed them, into .venv-peers.
Results go to benchmarks.json and into the README's table; rows of works that were not run stay.
"""

import dataclasses
import functools
import json
import shutil
import sys

import benchmark_table
from _command import FLAGS, flags, start, tf, usage_error
from benchmark_jobs import IN_PEERS, ROOT, SIDES, Options
from benchmark_works import WORKS

from tfcore import files

RESULTS, README = ROOT / "benchmarks.json", ROOT / "README.md"
BEGIN, END = "<!-- speed: python scripts/benchmark.py -->", "<!-- end of speed -->"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


def define_flags():
    """Defines the flags."""
    flags.DEFINE_list("works", None, f"what to time, of {', '.join(WORKS)}; default all, with --quick the short ones")
    flags.DEFINE_list("sides", None, f"the peers to compare with, of {', '.join(SIDES)}; default all of a work")
    flags.DEFINE_integer("rounds", 5, "counted rounds of each side, 3 with --quick", lower_bound=1)
    flags.DEFINE_boolean("quick", False, "fewer images, 3 rounds, only the short works")
    flags.DEFINE_string("data_dir", None, "where the data is; default $TFCORE_DATA_DIR, then the user's cache")
    flags.DEFINE_string("peers_python", None, f"Python that has torch and jax; default {PEERS_PYTHON}")
    flags.DEFINE_integer("images", 0, "at most so many images in every work, 0 for what each says", lower_bound=0)
    flags.DEFINE_integer("steps", 8, "steps of pets_cnn128 in a round", lower_bound=1)
    flags.DEFINE_integer("photographs", 2000, "training photographs of inception_transfer", lower_bound=64)
    flags.DEFINE_integer("transfer_epochs", 15, "epochs of inception_transfer", lower_bound=1)
    flags.DEFINE_enum("trunk_precision", "float32", ["float32", "bfloat16"], "of tfcore's trunk in the inception works")
    flags.DEFINE_boolean("write", True, "write benchmarks.json and the README's table")


def main(_):
    """Runs every work, prints what came of it and writes the results.

    Raises:
      ValueError: a work or a side failed; the others were run and written.
    """
    works, options = chosen("works", FLAGS.works, WORKS) or default_works(FLAGS.quick), options_of_flags()
    wanted = {peer for name in works for peer in WORKS[name].targets if not options.sides or peer in options.sides}
    if left_out := [] if options.peers_python else sorted(wanted.intersection(IN_PEERS)):
        print(f"without {' and '.join(left_out)}: `make bench-peers` installs them, --peers_python names a Python")
    failures = []
    for name in works:
        note = functools.partial(noted, failures, name)
        try:
            rows = WORKS[name].run(name, WORKS[name], dataclasses.replace(options, report=note))
            rows = [benchmark_table.rounded(row) for row in rows]
        except (ValueError, OSError, tf.errors.OpError) as error:
            note(str(error).strip().splitlines()[0])
            continue
        print("\n".join(benchmark_table.report(row) for row in rows), flush=True)
        if FLAGS.write:
            write(merged(benchmark_table.read_rows(RESULTS), rows))
    if failures:
        raise ValueError(f"{len(failures)} failed: {', '.join(dict.fromkeys(failures))}; see above")


def noted(failures, name, message):
    """Prints why a work, or a side of it, failed, and adds its name to `failures`."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    failures.append(name)


def options_of_flags():
    """Returns the Options that the flags say."""
    if FLAGS.peers_python and not shutil.which(FLAGS.peers_python):
        raise usage_error(f"--peers_python={FLAGS.peers_python}: no such program")
    installed = str(PEERS_PYTHON) if PEERS_PYTHON.exists() else None
    names = ("quick", "data_dir", "images", "steps", "photographs", "transfer_epochs", "trunk_precision")
    return Options(
        rounds=3 if FLAGS.quick and not FLAGS["rounds"].present else FLAGS.rounds,
        sides=tuple(chosen("sides", FLAGS.sides, SIDES)),
        peers_python=FLAGS.peers_python or installed,
        **{name: FLAGS[name].value for name in names},
    )


def chosen(flag, names, known):
    """Returns the names of a list flag, [] where it was not given.

    Raises:
      flags.Error: one of them is unknown.
    """
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise usage_error(f"--{flag}={','.join(unknown)}: choose from {', '.join(known)}")
    return list(names or [])


def default_works(quick):
    """Returns all works, or those that are quick."""
    return [name for name, work in WORKS.items() if work.quick or not quick]


def merged(kept, new):
    """Returns the kept rows with the new ones in place of those of the same work, in the order of WORKS."""
    names, order = {row["work"] for row in new}, list(WORKS)

    def place(row):  # a row beside a work's own, such as fashion_cnn_memory, follows it
        return max((i for i, name in enumerate(order) if row["work"].startswith(name)), default=len(order))

    return sorted([*(row for row in kept if row["work"] not in names), *new], key=lambda row: (place(row), row["work"]))


def write(rows):
    """Writes benchmarks.json and the README's table."""
    text = benchmark_table.placed(README.read_text(), BEGIN, END, benchmark_table.table(rows))
    files.write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    files.write_text(README, text)


if __name__ == "__main__":
    define_flags()
    start(main)
