"""Read single tensors from a file of safetensors, and notice when it is cut short or changes."""

import json
import os
from pathlib import Path

import torch
from torch import Tensor

from coupling.errors import CouplingError
from coupling.untrusted import clean

STORED = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""The types of entries, as safetensors names them."""
MOST_HEADER = 100_000_000
"""The longest header that safetensors allows, in bytes."""


class Shard:
    """A file of safetensors that is read by ``read``, not mapped: a file that is cut short is an error, not a signal.

    Args:
        path: the file.

    Raises:
        CouplingError: if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._state = self._now()
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(length, MOST_HEADER)))
        except OSError as error:
            raise CouplingError(f"cannot read {clean(path, 300)}: {error.strerror or error}") from None
        except (ValueError, RecursionError):
            raise CouplingError(f"{clean(path, 300)} is truncated or corrupt: it has no header") from None
        self._start, self._header = 8 + length, header

    def _now(self) -> tuple[int, int, int]:
        state = os.stat(self.path)
        return state.st_size, state.st_mtime_ns, state.st_ino

    def size_of(self, key: str) -> int:
        """The bytes that a tensor takes in the file."""
        begin, end = self._header[key]["data_offsets"]
        return end - begin

    def read(self, key: str) -> Tensor:
        """One tensor, as it is stored.

        Raises:
            CouplingError: if the file has changed, or does not contain the whole tensor; both are named.
        """
        where = f"{clean(key, 200)} in {clean(self.path, 300)}"
        try:
            if self._now() != self._state:
                raise CouplingError(
                    f"{clean(self.path, 300)} has changed since the run began (while {clean(key, 200)} was read), so "
                    "what was measured is of other weights; start again with `overwrite=True`"
                )
            entry = self._header[key]
            begin, end = entry["data_offsets"]
            tensor = torch.empty(entry["shape"], dtype=STORED[entry["dtype"]])
            if tensor.nbytes != end - begin:
                raise CouplingError(f"cannot read {where}: its length is not that of its shape")
            view = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else memoryview(b"")
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._start + begin)
                while view:
                    count = file.readinto(view)
                    if not count:
                        raise CouplingError(f"cannot read {where}: the file is truncated")
                    view = view[count:]
        except CouplingError:
            raise
        except OSError as error:
            raise CouplingError(f"cannot read {where}: {error.strerror or error}") from None
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CouplingError(f"cannot read {where} ({type(error).__name__}: {clean(str(error), 100)})") from None
        return tensor
