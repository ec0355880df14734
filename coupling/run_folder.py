"""A run on disk: prompts are saved as they are measured, a start is resumed, and only a complete run is read.

This file is long, because every state that a killed process may leave is written and read in one place.

A finished run is a folder with ``run.nc`` (the Dataset, NetCDF) and ``run.json`` (provenance and timings). While it
is being measured, ``started.json`` records its identity, and ``parts.bin`` contains the measured prompts.

Wherever a process is killed, the folder stays one that a resumed start or an overwriting one accepts. ``started.json``
is therefore the first file that is written and the last that is removed, and ``run.json``, which makes a run complete,
is the last that is written and the first that is removed.
"""

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from coupling.errors import CouplingError
from coupling.files import load_json, remove_leftovers, to_json, write_atomically
from coupling.joining import split_prompt
from coupling.locking import locked
from coupling.models.chat import PromptWarning
from coupling.netcdf import read_dataset, to_bytes
from coupling.parts_file import PartsFile, prompt_of
from coupling.run_files import (
    DATA,
    FILES,
    FORMER_PARTS,
    INPUTS,
    PARTS,
    REPLACING,
    STARTED,
    STREAMED,
    SUMMARY,
    check_run_folder,
    finished_run,
    inputs_of,
)
from coupling.untrusted import clean, expanded, quoted


