"""Does coupling go with benchmark scores? Matching models, statistics, published points."""
