"""Written characters as 28x28 grey images, bright on black: letters drawn from fonts, and OMNIGLOT's drawings by hand.

The fonts are the DejaVu faces that matplotlib carries, a letter what Unicode calls one (category L...). Each face draws
each of its letters once, large; the drawing is cut to its ink, scaled by exact area averaging until its longer side
fills a box, and centred. Distinct images are kept once. matplotlib is imported only when something is drawn.
"""

import functools
import glob
import hashlib
import io
import os
import unicodedata
import zipfile

import numpy as np

from ..engine.files import InputError, reading

SIDE = 28  # pixels of an image's side
BOX = 22  # pixels of the box that a letter fills: a margin of 3
EM = 64  # pixels of the font's em in the large drawing
LARGEST = 1 << 20  # bytes of a drawing's file: those of OMNIGLOT have a few hundred
RECIPE = 1  # raised whenever this room draws anything differently: a cache of the old images is then left alone


def area_matrix(n_out, n_in, start=0.0, stop=None):
    """R (n_out, n_in): R @ x is the mean of x over each of n_out equal cells of [start, stop], in pixels of x.

    R X R^T scales an image by exact area averaging. `stop` None means n_in; what lies outside x counts as 0.
    """
    stop = n_in if stop is None else stop
    edges = np.linspace(start, stop, n_out + 1)[:, None]
    pixels = np.arange(n_in)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.maximum(overlap, 0) * (n_out / (stop - start))


_FROM_105 = area_matrix(SIDE, 105)  # for OMNIGLOT's drawings


def to_bytes(grey):
    """Grey values in [0, 1] as uint8, to the nearest of 256 levels; half-way cases go down, on every machine alike."""
    return np.floor(grey * 255 + (0.5 - 1e-6)).astype(np.uint8)


def mixing_order(images):
    """(N,) indices: a fixed shuffle, by the SHA-256 of each image, so that any stretch of it is a fair sample."""
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return sorted(range(len(images)), key=digests.__getitem__)


def draw():
    """Every distinct image of a letter, and the families that the letters form.

    Returns a dict: images (N, 784) uint8, in a fixed order that mixes alphabets and faces; groups (N,) str, the family
    of each image's letter; letters (C,) int, the code points drawn; letter_groups (C,) str, their families.
    Raises InputError when matplotlib came without its fonts.
    """
    owners, matrix = {}, functools.cache(area_matrix)
    for path in fonts():
        for code, ink in drawings(path):
            owners.setdefault(fit(ink, matrix).tobytes(), set()).add(code)
    family = families(owners.values())
    images = np.frombuffer(b"".join(owners), np.uint8).reshape(-1, SIDE * SIDE)
    groups = np.array([family[min(codes)] for codes in owners.values()])
    order = mixing_order(images)
    return {
        "images": images[order],
        "groups": groups[order],
        "letters": np.array(sorted(family)),
        "letter_groups": np.array([family[code] for code in sorted(family)]),
    }


def fingerprint():
    """All that the images depend on, as one string: this recipe, the versions of what draws, the fonts' SHA-256."""
    import matplotlib
    from matplotlib import ft2font

    versions = [RECIPE, matplotlib.__version__, ft2font.__freetype_version__, unicodedata.unidata_version]
    return " ".join(map(str, versions + [_digest(path) for path in fonts()]))


def fonts():
    """Paths of the DejaVu fonts that matplotlib carries, sorted by name."""
    import matplotlib

    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "DejaVu*.ttf")))
    if not paths:
        raise InputError(f"no DejaVu*.ttf in {folder}; expected the fonts that matplotlib is distributed with")
    return paths


def drawings(path):
    """Yields (code point, ink) for each letter of the font at `path`; ink (H, W) uint8 has no empty border.

    Letters without ink, and those that the font draws as its box for a missing glyph, are left out.
    """
    from matplotlib import ft2font

    flags = ft2font.LoadFlags.NO_HINTING if hasattr(ft2font, "LoadFlags") else ft2font.LOAD_NO_HINTING
    font = ft2font.FT2Font(path)
    font.set_size(EM, 72)
    missing = _ink(font, font.load_glyph(0, flags=flags))
    for code in sorted(font.get_charmap()):
        if unicodedata.category(chr(code)).startswith("L"):
            ink = _ink(font, font.load_char(code, flags=flags))
            if ink.size and not np.array_equal(ink, missing):
                yield code, ink


