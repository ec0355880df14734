"""Sizes of batches, and memory budgets as text."""

import pytest

from coupling.errors import CouplingError
from coupling.resources import DEFAULT_MEMORY, Resources, bytes_text, is_out_of_memory, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("512MiB", 2**29), ("1.5 kb", 1500), ("4194304", 2**22), (2**30, 2**30)]
)
def test_sizes_are_read(text, size):
    assert parse_bytes(text) == size
    assert parse_bytes(bytes_text(size)) == size


@pytest.mark.parametrize("text", ["", "much", "2 TB", "-1GB", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(CouplingError, match="must be a size such as"):
        parse_bytes(text)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "many"])
def test_what_is_no_batch_size_is_refused(size):
    with pytest.raises(CouplingError, match="`batch_size`"):
        Resources(batch_size=size)


def test_narrow_models_are_measured_in_large_batches_and_wide_ones_alone():
    automatic = Resources()
    assert automatic.prompts_together(128, 32, 8) == 64
    assert automatic.prompts_together(384, 128, 12) == 9
    assert automatic.prompts_together(768, 128, 12) == 1
    assert automatic.prompts_together(4096, 128, 32) == 1
    assert automatic.prompts_together(128, 4096, 8) < automatic.prompts_together(128, 32, 8)
    assert Resources(batch_size=3).prompts_together(4096, 128, 32) == 3


def test_less_memory_is_half_until_it_is_too_little():
    resources = Resources()
    assert resources.halved().memory_budget == DEFAULT_MEMORY // 2
    assert resources.halved().pass_bytes < resources.pass_bytes
    with pytest.raises(CouplingError, match="out of memory even for one small pass"):
        Resources(memory_budget=2**22).halved()
    with pytest.raises(CouplingError, match="must be at least 4MiB"):
        Resources(memory_budget=1000)


def test_errors_of_memory_are_known():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
