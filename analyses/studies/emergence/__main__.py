"""Run the study: ``python -m coupling.analyses.studies.emergence --out FOLDER``."""

from coupling.analyses.studies.emergence.study import main

if __name__ == "__main__":
    main()