@contextlib.contextmanager
def writing(folder: Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[None]:
    """A context in which this process alone writes a run to a folder; a folder that stays empty is removed again.

    Args:
        folder: it is created if it does not exist.
        overwrite: a run that it contains will be replaced.
        resume: a run that it contains will be continued.

    Raises:
        CouplingError: if the folder contains something else, is not writable, or another process writes to it.
    """
    check_run_folder(folder, overwrite=overwrite, resume=resume)  # nothing of others is given a lock
    is_new = not folder.exists()
    try:
        with locked(folder):
            check_run_folder(folder, overwrite=overwrite, resume=resume)  # another process may have just ended
            remove_leftovers(folder, FILES)
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # there is something in it, as there should be
                folder.rmdir()


class RunFolder:
    """A folder that a run is being written to; only who has locked it (``writing``) may make one.

    Args:
        folder: it is created if it does not exist.
        identity: what must be equal for a run to be resumed (settings, weights, configuration, tokenizer); it can be
            written as JSON.
        inputs: the hash of each prompt's inputs.
        overwrite: delete a run that it contains.
        resume: continue a run that it contains. A finished run is continued where there are more prompts now.

    Raises:
        CouplingError: if the folder contains something else or a run of another identity, or is not writable.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        inputs: Sequence[str] = (),
        *,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        self.folder, self.inputs = folder, list(inputs)
        self.identity: dict[str, Any] = json.loads(to_json(identity))
        self.parts = PartsFile(folder / PARTS, hashlib.sha256(to_json(self.identity)).digest())
        self.streamed = PartsFile(folder / STREAMED, self.parts.identity)
        self.finished = False
        """Whether the folder contains exactly the run that is to be measured."""
        ours = check_run_folder(folder, overwrite=overwrite, resume=resume)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if ours and resume:
                self._continue()
            else:
                self._begin(replaces=ours)
        except OSError as error:
            raise CouplingError(f"cannot write to the folder {clean(folder, 300)}: {error.strerror or error}") from None

    @property
    def complete(self) -> bool:
        """Whether the folder contains a complete run, this one or one of fewer prompts."""
        return (self.folder / SUMMARY).exists() and (self.folder / DATA).exists()

    def part(self, prompt: int) -> xr.Dataset | None:
        """A prompt's Dataset, if it has been measured already."""
        return self.parts.get(prompt)

    def keep(self, prompt: int, dataset: xr.Dataset) -> None:
        """Save one prompt's Dataset.

        Raises:
            CouplingError: if that is not possible; the prompts that were saved before are kept.
        """
        try:
            self.parts.append(prompt, self.inputs[prompt], dataset)
        except CouplingError as error:
            kept = len(self.parts.records)
            hint = (
                f"; {kept} measured {inputs_of(self.identity)} are saved, continue with `resume=True`" if kept else ""
            )
            raise CouplingError(f"{error}{hint}") from None

    def finish(self, run: xr.Dataset, summary: dict[str, Any]) -> None:
        """Write the complete run, with ``run.json`` last; then remove the parts.

        Raises:
            CouplingError: if that is not possible; the measured prompts are kept.
        """
        content = to_json({"identity": self.identity, INPUTS: self.inputs} | summary)
        self.parts.close()
        self.streamed.close()
        try:
            (self.folder / SUMMARY).unlink(missing_ok=True)  # it says that run.nc has fewer prompts
            write_atomically(self.folder / DATA, to_bytes(run))
            write_atomically(self.folder / SUMMARY, content)
        except CouplingError as error:
            hint = f"all {inputs_of(self.identity)} are measured and saved, continue with `resume=True`"
            raise CouplingError(f"{error}; {hint}") from None
        self.discard_parts()

    def leave(self) -> None:
        """End without a complete run; where nothing was measured nothing is left of it."""
        self.parts.close()
        self.streamed.close()
        if not self.parts.records and not self.streamed.records and not self.complete:
            with contextlib.suppress(OSError):
                self.discard_parts()

    def discard_parts(self) -> None:
        """Remove what only an unfinished run needs; the file that marks the folder as ours comes last."""
        (self.folder / PARTS).unlink(missing_ok=True)
        (self.folder / STREAMED).unlink(missing_ok=True)
        if (self.folder / FORMER_PARTS).is_dir():
            shutil.rmtree(self.folder / FORMER_PARTS, ignore_errors=True)
        (self.folder / STARTED).unlink(missing_ok=True)

    def _begin(self, *, replaces: bool) -> None:
        """Start a run; what is there of another is removed."""
        if replaces:
            write_atomically(self.folder / STARTED, to_json({REPLACING: True}))
        for name in (SUMMARY, DATA, PARTS, STREAMED):
            (self.folder / name).unlink(missing_ok=True)
        if replaces and (self.folder / FORMER_PARTS).exists():
            shutil.rmtree(self.folder / FORMER_PARTS)
        self._mark()

    def _mark(self) -> None:
        write_atomically(self.folder / STARTED, to_json({"identity": self.identity}))

    def _continue(self) -> None:
        """Continue a run: one that is unfinished, or a finished one of fewer prompts."""
        summary = load_json(self.folder / SUMMARY) if self.complete else None
        started = load_json(self.folder / STARTED) if (self.folder / STARTED).exists() else {}
        if REPLACING in started:
            if summary is None or summary.get("identity") != self.identity:
                self._begin(replaces=True)  # the process that was told to overwrite it did not live to do so
                return
            (self.folder / STARTED).unlink()
        if (self.folder / FORMER_PARTS).is_dir() and summary is None:
            version = (started.get("identity") or {}).get("package_version", "an earlier version")
            raise CouplingError(
                f"{clean(self.folder, 300)} contains an unfinished run of version {clean(version, 40)}, which "
                "only that version can continue; give another `out`, or `overwrite=True`"
            )
        self._check_identity((summary or started).get("identity"))
        for file in (self.parts, self.streamed):
            if file.read():
                warnings.warn(
                    f"{clean(file.path, 300)} is damaged or was cut short; {inputs_of(self.identity)} that cannot be "
                    "read from it are measured again",
                    PromptWarning,
                    stacklevel=2,
                )
        self._check_inputs({number: record.inputs for number, record in self.parts.records.items()})
        self._check_inputs({prompt_of(number): record.inputs for number, record in self.streamed.records.items()})
        if summary is not None:
            self._continue_finished(summary)

    def _continue_finished(self, summary: dict[str, Any]) -> None:
        known = summary.get(INPUTS)
        known = known if isinstance(known, list) else []
        self._check_inputs(dict(enumerate(known)))
        self.finished = known == self.inputs
        if self.finished:
            self.discard_parts()
            return
        self._mark()
        missing = [number for number in range(len(known)) if number not in self.parts.records]
        run = open_run(self.folder) if missing else xr.Dataset()
        for number in missing:
            self.keep(number, split_prompt(run, number))

    def _check_identity(self, known: Any) -> None:
        known = known if isinstance(known, dict) else {}
        differing = sorted(
            key for key in self.identity.keys() | known.keys() if self.identity.get(key) != known.get(key)
        )
        if differing:
            key = differing[0]
            raise CouplingError(
                f"{clean(self.folder, 300)} contains a run that differs in {clean(', '.join(differing), 300)} "
                f"({clean(key, 40)}: {quoted(known.get(key))} there, {quoted(self.identity.get(key))} now), so it "
                "cannot be resumed; give the same arguments, another `out`, or `overwrite=True`"
            )

    def _check_inputs(self, known: dict[int, Any]) -> None:
        """Check that every prompt that was measured is a prompt of this run."""
        words = inputs_of(self.identity)
        word = words[:-1]
        for number, inputs in sorted(known.items()):
            if number >= len(self.inputs):
                problem = f"has measured {word} {number}, and only {len(self.inputs)} {words} are given now"
            elif inputs != self.inputs[number]:
                other = "another image" if word == "image" else "another text or other token ids"
                problem = f"has measured {other} as {word} {number}"
            else:
                continue
            raise CouplingError(
                f"the run in {clean(self.folder, 300)} {problem}, so it cannot be resumed; give the same {words} (more "
                "may follow them), another `out`, or `overwrite=True`"
            )


def open_run(folder: str | Path, *, without: Collection[str] = ()) -> xr.Dataset:
    """Read a finished run.

    Args:
        folder: the folder that the run was saved in.
        without: variables that are not read, such as the large ones that only some pictures need.

    Raises:
        CouplingError: if it is not a run, or an unfinished one.
    """
    return read_dataset(finished_run(folder) / DATA, without)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """The ``run.json`` of a finished run: provenance, settings, timings.

    Raises:
        CouplingError: if it cannot be read.
    """
    return load_json(expanded(folder) / SUMMARY)
