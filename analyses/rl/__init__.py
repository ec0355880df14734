"""The engine behind ``coupling rl``: configuration, data, rewards, log, resumption, checkpoints."""
