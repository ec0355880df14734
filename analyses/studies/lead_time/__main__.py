"""Run the study: ``python -m coupling.analyses.studies.lead_time``."""

from coupling.analyses.studies.lead_time.study import main

if __name__ == "__main__":
    main()
