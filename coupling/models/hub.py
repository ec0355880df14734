"""What a hub repository contains, and the files that are downloaded before transformers is asked to load it.

transformers loads most repositories by their name alone. It does not know which GGUF file of a repository is wanted;
and where an adapter lies in one, it would load that adapter's base, even beside whole weights. Such a repository
becomes a folder first, and is then treated as a folder on disk.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from coupling.errors import CouplingError
from coupling.models.adapters import check_adapter_files
from coupling.models.folder import (
    ADAPTER,
    PICKLES,
    SAFETENSORS,
    SAFETENSORS_INDEX,
    TOKENIZER_FILES,
    check_gguf_name,
    is_vision_gguf,
    leads_outside,
    on_hub,
)
from coupling.models.translation import call
from coupling.untrusted import clean, quoted

BESIDE = ("*.json", "*.txt", "*.jinja", "*.py", *TOKENIZER_FILES)
"""Files beside the weights that a measurement may need."""


def materialize(name: str, revision: str | None, *, allow_pickle: bool = False) -> Path | None:
    """Download what transformers would not find by the repository's name.

    Args:
        name: a hub id; or one with the name or the quantization of a GGUF file, as in ``org/name:Q4_K_M``.
        revision: a branch, tag or commit.
        allow_pickle: also weights that are pickled.

    Returns:
        A folder or a GGUF file in the local cache; None where transformers loads the repository by its name.

    Raises:
        CouplingError: if the repository has no such file, or cannot be reached.
    """
    repository, wanted = on_hub(name)
    files, cached = _files(name, repository, revision, needed=bool(wanted))
    whole = any(file in files for file in (SAFETENSORS, SAFETENSORS_INDEX, *PICKLES))
    if wanted or (not whole and ADAPTER not in files and _ggufs(files)):
        where = f"{repository} in the local cache (the hub cannot be reached)" if cached else repository
        file = _chosen(name, where, wanted, _ggufs(files))
        return (
            cached / file if cached else Path(call(name, "file", hf_hub_download, repository, file, revision=revision))
        )
    if ADAPTER not in files:
        return None
    patterns = [ADAPTER, "adapter_model.safetensors", *BESIDE]
    if whole:
        patterns = [*BESIDE, "*.safetensors", *(["*.bin"] if allow_pickle else [])]
    else:
        check_adapter_files(files, name)
    if cached:
        return cached
    return Path(call(name, "files", snapshot_download, repository, revision=revision, allow_patterns=patterns))


def commit_of(path: Path) -> str | None:
    """The commit of a path in the cache; None for any other path."""
    parts = path.parts
    return next((after for before, after in pairwise(parts) if before == "snapshots"), None)


def cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """The folder of a revision in the local cache, with the files that were downloaded; None where there is none."""
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    reference = folder / "refs" / (revision or constants.DEFAULT_REVISION)
    try:
        commit = reference.read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision or ""
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def _files(name: str, repository: str, revision: str | None, *, needed: bool) -> tuple[list[str], Path | None]:
    """The files of a repository; without a connection those in the cache, with their folder.

    Nothing is known of a repository that is not there, or not in the cache.

    Raises:
        CouplingError: if the files are needed, and not known.
    """
    try:
        return HfApi().list_repo_files(repository, revision=revision), None
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        if needed:
            what = "revision" if isinstance(error, RevisionNotFoundError) else "repository"
            missing = str(revision) if what == "revision" else repository
            raise CouplingError(
                f"the hub has no {what} {clean(missing, 100)} for {clean(name, 200)} "
                "(or it needs a login: hf auth login)"
            ) from None
        return [], None  # transformers says so as well
    except Exception:  # httpx's, and those of the hub: no connection, or no answer
        cached = cached_snapshot(repository, revision)
    if cached is not None:
        return [file.relative_to(cached).as_posix() for file in cached.rglob("*") if file.is_file()], cached
    if needed:
        raise CouplingError(
            f"cannot load {clean(name, 200)}: the Hugging Face hub cannot be reached and {repository} is not in the "
            "local cache"
        )
    return [], None


def _ggufs(files: Sequence[str]) -> list[str]:
    """The models among the files of a repository: GGUF files without vision towers and without later parts."""
    ggufs = [file for file in sorted(files) if file.lower().endswith(".gguf") and not leads_outside(file)]
    return [file for file in ggufs if not is_vision_gguf(file) and not re.search(r"-(?!00001)\d{5}-of-\d{5}\.", file)]


def _chosen(name: str, where: str, wanted: str, ggufs: list[str]) -> str:
    """The GGUF file that is wanted: by its name, by its quantization, or the only one.

    Raises:
        CouplingError: if there is none, or there are several.
    """
    if wanted.lower().endswith(".gguf"):
        matching = [file for file in ggufs if wanted in (file, file.rpartition("/")[2])]
    else:
        ending = re.compile(rf"(?:^|[-._/]){re.escape(wanted)}(?:-\d{{5}}-of-\d{{5}})?\.gguf$", re.IGNORECASE)
        matching = [file for file in ggufs if not wanted or ending.search(file)]
    if len(matching) == 1:
        check_gguf_name(matching[0])
        return matching[0]
    listed = ", ".join(quoted(file) for file in (matching or ggufs)[:6]) + (
        ", ..." if len(matching or ggufs) > 6 else ""
    )
    if not ggufs:
        raise CouplingError(f"{where} contains no GGUF file")
    if not matching:
        raise CouplingError(f"{where} contains no GGUF file for {clean(wanted, 100)!r}; it has {listed}")
    raise CouplingError(
        f"{clean(name, 200)} could be any of {len(matching)} GGUF files ({listed}); name one, as in "
        f"{on_hub(name)[0]}:{clean(matching[0], 200)}"
    )
