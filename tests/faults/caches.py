"""kill -9 while a cache is built, and in a download."""

import contextlib
import hashlib
import http.server
import os
import signal
import socketserver
import tempfile
import time
from pathlib import Path

import numpy as np
from campaign import Row, kill_until_complete, require, start
from PIL import Image
from victims import MOVED, made_trunk

from tfcore.data import Arrays, Splits
from tfcore.data.download import download
from tfcore.data.folders import load_folder
from tfcore.recipes import assemble, stages

BODY = np.random.default_rng(1).bytes(400_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


def pictures(root, kills=50, count=400):
    """An array with a manifest is that of a clean build, after each kill and in the end."""
    generator = np.random.default_rng(0)
    for i in range(count):
        path = root / "pictures" / "ab"[i % 2] / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, [60, 80, 3]).astype(np.uint8)).save(path)

    def build(place):
        folder = load_folder(root / "pictures", image_size=(32, 40), cache_dir=place, progress=False)
        require(len(folder.labels) == count, f"{len(folder.labels)} labels")

    return [_cache("kill -9 while a cache of pictures is built", root, kills, build)]


def features(root, kills=50, count=4000):
    """As `pictures`."""
    images = np.random.default_rng(0).integers(0, 256, [count, 12, 12, 1]).astype(np.uint8)
    recipe = assemble.fit_to_data(MOVED, _splits_of(images))

    def build(place):
        trunk = made_trunk()
        facts = stages.trunk_facts(recipe, trunk.digest())
        kept = stages.features_of(recipe, trunk, facts, place)(images)
        require(len(kept) == count, f"{len(kept)} features")

    return [_cache("kill -9 while a cache of features is built", root, kills, build)]


def _splits_of(images):
    part = Arrays(images, np.zeros(len(images), np.int32))
    return Splits(part, part, part, ("a", "b", "c"), "made")


def _cache(fault, root, kills, build):
    row, wanted = Row(fault), {}

    def whole_arrays(place):
        manifests = sorted(place.rglob("manifest.json"))
        files = [path.with_name(name) for path in manifests for name in ("manifest.json", "array.bin")]
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    def after_kill(place):
        found = whole_arrays(place)
        require(found in ([], wanted["array"]), "an array with a manifest is not that of a clean build")
        return "built" if found else "not yet built"

    def check(place):
        require(whole_arrays(place) == wanted.setdefault("array", whole_arrays(place)), "not as a clean build")
        left = [path for path in place.rglob("*") if path.name.endswith(".tmp") or path.name == "new"]
        require(not left, f"leftovers {left}")

    kill_until_complete(row, kills, root / "caches", build, check=check, after_kill=after_kill, seed=4)
    return row


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends BODY in pieces with pauses, from the byte that Range says where the address ends in /continues."""

    def do_GET(self):
        start = 0
        if self.path.endswith("continues") and (wanted := self.headers.get("Range")):
            start = int(wanted[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        with contextlib.suppress(OSError):
            for at in range(start, len(BODY), 8000):
                self.wfile.write(BODY[at : at + 8000])
                time.sleep(0.005)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@contextlib.contextmanager
def serving():
    """Yields the address of a slow server, which is a process of its own."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    with Server(("127.0.0.1", 0), Slow) as server, tempfile.TemporaryDirectory() as notes:
        pid = start(server.serve_forever, Path(notes))
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def downloads(root, kills=30):
    """Nothing is under the final name but the whole file; the next call completes it."""
    row = Row("kill -9 in a download")
    with serving() as address:
        for kind, share in (("continues", kills - kills // 2), ("anew", kills // 2)):
            fetch = lambda place, kind=kind: download(  # noqa: E731
                f"{address}/{kind}", place / "file", sha256=SHA256, size=len(BODY)
            )

            def after_kill(place):
                if (place / "file").exists():
                    require((place / "file").read_bytes() == BODY, "a part under the final name")
                    return "whole"
                return "a part" if (place / "file.part").exists() else "nothing yet"

            def check(place):
                require((place / "file").read_bytes() == BODY, "not the file")
                require(not (place / "file.part").exists(), "the part is left")

            if share:
                kill_until_complete(row, share, root / kind, fetch, check=check, after_kill=after_kill, seed=5)
    return [row]
