"""Block Jacobians as linear operators, their singular vectors, and comparisons between them."""
