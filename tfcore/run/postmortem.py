"""What stopped a run: the step of its black box taken again, operation by operation."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tfcore import checkpoint, tree
from tfcore.init import as_seed
from tfcore.quiet import tf
from tfcore.run import blackbox, blocks, numerics
from tfcore.run.loop import initial_state
from tfcore.run.task import Task
from tfcore.training import TrainState


def replay(task: Task, run_dir: str | Path) -> numerics.Finding | None:
    """Takes the step, or the forward pass, on which a run stopped again: eagerly, operation by operation.

    Args:
      task: the one that was trained.
      run_dir: of a run that has left a black box, `run_dir`/stopped.
    Prints which is the first operation whose output is not finite, where it is, and its largest inputs.
    Returns: this as a `numerics.Finding`; None where every output is finite, as it may be after a run with XLA.
    Raises:
      ValueError, OSError: there is no black box, a damaged one, or one of another task.
    """
    facts, batch, path = blackbox.read(run_dir)
    refuse_other(task, facts["config"], run_dir)
    state = initial_state(task, facts["seed"])
    checkpoint.restore(path, state)
    print(f"{run_dir} stopped at {facts['why']}")
    part = facts.get("part", "")  # earlier versions kept steps alone
    what = f"the forward pass on the {part} part after step" if part else "step"
    print(f"{what} {facts['step']} taken again, eagerly, op by op{'' if part else ', from the state before it'}:")
    for name, text in not_finite_before(state, batch).items():
        print(f"  before it {name} is not finite: {text}")
    found = None
    try:
        if part:
            numerics.forward(task, state, batch, test=part == "test")
        else:
            numerics.step(task, state, batch, as_seed(facts["seed"]))
        print("the output of every operation is finite")
    except numerics.OpNotFinite as error:
        found = error.finding
        print("\n".join(lines(found)))
    how = facts["config"]["run"]
    if how.get("jit") and not how.get("check_numerics"):
        print("the run was compiled with XLA, which draws other dropout masks and rounds otherwise than this replay")
    return found


def not_finite_before(state: TrainState, batch: blocks.Block) -> dict[str, str]:
    """Returns {name: description} of what is not finite already before the step: in the state and in the batch."""
    parts = {"weights": state.weights, "slots": state.slots, "stats": state.stats, "batch": batch._asdict()}
    leaves = {path: tf.convert_to_tensor(leaf) for path, leaf in tree.flatten(parts).items()}
    return {p: numerics.described(v) for p, v in leaves.items() if v.dtype.is_floating and not np.all(np.isfinite(v))}


def lines(finding: numerics.Finding) -> list[str]:
    """Returns the lines that tell of a `numerics.Finding`."""
    told = [f"the first operation whose output is not finite is {finding.op}, {finding.place}"]
    told += [f"  output {text}" for text in finding.outputs]
    return told + [f"  input  {text}" for text in finding.inputs]


def refuse_other(task: Task, config: dict[str, Any], run_dir: str | Path) -> None:
    """Raises ValueError: the black box is of a task with another config; it names the differences."""
    before, now = tree.flatten(config["config"]), tree.flatten(json.loads(json.dumps(task.config)))
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        differences = (f"{name} was {before.get(name)}, now {now.get(name)}" for name in changed)
        raise ValueError(f"{run_dir} stopped with another task: {'; '.join(differences)}")
