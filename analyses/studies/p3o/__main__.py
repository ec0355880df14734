"""Run the experiments: ``python -m coupling.analyses.studies.p3o --out FOLDER``."""

from coupling.analyses.studies.p3o.experiments import main

if __name__ == "__main__":
    main()
