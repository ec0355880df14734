"""What the project promises of runs, tried by killing processes and by giving them damaged and hostile files."""
