"""``coupling analyze``, killed at random moments until it is complete, and with damaged files."""

import json
import random
import shutil
from pathlib import Path

import torch
import transformers

from benchmarks.crash_test.commands import Figures, has_one_line, kill_after, start, timed, wait
from coupling.models.loading import load
from coupling.parts_file import scan
from coupling.run_files import PARTS

WIDTH, PROMPTS = 16, 12
COMMAND = ("analyze", "model", "--prompts", "prompts.txt", "--k", 3, "--quiet", "--out")
DAMAGED = ("run/run.nc", "run/run.json", "part/parts.bin", "part/started.json", "model/config.json",
           "model/tokenizer.json", "model/model.safetensors", "prompts.txt")  # fmt: skip
"""Files that are damaged: of a finished run, of an unfinished one, of a checkpoint, and the prompts."""


def prepare(place: Path) -> None:
    """Write a small checkpoint and its prompts."""
    tokenizer = load().tokenizer
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    lines = [f"import module_{number}" + ", os" * (number % 4) for number in range(PROMPTS)]
    (place / "prompts.txt").write_text("\n".join(lines) + "\n")


def saved(folder: Path) -> set[int]:
    """The prompts that a folder's unfinished run has saved."""
    return {record.prompt for record in scan(folder / PARTS)[0]} if (folder / PARTS).exists() else set()


def kill_and_resume(place: Path, count: int, seed: int = 0) -> Figures:
    """Kill ``analyze`` at ``count`` random moments, resume each run until it is complete, and compare its bytes.

    Raises:
        RuntimeError: if a promise is broken.
    """
    draws, figures, log = random.Random(seed), Figures(), place / "log"
    timed([*COMMAND, "whole"], place, log)  # the first start compiles and caches
    shutil.rmtree(place / "whole")
    seconds = timed([*COMMAND, "whole"], place, log)
    expected = (place / "whole" / "run.nc").read_bytes()
    folder, kept = place / "run", set[int]()
    while figures.kills < count or folder.exists():
        if figures.kills < count:
            was_killed, _ = kill_after(
                draws.uniform(0, 0.7 * seconds), [*COMMAND, "run", "--resume"], place, log, draws
            )
        else:
            timed([*COMMAND, "run", "--resume"], place, log)
            was_killed = False
        figures.resumes += folder.exists()
        if was_killed:
            figures.kills += 1
            now = saved(folder)
            is_complete = (folder / "run.json").exists()
            if not is_complete and not kept <= now:
                raise RuntimeError(f"the saved prompts {sorted(kept - now)} are lost after kill {figures.kills}")
            kept = set() if is_complete else now
            continue
        if (folder / "run.nc").read_bytes() != expected:
            raise RuntimeError(f"a resumed run has other bytes than an uninterrupted one, after kill {figures.kills}")
        again = json.loads((folder / "run.json").read_text())["timings"]["prompt_seconds"]
        if any(again[prompt] is not None for prompt in kept):
            raise RuntimeError("a saved prompt was measured again")
        shutil.rmtree(folder)
        kept = set()
    return figures


def damage(content: bytes, draws: random.Random) -> bytes:
    """A file's bytes, with some of them changed, removed, doubled or replaced."""
    at = draws.randrange(len(content))
    length = draws.choice((1, 8, 500))
    noise = draws.randbytes(length)
    return draws.choice(
        (
            content[:at],
            content[:at] + noise + content[at + length :],
            content[:at] + noise + content[at:],
            content[:at] + content[at + length :],
            noise,
            b"",
            content[:at] + draws.choice((b"\0", b"\x1b[31m", b"\xff\xfe", b"[" * 5000, b"9" * 5000)) + content[at:],
        )
    )


def damaged_files(place: Path, count: int, seed: int = 0) -> Figures:
    """Give ``show`` and ``analyze`` damaged files: each ends in a result or in one line.

    Raises:
        RuntimeError: if one ends in anything else.
    """
    draws, figures, log = random.Random(seed), Figures(), place / "log"
    timed([*COMMAND, "run"], place, log)
    while not saved(place / "part"):
        shutil.rmtree(place / "part", ignore_errors=True)
        kill_after(draws.uniform(0, 1), [*COMMAND, "part"], place, log, draws)
        if (place / "part" / "run.json").exists():
            shutil.rmtree(place / "part")
    for number in range(count):
        name = DAMAGED[number % len(DAMAGED)]
        path = place / name
        before = {folder: _files(place / folder) for folder in ("run", "part")}
        content = path.read_bytes()
        path.write_bytes(damage(content, draws))
        if name.startswith("run/"):
            commands: list[list[object]] = [["show", "run", "--json"], [*COMMAND, "run", "--resume"]]
            command = draws.choice(commands)
        else:
            command = [*COMMAND, "part", "--resume"]
        code = wait(start(command, place, log))
        if code not in (0, 1) or (code == 1 and not has_one_line(log)):
            shutil.copy(path, place / "offending")
            raise RuntimeError(f"a damaged {name} ended {command[0]} with {code}: {log.read_text()[-1000:]}")
        figures.inputs += 1
        path.write_bytes(content)
        for folder, files in before.items():
            shutil.rmtree(place / folder, ignore_errors=True)
            (place / folder).mkdir()
            for file, was in files.items():
                (place / folder / file).write_bytes(was)
    return figures


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
