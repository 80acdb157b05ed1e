"""How arrays are handled; no mathematics of inference lives here.

Read in this order: files (whole or absent), folders (of results), output (printed, read or not), given (what comes from outside,
looked at once), forks (what a child finds), memory (large arrays handed out again), machine (how much there is), blas (products of
few rows), threads (parts of a batch side by side), shared and helpers (the same in processes), records (evaluations, summed).
"""
