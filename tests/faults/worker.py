"""One worker of a small run: `python tests/faults/worker.py RUN PLACE`, started by scripts/launch.py.

RUN is a function of `victims`, perceptron or convolutions. --alone: on one device; --undrawn: without drawings.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[2]))

import victims

from tfcore import distribution
from tfcore.run import exhibits


def main(name, place, *options):
    """Trains, with the strategy of the launcher's TF_CONFIG, and ends as a script does."""
    if "--undrawn" in options:
        for drawing in ("of_data", "of_predictions", "of_network"):
            setattr(exhibits, drawing, lambda *_: {})
        exhibits.projected = lambda *_: None
    with distribution.started("none" if "--alone" in options else "multi_worker") as strategy:
        getattr(victims, name)(place, strategy=strategy)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"worker.py: {str(error).splitlines()[0]}")
