"""What pages say of options, names, files, variables and columns is what the code has."""

import inspect
import json
import operator
import re
import tomllib
from importlib.resources import files
from typing import Any

import pytest
import typer
import xarray as xr

import coupling
from coupling.choices import BASELINES, RUN_PICTURES, TABLE_PICTURES
from coupling.cli.app import app
from coupling.figures.columns import TABLES
from coupling.linalg.svd import choose_engine
from coupling.models.inputs import describe_grid
from coupling.models.patches import PatchGrid
from tests.docs.code_blocks import DOCUMENTS
from tests.docs.pages import DOCS, ROOT, tables_of, text_of

OTHER_OPTIONS = {
    "--help",
    "--head",  # of Ray
    "--no-python",  # of accelerate
    "--logprobs-mode",  # of vLLM
    "--from-checkpoints",
    "--cifar",  # --cifar10, of the study of vision transformers
}
FORMER_OPTIONS = {"--token"}
"""Former names that the glossary lists, and that no other command has today."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def options() -> set[str]:
    """The options of all commands that are not hidden."""
    group: Any = typer.main.get_command(app)
    parameters = [item for command in group.commands.values() for item in command.params]
    return {"--version"} | {
        name for item in parameters if not item.hidden for name in (*item.opts, *item.secondary_opts)
    }


def options_of_programs() -> set[str]:
    """The options of the benchmarks and the studies, which are no commands of ``coupling``."""
    files = [*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("analyses/**/*.py")]
    return {name for path in files for name in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', path.read_text("utf-8"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_that_is_named_exists(document):
    known = options() | options_of_programs() | OTHER_OPTIONS
    if document.name == "glossary.md":
        known |= FORMER_OPTIONS
    assert set(OPTION.findall(document.read_text(encoding="utf-8"))) <= known


def test_former_names_still_work():
    """Keywords are still accepted, and options are there, but hidden."""
    *_, (_, *rows) = tables_of("concepts/glossary.md")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    for former, name in rows:
        assert f"| {former} | {name} |" in changelog
        keyword = re.match(r"`(\w+)=` in (.*)", former)
        if keyword is not None:
            for function in re.findall(r"`([\w.]+)`", keyword[2]):
                found = operator.attrgetter(function)(coupling)
                assert {keyword[1], name.strip("`=")} <= set(inspect.signature(found).parameters), function
            continue
        command, option = re.match(r"`coupling (\w+) (--[\w-]+)`", former).groups()
        hidden = {spelling: item.hidden for item in group.commands[command].params for spelling in item.opts}
        assert hidden[option] or "with a table" in former
        assert not hidden[name.strip("`")]


def test_the_python_names_of_the_glossary_exist():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "coupling").rglob("*.py"))
    for table in tables_of("concepts/glossary.md")[:3]:
        for row in table[1:]:
            for name in re.findall(r"`([\w.]+)`?", row[2]):
                assert re.search(rf"\b{re.escape(name.rsplit('.', 1)[-1])}\b", sources), name


def test_every_public_name_has_its_reference():
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: (\S+)$", page, re.MULTILINE)) | set(
        re.findall(r"heading: (\S+)$", page, re.MULTILINE)
    )
    parts = {"__version__", "analyses", "figures", "rl", "training"}
    public = {f"coupling.{name}" for name in set(coupling.__all__) - parts}
    public |= {f"coupling.figures.{name}" for name in coupling.figures.__all__}
    public |= {f"coupling.rl.{name}" for name in coupling.rl.__all__ if name != "CouplingCallback"}
    public |= {f"coupling.training.{name}" for name in coupling.training.__all__}
    assert public <= named


def test_every_picture_is_shown():
    page = text_of("reference/pictures.md")
    for picture in (*RUN_PICTURES, *TABLE_PICTURES):
        assert f" ## {picture} ![{picture}](" in page
    listed = [row[0] for row in tables_of("reference/pictures.md")[0][1:]]
    assert listed == [f"[{name}](#{name})" for name in listed_in_order()]


def listed_in_order() -> list[str]:
    listed = re.findall(r"^## (\w+)$", (DOCS / "reference" / "pictures.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(listed) == {*RUN_PICTURES, *TABLE_PICTURES}
    return listed


@pytest.mark.parametrize("picture", TABLE_PICTURES)
def test_the_columns_of_a_table(picture):
    page = (DOCS / "reference" / "pictures.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {picture}\n")[1].split("\n## ")[0]
    stated = re.findall(r"^\| `(\w+)` \| .* \| (\w+) \|$", section, re.MULTILINE)
    columns = TABLES[picture]
    expected = [(name, "required") for name in columns.required] + [(name, "optional") for name in columns.optional]
    assert stated == expected


def test_the_variables_of_a_run(run, token_run):
    header, *rows = tables_of("reference/run-format.md")[1]
    assert header[0] == "variable"
    stated = {name: dims.split(", ") for names, dims, _ in rows for name in re.findall(r"`(\w+)`", names)}
    everything = {
        **{name: run[name] for name in run},
        **{name: run[name] for name in run.coords if name not in run.dims},
    }
    of_images = {"patch_rows", "patch_columns", "picture"}
    by_source = {"fixed_token", "category"}
    assert set(stated) - by_source - of_images == set(map(str, everything))
    part = xr.Dataset({"residual_norm": (("token",), [0.0] * 3)})
    describe_grid(part, PatchGrid(("cls",), 1, 2))
    assert set(map(str, part)) - of_images <= set(stated)
    assert of_images - set(map(str, part)) == {"picture"}
    for name, variable in everything.items():
        assert sorted(stated[str(name)]) == sorted(map(str, variable.dims)), name
    dimensions = {name for row in tables_of("reference/run-format.md")[2][1:] for name in row[0].split(", ")}
    assert {str(name) for name in (*run.dims, *token_run.dims)} <= dimensions


def test_the_baselines():
    (header, *rows) = tables_of("concepts/baselines.md")[0]
    assert header[0] == "baseline"
    assert [row[0] for row in rows] == [baseline.label for baseline in BASELINES]


def test_the_attributes_of_a_run(run):
    page = text_of("reference/run-format.md").split("## Attributes")[1].split("## The folder")[0]
    assert set(map(str, run.attrs)) <= set(re.findall(r"`(\w+)`", page))


def test_the_files_that_pages_name_exist():
    for page in ("design.md", "guides/write-your-own-measure.md"):
        named = set(
            re.findall(r"`((?:coupling|analyses|figures|cli|tests|docs|benchmarks|examples)/[\w/.-]*)`", text_of(page))
        )
        assert named
        for name in named:
            assert (ROOT / name).exists(), f"{page} names {name}"


def test_the_extras():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for document in (ROOT / "README.md", DOCS / "get-started.md"):
        listed = re.findall(r"^\| `(\w+)` \|", document.read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(listed) == sorted(extras)


def test_the_bundled_checkpoint():
    record = json.loads(files("coupling").joinpath("data/checkpoint/training.json").read_text(encoding="utf-8"))
    text = text_of("get-started.md")
    for stated in (
        f"{record['parameters'] / 1e6:.1f}M parameters",
        f"{record['held_out_loss_nats_per_token']:.3f} nats per token",
        f"{record['held_out_bits_per_byte']:.3f} bits per byte",
        f"on {record['held_out_modules']} modules",
        f"about {record['seconds'] / 60:.0f} minutes",
    ):
        assert stated in text, stated


def test_the_width_up_to_which_the_dense_engine_is_taken():
    (width,) = re.findall(
        r"For K = 10 and 32 blocks it takes `dense` up to d = (\d+)", text_of("guides/large-models.md")
    )
    extra = 2 * 32 * 10 + 64
    assert choose_engine((int(width), int(width)), 10, extra_columns=extra) == "dense"
    assert choose_engine((int(width) + 1, int(width) + 1), 10, extra_columns=extra) == "matrix-free"
