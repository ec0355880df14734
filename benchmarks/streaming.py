"""Measure a checkpoint that is larger than the memory it may use: ``python -m benchmarks.streaming``.

The checkpoint is random, in half precision, of the shape of Llama; it is written block by block, and removed at the
end. Another process measures it from disk. It is ended where it takes more memory than 2 GB beyond what the interpreter
and the libraries take. Pages of mapped files are not counted: the system can take them back at any time.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from coupling.models.loading import load

WIDTH, MLP, HEADS = 4096, 11008, 32
INSIDE = {
    "self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (MLP, WIDTH), "mlp.up_proj": (MLP, WIDTH),
    "mlp.down_proj": (WIDTH, MLP),
}  # fmt: skip
"""The matrices of a block."""
PROMPTS = ["import os", "def main(argument):"]
LIMIT = 2 * 10**9
"""Bytes beyond those of the interpreter and the libraries."""


def write_checkpoint(folder: Path, size: float, blocks: int) -> None:
    """Write a random checkpoint of ``size`` bytes or a little more, one block for each file.

    Args:
        folder: an empty folder.
        size: bytes of the weights; the blocks have the width 4096, and the MLP is as wide as the size asks for.
        blocks: the number of blocks.
    """
    tokenizer = load().tokenizer
    tokenizer.save_pretrained(folder)
    mlp = max(64, round((size / 2 / blocks - 4 * WIDTH**2) / (3 * WIDTH)))
    config = {
        "architectures": ["LlamaModel"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": mlp,
        "num_hidden_layers": blocks, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "vocab_size": len(tokenizer), "torch_dtype": "float16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    drawn = 0.02 * torch.randn(max(mlp, WIDTH) * WIDTH, generator=generator)
    weight_map: dict[str, str] = {}
    for block in range(blocks):
        tensors = {}
        for index, (name, shape) in enumerate(INSIDE.items()):
            rows, columns = (mlp if side == MLP else side for side in shape)
            values = drawn[: rows * columns].roll(block * 7919 + index * 104729)  # others in each, and soon drawn
            tensors[f"layers.{block}.{name}.weight"] = values.reshape(rows, columns).half()
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"layers.{block}.{name}.weight"] = torch.ones(WIDTH).half()
        file = f"model-{block + 1:05}.safetensors"
        save_file(tensors, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
    embedding = torch.randn(len(tokenizer), WIDTH, generator=generator).half()
    save_file({"embed_tokens.weight": embedding, "norm.weight": torch.ones(WIDTH).half()}, folder / "rest.safetensors")
    weight_map |= {"embed_tokens.weight": "rest.safetensors", "norm.weight": "rest.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def own_memory() -> int:
    """The memory of this process that is not of files, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def measure(folder: Path, limit: int) -> dict[str, Any]:
    """Measure a checkpoint from disk, in this process; its figures."""
    import coupling
    from coupling.streamed import StreamedMeasurement

    coupling.analyze(prompts=PROMPTS[:1], k=1)  # everything that is imported late is there
    reads: list[int] = []
    run = StreamedMeasurement.run

    def counted(self: StreamedMeasurement) -> None:
        run(self)
        reads.extend(self.offloaded.reads.values())

    StreamedMeasurement.run = counted  # type: ignore[method-assign]
    before, peak, is_over = own_memory(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.01):
            peak = max(peak, own_memory())
            if peak - before > limit:
                print(f"the measurement takes more than {limit:,} bytes", file=sys.stderr, flush=True)
                os._exit(3)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    result = coupling.analyze(str(folder), prompts=PROMPTS, k=1, engine="matrix-free", tol=0.5, stream=True)
    seconds = time.perf_counter() - started
    is_over.set()
    watcher.join()
    return {
        "checkpoint_bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        "blocks": result.sizes["block"],
        "width": int(result.attrs["width"]),
        "parameters": int(result.attrs["parameters"]),
        "prompts": len(PROMPTS),
        "limit_bytes": limit,
        "peak_bytes": peak - before,
        "interpreter_bytes": before,
        "seconds": round(seconds, 1),
        "reads_of_a_block": sorted(set(reads)),
        "block_bytes": int(result.attrs["parameters"]) * 2 // result.sizes["block"],
        "threads": torch.get_num_threads(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write, measure, print, remove."""
    parser = argparse.ArgumentParser(prog="streaming", description=__doc__)
    parser.add_argument("--size", type=float, default=6e9, help="bytes of the checkpoint")
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--limit", type=int, default=LIMIT, help="bytes beyond the interpreter's")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure is not None:
        print(json.dumps(measure(chosen.measure, chosen.limit)))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="coupling-streaming-"))
    try:
        write_checkpoint(folder, chosen.size, chosen.blocks)
        command = [sys.executable, "-m", "benchmarks.streaming", "--measure", str(folder), "--limit", str(chosen.limit)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        print(f"the measurement ended with {done.returncode}", file=sys.stderr)
        return 1
    figures = json.loads(done.stdout.splitlines()[-1])
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
