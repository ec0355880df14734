"""P3O and DAPO on off-policy rollouts for long: ``python -m coupling.analyses.studies.off_policy``."""
