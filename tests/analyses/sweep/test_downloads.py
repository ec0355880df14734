"""Downloads ahead of the tasks."""

import json

import pytest

from coupling.analyses.sweep.downloads import Downloads
from coupling.analyses.sweep.study_folder import StudyFolder
from coupling.analyses.sweep.tasks import Task


class Hub:
    """A hub, its cache, and the process that downloads, which answers when the test says so."""

    def __init__(self, monkeypatch):
        self.asked, self.on_disk, self.most, self.alive = [], {}, 0, True
        self.users: set[str] = set()
        monkeypatch.setattr("coupling.analyses.sweep.hub.is_cached", self.is_cached)

    def is_cached(self, model, revision):
        return revision in self.users or revision in self.on_disk

    def __call__(self, number, log, events):
        self.events = events
        return self

    def ask(self, request):
        if request["do"] == "delete":
            for commit in request["commits"]:
                self.on_disk = {name: one for name, one in self.on_disk.items() if one != commit}
            self.events.put((self, {}))
        else:
            self.asked.append(request)

    def arrive(self, commit=None, **answer):
        request = self.asked.pop(0)
        self.on_disk[request["revision"]] = commit or f"commit-{request['revision']}"
        self.most = max(self.most, len(self.on_disk))
        self.events.put((self, {"task": request["task"], "commit": self.on_disk[request["revision"]]} | answer))

    def kill(self):
        self.alive = False


@pytest.fixture
def hub(monkeypatch):
    return Hub(monkeypatch)


@pytest.fixture
def place(tmp_path):
    place = StudyFolder(tmp_path)
    place.make()
    return place


TASKS = [Task(f"m@{step}", "org/m", f"step{step}", step, "org/m", on_hub=True) for step in range(5)]
LOCAL = Task("here", "here", "", None, "/here", on_hub=False)


def test_the_next_one_arrives_while_this_one_computes(hub, place):
    downloads = Downloads(place, TASKS, bound=2, start=hub)
    assert downloads.is_ready(LOCAL)
    waiting = [LOCAL, *TASKS]
    for number, task in enumerate(TASKS):
        downloads.advance(waiting)
        if number == 0:
            assert not downloads.is_ready(task)
            hub.arrive()
            downloads.advance(waiting)
        assert downloads.is_ready(task)
        waiting.remove(task)  # it computes now
        downloads.advance(waiting)
        assert downloads.held <= 2
        if waiting[1:]:
            assert [request["revision"] for request in hub.asked] == [waiting[1].revision]
            hub.arrive()
            downloads.advance(waiting)
        downloads.finish(task)
    assert hub.most == 2
    assert list(hub.on_disk) == ["step3", "step4"]


def test_the_bound_holds_while_tasks_need_what_they_have(hub, place):
    downloads = Downloads(place, TASKS, bound=1, start=hub)
    downloads.advance(TASKS)
    hub.arrive()
    for _ in range(3):
        downloads.advance(TASKS[1:])
    assert hub.asked == []
    downloads.finish(TASKS[0])
    downloads.advance(TASKS[1:])
    assert [request["revision"] for request in hub.asked] == ["step1"]
    assert hub.on_disk == {}


def test_what_the_user_had_is_used_and_never_deleted(hub, place):
    hub.users = {"step0"}
    downloads = Downloads(place, TASKS, bound=1, start=hub)
    downloads.advance(TASKS)
    assert downloads.is_ready(TASKS[0])
    downloads.finish(TASKS[0])
    assert downloads.held == 1  # the one that arrives
    assert [request["revision"] for request in hub.asked] == ["step1"]


def test_two_revisions_may_be_one_commit(hub, place):
    downloads = Downloads(place, TASKS, bound=2, start=hub)
    for _ in range(2):
        downloads.advance(TASKS)
        hub.arrive(commit="same")
    downloads.advance([])
    downloads.finish(TASKS[0])
    downloads.advance(TASKS[2:])
    assert hub.on_disk == {"step0": "same", "step1": "same"}
    downloads.finish(TASKS[1])


def test_a_new_start_knows_what_the_study_downloaded(hub, place):
    first = Downloads(place, TASKS, bound=2, start=hub)
    first.advance(TASKS)
    first.close()
    assert not hub.alive
    assert json.loads((place.folder / "downloads.json").read_text()) == {"m@0": ""}
    hub.on_disk["step0"] = "commit-step0"  # a part of it had arrived
    hub.asked.clear()
    second = Downloads(place, TASKS, bound=2, start=hub)
    second.advance(TASKS)
    assert [request["revision"] for request in hub.asked] == ["step0"]  # it is completed, and ours


def test_a_new_start_makes_room_for_what_is_left(hub, place):
    first = Downloads(place, TASKS, bound=1, start=hub)
    first.advance(TASKS)
    hub.arrive()
    first.advance([])
    second = Downloads(place, TASKS[1:], bound=1, start=hub)  # the first task is done
    second.advance(TASKS[1:])
    assert [request["revision"] for request in hub.asked] == ["step1"]
    assert hub.on_disk == {}


def test_a_process_that_dies_leaves_the_rest_to_the_measurement(hub, place):
    downloads = Downloads(place, TASKS, bound=2, start=hub)
    downloads.advance(TASKS)
    hub.asked.clear()
    hub.events.put((hub, None))
    downloads.advance(TASKS)
    assert downloads.is_ready(TASKS[0])
    assert [request["revision"] for request in hub.asked] == ["step1"]
