"""What the processor has instructions for, where that decides a run's speed and its bits."""

import platform
from pathlib import Path

WIDEST_FIRST = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx")  # as Linux calls them
_CPUINFO = Path("/proc/cpuinfo")


def name() -> str:
    """Returns the processor's name, or the machine's where that is not known."""
    return _line("model name") or platform.processor() or platform.machine()


def instructions() -> str:
    """Returns the first of WIDEST_FIRST that the processor has, "" where that is not known."""
    flags = _line("flags").split()
    return next((each for each in WIDEST_FIRST if each in flags), "")


def has_bfloat16() -> bool:
    """True where products in bfloat16 have instructions of their own.

    Without them the gradients of convolutions take some fifteen times as long as in float32.
    """
    return instructions().endswith("bf16")


def _line(key):
    """Returns what /proc/cpuinfo says of its first processor, "" where there is no such file or line."""
    try:
        lines = [line.partition(":") for line in _CPUINFO.read_text().splitlines()]
    except OSError:
        return ""
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")
