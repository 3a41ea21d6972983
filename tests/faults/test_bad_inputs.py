"""Each bad input ends in one line."""

import pytest

from tests.faults import bad_inputs


@pytest.fixture(autouse=True)
def without_data(monkeypatch, tmp_path):
    """No set of this machine, and no cache."""
    monkeypatch.delenv("TFCORE_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", bad_inputs.CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_bad_input_is_one_line(tmp_path, name, capsys):
    bad_inputs.line_of(bad_inputs.CASES[name], tmp_path)
    assert capsys.readouterr().err == ""


def test_there_are_enough_of_them():
    assert len(bad_inputs.CASES) >= 120
