"""A checkpoint on disk: what must be there before transformers is asked to load it."""

import json
import os
import re
import stat
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError, safe_open

from coupling.errors import CouplingError, first_line
from coupling.models.gguf_header import check_gguf_header
from coupling.untrusted import check_regular, clean, expanded, kind_of_file, quoted, read_json

SAFETENSORS, SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names under which transformers finds weights; a pickle is loaded only when it is asked for."""
ADAPTER = "adapter_config.json"
TIMM = "timm:"
"""In front of the name of one of timm's models, or of a folder."""
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "merges.txt", "spiece*", "tekken*.json")
PICKLE_RISK = "which are pickles, and a pickle can run any code when it is read; if you trust it, give "


@dataclass(frozen=True)
class Found:
    """The weights that a folder or a file contains.

    Attributes:
        folder: the folder.
        form: "safetensors", "bin", "gguf", "adapter", or "none" for a configuration alone.
        files: the files of the weights.
    """

    folder: Path
    form: str
    files: tuple[Path, ...] = ()


def on_hub(name: str) -> tuple[str, str]:
    """The repository and the GGUF file that a name means on the hub.

    The file follows after a colon, by its name or its quantization, as in ``org/name:Q4_K_M``; it is empty where the
    name is that of a repository alone.
    """
    repository, _, file = name.partition(":")
    return (repository, file) if re.fullmatch(r"[\w.-]+/[\w.-]+", repository) and file else (name, "")


def is_local(name: str) -> bool:
    """Whether a model's name means a folder or file on this machine: it exists, or cannot be a hub id."""
    if on_hub(name)[1] and not name.startswith((".", "~")) and not Path(name.partition("/")[0]).is_dir():
        return False
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or (os.sep != "/" and os.sep in name)
    try:
        return looks_like_path or name.lower().endswith(".gguf") or Path(name).exists()
    except (OSError, ValueError):  # a folder that may not be entered, or a NUL: the check of the folder says so
        return True


def check_checkpoint_folder(folder: Path, name: str, *, weights: bool, allow_pickle: bool = False) -> Found:
    """Check that a folder contains a readable configuration and, if wanted, whole weights; or is a GGUF file.

    Args:
        folder: the folder, or a GGUF file.
        name: what the user called it.
        weights: whether the weights are needed.
        allow_pickle: read weights that are pickled.

    Returns:
        The weights that will be loaded. Whole weights win over an adapter beside them.

    Raises:
        CouplingError: if something is missing or cannot be read.
    """
    name = clean(name, 300)
    try:
        folder = expanded(folder)
        found = _check_files(folder, name, weights=weights, allow_pickle=allow_pickle)
        _check_all_regular(found.folder)
        return found
    except OSError as error:
        raise CouplingError(f"cannot read {name}: {error.strerror or error}") from None


def _check_all_regular(folder: Path) -> None:
    """Check that a folder contains no pipe, socket or device: whoever opens one may wait for ever."""
    for entry in os.scandir(folder):
        try:
            mode = entry.stat().st_mode
        except OSError:  # a link to nothing; whoever needs that file says so
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise CouplingError(f"{clean(entry.path, 300)} is {kind_of_file(mode)}, but a file was expected")


