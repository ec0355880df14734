"""The conformance suite: every architecture that transformers knows, small and random, against float64 autograd."""
