"""The files for people and services that read the repository: citation, workflows, hooks and templates."""

import re
import tomllib

import pytest
import yaml

from coupling.version import __version__
from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def load(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_citation():
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    for key in ("message", "title", "authors", "version", "license"):
        assert citation[key]
    assert citation["version"] == __version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    papers = {reference["identifiers"][0]["value"]: reference for reference in citation["references"]}
    assert set(papers) == {"arXiv:2407.07810", "arXiv:2605.12380"}
    for identifier, reference in papers.items():
        assert reference["url"].endswith(identifier.removeprefix("arXiv:"))
        assert all(author["family-names"] and author["given-names"] for author in reference["authors"])
        assert len(reference["authors"]) == 4


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == PROJECT["version"]


def test_the_workflow():
    jobs = load(".github/workflows/ci.yml")["jobs"]
    steps = {name: [step.get("run") for step in job["steps"]] for name, job in jobs.items()}
    assert "bash .ci/run" in steps["all"]
    assert "make test" in steps["test"]
    assert jobs["test"]["strategy"]["matrix"]["python-version"] == ["3.11", "3.12", "3.13"]


def test_the_hooks_call_the_tools_that_the_lock_pins():
    (local,) = load(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    tools = {hook["entry"].split()[0] for hook in local["hooks"]}
    assert tools == {".venv/bin/ruff", ".venv/bin/mypy"}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for tool in tools:
        assert re.search(rf"^{tool.rsplit('/', 1)[1]}==", lock, re.MULTILINE)


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_an_issue_template(name):
    template = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert template["name"]
    assert template["description"]
    ids = [field["id"] for field in template["body"]]
    assert len(ids) == len(set(ids)) > 0


def test_addresses_are_those_of_the_project():
    repository = PROJECT["urls"]["Homepage"]
    for path in ("CITATION.cff", "mkdocs.yml", "CONTRIBUTING.md"):
        text = (ROOT / path).read_text(encoding="utf-8")
        found = set(re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", text))
        assert found == {repository}
