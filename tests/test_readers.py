"""Any bytes, in place of any file that is read, give data or an error of one line. A longer search is in faults/."""

import random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.faults import readers

FEW = settings(
    derandomize=True, database=None, deadline=None, max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
NAMES = list(readers.READERS)


@pytest.mark.parametrize("name", NAMES)
def test_valid_files_are_read(tmp_path, name):
    for seed in readers.seeds(name):
        assert readers.judge(readers.READERS[name], seed, tmp_path) == ""


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(data=st.binary(max_size=300), head=st.booleans())
def test_any_bytes(tmp_path, name, data, head):
    """head: behind the first bytes of a valid file, so that they are not refused at once."""
    before = readers.seeds(name)[0][:24] if head else b""
    readers.judge(readers.READERS[name], before + data, tmp_path)


@pytest.mark.parametrize("name", NAMES)
@settings(FEW, max_examples=250)
@given(which=st.integers(0, 99), seed=st.integers(0, 2**32))
def test_valid_files_with_changes(tmp_path, name, which, seed):
    valid = readers.seeds(name)
    data = readers.mutated(valid[which % len(valid)], random.Random(seed))
    readers.judge(readers.READERS[name], data, tmp_path)


def nested(depth):
    return b"[" * depth + b"]" * depth


JSON = [b"", b"{}", b"[]", b"3", b"null", b'""', b"\xff\xfe", b"\xef\xbb\xbf{}", nested(900), nested(100_000)]
JSON += [
    b'{"a":' * 100_000,
    b"1e999",
    b"-" * 100,
    b"9" * 5000,
    b'"\\ud800"',
    b'{"format": "x", "epochs": []}',
    b"\0" * 50,
]


@pytest.mark.parametrize("name", NAMES[-3:])
@pytest.mark.parametrize("data", JSON, ids=range(len(JSON)))
def test_json_that_is_not_what_it_should_be(tmp_path, name, data):
    readers.judge(readers.READERS[name], data, tmp_path)
