"""Questions asked of runs, and the small models that the project trains to answer them."""
