"""Regenerate the README's pictures: ``python -m coupling.figures.gallery``."""
