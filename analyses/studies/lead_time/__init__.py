"""Alarms before the reward of a run falls: ``python -m coupling.analyses.studies.lead_time``."""
