"""A run on disk: written atomically prompt by prompt, resumed, and read only when whole.

A finished run is a folder with ``run.nc`` (the Dataset, NetCDF) and ``run.json`` (provenance and timings). While it
is measured, ``started.json`` says what with, and ``parts/`` holds one NetCDF file a prompt.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from coupling.errors import CouplingError

DATA, SUMMARY, STARTED, PARTS = "run.nc", "run.json", "started.json", "parts"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        CouplingError: if the disk is full or the folder not writable; nothing is left behind.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise CouplingError(f"cannot write {path}: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_bytes(dataset: xr.Dataset) -> bytes:
    """A Dataset as NetCDF; the same Dataset gives the same bytes."""
    encoding = {name: {"zlib": True, "complevel": 4} for name in dataset.data_vars if dataset[name].dtype.kind == "f"}
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def _read(path: Path) -> xr.Dataset:
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            loaded = dataset.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CouplingError(f"{path} is not a NetCDF file that can be read: {str(error).splitlines()[0]}") from None
    for name in loaded.variables:  # xarray reads texts as objects; ours are all str
        if loaded[name].dtype.kind == "O":
            loaded[name] = loaded[name].astype(str)
    loaded.attrs = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in loaded.attrs.items()
    }
    return loaded.drop_encoding()  # as it was before it was written, so that it is written the same again


def check_folder(folder: Path, *, overwrite: bool = False, resume: bool = False) -> bool:
    """Whether a folder holds a run, after checking that one may be written there.

    Raises:
        CouplingError: if it is in use by something else, holds a run that is neither resumed nor overwritten, or
            cannot be written to.
    """
    if overwrite and resume:
        raise CouplingError("overwrite and resume exclude each other")
    try:
        if folder.exists() and not folder.is_dir():
            raise CouplingError(f"{folder} is a file; --out takes a folder")
        entries = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        place = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    except OSError as error:
        raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None
    if not os.access(place, os.W_OK | os.X_OK):
        raise CouplingError(f"cannot write to the folder {folder}: no permission to write in {place}")
    ours = STARTED in entries or {DATA, SUMMARY} <= entries
    if entries and not ours:
        raise CouplingError(f"the folder {folder} holds other files and no run; choose another")
    if ours and not overwrite and not resume:
        raise CouplingError(
            f"the folder {folder} exists and holds a run; give --resume to go on with it, --overwrite to replace it"
        )
    return ours


class RunFolder:
    """A folder that a run is being written to.

    Args:
        folder: created if it is not there.
        identity: what must be equal for a run to be resumed (settings, weights, prompts); JSON-able.
        overwrite: delete a run that is there.
        resume: go on with an unfinished run that is there.

    Raises:
        CouplingError: if the folder is in use, not writable, or holds a run of another identity.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        self.folder, self.identity = folder, identity
        ours = check_folder(folder, overwrite=overwrite, resume=resume)
        if ours and overwrite:
            self._remove()
        started = self._json(STARTED) if resume and ours else None
        if resume and ours:
            known = started if started is not None else self._json(SUMMARY)
            self._check_identity((known or {}).get("identity"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if started is None and not self.complete:
                write_atomically(folder / STARTED, _dump({"identity": identity}))  # first: it marks the folder as ours
            (folder / PARTS).mkdir(exist_ok=True)
        except OSError as error:
            raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None

    @property
    def complete(self) -> bool:
        """Whether the run is there whole."""
        return (self.folder / SUMMARY).exists() and (self.folder / DATA).exists()

    def part(self, prompt: int) -> xr.Dataset | None:
        """A prompt's Dataset if it has been measured already."""
        path = self._part(prompt)
        return _read(path) if path.exists() else None

    def keep(self, prompt: int, dataset: xr.Dataset) -> None:
        """Write one prompt's Dataset."""
        write_atomically(self._part(prompt), to_bytes(dataset))

    def finish(self, run: xr.Dataset, summary: dict[str, Any]) -> None:
        """Write the whole run, ``run.json`` last; then drop the parts."""
        write_atomically(self.folder / DATA, to_bytes(run))
        write_atomically(self.folder / SUMMARY, _dump({"identity": self.identity} | summary))
        self.discard_parts()

    def discard_parts(self) -> None:
        """Remove what only an unfinished run needs."""
        (self.folder / STARTED).unlink(missing_ok=True)
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def _part(self, prompt: int) -> Path:
        return self.folder / PARTS / f"prompt-{prompt:06d}.nc"

    def _json(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        return load_json(path) if path.exists() else None

    def _check_identity(self, known: dict[str, Any] | None) -> None:
        wanted = json.loads(_dump(self.identity))
        differing = sorted(
            key for key in wanted.keys() | (known or {}).keys() if wanted.get(key) != (known or {}).get(key)
        )
        if differing:
            key = differing[0]
            raise CouplingError(
                f"{self.folder} holds a run that differs in {', '.join(differing)} "
                f"({key}: {(known or {}).get(key)!r} there, {wanted.get(key)!r} now), so it cannot be resumed; "
                "give the same arguments, another --out, or --overwrite"
            )

    def _remove(self) -> None:
        try:
            for name in (SUMMARY, DATA, STARTED):  # the marker of a whole run first
                (self.folder / name).unlink(missing_ok=True)
            if (self.folder / PARTS).exists():
                shutil.rmtree(self.folder / PARTS)
        except OSError as error:
            raise CouplingError(f"cannot overwrite {self.folder}: {error.strerror or error}") from None


def _dump(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not belong into JSON")


def load_json(path: Path) -> dict[str, Any]:
    """A file that holds a JSON object.

    Raises:
        CouplingError: if it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CouplingError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise CouplingError(f"{path} does not hold a JSON object")
    return content


def open_run(folder: str | Path) -> xr.Dataset:
    """Read a finished run.

    Args:
        folder: what ``--out`` was.

    Raises:
        CouplingError: if it is no run, or an unfinished one.
    """
    folder = Path(folder).expanduser()
    try:
        entries = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        raise CouplingError(
            f"there is no folder {folder}; a run is a folder that coupling analyze --out made"
        ) from None
    except OSError as error:
        raise CouplingError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    if not {SUMMARY, DATA} <= entries:
        if STARTED in entries:
            done = len(list((folder / PARTS).glob("prompt-*.nc")))
            raise CouplingError(
                f"the run in {folder} is unfinished ({done} prompts measured); repeat its command with --resume"
            )
        raise CouplingError(f"{folder} holds no run: there is no {SUMMARY} beside a {DATA}")
    return _read(folder / DATA)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """The ``run.json`` of a finished run: provenance, settings, timings.

    Raises:
        CouplingError: if it cannot be read.
    """
    return load_json(Path(folder).expanduser() / SUMMARY)
