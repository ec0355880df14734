"""A run on disk: written atomically prompt by prompt, resumed, and read only when it is complete.

A finished run is a folder with ``run.nc`` (the Dataset, NetCDF) and ``run.json`` (provenance and timings). While it
is being measured, ``started.json`` records its identity, and ``parts/`` contains one NetCDF file per prompt.
"""

import contextlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from coupling.errors import CouplingError, first_line
from coupling.files import check_output_folder, load_json, to_json, write_atomically

DATA, SUMMARY, STARTED, PARTS = "run.nc", "run.json", "started.json", "parts"


def to_bytes(dataset: xr.Dataset) -> bytes:
    """A Dataset as NetCDF; the same Dataset gives the same bytes."""
    encoding = {name: {"zlib": True, "complevel": 4} for name in dataset.data_vars if dataset[name].dtype.kind == "f"}
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def _read(path: Path, without: Collection[str] = ()) -> xr.Dataset:
    try:
        with xr.open_dataset(path, engine="h5netcdf", drop_variables=list(without)) as dataset:
            loaded = dataset.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CouplingError(f"{path} is not a NetCDF file that can be read: {first_line(error)}") from None
    for name in loaded.variables:  # xarray reads texts as objects; ours are all str
        if loaded[name].dtype.kind == "O":
            loaded[name] = loaded[name].astype(str)
    loaded.attrs = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in loaded.attrs.items()
    }
    return loaded.drop_encoding()  # a second write then gives the same bytes


def is_run(entries: Collection[str]) -> bool:
    """Whether the names in a folder are those of a run, finished or not."""
    return STARTED in entries or {DATA, SUMMARY} <= set(entries)


def check_run_folder(folder: Path, *, overwrite: bool = False, resume: bool = False) -> bool:
    """Whether a folder contains a run, after checking that one may be written there.

    Raises:
        CouplingError: see ``check_output_folder``.
    """
    return bool(check_output_folder(folder, is_ours=is_run, overwrite=overwrite, resume=resume))


class RunFolder:
    """A folder that a run is being written to.

    Args:
        folder: it is created if it does not exist.
        identity: what must be equal for a run to be resumed (settings, weights, prompts); it can be written as JSON.
        overwrite: delete a run that it contains.
        resume: continue an unfinished run that it contains.

    Raises:
        CouplingError: if the folder contains something else or a run of another identity, or is not writable.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        self.folder, self.identity = folder, identity
        ours = check_run_folder(folder, overwrite=overwrite, resume=resume)
        if ours and overwrite:
            self._remove()
        started = self._json(STARTED) if resume and ours else None
        if resume and ours:
            known = started if started is not None else self._json(SUMMARY)
            self._check_identity((known or {}).get("identity"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if started is None and not self.complete:
                write_atomically(
                    folder / STARTED, to_json({"identity": identity})
                )  # first: it marks the folder as ours
            (folder / PARTS).mkdir(exist_ok=True)
        except OSError as error:
            raise CouplingError(f"cannot write to the folder {folder}: {error.strerror or error}") from None

    @property
    def complete(self) -> bool:
        """Whether the folder contains a complete run."""
        return (self.folder / SUMMARY).exists() and (self.folder / DATA).exists()

    def part(self, prompt: int) -> xr.Dataset | None:
        """A prompt's Dataset, if it has been measured already."""
        path = self._part(prompt)
        return _read(path) if path.exists() else None

    def keep(self, prompt: int, dataset: xr.Dataset) -> None:
        """Write one prompt's Dataset."""
        write_atomically(self._part(prompt), to_bytes(dataset))

    def finish(self, run: xr.Dataset, summary: dict[str, Any]) -> None:
        """Write the complete run, with ``run.json`` last; then remove the parts."""
        write_atomically(self.folder / DATA, to_bytes(run))
        write_atomically(self.folder / SUMMARY, to_json({"identity": self.identity} | summary))
        self.discard_parts()

    def abandon(self) -> None:
        """Remove the folder of a run of which no prompt was measured."""
        if any((self.folder / PARTS).glob("*")) or self.complete:
            return
        self.discard_parts()
        with contextlib.suppress(OSError):  # something else is in it
            self.folder.rmdir()

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
        wanted = json.loads(to_json(self.identity))
        differing = sorted(
            key for key in wanted.keys() | (known or {}).keys() if wanted.get(key) != (known or {}).get(key)
        )
        if differing:
            key = differing[0]
            raise CouplingError(
                f"{self.folder} contains a run that differs in {', '.join(differing)} "
                f"({key}: {(known or {}).get(key)!r} there, {wanted.get(key)!r} now), so it cannot be resumed; "
                "give the same arguments, another `out`, or `overwrite=True`"
            )

    def _remove(self) -> None:
        try:
            for name in (SUMMARY, DATA, STARTED):  # first the file that marks a complete run
                (self.folder / name).unlink(missing_ok=True)
            if (self.folder / PARTS).exists():
                shutil.rmtree(self.folder / PARTS)
        except OSError as error:
            raise CouplingError(f"cannot overwrite {self.folder}: {error.strerror or error}") from None


def open_run(folder: str | Path, *, without: Collection[str] = ()) -> xr.Dataset:
    """Read a finished run.

    Args:
        folder: the folder that the run was saved in.
        without: variables that are not read, such as the large ones that only some pictures need.

    Raises:
        CouplingError: if it is not a run, or an unfinished one.
    """
    folder = Path(folder).expanduser()
    try:
        entries = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        raise CouplingError(f"there is no folder {folder}; a run is a folder that coupling analyze wrote") from None
    except NotADirectoryError:
        raise CouplingError(f"{folder} is a file; a run is a folder that coupling analyze wrote") from None
    except OSError as error:
        raise CouplingError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    if not {SUMMARY, DATA} <= entries:
        if STARTED in entries:
            done = len(list((folder / PARTS).glob("prompt-*.nc")))
            raise CouplingError(
                f"the run in {folder} is unfinished ({done} prompts measured); repeat its command with `resume=True`"
            )
        raise CouplingError(f"{folder} contains no run: there is no {SUMMARY} beside a {DATA}")
    return _read(folder / DATA, without)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """The ``run.json`` of a finished run: provenance, settings, timings.

    Raises:
        CouplingError: if it cannot be read.
    """
    return load_json(Path(folder).expanduser() / SUMMARY)
