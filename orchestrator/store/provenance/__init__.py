"""Where a number comes from: code, command, machine and packages."""
