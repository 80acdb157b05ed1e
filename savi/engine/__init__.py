"""How arrays are handled; no mathematics of inference lives here.

Read in this order: files (whole or absent), memory (large arrays handed out again), blas (products of few rows), threads
(parts of a batch side by side), records (evaluations side by side, so that a sum over them is one product a layer).
"""
