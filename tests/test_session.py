"""The inputs of one command: measured in memory or from disk, with errors that name the input."""

import pytest

import coupling
from coupling.errors import CouplingError


@pytest.mark.parametrize("stream", [False, True])
def test_errors_name_the_prompt(stream):
    with pytest.raises(CouplingError, match=r"^prompt 1: token 3 is out of range"):
        coupling.analyze(prompts=["import os\nimport re", "a"], k=2, tokens=3, stream=stream)


def test_progress_of_a_streamed_run_counts_blocks():
    seen = []
    coupling.analyze(prompts=["import os", "a"], k=2, stream=True, progress=lambda *at: seen.append(at))
    assert seen[0] == (0, 8, 0, 2)
    assert max(block for block, *_ in seen) == 15
    assert {prompts for *_, prompts in seen} == {2}