def fit(ink, matrix=area_matrix):
    """(28, 28) uint8: the ink (H, W) uint8, scaled so that its longer side is BOX pixels, in the middle."""
    span = SIDE * max(ink.shape) / BOX  # pixels of ink that the 28 cells cover
    rows, columns = (matrix(SIDE, n, (n - span) / 2, (n + span) / 2) for n in ink.shape)
    return to_bytes(rows @ ink @ columns.T / 255)


def families(look_alikes):
    """{code point: family}, for sets of code points that share an image; a family is named by its smallest, "U+0041".

    Two letters are of one family if an image shows both (Latin A, Greek Alpha), or if they are one letter but for case,
    marks and presentation (A, a, Á, ᴬ); and so is whatever a chain of such pairs joins.
    """
    parent, smallest = {}, {}

    def root(node):
        """What stands for all that `node` has been joined with so far."""
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    for codes in look_alikes:
        for code in codes:
            parent[root(code)] = root(base_letter(code))
            parent[root(code)] = root(min(codes))
    letters = sorted(node for node in parent if isinstance(node, int))
    for code in letters:
        smallest.setdefault(root(code), code)
    return {code: f"U+{smallest[root(code)]:04X}" for code in letters}


def base_letter(code):
    """The letter without its case, marks and presentation form: "a" for Á. Of a ligature, the first letter."""
    return unicodedata.normalize("NFKD", chr(code)).casefold()[0]


def read_drawings(paths):
    """OMNIGLOT's zips of 105x105 PNG drawings, scaled by area, each drawing once even where two zips have it.

    Returns a dict: images (N, 784) uint8 in a fixed order that mixes alphabets; groups (N,) str, "alphabet/character".
    Raises InputError that names the file that is no such zip.
    """
    drawings = {}
    for path in paths:
        with reading(path, "a zip of 105x105 PNG images"), zipfile.ZipFile(path) as archive:
            for member in filter(_is_drawing, archive.namelist()):
                if archive.getinfo(member).file_size > LARGEST:
                    raise ValueError(f"{member} has {archive.getinfo(member).file_size} bytes")
                drawings["/".join(member.split("/")[-3:])] = read_drawing(archive.read(member))
    if not drawings:
        raise InputError(f"{' and '.join(paths)}: no image inside; expected alphabet/character/name.png")
    images = np.array(list(drawings.values())).reshape(-1, SIDE * SIDE)
    groups = np.array([name.rpartition("/")[0] for name in drawings])
    order = mixing_order(images)
    return {"images": images[order], "groups": groups[order]}


def read_drawing(png):
    """(28, 28) uint8 of the bytes of a 105x105 PNG: the part of each cell that is inked (dark), 255 for all of it."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        if picture.size != (105, 105):
            raise ValueError(f"an image of {picture.size} pixels")
        ink = np.asarray(picture.convert("L")) < 128
    return to_bytes(_FROM_105 @ ink @ _FROM_105.T)


def _is_drawing(member):
    return member.endswith(".png") and member.count("/") >= 2 and "__MACOSX" not in member


def _ink(font, glyph):
    left, bottom, right, top = (edge // 64 for edge in glyph.bbox)
    canvas = _canvas(top - bottom + 5, right - left + 5)
    font.draw_glyph_to_bitmap(canvas, 2 - left, 2, glyph)
    image = np.asarray(canvas)
    rows, columns = image.any(axis=1).nonzero()[0], image.any(axis=0).nonzero()[0]
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else image[:0]


def _canvas(height, width):
    """What an FT2Font draws on: an array since matplotlib 3.11, an FT2Image, which NumPy can read, before."""
    import matplotlib
    from matplotlib import ft2font

    old = matplotlib.__version_info__ < (3, 11)
    return ft2font.FT2Image(width, height) if old else np.zeros((height, width), np.uint8)


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
