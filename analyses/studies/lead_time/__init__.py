"""Does any coupling measure see a run go bad before its reward does? ``python -m coupling.analyses.studies.lead_time``."""
