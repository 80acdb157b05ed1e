"""How arrays are handled; no mathematics of inference lives here.

Read in this order: files (whole or absent), folders (of results), output (printed, read or not), memory (large arrays
handed out again), blas (products of few rows), threads (parts of a batch side by side), records (evaluations side by side).
"""
