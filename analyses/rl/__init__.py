"""The engine behind ``coupling rl``: configuration, data, rewards, the run with TRL, and its checkpoints."""
