"""The README and the pages of docs/: what they show runs, what they link exists, what commands wrote is up to date.

Commands run on small sets made here, with the flags that RULES adds; a command that no rule covers fails.
"""

import dataclasses
import gzip
import json
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import distribution_cost
import flags_page
import numpy as np
import pytest
import reproduce
import show_transfer
from PIL import Image

from tfcore import checkpoint, run
from tfcore.data import load, sources
from tfcore.formats.keras_h5 import write_keras_h5
from tfcore.models import inception_v3

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(python3?|\.venv/bin/\w+|make|tensorboard|pip|\.) [^ ]")


def blocks(text, *languages):
    """Returns the fenced blocks of a page in these languages."""
    return [body for language, body in BLOCK.findall(text) if language in languages]


def commands(text):
    """Returns every command line of a page: of its blocks, of its code in sentences, and of the marks of its tables."""
    lines = [line for body in blocks(text, "sh") for line in body.splitlines()]
    lines += [line for body in blocks(text, "", "text") for line in body.splitlines() if COMMAND.match(line)]
    lines += re.findall(r"^<!-- \w+: (.*) -->$", text, re.MULTILINE)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", BLOCK.sub("", text)))
    lines += [span for span in spans if COMMAND.match(span)]
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines) if line]


# Each command that begins like this, with what is added to it, and whether it is slow. The first that fits counts.
SMALL = "--epochs=1 --batch_size=8"
PICTURES = f"{SMALL} --steps_per_epoch=2 --filters=2 --image_size=72x72"
TRANSFER = f"{SMALL} --weights=trunk.safetensors --image_size=75x75 --endpoint=mixed0 --hidden=8 --fine_tune_epochs=1"
RULES = (
    (r"python scripts/train_mlp\.py --dataset=digits .*--clean", "--epochs=1", False),
    (r"python scripts/train_mlp\.py --dataset=digits .*logs/(slow|fast)_|python scripts/compare\.py", "", True),
    (r"python scripts/train_mlp\.py --dataset=digits", "", False),
    (r"python scripts/train_mlp\.py", "--epochs=1", False),
    (r"python scripts/train_cnn\.py .*--helpfull", "", False),
    (r"python scripts/launch\.py .*train_cnn", f"{SMALL} --filters=2 --steps_per_epoch=4", True),
    (r"python scripts/distribution_cost\.py --table", "", False),
    (r"python scripts/distribution_cost\.py", "--quick --nowrite --recipes=mnist_perceptron", True),
    (r"python scripts/train_cnn\.py .*--init_from", "--epochs=1 --batch_size=8 --filters=2 --logdir=logs/again", False),
    (r"python scripts/train_cnn\.py --dataset=fashion_mnist", f"{SMALL} --filters=2", False),
    (r"python scripts/export\.py", "", False),
    (r"python scripts/eject\.py", "--epochs=1", True),
    (r"python scripts/export_table\.py", "--nowrite --pictures=9 --runs=logs/fashion_cnn/fashion_mnist-seed0", True),
    (
        r"python scripts/train_cnn\.py --recipe=pets_best$",
        f"{PICTURES} --logdir=logs/pets_best/cats_vs_dogs-seed0",
        False,
    ),
    (r"python scripts/train_cnn\.py --recipe=pets_cnn64_128_best", PICTURES, True),
    (r"python scripts/train_cnn\.py", PICTURES, False),
    (r"python scripts/train_transfer\.py .*--fine_tune_from=", f"{TRANSFER} --fine_tune_from=mixed0", True),
    (r"python scripts/train_transfer\.py", TRANSFER, True),
    (r"python scripts/(evaluate|predict|show_convolutions|flags_page)\.py", "", False),
    (r"python scripts/(reproduce|show_transfer)\.py --table", "", False),
    (r"python scripts/show_mechanics\.py", "", True),
    (r"python scripts/reproduce\.py .*--check", "--help", False),
    (r"python scripts/reproduce\.py --recipes=", "", True),
    (r"python scripts/show_transfer\.py", "--labels=10 --seeds=0 --trunk_epochs=1", True),
    (r"python scripts/sweep\.py", "--dataset=digits --epochs=1 --trials=1", True),
    (r"python scripts/train_mlp\.py .*--check_numerics", "--epochs=1 --steps_per_epoch=2 --hidden=8", True),
    (r"python scripts/replay\.py", f"--run={ROOT / 'tests' / 'golden' / 'stopped_run'}", False),
    (r"python scripts/licences\.py", "", True),
    (r"python tests/faults --write", "--help", False),
    (r"python tests/faults", "--quick", True),
    (r"python examples/mnist\.py", "", False),
    (r"python examples/(calibration|layer_rates)\.py", "", False),
    (r"python examples/", "", True),
    (r"python scripts/doctor\.py", "", False),
    (r"python scripts/benchmark --help", "", True),
    (r"python scripts/benchmark --works=time_to_accuracy", "--quick --works=time_to_accuracy_mnist --nowrite", True),
    (r"python scripts/benchmark --works=mnist_perceptron", "--quick --sides=products --nowrite", True),
    (r"python scripts/benchmark --works=scaling", "--quick --works=scaling --nowrite", True),
    (r"python scripts/benchmark$", "--quick --works=prediction --sides=keras --nowrite", True),
    (r"python3 -m venv \.venv|\. \.venv/bin/activate", "", True),
    (r"pip install (-c constraints\.txt|-e '\.\[(sweep|profile)\]')", "--dry-run --no-deps", True),
    (r"python -m pytest", "--collect-only -q tests/test_tree.py", True),
    (r"tensorboard --logdir", "--inspect", True),
    (r"make train", "READY=ready BIN=environment/bin", True),
    (r"make (test|test-all|lint|faults|docs|bench-peers)$", "--dry-run", False),
)


