"""What a run exports or shows on a page says nothing of the machine: no path, no host, no user."""

import flags

import getpass
import json
import re
import socket

import numpy as np
import pytest
import train_cnn
import train_mlp
import training_flags
from PIL import Image

from tfcore import recipes
from tfcore.data import sources

SECRET = "secretive-person"


@pytest.fixture(scope="module")
def run_of_pictures(tmp_path_factory):
    """The directory of a run on pictures, in a place with a name of its own; one picture is unusable."""
    home = tmp_path_factory.mktemp("home") / SECRET
    generator = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (home / "photos" / name).mkdir(parents=True)
        for i in range(24):
            pixels = generator.integers(low, low + 100, [16, 16, 3]).astype(np.uint8)
            Image.fromarray(pixels).save(home / "photos" / name / f"{i}.png")
    (home / "photos" / "dark" / "bad.png").write_bytes(b"")
    values = flags.parser(train_cnn.define)
    changes = ["--image_size=16x16", "--filters=2", "--hidden=4", "--epochs=1", "--batch_size=8", "--validation=8"]
    changes += ["--max_bad_fraction=0.5", "--steps_per_loop=2"]
    arguments = [
        "--recipe=pets_cnn24",
        "--dataset=folder",
        f"--data_dir={home / 'photos'}",
        f"--logdir={home / 'logs' / 'run'}",
    ]
    values(["train_cnn.py", *arguments, *changes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        train_cnn.main(values, [])
    return home / "logs" / "run"


def test_no_path_host_or_user_is_in_what_a_run_writes(run_of_pictures):
    """The export, config.json, result.json, the drawings and what TensorBoard shows."""
    files = [path for path in run_of_pictures.rglob("*") if path.is_file() and path.stat().st_size]
    assert {"weights.safetensors", "config.json", "bad_files.json"} <= {path.name for path in files}
    assert any(path.name.startswith("events.out") for path in files)
    for path in files:
        content = path.read_bytes()
        for word in (SECRET, "/photos", str(train_cnn.__file__)):
            assert word.encode() not in content, f"{path.name} holds {word}"
        if path.name == "weights.safetensors" or path.suffix == ".json":
            said = content if path.suffix == ".json" else content[: 8 + int.from_bytes(content[:8], "little")]
            for word in {socket.gethostname(), getpass.getuser()}:
                found = re.search(rb"(?<![\w])" + re.escape(word.encode()) + rb"(?![\w])", said)
                assert not found, f"{path.name} holds {word}"


@pytest.mark.parametrize("script", [train_mlp, train_cnn])
def test_why_a_set_was_chosen_is_kept_without_the_path(script, tmp_path, monkeypatch, capsys):
    kept = {}
    monkeypatch.setattr(recipes, "train", lambda recipe, logdir, **options: kept.update(options))
    monkeypatch.setattr(sources, "SOURCES", {})
    values = flags.parser(script.define)
    values([script.__name__, "--dataset=auto", f"--data_dir={tmp_path / SECRET}"])
    monkeypatch.setattr(
        sources, "first_at_hand", lambda names, data_dir: ("digits", f"mnist is not in {data_dir}; digits is")
    )
    script.main(values, [])
    assert SECRET in capsys.readouterr().out  # who typed it may see it
    assert "mnist is not in --data_dir; digits is" in kept["note"] and SECRET not in json.dumps(kept["note"])
    assert training_flags.options_of(values).items() <= kept.items()
