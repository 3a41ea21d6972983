"""The campaigns of inputs, whole: `make faults` calls the same functions."""

import pytest

from tests.faults import bad_inputs, fuzz_readers, readers, servers


@pytest.mark.slow
def test_servers():
    tries, survived, lost = servers.campaign()
    assert tries >= 20 and survived == tries, lost


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_changes_of_valid_files():
    tries, survived, lost = readers.campaign(3000)
    assert survived == tries, lost


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bad_inputs(tmp_path, monkeypatch):
    """As `make faults` counts them, outside of pytest's fixtures."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TFCORE_DATA_DIR", raising=False)
    tries, survived, lost = bad_inputs.campaign()
    assert tries >= 120 and survived == tries, lost


@pytest.mark.slow
def test_fuzzers():
    tries, survived, lost = fuzz_readers.campaign(seconds=20)
    assert survived == tries, lost
