"""How many prompts are measured together, and how much memory a measurement may use beside model and recordings."""

import gc
import re
from dataclasses import dataclass, replace
from typing import Literal

import torch

from coupling.errors import CouplingError
from coupling.linalg.jacobian import PASS_MEMORY
from coupling.untrusted import quoted

DEFAULT_MEMORY = 2**30
"""Bytes for Jacobians and the passes that make them."""
LEAST_MEMORY = 2**22
"""Below this no measurement is tried."""
MOST_PROMPTS = 64
"""Prompts that "auto" measures together at most; beyond it nothing is gained."""
FEWEST_PROMPTS = 8
"""Where fewer fit one pass, the products cost more than what is around them, and prompts are measured alone."""
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}

BatchSize = int | Literal["auto"]
"""The number of prompts of equal length that are measured together."""


@dataclass(frozen=True)
class Resources:
    """What a measurement may use.

    Attributes:
        batch_size: how many prompts of equal length are measured together.
        memory_budget: bytes for the Jacobians that are kept, and for the passes that make them; the model, and what is
            recorded of the prompts, are not counted.
    """

    batch_size: BatchSize = "auto"
    memory_budget: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        size = self.batch_size
        if size != "auto" and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise CouplingError(f"`batch_size` is {quoted(size)}, but must be 'auto' or a number of at least 1")
        if self.memory_budget < LEAST_MEMORY:
            raise CouplingError(
                f"`memory_budget` is {bytes_text(self.memory_budget)}, but must be at least {bytes_text(LEAST_MEMORY)}"
            )

    @property
    def pass_bytes(self) -> int:
        """Bytes of one batched pass."""
        return min(PASS_MEMORY, self.memory_budget // 4)

    @property
    def pass_share(self) -> float:
        """How large a pass may be, relative to one under the default budget."""
        return self.pass_bytes / PASS_MEMORY

    @property
    def kept_bytes(self) -> int:
        """Bytes of the Jacobians that one comparison keeps; beyond it they are made twice."""
        return self.memory_budget // 2

    def prompts_together(self, width: int, n_tokens: int, blocks: int, itemsize: int = 4) -> int:
        """How many prompts of a length are measured together.

        Args:
            width: d.
            n_tokens: n.
            blocks: L.
            itemsize: bytes of a number.
        """
        if self.batch_size != "auto":
            return self.batch_size
        rows = self.pass_bytes // (48 * width * width * itemsize)
        if rows < FEWEST_PROMPTS:
            return 1
        kept = self.kept_bytes // (blocks * width * width * itemsize)
        recorded = self.memory_budget // 4 // (4 * blocks * n_tokens * width * itemsize)
        return max(1, min(MOST_PROMPTS, rows, kept, recorded))

    def halved(self) -> "Resources":
        """Half the memory.

        Raises:
            CouplingError: if that is too little.
        """
        if self.memory_budget // 2 < LEAST_MEMORY:
            raise CouplingError("the device is out of memory even for one small pass; free some of it, or use the CPU")
        return replace(self, memory_budget=self.memory_budget // 2)


DEFAULT_RESOURCES = Resources()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def release_memory() -> None:
    """Give back what can be given back, after memory ran out."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def bytes_text(size: int) -> str:
    """A size as text that ``parse_bytes`` reads.

    Example:
        >>> bytes_text(2**30), bytes_text(3 * 2**29)
        ('1GiB', '1536MiB')
    """
    for unit in ("GiB", "MiB", "KiB"):
        count, rest = divmod(size, UNITS[unit.upper()])
        if count and not rest:
            return f"{count}{unit}"
    return str(size)


def parse_bytes(text: str | int) -> int:
    """A number of bytes, from text such as "2GB", "512MiB" or "1.5 GB".

    Raises:
        CouplingError: if it is something else.

    Example:
        >>> parse_bytes("2GB"), parse_bytes("512 MiB")
        (2000000000, 536870912)
    """
    if isinstance(text, int):
        return text
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMG]i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise CouplingError(f"`memory_budget` is {quoted(text)}, but must be a size such as 2GB or 512MiB")
    return int(float(found[1]) * UNITS[(found[2] or "").upper()])
