"""The standard library as a corpus: which modules it has, and how they are split."""

from coupling.analyses.studies.corpus import Module, standard_library


def test_the_corpus_is_python_and_split_by_module():
    modules = standard_library()
    names = [module.name for module in modules]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert {"ast.py", "json/decoder.py"} <= set(names)
    assert not any("test" in name.split("/") or name.startswith("_sysconfigdata") for name in names)
    held_out = [module for module in modules if module.held_out]
    assert 0.01 < len(held_out) / len(modules) < 0.15


def test_the_name_alone_decides_whether_a_module_is_held_out():
    for module in standard_library()[:50]:
        assert Module(module.name, "").held_out == module.held_out
