"""Real pretrained models: the paper's score and the calibrated measures, trained against random weights."""
