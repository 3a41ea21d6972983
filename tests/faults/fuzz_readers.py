"""A fuzzer for every reader of bytes: coverage-guided by atheris where it is installed, else by random changes.

python tests/faults/fuzz_readers.py [seconds] [reader ...]      # 60 seconds for each of all readers

Exit status 1 when bytes were found that give neither data nor an error of one line within time and memory; they are
kept in the directory of temporary files and named. atheris is not among what tfcore asks for: pip install atheris
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere
sys.path.insert(0, str(Path(__file__).parents[2]))

try:
    import atheris
except ImportError:
    atheris = None

MEGABYTES = 512  # that a file may take, beyond what the process had
MODULES = [
    "tfcore.data.idx", "tfcore.data.zips", "tfcore.data.listing", "tfcore.data.pictures", "tfcore.formats.h5",
    "tfcore.checkpoint", "tfcore.tree", "PIL", "zipfile", "json",
]  # fmt: skip


def campaign(seconds=60, names=None):
    """Fuzzes each reader in a process of its own. Returns how many bytes were tried, how many went well, the rest."""
    from tests.faults import readers

    names = names or list(readers.READERS)
    tries, lost = 0, []
    for name in names:
        with tempfile.TemporaryFile("w+") as said:
            command = [sys.executable, __file__, "--one", name, str(seconds)]
            status = subprocess.run(
                command, stdout=said, stderr=said, check=False, timeout=20 * seconds + 300
            ).returncode
            said.seek(0)
            lines = said.read().splitlines()
        tries += max([int(line.split()[1]) for line in lines if line.startswith("tried ")], default=0)
        if status:
            why = [line for line in lines if "Error" in line or "Exception" in line or "exceeded" in line]
            kept = [line for line in lines if line.startswith("kept ")]
            lost.append(f"{name}: {'; '.join([*why[-1:], *kept[-1:]]) or f'exit status {status}'}")
    return tries, tries - len(lost), lost


def fuzz_one(name, seconds):
    """Fuzzes a reader in this process until something is found or the time is over."""
    if atheris:
        with atheris.instrument_imports(include=MODULES):
            from tests.faults import readers
    else:
        from tests.faults import readers
    warnings.simplefilter("ignore")
    place = Path(tempfile.mkdtemp(prefix=f"tfcore-fuzz-{name}-"))
    tried, before = 0, _peak()

    def one(data):
        nonlocal tried
        tried += 1
        try:
            readers.judge(readers.READERS[name], data, place)
            assert _peak() - before < MEGABYTES, f"{_peak() - before:.0f} MB"
        except BaseException:
            (place / "found").write_bytes(data)
            print(f"kept {place / 'found'}", flush=True)
            raise
        if tried % 200 == 0:
            print(f"tried {tried}", flush=True)

    if not atheris:
        generator, ends = readers.random.Random(0), time.monotonic() + seconds
        while time.monotonic() < ends:
            one(readers.mutated(generator.choice(readers.seeds(name)), generator))
        print(f"tried {tried}", flush=True)
        return
    corpus = place / "corpus"
    corpus.mkdir()
    for i, seed in enumerate(readers.seeds(name)):
        (corpus / str(i)).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=20000",
        "-timeout=30",
        "-rss_limit_mb=4096",
        "-print_final_stats=0",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={place}/", str(corpus)], one)
    atheris.Fuzz()


def _peak():
    """Returns the most memory that this process has had, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main():
    if sys.argv[1:2] == ["--one"]:
        return fuzz_one(sys.argv[2], int(sys.argv[3]))
    tries, survived, lost = campaign(int(sys.argv[1]) if sys.argv[1:] else 60, sys.argv[2:])
    print(f"{'atheris' if atheris else 'random changes'}: {tries:,} tried, {survived:,} well")
    print(*lost, sep="\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
