"""The engine of a cluster, on a Ray that is started here."""

import io
import sys
import threading
from contextlib import redirect_stdout

import psutil
import pytest

from coupling.analyses.sweep.driver import sweep
from coupling.analyses.sweep.ray_engine import WithoutRay, _connect
from coupling.errors import CouplingError
from tests.tiny_checkpoints import is_alive, kill, save_tiny, start, wait_until, workers_of

ray = pytest.importorskip("ray")


def test_no_cluster(swept):
    with pytest.raises(CouplingError, match=r"there is no Ray at 127\.0\.0\.1:1: .*ray start --head"):
        sweep({"models": "trained/step*", "prompts": "a b"}, out="study", engine="ray", address="127.0.0.1:1")


def test_the_package_is_optional(swept, monkeypatch):
    monkeypatch.setattr("coupling.errors.find_spec", lambda module: None)
    with pytest.raises(CouplingError, match=r"the engine ray needs the ray package.*block-coupling\[ray\]"):
        sweep({"models": "trained/step*", "prompts": "a b"}, out="study", engine="ray")


@pytest.mark.slow
def test_a_task_that_kills_its_worker_is_repeated_by_ray_and_set_aside(tmp_path, monkeypatch):
    from tests.tiny_checkpoints import save_killer

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    save_killer(tmp_path / "trained" / "step1")
    save_tiny(tmp_path / "trained" / "step2")
    (tmp_path / "trained" / "step3").mkdir()
    (tmp_path / "trained" / "step3" / "config.json").write_text("{}")
    study = {"models": "trained/*", "prompts": "a b c", "k": 2, "trust_remote_code": True}
    table = sweep(study, out="study", engine="ray", workers=2, threads=1)
    assert table["state"].tolist() == ["set aside", "done", "failed"]
    assert table["attempts"].tolist() == [3, 1, 1]
    assert table["error"][0].startswith("it ended its worker 3 times")
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_killed_driver_leaves_no_ray_behind(tmp_path):
    save_tiny(tmp_path / "trained" / "step1")
    (tmp_path / "prompts.txt").write_text("a b c d e f g h " * 12 + "\n" + "a b c\n" * 3000)
    arguments = ("trained/*", "--prompts", "prompts.txt", "--k", 2, "--engine", "ray", "--out", "study")
    process = start(*arguments, cwd=tmp_path)
    wait_until(lambda: workers_of(tmp_path / "study"))
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("raylet" in child.name() for child in children)
    kill(process.pid)
    process.communicate()
    wait_until(lambda: not [child for child in children if is_alive(child.pid)], 300)


class SlowRay:
    """A Ray that starts on the third try, and knows no cluster."""

    def __init__(self):
        self.tries = 0

    def init(self, *, address, **_):
        self.tries += 1
        if address != "local" or self.tries < 3:
            raise Exception("the node timed out\nduring startup")

    def shutdown(self):
        pass


def test_a_busy_machine_starts_ray_slowly():
    slow = SlowRay()
    _connect(slow, None)
    assert slow.tries == 3
    slow = SlowRay()
    with pytest.raises(CouplingError, match=r"there is no Ray at auto: the node timed out during startup; start it"):
        _connect(slow, "auto")
    assert slow.tries == 1


def test_what_threads_of_ray_print_goes_to_a_log():
    output, log = io.StringIO(), io.StringIO()
    with redirect_stdout(WithoutRay(output, log)):
        print("a table")
        thread = threading.Thread(target=print, args=("(raylet) a worker died",), name="ray_listen_error_messages")
        thread.start()
        thread.join()
        assert not sys.stdout.isatty()
    assert (output.getvalue(), log.getvalue()) == ("a table\n", "(raylet) a worker died\n")
