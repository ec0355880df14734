"""Loading a checkpoint, finding its blocks, and recording one forward pass."""
