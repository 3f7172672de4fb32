"""The built-in networks, one family a module. Initial weights are torch's defaults unless a class says otherwise."""
