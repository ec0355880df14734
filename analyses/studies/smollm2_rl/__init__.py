"""P3O and DAPO on a real pretrained model: ``python -m coupling.analyses.studies.smollm2_rl``."""
