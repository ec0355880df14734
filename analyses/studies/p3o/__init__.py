"""P3O's experiments in miniature: ``python -m coupling.analyses.studies.p3o --out FOLDER``."""
