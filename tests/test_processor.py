"""What the processor is said to have, and what a recipe becomes on it."""

import dataclasses

import pytest

from tfcore import processor, recipes
from tfcore.data import Arrays, load
from tfcore.models import cnn
from tfcore.recipes import RECIPES
from tfcore.run import environment

PROCESSORS = {
    "a laptop": ("model name\t: Some Core\nflags\t\t: fpu sse avx avx2 fma\n\nmodel name\t: Other\n", "avx2", False),
    "a server": ("model name : EPYC\nflags : avx avx2 avx512f avx512_bf16\n", "avx512_bf16", True),
    "tiles": ("model name : Xeon\nflags : amx_tile avx512_bf16 amx_bf16 avx2\n", "amx_bf16", True),
    "another family": ("Features : fp asimd bf16\n", "", False),
}


@pytest.fixture(params=PROCESSORS)
def here(request, tmp_path, monkeypatch):
    text, instructions, fast = PROCESSORS[request.param]
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    return instructions, fast


def test_a_recipe_in_bfloat16_is_run_in_float32_where_the_processor_lacks_it(here):
    instructions, fast = here
    assert (processor.instructions(), processor.has_bfloat16()) == here
    assert environment.machine().endswith(f"cores, {instructions}" if instructions else "cores")
    best = RECIPES["fashion_cnn_best"]
    wanted = best if fast else dataclasses.replace(best, precision="float32")
    assert recipes.on_this_processor(best) == wanted
    assert recipes.on_this_processor(RECIPES["fashion_cnn"]) == RECIPES["fashion_cnn"]


def test_a_task_says_when_it_will_be_slow(here, capsys):
    digits = load("digits")
    few = digits._replace(**{part: Arrays(*(a[:8] for a in getattr(digits, part))) for part in digits._fields[:3]})
    slow = dataclasses.replace(RECIPES["digits_cnn128"], model=cnn.Config(blocks=((2,),)), precision="bfloat16")
    recipes.task(slow, few)
    assert capsys.readouterr().err.startswith("precision=bfloat16 is slow") is not here[1]


def test_where_nothing_tells_of_the_processor_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    assert (processor.instructions(), processor.has_bfloat16()) == ("", False)
    assert "cores" in environment.machine()
