"""P3O's experiments in miniature."""
