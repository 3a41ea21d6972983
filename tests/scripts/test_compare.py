"""What compare.py says of runs: which are one group, what differs, and what is more than chance; SciPy is the judge."""

import flags

import json
import re
import subprocess
import sys
from pathlib import Path

import chance
import compare
import matplotlib.image
import numpy as np
import pytest
from absl import flags as absl_flags
from scipy import stats


def made(path, accuracies=(0.5, 0.6), *, test=0.6, done=True, seed=0, images=300, **config):
    """Writes the files of a run as a run writes them, and returns its directory."""
    path.mkdir(parents=True)
    settings = {"format": 1, "id": path.name, "config": config, "run": {"seed": seed, "epochs": 2}}
    (path / "config.json").write_text(json.dumps({**settings, "dataset": "digits", "class_names": ["0", "1"]}))
    measures = [{"loss": 1 - a, "accuracy": a} for a in accuracies]
    rows = [{"epoch": i, "step": i, "train": m, "validation": m, "seconds": 2} for i, m in enumerate(measures, 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    right = round(images * test)
    tested = {"loss": 0.5, "accuracy": test, "confusion": [[right, images - right], [0, 0]]}
    result = {"epochs": 2, "ended": "epochs", "patience": 0, "seconds": 4.0, "test": tested}
    if done:
        (path / "result.json").write_text(json.dumps({**result, "train": {}, "validation": measures[-1]}))
    return path


def called(capsys, *arguments, output):
    values = flags.parser(compare.define)
    paths = values(["compare.py", *map(str, arguments), f"--output={output}"])[1:]
    compare.main(values, paths)
    return capsys.readouterr().out


def six(tmp_path, first, second):
    """Two groups of seeds with these test accuracies, and the flags' names that differ."""
    for name, accuracies, rate in (("a", first, 0.01), ("b", second, 0.001)):
        for seed, accuracy in enumerate(accuracies):
            made(tmp_path / f"{name}{seed}", test=accuracy, seed=seed, learning_rate=rate, optimizer="adam")
    return sorted(tmp_path.glob("[ab]*"))


@pytest.mark.parametrize(
    ("first", "second"),
    [((0.90, 0.91, 0.92), (0.95, 0.96, 0.97)), ((0.90, 0.93, 0.96), (0.92, 0.95, 0.97)), ((0.9, 0.91), (0.5, 0.95))],
)
def test_groups_of_seeds_are_judged_as_scipy_judges(tmp_path, capsys, first, second):
    out = called(capsys, *six(tmp_path, first, second), output=tmp_path / "curves.png")
    table = out.splitlines()
    assert table[0].split()[:3] == ["learning_rate", "seeds", "epochs"] and "optimizer" not in out
    cells = re.split(r"  +", table[1])
    assert cells[:2] == ["A", "0.01"] and f"{np.mean(first):.4f} ± {np.std(first, ddof=1):.4f}" in cells
    p = stats.ttest_ind(first, second, equal_var=False).pvalue
    (said,) = re.findall(r"test: .*\n +seeds: (.*) their spread \(Welch's t-test, (\d) and \d seeds: p = (\S+),", out)
    assert said == ("exceeds" if p < 0.05 else "does not exceed", str(len(first)), f"{p:.2g}")
    assert f"A - B = {np.mean(first) - np.mean(second):+.4f}" in out


def test_seeds_without_any_spread_are_no_division_by_zero():
    assert chance.welch([0.9, 0.9], [0.9, 0.9]) == 1 and chance.welch([0.9, 0.9], [0.8, 0.8]) == 0


@pytest.mark.parametrize(("second", "word"), [(0.85, "exceeds"), (0.89, "does not exceed")])
def test_of_one_run_the_test_images_judge_and_it_is_said_that_seeds_were_not_compared(tmp_path, capsys, second, word):
    """By hand: 1.96 sqrt(0.9 0.1 / 1000 + p (1 - p) / 1000) is 0.0289 and 0.0269."""
    runs = [made(tmp_path / f"{a}", test=a, images=1000, hidden=[round(a * 100)]) for a in (0.9, second)]
    out = called(capsys, *runs, output=tmp_path / "curves.png")
    limit = {0.85: "0.0289", 0.89: "0.0269"}[second]
    assert f"images: {word} {limit}, what 1,000 explain" in out and "upper bound" in out
    assert out.count("seeds: not compared") == 2


def test_the_difference_of_binomials_is_as_large_as_drawn(rng):
    drawn = rng.binomial(1000, 0.9, 20_000) / 1000 - rng.binomial(1000, 0.85, 20_000) / 1000
    said = chance.by_images([0.9, 0.85], [1000, 1000], shared=False)
    assert float(re.search(r"[\d.]+", said)[0]) == pytest.approx(1.96 * drawn.std(), rel=0.03)
    assert "upper bound" not in said


def test_a_run_that_trains_is_shown_with_what_it_has(tmp_path, capsys):
    runs = [made(tmp_path / "whole", hidden=[8]), made(tmp_path / "young", (0.3,), done=False, hidden=[16])]
    runs.append(made(tmp_path / "new", (), done=False, hidden=[32]))
    out = called(capsys, *runs, output=tmp_path / "curves.png")
    rows = [re.split(r"  +", line) for line in out.splitlines()[1:4]]
    assert rows[1] == ["B", "16", "0", "1 so far", "2", "0.3000", "0.7000", "–", "–"]
    assert rows[2][3:] == ["0 so far", "0", "–", "–", "–", "–"]
    assert out.count("not compared, a run has not come to its end") == 6


def test_curves_are_drawn_one_look_a_group_and_a_line_a_seed(tmp_path):
    groups = compare.grouped([compare.Run.read(p) for p in six(tmp_path, (0.9, 0.91), (0.92, 0.93))])
    drawing = compare.plots.compared([(g.label, [r.rows for r in g.runs]) for g in groups])
    lines = drawing.axes[1].get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [[0.5, 0.6]] * 4
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 2
    assert len({line.get_linestyle() for line in lines}) == 2
    labels = [text.get_text() for text in drawing.legends[0].get_texts()]
    assert labels == ["A: learning_rate 0.01", "B: learning_rate 0.001"]


def test_the_picture_is_written_where_it_is_asked_for(tmp_path, capsys):
    out = called(capsys, made(tmp_path / "run"), output=tmp_path / "deep" / "curves.png")
    assert matplotlib.image.imread(tmp_path / "deep" / "curves.png").shape[1] > 500
    assert "curves.png" in out and "seeds:" not in out


def test_a_transfer_shows_its_last_stage(tmp_path):
    run = made(tmp_path / "run", done=False)
    made(run / "head", (0.7,))
    assert compare.Run.read(run).rows[0]["validation"]["accuracy"] == 0.7
    made(run / "fine_tune", (0.8,))
    assert compare.Run.read(run).result["validation"]["accuracy"] == 0.8


def test_settings_of_one_name_keep_their_path():
    runs = [{"config/a/scale": 1, "config/b/scale": s, "run/epochs": e} for s, e in ((1, 1), (2, 2))]
    groups = compare.grouped([compare.Run(None, settings, 0, [], None) for settings in runs])
    assert list(groups[1].differing) == ["scale", "epochs"]
    runs[0]["config/a/scale"] = 3
    groups = compare.grouped([compare.Run(None, settings, 0, [], None) for settings in runs])
    assert list(groups[1].differing) == ["config/a/scale", "config/b/scale", "epochs"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ([], absl_flags.Error, "name the runs"),
        (["nowhere"], ValueError, "nowhere is no run: it has no config.json"),
        (["broken"], ValueError, "broken/config.json is damaged"),
        (["one", "copy"], ValueError, "one and copy are the same run, seed 0: leave one out"),
        (["one", "--output=curves.pdf"], absl_flags.Error, "--output=curves.pdf must end with .png"),
    ],
)
def test_bad_input_is_named_in_one_line(tmp_path, monkeypatch, arguments, error, words):
    made(tmp_path / "one")
    made(tmp_path / "copy")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    values = flags.parser(compare.define)
    with pytest.raises(error, match=re.escape(words)) as found:
        compare.main(values, values(["compare.py", *arguments])[1:])
    assert "\n" not in str(found.value)


def test_the_script_ends_with_status_1_and_one_line(tmp_path):
    command = [sys.executable, Path(compare.__file__), "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("compare.py: nowhere is no run")
    assert done.stderr.count("\n") == 1


def test_a_run_named_twice_is_one(tmp_path, capsys):
    run = made(tmp_path / "run")
    assert "seed 0" not in called(capsys, run, f"{run}/", output=tmp_path / "curves.png")
