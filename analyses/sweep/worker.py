"""A worker: a process that measures tasks or downloads checkpoints, one by one, for the driver that started it.

It reads one JSON request per line from standard input and answers each with one line. When its input ends, the driver
has ended, however that happened, and the worker ends at once: nothing keeps computing for nobody.
"""

import json
import os
import signal
import sys
import threading
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
    from coupling.analyses.sweep import hub

    if request["do"] == "download":
        return {"task": request["task"]} | hub.download(request["model"], request["revision"], pickle=request["pickle"])
    hub.delete(request["commits"])
    return {}


if __name__ == "__main__":
    main()
