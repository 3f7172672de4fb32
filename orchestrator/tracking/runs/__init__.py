"""MLflow's runs of a sweep and its trials: what each should hold and the changes that bring it there."""
