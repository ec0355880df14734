"""Run the study: ``python -m coupling.analyses.studies.off_policy``."""

from coupling.analyses.studies.off_policy.study import main

if __name__ == "__main__":
    main()
