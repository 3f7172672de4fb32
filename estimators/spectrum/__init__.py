"""The distribution of all eigenvalues of a symmetric operator."""
