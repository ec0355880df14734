"""Every code line of the README and of the documentation is run, or held to what it names."""

import io
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from glob import glob
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml

from coupling.analyses.rl.config import from_mapping, read_config
from coupling.analyses.sweep.study import study_from_mapping
from tests.docs import workspace
from tests.docs.code_blocks import DOCUMENTS, ROOT, Block, Command, all_blocks, blocks, commands

KNOWN = {"sh", "python", "yaml", "csv", "text", "math"}
SLOW = re.compile(r"^coupling (rl|sweep) |--family|--alias|--measure|leaderboard|guides/(follow|post|sweep)")
"""Commands, and documents with Python, that take long."""
BEFORE = {
    "README.md": """
from transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained("my-model")
inputs = AutoTokenizer.from_pretrained("my-model")("for name in names:", return_tensors="pt")
""",
}
"""What a document's Python takes for granted."""
MINI = 2
"""Prompts that are measured where a command sets no limit."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    workspace.build(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch, cli):
    """A copy of the workspace, as the current folder."""
    shutil.copytree(template, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(template / "cache"))
    return tmp_path


def slow_if(text: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if SLOW.search(text) else []


def of_commands() -> list:
    """All commands; one that several documents give is run once."""
    found = {command.words: command for block in all_blocks("sh") for command in commands(block)}
    return [
        pytest.param(command, id=str(command), marks=slow_if(shlex.join(words))) for words, command in found.items()
    ]


def with_python() -> list:
    names = dict.fromkeys(block.document for block in all_blocks("python"))
    return [pytest.param(name, id=name, marks=slow_if(name)) for name in names]


# Rules for commands: each takes the command, the folder and the fixture `cli`


def run_coupling(command: Command, folder: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it through the application, in the workspace."""
    words = [name for word in command.words[1:] for name in (sorted(glob(word)) if "*" in word else [word])]
    prepare_runs(words, folder)
    for option in ("--revision", "--revisions"):  # the models of the workspace are folders, which have none
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    if {"analyze", "--from-checkpoints"} & set(words) and not {"--limit", "--prompts"} & set(words):
        words += ["--limit", str(MINI)]
    if words[:2] == ["rl", "--demo"]:
        config = read_config(folder / "examples" / "addition.yaml")
        monkeypatch.setattr("coupling.analyses.rl.demo.demo_config", lambda *_, **__: config)
    if "--resume" in words:
        expect_success(cli(*[word for word in words if word != "--resume"]))
    if words[:3] == ["rl", "--from-checkpoints", "runs/addition"]:
        shutil.rmtree(folder / "runs" / "addition")
        expect_success(cli("rl", "run.yaml", "--out", "runs/addition"))
    if command.stdin is not None:
        content = io.BytesIO((folder / command.stdin).read_bytes())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    out = expect_success(cli(*words))
    for option in ("-o", "--out", "--save-table"):
        if option in words:
            assert Path(words[words.index(option) + 1]).exists()
    if command.stdout is not None:
        assert command.stdout.endswith(".json")
        assert out.startswith("{")


def expect_success(outcome: tuple[int, str, str]) -> str:
    code, out, err = outcome
    assert code == 0, err
    assert "warning: " not in err  # of an option that has a new name
    return out


def prepare_runs(words: list[str], folder: Path) -> None:
    """Make the runs that a command reads, and remove those that it writes."""
    written = [words[at + 1] for at, word in enumerate(words) if word == "--out"]
    for word in words:
        name = word.removeprefix("runs/").split("/")[0]
        if not word.startswith("runs/") or word in written or "=" in word:
            continue
        if name in workspace.LATER_RUNS:
            workspace.add_run(folder, name)
        elif not (folder / "runs" / name).exists():
            shutil.copytree(folder / "tables" / name, folder / "runs" / name)
    for name in written:
        shutil.rmtree(folder / name, ignore_errors=True)


def check_make(command: Command, *_: object) -> None:
    """The Makefile has the target."""
    (target,) = command.words[1:]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def check_pip(command: Command, *_: object) -> None:
    """The package and its extras are those of pyproject.toml."""
    subcommand, requirement = command.words[1:]
    name, _, extras = requirement.rstrip("]").partition("[")
    assert (subcommand, name) == ("install", PROJECT["project"]["name"])
    assert set(extras.split(",")) - {""} <= set(PROJECT["project"]["optional-dependencies"])


