"""The README's program and the drawings in a Jupyter notebook, run by a kernel of this Python."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
README = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
CURVES = """
import json

from tfcore import plots

rows = [json.loads(line) for line in open("logs/examples/mnist/metrics.jsonl")]
plots.curves(rows)
"""
SAMPLE = "plots.gallery(data.train.images[:4], [data.class_names[label] for label in data.train.labels[:4]])"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The cells after they ran: the README's blocks, but with two epochs, and two that end in a figure."""
    place = tmp_path_factory.mktemp("notebook")
    spec = place / "jupyter" / "kernels" / "ours" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "ours", "language": "python"}))
    program = [block.replace("range(10)", "range(2)").replace("epochs=10", "epochs=2") for block in README]
    sources = [*program, CURVES, SAMPLE]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(place / "jupyter"))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.delenv("MPLBACKEND", raising=False)
        NotebookClient(
            notebook, timeout=300, kernel_name="ours", resources={"metadata": {"path": str(place)}}
        ).execute()
    return notebook.cells


def printed(cell, stream="stdout"):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == stream)


@pytest.mark.slow
def test_the_readme_s_program_runs_and_prints_in_a_notebook(cells):
    loop, task, *_ = cells
    assert printed(loop).count("finite True") == 2 and "accuracy" in printed(loop)
    assert printed(task).count("validation loss") == 2 and "epoch 2/2" in printed(task)
    assert "test   loss" in printed(task) and float(printed(task).split()[-1]) > 0.8
    for cell in cells:
        assert not any(output.output_type == "error" for output in cell.outputs)
        assert "Traceback" not in printed(cell, "stderr") and "rror" not in printed(cell, "stderr")


@pytest.mark.slow
def test_figures_show_themselves(cells):
    for cell in cells[-2:]:
        (shown,) = (output for output in cell.outputs if output.output_type == "execute_result")
        assert shown.data["image/png"].startswith("iVBORw0KGgo")  # PNG in base64
        assert len(shown.data["image/png"]) > 4000
