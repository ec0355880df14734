"""The lock of a folder that results are written to, so that two processes never mix their results in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from coupling.errors import CouplingError

LOCK = ".lock"
"""The file in the folder that the lock is held on; it is there only while the folder is locked."""


class LockedError(CouplingError):
    """Another process has locked the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context in which this process alone writes to a folder, which is created if it does not exist.

    The operating system ends the lock with the process that holds it, however that process ends. Where a network file
    system knows no such locks, the file itself is the lock, and one that a killed process left has to be removed by
    hand.

    Args:
        folder: the folder; check before that it contains nothing of others, because the lock is a file in it.

    Raises:
        LockedError: if another process has locked the folder.
        CouplingError: if the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
        ...     print([entry.name for entry in Path(folder).iterdir()])
        ['.lock']
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"another process is writing to the folder {folder}; wait until it ends, or choose another `out`"
        ) from None
    except OSError as error:
        raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None
    try:
        yield
    finally:
        # Removed while it is held: who opened the file before finds that it has no name any more, and opens a new one.
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
