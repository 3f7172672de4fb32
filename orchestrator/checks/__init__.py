"""Checks of software, devices, data, storage, tracker and cluster nodes. They leave no files behind."""
