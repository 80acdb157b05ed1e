"""Data sets: what is trained and tested on, made here or fetched from its publisher and verified.

Read in this order: dataset (what a data set is), images (glyphs, MNIST, OMNIGLOT), glyphs (letters drawn from fonts),
sources (public files and their digests), synthetic (token sequences from an oracle).
"""

from .images import Dataset, binarize, cache_folder, describe, fetch, first_present, glyph_characters, load, read_idx

__all__ = [
    "Dataset",
    "binarize",
    "cache_folder",
    "describe",
    "fetch",
    "first_present",
    "glyph_characters",
    "load",
    "read_idx",
]