def check_module(command: Command, *_: object) -> None:
    """The module exists, and knows the options."""
    module = command.words[2]
    spec = find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None
    main = Path(spec.origin)
    sources = main.parent.glob("*.py") if main.name == "__init__.py" or "studies" not in module else [main]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    for option in [word for word in command.words[3:] if word.startswith("--")]:
        assert f'"{option}"' in text


def check_git(command: Command, *_: object) -> None:
    assert command.words[2:] == (PROJECT["project"]["urls"]["Homepage"],)


def check_cd(command: Command, *_: object) -> None:
    assert command.words[1] == PROJECT["project"]["urls"]["Homepage"].rsplit("/", 1)[1]


def check_activate(command: Command, *_: object) -> None:
    assert command.words[1] == ".venv/bin/activate"
    assert ".venv" in (ROOT / "Makefile").read_text()


def check_pre_commit(command: Command, *_: object) -> None:
    assert command.words[1] == "install"
    assert (ROOT / ".pre-commit-config.yaml").exists()
    assert any(str(entry).startswith("pre-commit") for entry in PROJECT["dependency-groups"]["dev"])


def check_launch(command: Command, *_: object) -> None:
    """accelerate takes the arguments, and the configuration of the run is sound; it needs an accelerator."""
    from accelerate.commands.launch import launch_command_parser

    parsed = launch_command_parser().parse_args(command.words[2:])
    assert parsed.no_python
    assert parsed.training_script == "coupling"
    subcommand, config, option, _ = parsed.training_script_args
    assert (subcommand, option) == ("rl", "--out")
    read_config(ROOT / config)


RULES: dict[str, Callable] = {
    "coupling": run_coupling,
    "make": check_make,
    "pip": check_pip,
    "python -m": check_module,
    "git clone": check_git,
    "cd": check_cd,
    "source": check_activate,
    "pre-commit": check_pre_commit,
    "accelerate launch": check_launch,
}


@pytest.mark.parametrize("command", of_commands())
def test_a_command(command, folder, cli, monkeypatch):
    line = shlex.join(command.words)
    rule = next((rule for start, rule in RULES.items() if line.startswith(start + " ")), None)
    assert rule is not None, f"no rule covers {command}"
    rule(command, folder, cli, monkeypatch)


@pytest.mark.parametrize("document", with_python())
def test_the_python_of_a_document_runs_from_top_to_bottom(document, folder):
    names: dict = {"__name__": "__main__"}
    exec(BEFORE.get(document, ""), names)
    for block in all_blocks("python"):
        if block.document == document:
            for name in workspace.LATER_RUNS:
                if f'"runs/{name}"' in block.text:
                    workspace.add_run(folder, name)
            code = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the document
            exec(compile(code, str(ROOT / document), "exec"), names)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=lambda block: f"{block.document}:{block.line}")
def test_a_configuration_is_sound(block):
    read = study_from_mapping if "sweep" in block.document else from_mapping
    read(yaml.safe_load(block.text), block.document)


@pytest.mark.parametrize("block", all_blocks("csv"), ids=lambda block: f"{block.document}:{block.line}")
def test_a_table_is_read(block):
    table = pd.read_csv(io.StringIO(block.text))
    assert len(table.columns) > 1
    assert not table.isna().any(axis=None)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_is_of_a_known_language(document):
    found = list(blocks(document))
    assert {block.language for block in found} <= KNOWN
    fences = re.findall(r"^ *```", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(found)  # none is hidden, for example by being indented


def test_commands_are_read_as_a_shell_reads_them():
    block = Block(
        "x.md", 7, "sh", 'coupling a "b c" \\\n    --d e # comment\n# comment\nmake demo\nf < in.txt > out.txt\n'
    )
    first, second, third = commands(block)
    assert (first.line, first.words) == (7, ("coupling", "a", "b c", "--d", "e"))
    assert (second.line, second.words) == (10, ("make", "demo"))
    assert (third.words, third.stdin, third.stdout) == (("f",), "in.txt", "out.txt")