def ruled(command):
    """Returns the words of a command with what its rule adds, and whether it is slow; None without a rule."""
    command = command.removeprefix(".venv/bin/")
    for pattern, more, slow in RULES:
        if re.match(pattern, command):
            return shlex.split(f"{command} {more}"), slow
    return None


def cases():
    """Yields every command of every page once, with its marks."""
    for command in dict.fromkeys(command for text in PAGES.values() for command in commands(text)):
        words, slow = ruled(command) or (None, False)
        yield pytest.param(words, id=command, marks=[pytest.mark.slow] if slow else [])


# The place where they run


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def write_pictures(folder, count, names=("Cat", "Dog")):
    generator = np.random.default_rng(0)
    for name, low in zip(names, (0, 100)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(low, low + 150, [40, 50, 3]).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.jpg")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A copy of what commands read and write, small sets under the real names, and the runs that pages name."""
    place = tmp_path_factory.mktemp("docs")
    for name in ("scripts", "examples", "docs"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, place)
    digits = load("digits")
    for name in ("mnist", "fashion_mnist"):
        for part, arrays, count in (("train", digits.train, 400), ("t10k", digits.test, 100)):
            write_idx(place / "data" / name / f"{part}-images-idx3-ubyte.gz", arrays.images[:count, ..., 0])
            write_idx(place / "data" / name / f"{part}-labels-idx1-ubyte.gz", arrays.labels[:count])
    write_pictures(place / "data" / "cats_vs_dogs" / "PetImages", 30)
    write_pictures(place / "my_pictures", 30, ("fern", "moss"))
    write_pictures(place / "other_photos", 5)
    shutil.copytree(place / "other_photos" / "Cat", place / "photos")
    shutil.copy(place / "photos" / "0.jpg", place / "cat.jpg")
    Image.open(place / "cat.jpg").save(place / "picture.png")
    (place / "home").mkdir()
    (place / "home" / "data").symlink_to(place / "data")
    trunk = inception_v3.Config(top=False, endpoint="mixed0", image_shape=(75, 75, 3))
    checkpoint.export_weights(place / "trunk.safetensors", *inception_v3.init(0, trunk))
    (place / "environment").symlink_to(sys.prefix)
    (place / "ready").touch()  # make's sign that the environment is there
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, place)
        net = f"--dataset=fashion_mnist {SMALL} --filters=2 --logdir=logs/fashion_cnn/fashion_mnist-seed0"
        pets, _ = ruled("python scripts/train_cnn.py --recipe=pets_best")
        for words in (["scripts/train_cnn.py", *net.split()], pets[1:]):
            assert script(patch, words) == 0
    return place


def enter(patch, place):
    patch.chdir(place)
    patch.setenv("TFCORE_DATA_DIR", str(place / "data"))
    patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    patch.setenv("HOME", str(place / "home"))


@pytest.fixture
def place(made, monkeypatch):
    enter(monkeypatch, made)
    return made


def script(patch, argv):
    """Runs a script in this process, which has TensorFlow already, and returns its exit status."""
    patch.setattr(sys, "argv", argv)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        runpy.run_path(argv[0], run_name="__main__")
        return 0
    except SystemExit as end:
        return end.code or 0
    finally:
        signal.signal(signal.SIGTERM, handler)


# The commands


