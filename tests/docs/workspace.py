"""A folder in which the commands of the documentation find what they name: models, prompts, runs, scores and tables."""

import json
import shutil
from pathlib import Path

import pandas as pd
import xarray as xr
import yaml

import coupling
from coupling.analyses.sweep.inputs import inputs_as_json
from coupling.analyses.sweep.study import study_from_mapping
from coupling.analyses.sweep.study_folder import StudyFolder
from coupling.analyses.sweep.tasks import Task
from coupling.run_folder import RunFolder
from tests.docs.code_blocks import ROOT, all_blocks
from tests.helpers import BUNDLED
from tests.vision import save_picture, save_vit

MODELS = (
    "my-model",
    "EleutherAI/pythia-70m-deduped",
    "EleutherAI/pythia-160m-deduped",
    "EleutherAI/pythia-410m-deduped",
    "EleutherAI/pythia-160m",
)
"""Names of models in the documentation. The workspace has the bundled checkpoint in their place."""
RUNS = {
    "mine": ("org/mine", 0.95),
    "other": ("org/other", 0.90),
    "pythia-70m": (MODELS[1], 0.97),
    "pythia-160m": (MODELS[2], 0.93),
    "pythia-410m": (MODELS[3], 0.88),
}
"""Runs in the workspace: the model that they name, and the factor by which their mismatch differs from the real one."""
LATER_RUNS = {
    "untrained": "random",
    "first-look": "trained",
    "half": "trained",
    "step1000": "trained",
    "step143000": "trained",
}
"""Runs that only some commands read, with their weights; ``coupling correlate runs/*`` would refuse some of them."""
SHORT = {"max_steps": 2, "per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 3}
"""Settings of the trainer that make a run of reinforcement learning short."""
QUESTIONS = [f"What is {n} times {n + 3}?" for n in range(2, 5)]
STEPS = (10, 20)


def build(folder: Path) -> None:
    """Write everything that commands name, except runs of ``LATER_RUNS``."""
    for name in MODELS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(BUNDLED)
    _write_prompts(folder)
    _write_runs(folder)
    _write_scores(folder)
    _write_checkpoints(folder / "trained")
    _write_tables(folder)
    _write_images(folder)
    _write_run_to_read(folder)
    _write_examples(folder)
    _write_study(folder)


def add_run(folder: Path, name: str) -> None:
    """Save one of ``LATER_RUNS``."""
    run = coupling.open_run(folder / "runs" / "mine")
    _save(run, folder / "runs" / name, MODELS[4], 1.0, weights=LATER_RUNS[name])


def _write_prompts(folder: Path) -> None:
    lines = [json.dumps({"question": question, "answer": "#### 1"}) + "\n" for question in QUESTIONS]
    (folder / "prompts.jsonl").write_text("".join(lines))
    (folder / "prompts.txt").write_text("\n".join(QUESTIONS[:2]) + "\n")
    data = folder / "openai" / "gsm8k"
    data.mkdir(parents=True)
    (data / "train.jsonl").write_text("".join(lines))
    files = [{"split": "train", "path": "train.jsonl"}]
    header = yaml.safe_dump({"configs": [{"config_name": "main", "data_files": files}]})
    (data / "README.md").write_text(f"---\n{header}---\n")


def _write_images(folder: Path) -> None:
    save_vit(folder / "my-vit")
    shutil.copytree(folder / "my-vit", folder / "trained-vit" / "checkpoint-1000")
    (folder / "photos").mkdir()
    for index, name in enumerate(("house.png", "street.png")):
        save_picture(folder / "photos" / name, seed=index)
    patches = folder / "tables" / "patches"
    coupling.analyze(str(folder / "my-vit"), images=str(folder / "photos"), k=5, kind="self", out=patches)


def _write_runs(folder: Path) -> None:
    run = coupling.analyze(prompts=["import os\nimport sys\nfor name in os.", "def main():\n    return"], k=(5, 10))
    for name, (model, factor) in RUNS.items():
        _save(run, folder / "runs" / name, model, factor)


def _write_run_to_read(folder: Path) -> None:
    """A run whose checkpoint is found again; it is in the place of ``runs/read``."""
    prompts = ["import os\nimport sys\nfor name in os.", "def main():\n    return"]
    coupling.analyze(str(folder / "my-model"), prompts=prompts, k=5, out=folder / "tables" / "read")


def _save(run: xr.Dataset, folder: Path, model: str, factor: float, **attributes: str) -> None:
    changed = run.copy()
    for variable in ("mismatch", "mismatch_signed", "mismatch_swapped", "mismatch_swapped_signed"):
        changed[variable] = run[variable] * factor
    changed.attrs = run.attrs | {"model": model, "parameters": int(1e8 * factor**9)} | attributes
    RunFolder(folder, {}).finish(changed, {})


def _write_study(folder: Path) -> None:
    """The study that ``coupling status`` and ``coupling report`` read; its runs are those of ``RUNS``."""
    place = StudyFolder(folder / "sweeps" / "pythia")
    place.make()
    tasks = [Task(name, model, "", None, model, on_hub=True) for name, (model, _) in RUNS.items()]
    study = study_from_mapping({"models": [model for model, _ in RUNS.values()], "k": [5, 10]})
    content = {"declared": study.declared(), "settings": study.settings} | inputs_as_json(study)
    place.write(content | {"tasks": [task.as_dict() for task in tasks]})
    for name in RUNS:
        shutil.copytree(folder / "runs" / name, place.run(name))


def _write_scores(folder: Path) -> None:
    rows = [
        {"model": model, "family": "a", "params_b": 0.1 * at, "mmlu": 25 + 3 * at, "hellaswag": 27 + at**2}
        for at, (model, _) in enumerate(RUNS.values(), 1)
    ]
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
    (folder / "results").mkdir()
    for row in rows:
        results = {"hellaswag": {"alias": "hellaswag", "acc_norm,none": row["hellaswag"] / 100}}
        content = {"results": results, "model_name": row["model"], "date": 1.0}
        name = str(row["model"]).replace("/", "__")
        (folder / "results" / f"{name}.json").write_text(json.dumps(content))


def _write_checkpoints(folder: Path) -> None:
    for step in STEPS:
        checkpoint = folder / f"checkpoint-{step}"
        shutil.copytree(BUNDLED, checkpoint)
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))


