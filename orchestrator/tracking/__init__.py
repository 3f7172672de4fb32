"""The window: a sweep's store, shown in MLflow by a process of its own. Importing this package imports no MLflow."""
