"""What the sides that train share: the parent's arrays, and a side in its best form, measured in the warm-up."""

import sys
import time
from pathlib import Path

import numpy as np


def read_arrays(job):
    """Returns the images and labels that the parent left, and the first weights in the order of the layers."""
    with np.load(Path(job["folder"]) / "data.npz") as arrays:
        weights = [arrays[f"weight{i}"] for i in range(len(arrays.files) - 2)]
        return arrays["images"], arrays["labels"], weights


def has_convolutions(job):
    """Returns whether a layer of the network is a convolution: then other forms are fast."""
    return any(kind == "conv" for kind, *_ in job["network"])


def in_best_form(job, forms, make):
    """Returns the actions "step" and "epoch" of training, in the fastest of its forms.

    Args:
      job: "steps" in an epoch, and "trial", the steps by which the forms are compared; 0 takes the first of them.
      forms: [{option: value}]. One that fails, because a compiler is missing, is left out and named on stderr.
      make: (**form) -> take_steps of a new network; take_steps(count) takes `count` steps and returns {"result": mean}.
    """
    chosen = {}

    def take_steps(count):
        if not chosen:
            form = fastest(forms, make, job["trial"]) if job["trial"] and len(forms) > 1 else forms[0]
            chosen.update(form=described(form), take_steps=make(**form))
        return {**chosen["take_steps"](count), **({"form": chosen["form"]} if len(forms) > 1 else {})}

    return {"step": lambda: take_steps(1), "epoch": lambda: take_steps(job["steps"])}


def fastest(forms, make, steps):
    """Returns the form whose second call is fastest; the first one may compile."""

    def seconds(form):
        try:
            take_steps = make(**form)
            take_steps(steps)
            began = time.perf_counter()
            take_steps(steps)
            return time.perf_counter() - began
        except Exception as error:
            print(f"{described(form)}: {error}", file=sys.stderr)
            return float("inf")

    return min(forms, key=seconds)


def described(form):
    """Returns "threads=2, channels_last=True"; of no options "plain"."""
    return ", ".join(f"{name}={value}" for name, value in form.items()) or "plain"
