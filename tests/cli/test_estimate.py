"""``coupling estimate``: what it prints, and its mistakes."""

import json


def test_it_says_time_and_memory(cli):
    code, out, err = cli("estimate", "--limit", 4, "--length", 16)
    assert (code, err) == (0, "")
    assert "8 blocks of width 128" in out
    assert "4 prompts of 16 tokens, 32 Jacobians, engine dense" in out
    assert "time" in out
    assert "memory" in out


def test_json_has_the_same_numbers(cli):
    code, out, _ = cli("estimate", "--limit", 2, "--length", 16, "--kind", "self", "--k", 5, "--stream", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["prompts"], found["tokens"], found["jacobians"]) == (2, 16, 2 * 8 * 16)
    assert found["streamed"] is True
    assert found["memory_bytes"] > found["weights_bytes"] > 0


def test_mistakes_are_one_line(cli):
    code, _, err = cli("estimate", "nowhere/at-all/there")
    assert code == 1
    assert err.count("\n") == 1
    code, _, err = cli("estimate", "--batch-size", "none")
    assert code == 2
    assert "--batch-size none is neither auto nor a number" in err
