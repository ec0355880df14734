"""Files that exist whole or not at all."""

import errno
import os

import pytest

from coupling.errors import CouplingError
from coupling.files import write_atomically


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CouplingError, match="No space left on device"):
        write_atomically(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []
