"""P3O and DAPO on off-policy rollouts for 300 updates: ``python -m coupling.analyses.studies.off_policy``."""
