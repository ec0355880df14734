"""Directions of saved runs: a model whose blocks write known directions, images, and runs that cannot be read again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import coupling
from coupling.errors import CouplingError
from coupling.models.head import Unembedding
from coupling.models.tokenization import piece_texts
from coupling.readout import excitation, odd_logits
from tests.helpers import BUNDLED
from tests.vision import save_picture, save_vit

WIDTH, WORDS = 32, (700, 800)
"""The width, and two words as token ids."""
PROMPT = "import os, sys\nfor name in os.listdir("


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run of a model whose blocks 0 and 2 write axis 3, which is the first word; block 1 axis 5, the second."""
    folder = tmp_path_factory.mktemp("model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(BUNDLED) / file, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_(0, 0.01)
        for word, axis in zip(WORDS, (3, 5), strict=True):
            model.lm_head.weight[word, axis] = 1.0
        for layer, axis in zip(model.model.layers, (3, 5, 3), strict=True):
            layer.self_attn.o_proj.weight.zero_()
            down = torch.zeros(WIDTH, 48)
            down[axis] = torch.randn(48)
            layer.mlp.down_proj.weight.copy_(down)
            layer.mlp.gate_proj.weight.normal_(0, 1)
            layer.mlp.up_proj.weight.normal_(0, 1)
    model.save_pretrained(folder)
    coupling.analyze(str(folder), prompts=[PROMPT], k=1, out=folder / "run")
    return folder / "run"


def test_blocks_that_write_a_word_are_read_so(written):
    table = coupling.directions(written, blocks=(0, 3), k=1, top=3)
    left = table[table["side"] == "left"].set_index("block")
    tokenizer = transformers.AutoTokenizer.from_pretrained(written.parent)
    first, second = piece_texts(tokenizer, list(WORDS))
    assert [names[0] for names in left["toward"]] == [first, second, first]
    assert left["shared_blocks"].tolist() == [[2], [], [0]]
    assert left["cosine"].tolist()[0] == pytest.approx(1, abs=1e-6)
    run = coupling.open_run(written)
    assert left["singular_value"].to_numpy() == pytest.approx(run.singular_values.values[0, :, 0], rel=1e-5)
    assert table.attrs["token_text"] == "("
    assert table.attrs["text"] == PROMPT
    assert table.attrs["items"] == "tokens"


def test_what_a_block_reads_is_the_gradient_of_what_it_writes(written):
    """The Jacobian of a block with one output direction is ``u g^T``, so its right vector is along the gradient g."""
    table = coupling.directions(written, blocks=(1, 2), k=1, top=4)
    whole = transformers.AutoModelForCausalLM.from_pretrained(written.parent, dtype=torch.float64)
    ids = transformers.AutoTokenizer.from_pretrained(written.parent)(PROMPT, return_tensors="pt").input_ids
    seen = []
    handle = whole.model.layers[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        whole(ids)
    handle.remove()
    layer, x = whole.model.layers[1], seen[0][0, -1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer.mlp(layer.post_attention_layernorm(x))[5], x)
    logits = whole.lm_head.weight @ (gradient / gradient.norm())  # the norm's weights are all 1
    tokenizer = transformers.AutoTokenizer.from_pretrained(written.parent)
    expected = piece_texts(tokenizer, logits.detach().argsort(descending=True)[:4].tolist())
    assert table.query("side == 'right'")["toward"].iloc[0] == expected


def test_logits_of_directions_leave_out_biases():
    torch.manual_seed(1)
    norm, output = nn.LayerNorm(6), nn.Linear(6, 9)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    directions = torch.linalg.qr(torch.randn(6, 2))[0]
    centered = directions - directions.mean(0)
    by_hand = output.weight @ (norm.weight[:, None] * centered / (centered.pow(2).mean(0) + 1e-5 / 6).sqrt())
    with torch.no_grad():
        assert torch.allclose(odd_logits(Unembedding(norm, output), directions), by_hand.T, atol=1e-5)


def test_patches_that_excite_a_direction():
    stream = np.array([[5.0, 2.0], [5.0, -2.0], [6.0, 0.0], [4.0, 0.0]])  # the mean is (5, 0)
    assert excitation(stream, np.eye(2)) == pytest.approx(np.array([[0, 0, 1, -1], [1, -1, 0, 0]]))
    assert not excitation(np.ones((3, 2)), np.eye(2)).any()


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    save_vit(folder / "vit")
    (folder / "photos").mkdir()
    for index in range(2):
        save_picture(folder / "photos" / f"{index}.png", seed=index)
    coupling.analyze(str(folder / "vit"), images=str(folder / "photos"), k=2, out=folder / "run")
    return folder / "run"


def test_directions_of_images_are_read_by_patches(pictured):
    table = coupling.directions(pictured, blocks=(0, 2), k=2, top=3, prompt=1)
    assert table.attrs["items"] == "patches"
    assert table.attrs["token_text"] == "cls"
    names = {name for end in ("toward", "against") for cell in table[end] for name in cell}
    labels = coupling.open_run(pictured).token_text.values[0].tolist()
    assert names <= {f"{image}.png {label}" for image in (0, 1) for label in labels if label != "cls"}
    moved = (pictured.parent / "photos").rename(pictured.parent / "elsewhere")
    with pytest.raises(CouplingError, match="photos"):
        coupling.directions(pictured, blocks=(0, 2), k=2)
    again = coupling.directions(pictured, blocks=(0, 2), k=2, top=3, prompt=1, images=str(moved))
    assert again["toward"].tolist() == table["toward"].tolist()
    save_picture(moved / "1.png", seed=7)
    with pytest.raises(CouplingError, match=r"image 1 .* is not the one that was measured; `images` says where"):
        coupling.directions(pictured, blocks=(0, 2), k=2, prompt=1, images=str(moved))


def test_a_run_of_several_tokens_is_read_at_the_last_of_them(tmp_path):
    coupling.analyze(prompts=["import os, sys"], k=2, kind="self", tokens=(0, 2), out=tmp_path / "run")
    assert coupling.directions(tmp_path / "run", blocks=(1, 2), k=1).attrs["token"] == 2
    assert coupling.directions(tmp_path / "run", blocks=(1, 2), k=1, token="last").attrs["token_text"] == " sys"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"blocks": (2, 5)}, "there are no blocks 2:5: this model's blocks are 0 to 2"),
        ({"prompt": 1}, "there is no prompt 1: the run's prompts are 0 to 0"),
        ({"token": 99}, "token 99 is out of range"),
        ({"k": 33}, "`k` is 33, but must be at most the width of the residual stream, 32"),
        ({"k": 0}, "both must be at least 1"),
    ],
)
def test_what_does_not_exist_is_named(written, keywords, message):
    with pytest.raises(CouplingError, match=message):
        coupling.directions(written, **keywords)


def test_the_middle_blocks_are_read_by_default(tmp_path):
    coupling.analyze(prompts=["import os"], k=1, out=tmp_path / "run")
    assert coupling.directions(tmp_path / "run", k=1)["block"].unique().tolist() == [2, 3, 4, 5]
