"""Folders of images: layouts, sizes, colours, and what is refused."""

import io
import shlex
import shutil
import struct
import zlib

import numpy as np
import pytest
from data_files import refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from job import data
from job.data.reading import Reading
from job.errors import DataError, DataNotFound, JobError, UsageError


def load(uri, test=None, scratch="/nowhere/scratch", **reading):
    return data.load(
        str(uri), test_uri=test and str(test), validation_split=0.25, scratch=scratch,
        reading=Reading(**reading),
    )  # fmt: skip


def picture(seed, size=(6, 5), mode="L"):
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels)).astype(np.uint8)
    return Image.fromarray(pixels)


def folder(root, count=20, suffix="png", **how):
    """`count` images in each of two class folders."""
    for label, offset in (("cat", 0), ("dog", 1000)):
        (root / label).mkdir(parents=True)
        for i in range(count):
            picture(offset + i, **how).save(root / label / f"{i:03}.{suffix}")
    return root


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG"])
@pytest.mark.parametrize(("mode", "shape"), [("L", (6, 5)), ("RGB", (6, 5, 3))])
def test_class_folders_become_pixels(tmp_path, suffix, mode, shape):
    dataset = load(folder(tmp_path / "in", suffix=suffix, mode=mode))
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.x.dtype == np.uint8
    assert dataset.train.x.shape[1:] == shape
    assert len(dataset.train) + len(dataset.test) == dataset.held_out_of == 40
    assert 0 < len(dataset.test) < 20
    assert dataset.duplicates == 0
    if suffix == "png":
        known = {np.asarray(picture(i, mode=mode)).tobytes() for i in range(20)}
        cats = dataset.train.x[dataset.train.y == 0]
        assert {image.tobytes() for image in cats} < known


def test_an_image_stays_on_its_side_when_the_folder_grows(tmp_path):
    before = load(folder(tmp_path / "a", count=20))
    after = load(folder(tmp_path / "b", count=40))
    assert {x.tobytes() for x in before.test.x} < {x.tobytes() for x in after.test.x}


def test_train_and_test_folders_and_test_data(tmp_path):
    root = tmp_path / "in"
    folder(root / "train", count=12)
    folder(root / "test", count=3)
    dataset = load(root)
    assert (len(dataset.train), len(dataset.test)) == (24, 6)
    assert dataset.duplicates == 6
    apart = load(root / "train", root / "test")
    assert apart.digest == dataset.digest
    with refused(DataError, "6 of 6"):
        load(root, refuse_leakage=True)


def test_one_class_gets_advice_about_folders(tmp_path):
    root = folder(tmp_path / "in")
    shutil.rmtree(root / "dog")
    with pytest.raises(DataError, match="two classes") as caught:
        load(root)
    assert "a folder of images" in caught.value.hint


