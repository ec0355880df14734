"""Benchmarks of the engine; run from the root of the repository, and not part of the installed package."""
