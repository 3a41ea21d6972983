"""The ways in which a server can fail, of `tests/data/test_download.py`, as a campaign."""

import os
import tempfile
from pathlib import Path

from tests.data import test_download as servers


def campaign():
    """Downloads from each. Returns how many there were, how many ended in one line and left no file, and the others."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    lost = []
    for number, (answer, message, _) in enumerate(servers.FAILURES):
        with tempfile.TemporaryDirectory() as directory, servers.serving() as serve:
            options = {"deadline": servers.SHORT} if answer in servers.SLOW else {}
            try:
                servers.fails(serve(answer), Path(directory) / "file.gz", message, **options)
            except BaseException as error:  # pytest.fail is no Exception
                if isinstance(error, KeyboardInterrupt):
                    raise
                lost.append(f"{number}, {message}: {type(error).__name__}: {error}")
    return len(servers.FAILURES), len(servers.FAILURES) - len(lost), lost
