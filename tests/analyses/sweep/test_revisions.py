"""Revisions that patterns match."""

from types import SimpleNamespace

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

from coupling.analyses.sweep.revisions import is_pattern, matching_revisions
from coupling.errors import CouplingError


@pytest.fixture
def hub(monkeypatch):
    """A hub with branches and tags, or one that raises."""

    def set_up(names=(), error=None):
        def list_repo_refs(self, model):
            if error is not None:
                raise error
            branches = [SimpleNamespace(name=name) for name in names]
            return SimpleNamespace(branches=branches, tags=[SimpleNamespace(name="v1")])

        monkeypatch.setattr("huggingface_hub.HfApi.list_repo_refs", list_repo_refs)

    return set_up


def test_a_pattern_is_listed_in_order_of_steps(hub):
    hub(["main", "step1000", "step2", "step64"])
    assert matching_revisions("org/model", ["step*"]) == ["step2", "step64", "step1000"]
    assert matching_revisions("org/model", ["main", "step[12]"]) == ["step2", "main"]
    assert matching_revisions("org/model", ["v*"]) == ["v1"]


def test_names_need_no_hub(hub):
    hub(error=OfflineModeIsEnabled("offline"))
    assert matching_revisions("org/model", ["step8", "step1", "step8"]) == ["step1", "step8"]


def test_what_cannot_be_listed(hub):
    hub(["main"])
    with pytest.raises(CouplingError, match=r"no revision of org/model matches 'step\*'; it has main, v1"):
        matching_revisions("org/model", ["step*"])
    for error in (OfflineModeIsEnabled("offline"), ConnectionError("refused"), TimeoutError("no route")):
        hub(error=error)
        with pytest.raises(CouplingError, match=r"hub cannot be reached, so the revisions 'step\*' of org/model"):
            matching_revisions("org/model", ["step*"])
    response = SimpleNamespace(headers={}, request=None)
    hub(error=RepositoryNotFoundError("404", response=response))
    with pytest.raises(CouplingError, match="the hub has no repository org/model"):
        matching_revisions("org/model", ["step*"])


def test_offline_is_one_clean_line():
    """The tests run offline, so this is what a user without a network meets."""
    with pytest.raises(CouplingError, match=r"cannot be reached.*name them one by one"):
        matching_revisions("org/model", ["step*"])


def test_patterns():
    assert is_pattern("step*")
    assert is_pattern("checkpoint-?")
    assert not is_pattern("step1")
