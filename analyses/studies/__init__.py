"""Studies that this project ran itself; not part of the installed package."""
