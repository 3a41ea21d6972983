"""TF_CONFIG, and workers that are there, absent, silent or gone: sockets of this process stand for them."""

import json
import socket
import threading

import pytest

from tfcore import cluster
from tfcore.cluster import Cluster


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for name in ("ANSWER", "EVERY", "REFUSED", "SILENT"):
        monkeypatch.setattr(cluster, name, 0.05)
    monkeypatch.setattr(cluster.trouble, "__defaults__", (0.05,))
    monkeypatch.setattr(cluster.first_gone, "__defaults__", (0.3,))


@pytest.fixture
def silent():
    """The address of what takes connections and answers nothing, as a stopped process does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed():
    """An address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    return address


def config(workers=("a:1", "b:2"), kind="worker", index=1, **jobs):
    return json.dumps({"cluster": {"worker": list(workers), **jobs}, "task": {"type": kind, "index": index}})


def test_a_worker_finds_itself():
    assert cluster.from_environment(config()) == Cluster(("a:1", "b:2"), 1)
    assert cluster.from_environment(config(chief=["c:3"])) == Cluster(("c:3", "a:1", "b:2"), 2)
    assert cluster.from_environment(config(kind="chief", index="0", chief=["c:3"])).index == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "TF_CONFIG, which is not set"),
        ("{", "TF_CONFIG does not name this worker"),
        ("[]", "TF_CONFIG does not name this worker"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG does not name this worker"),
        (config(index=2), "TF_CONFIG does not name this worker"),
        (config(kind="ps"), "TF_CONFIG does not name this worker"),
        (config(["a", "b:2"]), "'a' must be host:port"),
        (config(["a:0", "b:2"]), "'a:0' must be host:port"),
        (config(["b:2", "b:2"]), "names an address twice: b:2, b:2"),
    ],
)
def test_a_wrong_tf_config_is_refused_with_what_it_should_be(text, said):
    with pytest.raises(ValueError, match=r"TF_CONFIG") as refused:
        cluster.from_environment(text)
    assert said in str(refused.value)


def test_the_variable_is_read(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config())
    assert cluster.from_environment().name(0) == "worker 0 (a:1)"


def test_who_answers_and_who_does_not(silent, closed):
    assert cluster.trouble(silent) == "it does not answer"
    assert cluster.trouble(closed) == "its port is closed"
    assert cluster.trouble("no.such.host.invalid:1").startswith("it cannot be reached")
    with cluster.door(closed):
        assert cluster.trouble(closed, 5.0) == ""
        with pytest.raises(OSError, match="of this worker, from TF_CONFIG, cannot be opened: Address already in use"):
            cluster.door(closed).__enter__()
    assert cluster.trouble(closed) == "its port is closed"


def test_workers_wait_for_each_other(closed, silent):
    with cluster.door(closed):
        cluster.wait_for_all(Cluster((silent, closed), 0), 5.0)
        with pytest.raises(ConnectionError) as missed:
            cluster.wait_for_all(Cluster((closed, silent, "127.0.0.1:1"), 0), 0.1)
    said = f"worker 1 ({silent}): it does not answer, worker 2 (127.0.0.1:1): its port is closed"
    assert str(missed.value) == f"waited 0 s for all 3 workers; {said}"


@pytest.mark.parametrize("kind", ["silent", "closed"])
def test_the_watch_ends_the_process_when_a_worker_is_gone(kind, request):
    address, told, ended = request.getfixturevalue(kind), [], threading.Event()

    def end(sentence):
        told.append(sentence)
        ended.set()

    with cluster.Watch(Cluster(("127.0.0.1:1", address), 0), end=end):
        assert ended.wait(30)
    assert told[0].startswith(f"worker 1 ({address}) is gone (it")
    assert cluster.first_gone(Cluster(("127.0.0.1:1", address), 0)) == told[0]


def test_the_watch_lets_those_live_who_answer(closed):
    told = []
    with cluster.door(closed), cluster.Watch(Cluster(("127.0.0.1:1", closed), 0), end=told.append):
        assert cluster.first_gone(Cluster(("127.0.0.1:1", closed), 0)) == ""
    assert told == []


def test_workers_that_do_not_begin_together_end(closed):
    ended = threading.Event()
    with (
        cluster.door(closed),
        cluster.Watch(Cluster(("127.0.0.1:1", closed), 0), end=lambda sentence: ended.set()) as watch,
        watch.begun_within(0.0),
    ):
        assert ended.wait(30)
