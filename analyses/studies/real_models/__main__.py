"""Run the study: ``python -m coupling.analyses.studies.real_models --out FOLDER``."""

from coupling.analyses.studies.real_models.study import main

if __name__ == "__main__":
    main()