def _write_tables(folder: Path) -> None:
    pd.DataFrame({"model": "a", "step": [0, 10, 100], "score": [0.02, 0.05, 0.07], "chance": 0.02}).to_csv(
        folder / "dynamics.csv", index=False
    )
    pd.DataFrame(
        {"model": list("abcd"), "score": [1, 2, 3, 4], "benchmark": [2, 3, 5, 6], "width": [64, 128, 256, 512]}
    ).to_csv(folder / "points.csv", index=False)
    for name in ("addition", "grpo", "trained"):  # runs of `coupling rl`
        (folder / "tables" / name).mkdir(parents=True)
        rows = {"run": name, "seed": 0, "step": [1, 2, 3], "reward": [0.1, 0.2, 0.3], "ess": 0.9, "score": 0.05}
        pd.DataFrame(rows | {"excess": 0.03}).to_csv(folder / "tables" / name / "table.csv", index=False)
        content = {"config": {"objective": "p3o", "model": "my-model"}, "seeds": [0], "finished": True}
        (folder / "tables" / name / "run.json").write_text(json.dumps(content))


def _write_examples(folder: Path) -> None:
    """The example that runs on a CPU, and the one in the guide: short, on a model that need not be trained first."""
    (folder / "examples").mkdir()
    guided, study = (
        next(block for block in all_blocks("yaml") if block.document == f"docs/guides/{name}.md")
        for name in ("post-train-with-p3o", "sweep")
    )
    content = yaml.safe_load(study.text) | {"models": ["my-model"], "limit": 1}
    del content["revisions"]
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    example = (ROOT / "examples" / "addition.yaml").read_text(encoding="utf-8")
    for text, path in ((example, folder / "examples" / "addition.yaml"), (guided.text, folder / "run.yaml")):
        content = yaml.safe_load(text)
        content["model"] = "my-model"
        content["trainer"] |= SHORT | ({"save_steps": 1} if "save_steps" in content["trainer"] else {})
        content["probe"] |= {"every": 1, "count": 1}
        if "evaluation" in content:
            content["evaluation"] |= {"count": 1}
        path.write_text(yaml.safe_dump(content))
