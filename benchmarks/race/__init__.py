"""The race: the same sweep by this system and by a script of Ray Tune, MLflow's callback, PyTorch and a library."""
