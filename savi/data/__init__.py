"""Data sets: what is trained and tested on, made here or fetched from its publisher and verified.

Read in this order: dataset (what a data set is), images (glyphs, MNIST, OMNIGLOT), glyphs (letters drawn from fonts), colour,
sources (public files and their digests), synthetic (token sequences from an oracle), text (documents and a vocabulary),
docstrings (the sentences that every Python has), ngrams (what is known without a latent variable), counts (words of documents).
"""

from .dataset import Dataset, as_dataset, binarize

__all__ = [
    "Dataset",
    "as_dataset",
    "binarize",
    "cache_folder",
    "describe",
    "fetch",
    "first_present",
    "glyph_characters",
    "load",
    "read_idx",
]


def __getattr__(name):
    """What reads and fetches files is loaded when it is asked for."""
    if name in __all__:
        from . import images

        return getattr(images, name)
    raise AttributeError(f"module 'savi.data' has no attribute {name!r}")
