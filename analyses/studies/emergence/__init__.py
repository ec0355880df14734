"""Coupling through the training of small language models: several seeds, with and without weight decay."""