def test_other_sizes_need_the_option(tmp_path):
    root = folder(tmp_path / "in")
    picture(5, size=(9, 9), mode="RGB").save(root / "dog" / "odd.png")
    with refused(DataError, "odd.png", "6 × 5", "9 × 9"):
        load(root)
    assert load(root, image_size=(4, 4)).train.x.shape[1:] == (4, 4, 3)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    root = folder(tmp_path / "in", suffix="jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(7, size=(5, 6)).save(root / "cat" / "turned.jpg", exif=exif)
    assert load(root).train.x.shape[1:] == (6, 5)


def png_of(width, height):
    """A header that announces a size, and hardly any pixels."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def encoded(mode="L", form="PNG", pixels=None):
    buffer = io.BytesIO()
    (picture(3, mode=mode) if pixels is None else Image.fromarray(pixels)).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("bomb.png", png_of(60_000, 60_000), ("3,600,000,000", "60,000 × 60,000")),
        ("empty.png", b"", ("PNG or JPEG",)),
        ("text.png", b"no image at all", ("PNG or JPEG",)),
        ("gif.png", encoded(form="GIF"), ("PNG or JPEG",)),
        ("cut.png", encoded()[:-40], ("undamaged",)),
        ("end.png", encoded()[:-8], ("undamaged",)),
        ("flipped.png", encoded()[:-15] + b"?" + encoded()[-14:], ("undamaged",)),
        ("cut.jpg", encoded(mode="RGB", form="JPEG")[:-100], ("undamaged",)),
        ("deep.png", encoded(pixels=np.zeros((6, 5), np.uint16)), ("8 bits",)),
    ],
)
def test_a_bad_image_is_named(name, body, words, tmp_path):
    root = folder(tmp_path / "in")
    (root / "cat" / name).write_bytes(body)
    with refused(DataError, f"cat/{name}", *(w for w in words if "3,600" not in w)):
        load(root, image_size=(6, 5))


def test_bad_layouts_are_refused(tmp_path):
    root = folder(tmp_path / "in")
    picture(0).save(root / "stray.png")
    with refused(DataError, "stray.png", "folder of its class"):
        load(root)
    with refused(DataError, "two classes"):
        load(only(tmp_path))
    with refused(UsageError, "one folder"):
        load(f"{root / 'cat'},{root / 'dog'}")
    (root / "stray.png").unlink()
    (tmp_path / "secret.png").write_bytes(encoded())
    (root / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with refused(DataError, "cat/link.png", "leads out"):
        load(root)
    (root / "cat" / "link.png").unlink()
    (root / "bird").symlink_to(tmp_path / "single")
    with refused(DataError, "'bird'", "leads out"):
        load(root)
    with pytest.raises(DataNotFound):
        load(tmp_path / "nowhere")


def only(tmp_path):
    root = tmp_path / "single" / "cat"
    root.mkdir(parents=True)
    for i in range(20):
        picture(i).save(root / f"{i}.png")
    return root.parent


def test_images_from_s3_and_rows_to_predict(s3, s3_uri, tmp_path):
    root = folder(tmp_path / "in", mode="RGB")
    prefix = s3_uri.removeprefix(f"s3://{s3.bucket}/")
    for path in root.rglob("*.png"):
        key = f"{prefix}/{path.relative_to(root).as_posix()}"
        s3.client().put_object(Bucket=s3.bucket, Key=key, Body=path.read_bytes())
    assert load(s3_uri, scratch=tmp_path / "scratch").digest == load(root).digest
    for uri, count in ((root, 40), (root / "cat" / "003.png", 1), (s3_uri, 40)):
        blocks = data.rows(
            str(uri), shape=(6, 5, 3), dtype="uint8", scratch=tmp_path / "s", block_rows=16
        )
        assert sum(len(block) for block in blocks) == count
    with refused(DataError, "000.png"):
        next(data.rows(str(root), shape=(7, 7, 3), dtype="uint8", scratch=tmp_path, block_rows=9))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    at=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
    cut=st.booleans(),
    form=st.sampled_from(["PNG", "JPEG"]),
)
def test_no_damaged_image_ends_in_a_traceback(at, value, cut, form, tmp_path):
    body = bytearray(encoded(mode="RGB", form=form))
    place = int(at * len(body))
    body[place] = value
    path = tmp_path / "x.png"
    path.write_bytes(body[:place] if cut else body)
    try:
        rows = data.rows(str(path), shape=(6, 5, 3), dtype="uint8", scratch=tmp_path, block_rows=9)
        assert next(rows).shape == (1, 6, 5, 3)
    except JobError as error:
        assert "Received: " in error.message  # noqa: PT017


@pytest.mark.parametrize(
    "parts", [("train", "val", "test"), ("train", "val"), ("Train", "Test"), ("training",)]
)
def test_folders_of_parts_are_no_classes(parts, tmp_path):
    for part in parts:
        folder(tmp_path / "in" / part)
    with pytest.raises(DataError, match="expected folders of classes") as caught:
        load(tmp_path / "in")
    assert f"Received: {', '.join(parts)}." in caught.value.message
    words = shlex.split(caught.value.hint.split("`")[1])
    places = [str(tmp_path / "in" / part) for part in dict.fromkeys((parts[0], parts[-1]))]
    assert words[1::2] == places
    assert load(*places).classes == ("cat", "dog")


def test_a_class_may_be_called_train(tmp_path):
    root = folder(tmp_path / "in")
    (root / "dog").rename(root / "train")
    assert load(root).classes == ("cat", "train")


def test_no_class_and_no_image_is_lost_in_silence(tmp_path):
    root = folder(tmp_path / "in")
    (root / "cow").mkdir()
    (root / "cow" / "notes.txt").write_text("none yet")
    with refused(DataError, "folder of each class", "in cow none", "cow/notes.txt"):
        load(root)
    (root / "cow").rename(root / "_cow")
    assert load(root).classes == ("cat", "dog")
    (root / "cat" / "1.gif").write_bytes(encoded(form="GIF"))
    with refused(DataError, "cat/1.gif", "another format"):
        load(root)
    (root / "cat" / "1.gif").rename(root / "cat" / "_1.gif")
    assert load(root).classes == ("cat", "dog")


def test_images_of_other_formats_alone_are_told(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.gif").write_bytes(encoded(form="GIF"))
    with refused(DataError, "cat/1.gif", "PNG or JPEG"):
        load(tmp_path)


def test_advice_about_a_bad_image_fits_it(tmp_path):
    root = folder(tmp_path / "in")
    path = root / "cat" / "x.png"
    for body, advice in (
        (encoded(pixels=np.zeros((6, 5), np.uint16)), "8 bits"),
        (png_of(60_000, 60_000), "smaller"),
        (b"no image", "PNG"),
    ):
        path.write_bytes(body)
        with pytest.raises(DataError) as caught:
            load(root)
        assert advice in caught.value.hint
