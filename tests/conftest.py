"""Quiet logs, fixed seeds, and the way to the real data sets."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def data_dir():
    """The directory of the real data sets, or None."""
    candidates = [os.environ.get("TFCORE_DATA_DIR"), ROOT.parent / "shared" / "data"]
    return next((pathlib.Path(path) for path in candidates if path and pathlib.Path(path).is_dir()), None)


def pytest_collection_modifyitems(items):
    """A test that takes the fixture `real_data` carries the marker of that name."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)


def pytest_runtest_setup(item):
    if item.get_closest_marker("real_data") and data_dir() is None:
        pytest.skip("no real data: set TFCORE_DATA_DIR")


@pytest.fixture
def real_data():
    """The directory of the real data sets; skips the test where there is none."""
    path = data_dir()
    if path is None:
        pytest.skip("no real data: set TFCORE_DATA_DIR")
    return path


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Runs in this process draw nothing, which takes longer than their training; the marker `drawn` lets them."""
    if not request.node.get_closest_marker("drawn"):
        from tfcore.run import exhibits

        for name in ("of_data", "of_predictions", "of_network"):
            monkeypatch.setattr(exhibits, name, lambda *_: {})
        monkeypatch.setattr(exhibits, "projected", lambda *_: None)


@pytest.fixture
def rng():
    """A NumPy generator that starts alike in every test."""
    return np.random.default_rng(20240611)
