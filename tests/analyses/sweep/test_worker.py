"""The worker process."""

import json
import subprocess
import sys
import time

from tests.helpers import ROOT
from tests.tiny_checkpoints import LIGHT_WORKER, is_alive, wait_until


def request(folder, task="trained@step1"):
    content = {"do": "measure", "folder": str(folder), "task": task, "session": "s", "threads": 1}
    return json.dumps(content) + "\n"


def start(command=LIGHT_WORKER):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_requests_are_answered_one_by_one(swept):
    (swept.parent / "trained" / "step3" / "behavior").write_text("ok")
    worker = start()
    worker.stdin.write(request(swept) + request(swept, "trained@step3"))
    worker.stdin.flush()
    answers = [json.loads(worker.stdout.readline()) for _ in range(2)]
    assert answers == [{"task": "trained@step1", "state": "done"}, {"task": "trained@step3", "state": "done"}]
    worker.stdin.close()
    assert worker.wait(30) == 0


def test_a_worker_ends_with_its_driver_in_the_middle_of_a_task(swept):
    (swept.parent / "trained" / "step3" / "behavior").write_text("sleep 600")
    worker = start()
    worker.stdin.write(request(swept, "trained@step3"))
    worker.stdin.flush()
    wait_until(lambda: json.loads((swept / "tasks" / "trained@step3.json").read_text())["state"] == "running")
    began = time.monotonic()
    worker.stdin.close()  # as the operating system does when the driver dies
    worker.wait(30)
    assert time.monotonic() - began < 10
    assert not is_alive(worker.pid)


def test_a_function_is_called_by_its_name():
    worker = start([sys.executable, "-m", "coupling.analyses.sweep.worker"])
    for call, answer in (
        ({"function": "coupling.analyses.sweep.steps:step_of", "arguments": {"name": "step7"}}, {"returned": 7}),
        (
            {"function": "coupling.files:load_json", "arguments": {"path": "/no/such.json"}},
            {"error": "/no/such.json cannot be read: No such file or directory"},
        ),
    ):
        worker.stdin.write(json.dumps({"do": "call"} | call) + "\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline()) == answer
    worker.stdin.close()
    assert worker.wait(30) == 0


def test_the_real_worker_starts_without_a_task():
    worker = start([sys.executable, "-m", "coupling.analyses.sweep.worker"])
    worker.stdin.write(json.dumps({"do": "delete", "commits": []}) + "\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "{}\n"
    download = {"do": "download", "task": "a", "model": "org/none", "revision": "step1", "pickle": False}
    worker.stdin.write(json.dumps(download) + "\n")
    worker.stdin.flush()
    assert set(json.loads(worker.stdout.readline())) == {"task", "error"}  # the tests run offline
    worker.stdin.close()
    assert worker.wait(30) == 0
