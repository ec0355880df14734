"""A worker is a process that measures, downloads checkpoints or calls functions, one after the other, for its driver.

It reads one JSON request per line from standard input and answers each with one line. When its input ends, the driver
has ended, however that happened, and the worker ends at once: nothing keeps computing for nobody.
"""

import json
import os
import signal
import sys
import threading
from importlib import import_module
from queue import SimpleQueue
from typing import Any


def main() -> None:
    """Answer requests until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    requests: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    while True:
        answer = _answer(requests.get())
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read_requests(requests: "SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)  # in the middle of whatever the main thread does; every file is written atomically


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what one request asks for."""
    if request["do"] == "measure":
        from coupling.analyses.sweep.work import run_task

        state = run_task(request["folder"], request["task"], request["session"], request["threads"])
        return {"task": request["task"], "state": state}
    if request["do"] == "call":
        return _called(request["function"], request["arguments"])
    from coupling.analyses.sweep import hub

    if request["do"] == "download":
        return {"task": request["task"]} | hub.download(request["model"], request["revision"], pickle=request["pickle"])
    hub.delete(request["commits"])
    return {}


def _called(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a function, named as ``module:name``, returns, or why it failed."""
    from coupling.errors import CouplingError, one_line

    module, name = function.split(":")
    try:
        return {"returned": getattr(import_module(module), name)(**arguments)}
    except CouplingError as problem:
        return {"error": one_line(problem)}


if __name__ == "__main__":
    main()
