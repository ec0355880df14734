"""What a streamed measurement has found out, on disk: it is needed later in the run, and by a start that resumes it.

The records of a run are in one file that only grows (``coupling.parts_file``). They are of three kinds: what each block
returned for each prompt; the singular triplets of its Jacobians; and the products of its Jacobians with the frames of
blocks that came later. Each is JSON and safetensors, and never a pickle.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from coupling.errors import CouplingError
from coupling.parts_file import LAYOUT, MOST_PROMPTS, PartsFile
from coupling.untrusted import clean

RecordKind = Literal["result", "factors", "rows"]
KINDS: tuple[RecordKind, ...] = ("result", "factors", "rows")
MOST_POSITIONS = 2**24


class StreamStore:
    """The records of a streamed measurement.

    Args:
        file: contains them; those that an earlier start wrote have been read.
        inputs: the hash of each prompt's inputs.
    """

    def __init__(self, file: PartsFile, inputs: Mapping[int, str]) -> None:
        self.file, self.inputs = file, inputs

    def has(self, kind: RecordKind, position: int, prompt: int) -> bool:
        """Whether there is a record of a kind, for a block call and a prompt."""
        return _number(kind, position, prompt) in self.file.records

    def get(self, kind: RecordKind, position: int, prompt: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """A record: what it says, and its tensors.

        Raises:
            CouplingError: if it cannot be read.
        """
        content = self.file.content(_number(kind, position, prompt))
        try:
            return decode(content or b"")
        except (ValueError, struct.error, SafetensorError) as error:
            raise CouplingError(
                f"{clean(self.file.path, 300)} is damaged ({type(error).__name__}), so the run cannot go on; start "
                "again with `overwrite=True`"
            ) from None

    def put(
        self, kind: RecordKind, position: int, prompt: int, content: dict[str, Any], tensors: dict[str, Tensor]
    ) -> None:
        """Save a record.

        Raises:
            CouplingError: if that is not possible; the records before are kept.
        """
        try:
            self.file.append_content(_number(kind, position, prompt), self.inputs[prompt], encode(content, tensors))
        except CouplingError as error:
            raise CouplingError(f"{error}; the blocks before are saved, continue with `resume=True`") from None

    def clear(self) -> None:
        """Forget everything."""
        self.file.discard()


def _number(kind: RecordKind, position: int, prompt: int) -> int:
    return (KINDS.index(kind) * MOST_POSITIONS + position) * MOST_PROMPTS + prompt


def encode(content: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """JSON, then safetensors."""
    layout = json.dumps(content).encode()
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return LAYOUT.pack(len(layout)) + layout + save(own)


def decode(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What ``encode`` was given.

    Raises:
        ValueError: if it is something else; or struct.error, SafetensorError.
    """
    (length,) = LAYOUT.unpack_from(content)
    layout = json.loads(content[LAYOUT.size : LAYOUT.size + length])
    return layout, load(content[LAYOUT.size + length :])


def temporary_store(folder: Path, inputs: Mapping[int, str]) -> StreamStore:
    """A store in a folder that is removed at the end, for a run that is not saved."""
    return StreamStore(PartsFile(folder / "streamed.bin", bytes(32)), inputs)