@pytest.mark.parametrize("words", list(cases()))
def test_every_command_of_the_pages_runs(words, place, monkeypatch, capsys):
    assert words, "no rule of this test says how to run this command: add one to RULES"
    if "inception_v3_notop.h5" in words:
        trunk = inception_v3.Config(top=False)
        write_keras_h5(place / "inception_v3_notop.h5", *inception_v3.init(0, trunk), trunk)
    if words[0] == "python" and words[1].endswith(".py") and "&&" not in words:
        status = script(monkeypatch, words[1:])
        assert status == 0, capsys.readouterr().err
        return
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    line, directory = process(words, place)
    done = subprocess.run(line, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def process(words, place):
    """Returns the command line that runs in a process of its own, and its directory."""
    program, *rest = words
    if "&&" in words:
        return ["sh", "-c", " ".join(sys.executable if word == "python" else word for word in words)], place
    if program == ".":  # what it activates has to be there
        return ["sh", "-c", f"python3 -m venv .venv && {shlex.join(words)}"], place
    if program in ("pip", "tensorboard"):
        module = {"pip": "pip", "tensorboard": "tensorboard.main"}[program]
        return [sys.executable, "-m", module, *rest], ROOT if program == "pip" else place
    if program == "python":
        return [sys.executable, *rest], ROOT if rest[0] in ("-m", "tests/faults") else place
    return words, ROOT if "--dry-run" in rest else place


def test_a_command_without_a_rule_is_noticed():
    assert commands("`make coffee` and\n```sh\npython scripts/brew.py   # strong\n```\n`evaluate.py`") == [
        "python scripts/brew.py", "make coffee",
    ]  # fmt: skip
    assert ruled("make coffee") is None and ruled("python scripts/brew.py") is None


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_the_python_of_a_page_runs_as_one_program(page, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "program.py"
    program.write_text("\n\n".join(blocks(PAGES[page], "python")))
    assert script(monkeypatch, [str(program)]) == 0


def test_blocks_are_of_kinds_that_are_checked():
    for page, text in PAGES.items():
        assert {language for language, _ in BLOCK.findall(text)} <= {"sh", "python", "text", "json", ""}, page
        assert text.count("```") == 2 * len(BLOCK.findall(text)), f"{page}: a block has no end"
        for body in blocks(text, "json"):
            json.loads(body)


# The README


def test_the_readme_has_150_lines_at_most():
    assert len(PAGES["README.md"].splitlines()) <= 150


def test_the_readme_s_program_is_the_example():
    example = (ROOT / "examples" / "mnist.py").read_text().partition('"""\n\n')[2]
    assert "\n".join(blocks(PAGES["README.md"], "python")) == example


def form(line):
    """Returns a line without what differs from machine to machine."""
    line = re.sub(r"\d+\.\d+|\d\d:\d\d|[\d,]+(?= images/s)", "N", line)
    return re.sub(r"\S*tensorboard\b", "tensorboard", line)


def test_what_the_readme_says_is_printed_is_printed(tmp_path, monkeypatch, capsys):
    """On a machine without MNIST; what stands in for the download fails at once."""

    def nothing(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(sources, "find_files", nothing)
    monkeypatch.delenv("TFCORE_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert script(monkeypatch, [str(ROOT / "scripts" / "train_mlp.py")]) == 0
    printed = [form(line) for line in capsys.readouterr().out.splitlines()]
    (shown,) = blocks(PAGES["README.md"], "text")
    position = 0
    for line in shown.splitlines():
        if line != "…":
            assert form(line) in printed[position:], line
            position = printed.index(form(line), position) + 1
    assert position == len(printed)
    spans = [span for span in re.findall(r"`([^`\n]+)`", PAGES["README.md"]) if span.startswith("test   loss")]
    assert spans and all(form(span) in printed for span in spans)


# Links, pictures and tables


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if not re.match(r"https?:|#", target):
            assert ((ROOT / page).parent / target.partition("#")[0]).is_file(), target


@pytest.mark.parametrize(
    ("page", "begin", "end", "content"),
    [
        ("docs/flags.md", flags_page.BEGIN, flags_page.END, flags_page.page),
        (
            "docs/distribution.md", distribution_cost.BEGIN, distribution_cost.END,
            lambda: distribution_cost.page(distribution_cost.known()),
        ),
        ("docs/results.md", reproduce.BEGIN, reproduce.END, reproduce.table),
        ("README.md", reproduce.ROWS_BEGIN, reproduce.ROWS_END, reproduce.short_table),
        (
            "docs/photographs.md", show_transfer.BEGIN, show_transfer.END,
            lambda: show_transfer.table(json.loads(show_transfer.RESULTS.read_text())),
        ),
    ],
    ids=["flags", "distribution", "results", "posts", "transfer"],
)  # fmt: skip
def test_tables_are_what_their_commands_write(page, begin, end, content):
    assert PAGES[page].partition(begin)[2].partition(end)[0].strip() == content().strip(), f"run what {begin} names"


def test_every_field_of_a_task_is_explained():
    rows = re.findall(r"^\| `(\w+)` \|", PAGES["docs/research.md"], re.MULTILINE)
    assert rows == [field.name for field in dataclasses.fields(run.Task)]