def check_tokenizer_folder(folder: Path, name: str) -> None:
    """Check that a folder contains a tokenizer.

    Raises:
        CouplingError: if it does not, or the package that reads the tokenizer is missing.
    """
    if not has_tokenizer(folder):
        raise CouplingError(f"{name} contains no tokenizer ({', '.join(TOKENIZER_FILES)})")
    only_tekken = (folder / "tekken.json").exists() and not any(
        (folder / file).exists() for file in ("tokenizer.json", "tokenizer.model")
    )
    if only_tekken and find_spec("mistral_common") is None:
        raise CouplingError(
            f"the tokenizer of {name} is a tekken.json, which needs the mistral-common package, which is not "
            "installed: pip install 'block-coupling[mistral]'"
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder contains a file of a tokenizer."""
    return any(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern))


def _check_files(path: Path, name: str, *, weights: bool, allow_pickle: bool) -> Found:
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        if not path.exists():
            repository, _, file = name.rpartition("/")
            could_be = (
                f"; a file on the hub is named {repository}:{file}"
                if re.fullmatch(r"[\w-]+/[\w.-]+", repository)
                else ""
            )
            raise CouplingError(f"there is no file {name}{could_be}")
        return _gguf(path)
    if not path.exists():
        raise CouplingError(f"there is no folder {name}; give a folder with config.json and weights, or a hub id")
    if not path.is_dir():
        raise CouplingError(
            f"{name} is a file; give the folder that contains config.json and the weights, or a .gguf file"
        )
    whole = [path / SAFETENSORS, path / SAFETENSORS_INDEX, *(path / file for file in PICKLES)]
    if (path / ADAPTER).exists() and not any(file.exists() for file in whole):
        read_json(path / ADAPTER)
        return Found(path, "adapter")
    if not (path / "config.json").exists():
        gguf_files = sorted(path.glob("*.gguf"))
        if not gguf_files and any((path / file).exists() for file in ("run.json", "started.json")):
            raise CouplingError(f"{name} is a run, which is not measured but read: coupling show {name}")
        if not gguf_files:
            raise CouplingError(
                f"{name} contains no config.json, so it is not a checkpoint in the Hugging Face format, "
                "and no .gguf file"
            )
        return _only_gguf(gguf_files, name)
    if not isinstance(read_json(path / "config.json"), dict):
        raise CouplingError(f"{name}/config.json is not a JSON object, so it is not a configuration")
    if not weights:
        return Found(path, "none")
    return _weights(path, name, allow_pickle=allow_pickle)


def _weights(folder: Path, name: str, *, allow_pickle: bool) -> Found:
    """The weights beside a configuration: safetensors before GGUF before pickles."""
    files = [file for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith("adapter_")]
    if (folder / SAFETENSORS).exists():
        files = [folder / SAFETENSORS]
    elif (folder / SAFETENSORS_INDEX).exists():
        files = _shards(folder / SAFETENSORS_INDEX)
    if files:
        for file in files:
            check_safetensors(file)
        return Found(folder, "safetensors", tuple(files))
    gguf_files = sorted(folder.glob("*.gguf"))
    if gguf_files:
        return _only_gguf(gguf_files, name)
    pickles = [folder / file for file in PICKLES if (folder / file).exists()]
    if not pickles:
        others = sorted(file.name for file in folder.glob("*.bin")) + sorted(file.name for file in folder.glob("*.pt*"))
        seen = f"; {others[0]} is not a name that transformers loads" if others else ""
        raise CouplingError(f"{name} contains no weights (*.safetensors, *.gguf or {PICKLES[0]}){seen}")
    if not allow_pickle:
        raise CouplingError(f"{name} contains only {pickles[0].name} weights, {PICKLE_RISK}`allow_pickle=True`")
    files = _shards(pickles[0]) if pickles[0].name.endswith(".json") else pickles[:1]
    return Found(folder, "bin", tuple(files))


def _shards(index: Path) -> list[Path]:
    """The files that an index names.

    Raises:
        CouplingError: if the index cannot be read, or one of them is missing.
    """
    content = read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CouplingError(f"{index} has no weight_map, so it does not say which file contains which weights")
    names = sorted({file if isinstance(file, str) else repr(file)[:100] for file in weight_map.values()})
    outside = next((name for name in names if leads_outside(name)), None)
    if outside is not None:
        raise CouplingError(
            f"{clean(index)} names the file {quoted(outside)}, which is not in its folder; such an index is refused"
        )
    shards = [index.parent / name for name in names]
    missing = [clean(shard.name, 100) for shard in shards if not shard.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CouplingError(f"{index} names the shard {missing[0]}{more}, which the folder does not contain")
    for shard in shards:
        check_regular(shard)
    if not isinstance(content.get("metadata"), dict):
        raise CouplingError(f'{index} has no metadata, which transformers needs; add "metadata": {{}} to it')
    return shards


def leads_outside(name: str) -> bool:
    """Whether a file's name leads out of the folder that it is relative to; links within the folder may lead on."""
    parts = re.split(r"[/\\]", name)
    return "\0" in name or Path(name).is_absolute() or ".." in parts or parts[0].startswith("~") or name in ("", ".")


def _only_gguf(files: list[Path], name: str) -> Found:
    whole = [file for file in files if not is_vision_gguf(file.name)]
    if len(whole) != 1:
        raise CouplingError(
            f"{name} contains {len(files)} GGUF files ({', '.join(file.name for file in files[:4])}); give one of them"
        )
    return _gguf(whole[0])


def _gguf(file: Path) -> Found:
    """A GGUF file that begins as one.

    Raises:
        CouplingError: if it is not one, or a part of a split one.
    """
    check_gguf_name(str(file))
    check_gguf_header(file)
    return Found(file.parent, "gguf", (file,))


def is_vision_gguf(name: str) -> bool:
    """Whether the name of a GGUF file is that of a vision tower beside a model."""
    return name.rpartition("/")[2].startswith("mmproj")


def check_gguf_name(name: str) -> None:
    """Check that a GGUF file is whole, from its name.

    Raises:
        CouplingError: if it is a part of a split one.
    """
    part = re.search(r"-(\d{5})-of-(\d{5})\.gguf$", name)
    if part and int(part[2]) > 1:
        raise CouplingError(
            f"{clean(name, 300)} is part {int(part[1])} of {int(part[2])}, which transformers cannot read; merge the "
            "parts with llama.cpp's llama-gguf-split"
        )


def check_safetensors(file: Path) -> None:
    """Check that a file of safetensors has its header and its whole length.

    Raises:
        CouplingError: if it does not.
    """
    check_regular(file)
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise CouplingError(f"{file} is truncated or corrupt: {clean(first_line(error), 300)}") from None


def loadable(found: Found, stack: ExitStack) -> Path:
    """The folder that transformers can load: the given one, or links to its files in a temporary one.

    Links are needed where shards have no index (it is made from their headers), where a file has another name, and
    where an adapter lies beside whole weights: transformers would load that adapter's base in their place.

    Args:
        found: the weights.
        stack: removes the temporary folder when it closes.
    """
    names = [file.name for file in found.files]
    indexed = SAFETENSORS in names or (found.folder / SAFETENSORS_INDEX).exists()
    if found.form not in ("safetensors", "bin") or (
        not (found.folder / ADAPTER).exists() and (indexed or found.form == "bin")
    ):
        return found.folder
    links = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coupling-")))
    for file in found.folder.iterdir():
        if not file.name.startswith("adapter_"):
            (links / file.name).symlink_to(file.resolve())
    if found.form == "safetensors" and not indexed:
        weight_map: dict[str, str] = {}
        for file in found.files:
            with safe_open(file, framework="pt") as opened:
                weight_map |= dict.fromkeys(opened.keys(), file.name)
        (links / SAFETENSORS_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return links
