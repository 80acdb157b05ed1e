"""Colour images: the publishers' files as simulated ones, coloured glyphs, dequantization and what it costs in bits."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

import savi
from savi import InputError
from savi.data import colour, images, sources
from savi.data.dataset import Dataset
from savi.data.sources import Source
from savi.experiments.catalogue import TASKS, colour_images
from savi.experiments.tasks import BITS_PER_DIM, BITS_PER_DIM_OF_LEVELS


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No test sees the user's folders or opens a connection."""
    monkeypatch.setenv("SAVI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAVI_DATA", raising=False)
    monkeypatch.setattr(sources, "_open", lambda url: pytest.fail(f"opened {url}"))


def published(monkeypatch, tmp_path, name, files):
    """Let the public files of a data set be these {file: bytes}, and put them into tmp_path."""
    made = tuple(
        Source(file, "md5:" + hashlib.md5(content).hexdigest(), ("https://one/",)) for file, content in files.items()
    )
    monkeypatch.setitem(sources.SOURCES, name, made)
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), np.uint8)


def cifar_archive(batches):
    """The bytes of an archive of binary batches {file: pictures}."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, made in batches.items():
            records = np.concatenate(
                [np.full((len(made), 1), 7, np.uint8), made.transpose(0, 3, 1, 2).reshape(-1, 3072)], axis=1
            )
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.size
            archive.addfile(info, io.BytesIO(records.tobytes()))
    return whole.getvalue()


def test_cifar10_comes_back_pixel_by_pixel(monkeypatch, tmp_path):
    batches = {name: pictures(1100, i) for i, name in enumerate([*colour.BATCHES, "test_batch.bin"])}
    published(monkeypatch, tmp_path, "cifar10", {colour.CIFAR: cifar_archive(batches)})
    d = savi.data.load("cifar10", str(tmp_path))
    assert (len(d.train), len(d.valid), len(d.test)) == (500, 5000, 1100) and d.shape == (32, 32, 3)
    np.testing.assert_array_equal(np.rint(255 * d.train[3].reshape(d.shape)), batches["data_batch_1.bin"][3])
    np.testing.assert_array_equal(np.rint(255 * d.test.reshape(-1, 32, 32, 3)), batches["test_batch.bin"])
    savi.DiscretizedLogistic().check(d.train)


def test_svhn_comes_back_pixel_by_pixel(monkeypatch, tmp_path):
    io_ = pytest.importorskip("scipy.io")
    made, files = {"train": pictures(5010, 1), "test": pictures(30, 2)}, {}
    for part, file in zip(made, colour.SVHN):
        out = io.BytesIO()
        io_.savemat(
            out, {"X": made[part].transpose(1, 2, 3, 0), "y": np.ones((len(made[part]), 1))}, do_compression=True
        )
        files[file] = out.getvalue()
    published(monkeypatch, tmp_path, "svhn", files)
    d = savi.data.load("svhn", str(tmp_path))
    assert (len(d.train), len(d.valid), len(d.test)) == (10, 5000, 30)
    np.testing.assert_array_equal(np.rint(255 * d.test.reshape(-1, 32, 32, 3)), made["test"])


@pytest.mark.parametrize("name, file", [("cifar10", colour.CIFAR), ("svhn", colour.SVHN[0])])
def test_files_that_are_missing_or_others_get_their_sentence(tmp_path, name, file):
    with pytest.raises(InputError, match=f"no {file} in .*; expected what python -m savi data fetch {name} brings"):
        savi.data.load(name, str(tmp_path))
    for source in sources.SOURCES[name]:
        (tmp_path / source.file).write_bytes(b"something else")
    with pytest.raises(InputError, match=r"has MD5 .*; expected MD5"):
        savi.data.load(name, str(tmp_path))


def test_an_archive_without_its_batches_gets_its_sentence(monkeypatch, tmp_path):
    published(monkeypatch, tmp_path, "cifar10", {colour.CIFAR: cifar_archive({"data_batch_1.bin": pictures(3)})})
    with pytest.raises(InputError, match="an archive of CIFAR-10's binary batches"):
        savi.data.load("cifar10", str(tmp_path))


class Reply(io.BytesIO):
    headers = {}  # noqa: RUF012


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_fetching_verifies_the_digest(monkeypatch, tmp_path, name):
    files = {source.file: source.file.encode() * 50 for source in sources.SOURCES[name]}
    published(monkeypatch, tmp_path, name, files)
    folder = tmp_path / "new"
    monkeypatch.setattr(sources, "_open", lambda url: Reply(files[url.rpartition("/")[2]]))
    assert [(file, (folder / file).read_bytes()) for file, *_ in savi.data.fetch(name, folder)] == list(files.items())
    monkeypatch.setattr(sources, "_open", lambda url: Reply(b"broken"))
    with pytest.raises(InputError, match="6 bytes came, with MD5"):
        savi.data.fetch(name, tmp_path / "other")


# --- coloured glyphs and dequantization ---------------------------------------------------------------------------------------


def grey():
    rng = np.random.default_rng(0)
    drawn = (rng.random((120, 784)) ** 4).astype(np.float32)
    return Dataset("glyphs", drawn[:80], drawn[80:100], drawn[100:], (28, 28))


def test_coloured_glyphs_are_levels_between_two_colours_and_always_the_same():
    d, again = colour.glyphs(grey()), colour.glyphs(grey())
    assert d.shape == (14, 14, 3) and [len(part) for part in d[1:4]] == [80, 20, 20]
    savi.DiscretizedLogistic().check(d.train)
    np.testing.assert_array_equal(d.test, again.test)
    small = grey().train.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(80, -1)
    x = d.train.reshape(80, 196, 3)
    fits = [np.polyfit(small[i], x[i, :, c], 1, full=True)[1][0] / 196 for i in range(80) for c in range(3)]
    assert np.sqrt(np.median(fits)) == pytest.approx(colour.NOISE, rel=0.1)


def test_dequantized_levels_are_their_own_interval_drawn_anew():
    levels = np.tile(np.arange(256), 50).reshape(50, 256)
    x = (levels / 255).astype(np.float32)
    first, second = (colour.dequantized(x, np.random.default_rng(seed)) for seed in (0, 1))
    assert first.dtype == np.float32 and not np.array_equal(first, second)
    assert np.mean(np.floor(256 * first.astype(float)) == levels) > 0.999  # float32 rounds a few upwards
    assert abs(np.mean(256 * first - levels) - 0.5) < 0.02


def test_bits_of_a_density_have_the_jacobian_of_256_levels():
    x = np.zeros((3, 5))
    assert BITS_PER_DIM_OF_LEVELS.value(np.zeros(3), x) == pytest.approx(8)  # the uniform density says nothing
    assert BITS_PER_DIM.value(np.full(3, 5 * np.log(256)), x) == pytest.approx(8)  # and so do uniform levels


def test_a_densitys_bits_are_no_fewer_than_those_of_the_levels_it_makes():
    """Jensen: -log2 of the mean density over an interval is below the mean of -log2."""
    rng, gaussian = np.random.default_rng(0), savi.Gaussian("global")
    level, log_var = np.full((4000, 1), 100 / 255), np.array([2 * np.log(0.01)])
    out = np.array([101.0 / 256])
    density = -gaussian.log_prob(out, colour.dequantized(level, rng), log_var).mean() / np.log(2) + 8
    grid = (100 + (np.arange(1000) + 0.5) / 1000)[:, None] / 256
    levels = -np.log2(np.exp(gaussian.log_prob(out, grid, log_var)).mean()) + 8
    assert levels < density + 0.01 and density - levels < 0.1


@pytest.mark.parametrize("density", [False, True])
def test_a_comparison_of_colour_images_is_below_the_bits_of_the_best_without_latents(density, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_glyphs", lambda folder: grey())
    assert set(TASKS) >= {"colour-glyphs", "colour-glyphs-gaussian", "cifar10", "svhn-gaussian"}
    found = savi.compare(
        colour_images("c", "colour-glyphs", 14, density), tmp_path / "out", methods=["vae", "sa-vae", "iterative"],
        epochs=15, steps=2, latent=6, hidden=[16], batch=10, test_examples=20, iw_samples=30, gap_examples=2, seeds=[0],
        say=lambda *_: None, learning_rate=5e-3, tune="none", train_examples=None, step_size=0.001,
    )  # fmt: skip
    best = found["baseline"]["nll"] / (588 * np.log(2)) + 8 * density
    for row in found["rows"]:
        assert 3 < row["bits_per_dim"] < best, row["method"]
    assert (tmp_path / "out" / "reconstructions.png").stat().st_size > 1000
