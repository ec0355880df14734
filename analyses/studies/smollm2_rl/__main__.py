"""Run the study: ``python -m coupling.analyses.studies.smollm2_rl``."""

from coupling.analyses.studies.smollm2_rl.study import main

if __name__ == "__main__":
    main()
