"""A script as a process: its streams, Ctrl-C while it imports, a place for temporary files."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "train_mlp.py"


@pytest.fixture
def slow_tensorflow(tmp_path):
    """The environment in which `import tensorflow` says so and takes a minute."""
    package = tmp_path / "fake" / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    return {**os.environ, "PYTHONPATH": f"{package.parent}:{ROOT}"}


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_imports_is_one_line(slow_tensorflow, signum, status):
    process = subprocess.Popen(
        [sys.executable, SCRIPT], env=slow_tensorflow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signum)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, out) == (status, "")
    assert errors == f"train_mlp.py: ended by {signum.name}\n"


def test_without_a_place_for_temporary_files_a_script_says_so(slow_tensorflow, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import tempfile\ndef none(): raise FileNotFoundError(2, 'No usable temporary directory')\n"
        "tempfile.gettempdir = none\n"
    )
    variables = {**slow_tensorflow, "PYTHONPATH": f"{tmp_path}:{slow_tensorflow['PYTHONPATH']}"}
    done = subprocess.run([sys.executable, SCRIPT], env=variables, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "set TMPDIR" in done.stderr


def test_importing_the_flags_changes_nothing_in_another_program():
    code = "import signal; before = signal.getsignal(2); import flags; assert signal.getsignal(2) is before"
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}/scripts:{ROOT}"}
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)


PROGRAM = """
import os, sys
sys.path[:0] = [{root!r}, {root!r} + "/scripts"]
import program
program.open_all()
program.keep_going()
number = os.open("file", os.O_CREAT | os.O_WRONLY)
print("caf\\udce9")
for i in range(5000):
    print("line", i)
print("error", file=sys.stderr)
sys.stdout.flush()
os.write(number, str(number).encode())
"""


@pytest.mark.parametrize("how", [">&-", "2>&-", ">&- 2>&- <&-", "> /dev/full", "2> /dev/full", "| head -1"])
def test_streams_that_cannot_be_written_end_nothing(tmp_path, how):
    """Nor does a file that is opened get the number of a closed stream, and with it what is printed there."""
    (tmp_path / "it.py").write_text(PROGRAM.format(root=str(ROOT)))
    command = f"{sys.executable} it.py {how}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ("" if "2>" in how else "error\n")
    assert done.stdout.splitlines()[:1] == ([] if how.startswith(">") else ["caf\\udce9"])
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["2>&- >&-", "| head -1"])
def test_a_run_goes_on_when_nobody_reads_it(tmp_path, how):
    command = f"{sys.executable} {SCRIPT} --dataset=digits --epochs=2 --logdir=run {how}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert (tmp_path / "run" / "result.json").exists()
