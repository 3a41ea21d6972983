"""Downloads from a server on this machine that does everything wrong that a server can do."""

import contextlib
import hashlib
import http.server
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from tfcore.data import download as module
from tfcore.data.download import download
from tfcore.files import locked

BODY = np.random.default_rng(1).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
SHORT = 0.4  # a total deadline, in seconds
NEVER = 60.0  # a server that never answers is woken by the end of its test


class Server(http.server.ThreadingHTTPServer):
    """Answers every GET by `answer(handler)`; keeps the Range header of each in `ranges`."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.ranges, self.over, self.sent = answer, [], threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/set/file.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client goes when it has had enough
            self.server.answer(self)

    def log_message(self, *_):
        pass

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def wait(self, seconds=NEVER):
        return self.server.over.wait(seconds)


@contextlib.contextmanager
def serving():
    """Yields serve(answer) -> Server; the servers end with the block."""
    servers = []

    def start(answer):
        server = Server(answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as start:
        yield start


def fetch(server, path, **options):
    url = options.pop("url", getattr(server, "url", None))
    download(url, path, **{"sha256": SHA256, "size": len(BODY), "deadline": 30.0, **options})


def fails(server, path, message, **options):
    """Asserts one line with `message`, and nothing under the final name."""
    with pytest.raises(OSError, match=message) as caught:
        fetch(server, path, **options)
    assert re.match(r"cannot download \w+:/", str(caught.value)) and str(caught.value).isprintable()
    assert not path.exists()
    assert {p.name for p in path.parent.iterdir()} <= {path.name + ".part", ".lock"}


def whole(handler):
    handler.head(Content_Length=len(BODY))
    handler.wfile.write(BODY)


def chunked(handler):
    handler.protocol_version = "HTTP/1.1"
    handler.head(Transfer_Encoding="chunked", Connection="close")
    for start in range(0, len(BODY), 70_000):
        piece = BODY[start : start + 70_000]
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def resuming(handler):
    """Breaks off after 100,000 bytes; continues where a Range header says."""
    start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
    if start:
        handler.head(206, Content_Length=len(BODY) - start, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    else:
        handler.head(Content_Length=len(BODY), Accept_Ranges="bytes")
    handler.wfile.write(BODY[start : start + 100_000])


def silent(handler):
    handler.wait()


def half_then_silent(handler):
    handler.head(Content_Length=len(BODY))
    handler.wfile.write(BODY[:150_000])
    handler.wfile.flush()
    handler.server.sent.set()
    handler.wait()


def drip(handler):
    handler.head(Content_Length=len(BODY))
    for byte in BODY:
        handler.wfile.write(bytes([byte]))
        if handler.wait(0.05):
            return


def drip_headers(handler):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Padding: ")
    while not handler.wait(0.05):
        handler.wfile.write(b"x")


def drip_redirect(handler):
    handler.head(302, Location=handler.server.url)
    while not handler.wait(0.05):
        handler.wfile.write(b"x")


def endless(handler):
    handler.head()
    while True:
        handler.wfile.write(BODY)


def html(handler):
    page = b"<html>Please log in</html>"
    handler.head(Content_Length=len(page), Content_Type="text/html; charset=utf-8")
    handler.wfile.write(page)


def status(code, **headers):
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def raw(content):
    return lambda handler: handler.wfile.write(content)


def body(content, **headers):
    def answer(handler):
        handler.head(**headers)
        handler.wfile.write(content)

    return answer


def test_a_log_is_told_how_much_came_and_how_fast(serve, tmp_path, capsys):
    fetch(serve(whole), tmp_path / "f")
    out, err = capsys.readouterr()
    assert re.fullmatch(r"file\.gz: 0\.3 MB in \d+\.\d s, [\d.,]+ a second\n", out) and err == ""


@pytest.mark.parametrize("answer", [whole, chunked, body(BODY)], ids=["length", "chunked", "no_length"])
def test_a_good_file_arrives(tmp_path, serve, answer):
    path = tmp_path / "new" / "folder" / "file.gz"
    fetch(serve(answer), path)
    assert path.read_bytes() == BODY
    assert {p.name for p in path.parent.iterdir()} == {"file.gz", ".lock"}


def test_a_file_that_is_there_is_not_fetched(tmp_path, serve):
    server, path = serve(whole), tmp_path / "file.gz"
    fetch(server, path)
    fetch(server, path)
    assert server.ranges == [None]


def test_a_cut_body_is_continued(tmp_path, serve):
    server, path = serve(resuming), tmp_path / "file.gz"
    fetch(server, path)
    assert path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_cut_body_is_continued_by_the_next_call(tmp_path, serve):
    server, path = serve(resuming), tmp_path / "file.gz"
    for have in (100_000, 200_000):
        fails(server, path, "Connection broken: IncompleteRead", attempts=1)
        assert (tmp_path / "file.gz.part").read_bytes() == BODY[:have]
    fetch(server, path, attempts=1)
    assert path.read_bytes() == BODY


def test_a_server_without_ranges_begins_again(tmp_path, serve):
    def answer(handler):
        handler.head(Content_Length=len(BODY))
        handler.wfile.write(BODY if len(handler.server.ranges) > 1 else BODY[:123_456])

    server, path = serve(answer), tmp_path / "file.gz"
    fetch(server, path)
    assert path.read_bytes() == BODY and server.ranges == [None, "bytes=123456-"]


@pytest.mark.parametrize(
    ("stale", "ranges"),
    [
        (BODY, []),
        (BODY[:-1], ["bytes=299999-"]),
        (b"?" * 150_000, ["bytes=150000-", "bytes=250000-", None]),
        (b"?" * 300_000, [None]),
        (BODY + b"?", [None]),
    ],
    ids=["whole", "almost", "wrong", "wrong_and_whole", "longer"],
)
def test_what_an_earlier_process_left_is_used_or_dropped(tmp_path, serve, stale, ranges):
    server, path = serve(resuming), tmp_path / "file.gz"
    path.with_name("file.gz.part").write_bytes(stale)
    fetch(server, path, attempts=9)
    assert path.read_bytes() == BODY
    assert server.ranges[: len(ranges)] == ranges and (ranges or not server.ranges)


def test_a_range_that_the_server_refuses_begins_again(tmp_path, serve):
    def answer(handler):
        (status(416) if handler.headers.get("Range") else whole)(handler)

    server, path = serve(answer), tmp_path / "file.gz"
    path.with_name("file.gz.part").write_bytes(BODY[:1000])
    fetch(server, path)
    assert path.read_bytes() == BODY and server.ranges == ["bytes=1000-", None]


FAILURES = [
    (body(BODY[::-1]), "its sha256 is [0-9a-f]{16}…, not the published", 3),
    (body(BODY[:1000]), "cut after 1000 of 300000 bytes", 3),
    (body(BODY[:1000], Content_Length=len(BODY)), "Connection broken: IncompleteRead", 3),
    (body(b""), "cut after 0 of", 3),
    (html, "HTML page", 1),
    (endless, "more than the 300000 bytes", 1),
    (body(b"x", Content_Length=1 << 50), "announces 1125899906842624 bytes", 1),
    (body(b"", Content_Length="-5"), "cut after 0|Invalid|announces", 3),
    (status(404), "says 404", 1),
    (status(403), "says 403", 1),
    (status(500), "says 500", 3),
    (status(503), "says 503", 3),
    (status(204), "announces 0 bytes", 1),
    (status(302, Location="file:/etc/passwd"), "No connection adapters", 1),
    (status(301, Location="file:///etc/passwd"), "No connection adapters", 1),
    (status(307, Location="ftp://127.0.0.1/file.gz"), "No connection adapters", 1),
    (status(302, Location="http://:80/"), "Invalid URL", 1),
    (status(302, Location="/set/file.gz"), "more than 5 redirects", 6),
    (body(b"", Content_Length="9" * 5000), "announces a length of 5,000 digits", 1),
    (body(b"", Content_Length="9" * 500), "announces a length of 500 digits", 1),
    (raw(b"HTTP/1.0 404 \x1b[31mred\x1b]0;title\x07\r\n\r\n"), r"says 404 \[31mred \]0;title$", 1),
    (raw(b"HTTP/1.0 500 " + b"x" * 5000 + b"\r\n\r\n"), "says 500 x{100,300}…$", 3),
    (raw(b"HTTP/1.0 \x1b[31m \r\n\r\n"), "Connection (aborted|broken)", 3),
    (raw(b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), "Connection aborted|100 headers", 3),
    (status(302, Location="http://127.0.0.1:99999999/"), "Invalid URL|[Pp]ort", 1),
    (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "Connection (aborted|broken)", 3),
    (lambda handler: handler.connection.close(), "Connection aborted", 3),
    (silent, "not finished in time|timed out", 1),
    (half_then_silent, "not finished in time|timed out", 1),
    (drip, "not finished in time", 1),
    (drip_headers, "not finished in time", 1),
    (drip_redirect, "not finished in time|more than 5 redirects|timed out", 1),
]
SLOW = (silent, half_then_silent, drip, drip_headers, drip_redirect)  # they end by a deadline


@pytest.mark.parametrize(("answer", "message", "requests"), [f for f in FAILURES if f[0] not in SLOW])
def test_failures_are_one_line_and_leave_no_file(tmp_path, serve, answer, message, requests):
    """What another attempt could mend is tried three times."""
    server = serve(answer)
    fails(server, tmp_path / "file.gz", message)
    assert len(server.ranges) == requests


@pytest.mark.parametrize("attempts", [0, 1, 2, 4])
def test_attempts_are_counted(tmp_path, serve, attempts):
    server = serve(status(500))
    fails(server, tmp_path / "file.gz", "says 500", attempts=attempts)
    assert len(server.ranges) == max(attempts, 1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "http:///a", "nonsense://a"])
def test_only_http_addresses_are_asked(tmp_path, url):
    fails(None, tmp_path / "file.gz", "No connection adapters|Invalid URL", url=url)


def test_a_redirect_is_followed(tmp_path, serve):
    def answer(handler):
        (whole if handler.path == "/there" else status(302, Location="/there"))(handler)

    fetch(serve(answer), tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == BODY


def test_a_closed_port_is_refused(tmp_path, serve):
    server = serve(whole)
    server.shutdown()
    server.server_close()
    fails(server, tmp_path / "file.gz", "refused")


@pytest.mark.parametrize("answer", [silent, half_then_silent, drip, drip_headers])
@pytest.mark.parametrize("attempts", [1, 1000])
def test_the_deadline_is_for_everything(tmp_path, serve, answer, attempts):
    """Were it not, these would last until `connect_timeout`, or for hours: a byte each 0.05 seconds."""
    fails(serve(answer), tmp_path / "file.gz", "not finished in time|timed out", deadline=SHORT, attempts=attempts)


def test_the_body_of_a_redirect_is_not_read(tmp_path, serve):
    server = serve(drip_redirect)
    fails(server, tmp_path / "file.gz", "more than 5 redirects", attempts=1)
    assert len(server.ranges) == 6


@pytest.mark.parametrize("answer", [silent, half_then_silent])
def test_a_silent_server_is_given_up_after_connect_timeout(tmp_path, serve, answer):
    server = serve(answer)
    fails(server, tmp_path / "file.gz", "timed out", connect_timeout=0.5, attempts=2)
    assert len(server.ranges) == 2


def test_silence_in_the_middle_is_continued(tmp_path, serve):
    def answer(handler):
        (resuming if handler.headers.get("Range") else half_then_silent)(handler)

    server, path = serve(answer), tmp_path / "file.gz"
    fetch(server, path, connect_timeout=0.5)
    assert path.read_bytes() == BODY and server.ranges == [None, "bytes=150000-", "bytes=250000-"]


@pytest.mark.parametrize("answer", [drip, endless, status(404)], ids=["drip", "endless", "404"])
def test_no_thread_is_left_reading(tmp_path, serve, answer):
    """The one that waits for the network ends at the next byte, though the server goes on."""
    fails(serve(answer), tmp_path / "file.gz", "time|more than|404", deadline=SHORT)
    for thread in [thread for thread in threading.enumerate() if "_receive" in thread.name]:
        thread.join(NEVER)
        assert not thread.is_alive()


def test_no_time_left_is_a_failure_too(tmp_path, serve):
    fails(serve(silent), tmp_path / "file.gz", "not finished in time", deadline=-1.0)


CHILD = """
import pathlib, sys, types
package = sys.modules["tfcore.data"] = types.ModuleType("tfcore.data")  # without TensorFlow: it starts at once
package.__path__ = [str(pathlib.Path(sys.argv[1]).parent)]
from tfcore.data.download import download
download(sys.argv[2], sys.argv[3], sha256=sys.argv[4], size=int(sys.argv[5]))
"""


def start_process(server, path):
    """Downloads in another process."""
    args = [module.__file__, server.url, path, SHA256, len(BODY)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *map(str, args)], stderr=subprocess.PIPE)


def test_a_killed_process_leaves_nothing_and_the_next_succeeds(tmp_path, serve):
    path, broken = tmp_path / "file.gz", serve(half_then_silent)
    process = start_process(broken, path)
    assert broken.sent.wait(NEVER)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert {p.name for p in tmp_path.iterdir()} == {"file.gz.part", ".lock"}
    fetch(serve(resuming), path, attempts=9)
    assert path.read_bytes() == BODY


def test_of_two_processes_one_downloads(tmp_path, serve):
    path, asked = tmp_path / "file.gz", threading.Event()

    def answer(handler):
        asked.set()
        handler.wait(0.3)
        whole(handler)

    server = serve(answer)
    processes = [start_process(server, path) for _ in range(2)]
    assert asked.wait(NEVER)
    assert [process.communicate()[1] for process in processes] == [b"", b""]
    assert [process.returncode for process in processes] == [0, 0]
    assert path.read_bytes() == BODY and server.ranges == [None]


def test_waiting_for_another_process_ends_at_the_deadline(tmp_path, serve):
    server = serve(whole)
    with locked(tmp_path):
        fails(server, tmp_path / "file.gz", f"is in use by process {os.getpid()}", deadline=0.1)
    assert server.ranges == []


def test_a_full_disk_is_one_line(tmp_path, serve):
    """The limit on the size of a file stands for a full disk."""
    code = f"import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)){CHILD}"
    server, path = serve(whole), tmp_path / "file.gz"
    args = [module.__file__, server.url, path, SHA256, len(BODY)]
    process = subprocess.run([sys.executable, "-c", code, *map(str, args)], stderr=subprocess.PIPE, text=True)
    assert re.search(r"OSError: cannot download http.*(disk is full|File too large)\n$", process.stderr)
    assert process.returncode == 1 and not path.exists()
    assert pathlib.Path(f"{path}.part").stat().st_size <= 100_000
