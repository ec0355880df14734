"""Run the study: ``python -m coupling.analyses.vision --out FOLDER``."""

from coupling.analyses.vision.study import main

if __name__ == "__main__":
    main()
