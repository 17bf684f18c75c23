"""Folders of images: layouts, sizes, colours, and what is refused."""

import io
import re
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
from job.config import DataOptions
from job.errors import DataError, DataNotFound, JobError, UsageError


def load(uri, test=None, scratch="/nowhere/scratch", **reading):
    return data.load(
        str(uri), test_uri=test and str(test), validation_split=0.25, scratch=scratch,
        reading=DataOptions(**reading),
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


def test_a_class_that_is_on_one_side_only_is_warned_of(tmp_path):
    root = folder(tmp_path / "in")
    sides = {x.tobytes(): "train" for x in load(root).train.x}
    for path in sorted((root / "dog").iterdir()):
        side = sides.get(np.asarray(Image.open(path)).tobytes(), "test")
        name = {"train": "wolf", "test": "fox"}[side]
        (root / name).mkdir(exist_ok=True)
        path.rename(root / name / path.name)
    (root / "dog").rmdir()
    dataset = load(root)
    assert dataset.classes == ("cat", "wolf")
    found = {finding.code: finding for finding in dataset.findings}
    assert found["lost-class"].column == "fox"
    assert found["class-without-test-rows"].column == "wolf"


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


def test_other_sizes_are_resized_to_the_common_one(tmp_path):
    root = folder(tmp_path / "in")
    before = load(root)
    picture(5, size=(9, 9), mode="RGB").save(root / "dog" / "odd.png")
    dataset = load(root)
    assert dataset.train.x.shape[1:] == (6, 5, 3)
    assert "1 of 41 images has another size and is resized to 6 × 5" in dataset.warnings[0]
    assert dataset.train.x[..., 0].tobytes().startswith(before.train.x[0].tobytes())
    chosen = load(root, image_size=(4, 4))
    assert chosen.train.x.shape[1:] == (4, 4, 3)
    assert not chosen.warnings


def test_images_of_many_sizes_have_a_size_that_does_not_depend_on_them(tmp_path):
    root = folder(tmp_path / "in")
    for count, path in enumerate(sorted(root.rglob("*.png"))):
        picture(count, size=(6 + count, 5)).save(path)
    dataset = load(root)
    assert dataset.train.x.shape[1:] == (64, 64)
    assert "40 of 40 images" in dataset.warnings[0]


SIXTEEN = np.arange(30, dtype=np.uint16).reshape(6, 5) * 2000


@pytest.mark.parametrize(
    ("form", "lossless"),
    [
        ("PNG", True), ("BMP", True), ("GIF", False), ("TIFF", True), ("WEBP", False),
        ("JPEG", False), ("PPM", True), ("AVIF", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["own", "png", "jpg"])
def test_every_usual_format_is_read_whatever_its_ending(tmp_path, form, lossless, suffix):
    ending = form.lower() if suffix == "own" else suffix
    smooth = np.stack([np.add.outer(np.arange(6) * 20, np.arange(5) * 9)] * 3, -1).astype(np.uint8)
    root = tmp_path / "in"
    for label, shift in (("cat", 0), ("dog", 60)):
        (root / label).mkdir(parents=True)
        for i in range(20):
            image = Image.fromarray(smooth + np.uint8(shift + i))
            image.save(root / label / f"{i}.{ending}", form)
    x = np.concatenate([(dataset := load(root)).train.x, dataset.test.x])
    assert x.shape == (40, 6, 5, 3)
    wanted = np.stack([smooth + np.uint8(shift + i) for shift in (0, 60) for i in range(20)])
    order = np.lexsort(x.reshape(40, -1)[:, ::-1].T)
    difference = np.abs(x.astype(int).mean((1, 2, 3))[order] - wanted.mean((1, 2, 3)))
    assert difference.max() == 0 if lossless else difference.max() < 4


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_of_16_bits_the_upper_eight_are_read(tmp_path, form):
    root = folder(tmp_path / "in")
    for i, path in enumerate(sorted(root.rglob("*.png"))):
        Image.fromarray(SIXTEEN + np.uint16(i)).save(path, form)
    dataset = load(root)
    assert dataset.train.x.shape[1:] == (6, 5)
    np.testing.assert_array_equal(dataset.train.x[0], SIXTEEN >> 8)


def test_the_first_frame_of_several_is_read(tmp_path):
    root = folder(tmp_path / "in", mode="RGB")
    frames = [Image.new("RGB", (5, 6), color) for color in ("red", "blue")]
    for form in ("GIF", "TIFF", "PNG", "WEBP"):
        frames[0].save(
            root / "cat" / f"x.{form.lower()}", form, save_all=True, append_images=frames[1:]
        )
    dataset = load(root)
    red = [
        x
        for x in (*dataset.train.x, *dataset.test.x)
        if (abs(x.astype(int) - (255, 0, 0)) < 4).all()
    ]
    assert len(red) == 4


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_an_image_is_turned_and_mirrored_as_its_file_says(tmp_path, form, value):
    root = folder(tmp_path / "in", mode="RGB")
    shown = np.zeros((6, 5, 3), np.uint8)
    shown[:3, :, 0], shown[:, :2, 1] = 200, 200
    undo = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: np.transpose(a, (1, 0, 2)), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2), 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = value
    path = root / "cat" / "turned.png"
    quality = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": 0}
    Image.fromarray(np.ascontiguousarray(undo[value](shown))).save(path, form, exif=exif, **quality)
    [(x, _, findings)] = data.unlabelled(
        data.images_of(str(path), tmp_path), shape=(6, 5, 3), reading=DataOptions()
    )
    assert not findings
    assert np.abs(x[0].astype(int) - shown).max() < 60 if form == "JPEG" else (x[0] == shown).all()
    assert not load(root).warnings


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


BAD = {
    "bomb.png": (png_of(60_000, 60_000), "60,000 × 60,000"),
    "empty.png": (b"", "an empty file"),
    "text.png": (b"no image at all", "no image in a format that is read"),
    "cut.png": (encoded()[:-40], ""),
    "end.png": (encoded()[:-8], ""),
    "flipped.png": (encoded()[:-15] + b"?" + encoded()[-14:], ""),
    "cut.jpg": (encoded(mode="RGB", form="JPEG")[:-100], ""),
    "cut.bmp": (encoded(mode="RGB", form="BMP")[:-50], ""),
    "cut.tiff": (encoded(mode="RGB", form="TIFF")[:60], ""),
    "cut.webp": (encoded(mode="RGB", form="WEBP")[:40], ""),
    "float.tif": (encoded(pixels=np.full((6, 5), 7, np.float32), form="TIFF"), "from 7 to 7 in"),
    "nan.tif": (encoded(pixels=np.full((6, 5), np.nan, np.float32), form="TIFF"), "nan"),
    "wide.tif": (encoded(pixels=np.zeros((6, 5), np.int32), form="TIFF"), "the mode I"),
    "phone.heic": (b"\0\0\0\x18ftypheic", "no image in a format that is read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_named(name, tmp_path):
    body, word = BAD[name]
    root = folder(tmp_path / "in")
    (root / "cat" / name).write_bytes(body)
    with refused(DataError, f"cat/{name}", "1 of 41", word):
        load(root, image_size=(6, 5))
    with refused(DataError, f"cat/{name}", "1 of 41", word):
        list(
            data.unlabelled(
                data.images_of(str(root), tmp_path), shape=(6, 5), reading=DataOptions()
            )
        )


def test_pixels_with_fractions_go_from_black_to_white(tmp_path):
    root = folder(tmp_path / "in", suffix="tif")
    whole = load(root)
    for path in root.glob("*/*.tif"):
        pixels = np.asarray(Image.open(path))
        Image.fromarray(np.float32(pixels / 255)).save(path)
    dataset = load(root)

    def seen(of):
        return {row.tobytes() for side in (of.train, of.test) for row in side.x}

    assert seen(dataset) == seen(whole)
    [(new, *_)] = data.unlabelled(
        data.images_of(str(root / "cat"), tmp_path), shape=(6, 5), reading=DataOptions()
    )
    assert {row.tobytes() for row in new} < seen(whole)


def test_damaged_images_are_all_counted_and_a_few_may_be_left_out(tmp_path):
    root = folder(tmp_path / "in", count=150, mode="RGB")
    whole = load(root)
    for i, (name, (body, _)) in enumerate(BAD.items()):
        (root / ("cat", "dog")[i % 2] / name).write_bytes(body)
    with pytest.raises(DataError, match=r"14 of 314 that cannot: .* and 4 more\.") as caught:
        load(root)
    assert "--allow damaged" in caught.value.hint
    dataset = load(root, allow=("damaged",))
    assert dataset.digest == whole.digest
    assert "14 of 314 images (4.5%) cannot be read and are left out" in dataset.warnings[0]
    found = data.images_of(str(root), tmp_path)
    reading = DataOptions(allow=("damaged",))
    blocks = list(data.unlabelled(found, shape=(6, 5, 3), reading=reading))
    names = [name for _, some, _ in blocks for name in some["file"]]
    assert sum(len(x) for x, _, _ in blocks) == len(names) == 300
    assert not any(name.endswith(tuple(BAD)) for name in names)
    shutil.rmtree(root / "dog")
    few = folder(tmp_path / "few", count=6)
    (few / "cat" / "cut.png").write_bytes(BAD["cut.png"][0])
    (few / "dog" / "cut.png").write_bytes(BAD["cut.png"][0])
    with refused(DataError, "2 of 14"):  # more than a tenth
        load(few, allow=("damaged",), test_split=0.5)


def test_files_beside_the_images_are_left_out(tmp_path):
    root = folder(tmp_path / "in")
    digest = load(root).digest
    for name in ("README.md", "labels.csv", "cat/Thumbs.db", "dog/notes.txt", ".DS_Store"):
        (root / name).write_text("file,label\n")
    assert load(root).digest == digest
    assert not load(root).warnings


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


@pytest.mark.slow
def test_images_from_s3_and_rows_to_predict(s3, s3_uri, tmp_path):
    root = folder(tmp_path / "in", mode="RGB")
    prefix = s3_uri.removeprefix(f"s3://{s3.bucket}/")
    for path in root.rglob("*.png"):
        key = f"{prefix}/{path.relative_to(root).as_posix()}"
        s3.client().put_object(Bucket=s3.bucket, Key=key, Body=path.read_bytes())
    assert load(s3_uri, scratch=tmp_path / "scratch").digest == load(root).digest
    for uri, count in ((root, 40), (root / "cat" / "003.png", 1), (s3_uri, 40)):
        for shape, resized in (((6, 5, 3), ()), ((7, 7), (count,))):
            found = data.images_of(str(uri), tmp_path / "s")
            [(block, names, findings)] = data.unlabelled(found, shape=shape, reading=DataOptions())
            assert block.shape == (count, *shape)
            assert len(names["file"]) == count
            assert tuple(finding.count for finding in findings) == resized
    with refused(DataError, "(30,)"):
        next(data.unlabelled(found, shape=(30,), reading=DataOptions()))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    at=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
    cut=st.booleans(),
    form=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
)
def test_no_damaged_image_ends_in_a_traceback(at, value, cut, form, tmp_path):
    body = bytearray(encoded(mode="RGB", form=form))
    place = int(at * len(body))
    body[place] = value
    path = tmp_path / "x.png"
    path.write_bytes(body[:place] if cut else body)
    try:
        rows = data.unlabelled(
            data.images_of(str(path), tmp_path), shape=(6, 5, 3), reading=DataOptions()
        )
        assert next(rows)[0].shape == (1, 6, 5, 3)
    except JobError as error:
        assert "Received: " in error.message  # noqa: PT017


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "val", "test"),
        ("train", "val"),
        ("Train", "Test"),
        ("training",),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("TrainData", "valid", "TestData"),
        ("train2017", "val2017"),
    ],
)
def test_folders_of_parts_are_no_classes(parts, tmp_path):
    for part in parts:
        folder(tmp_path / "in" / part)
    with pytest.raises(DataError, match="expected folders of classes") as caught:
        load(tmp_path / "in")
    assert f"Received: {', '.join(parts)}." in caught.value.message
    words = shlex.split(re.split(r"\.? (?:in --test-data|as the data\.)", caught.value.hint)[0])
    places = [str(tmp_path / "in" / part) for part in dict.fromkeys((parts[0], parts[-1]))]
    assert [word for word in words if "/" in word] == places
    assert load(*places).classes == ("cat", "dog")


@pytest.mark.parametrize("classes", [("cat", "train"), ("bullet train", "steam train")])
def test_a_class_may_be_called_train(tmp_path, classes):
    root = folder(tmp_path / "in")
    for old, new in zip(("cat", "dog"), classes, strict=True):
        (root / old).rename(root / new)
    assert load(root).classes == classes


def test_a_folder_around_the_class_folders_is_named(tmp_path):
    root = folder(tmp_path / "in" / "images").parent
    with pytest.raises(DataError, match=r"one folder, images, that holds cat, dog\.") as caught:
        load(root)
    assert f"{root}/images" in caught.value.hint
    for part in ("train", "test"):
        folder(tmp_path / "parted" / part / "images")
    with pytest.raises(DataError, match="one folder, images") as caught:
        load(tmp_path / "parted")
    assert f"{tmp_path}/parted/test/images in --test-data" in caught.value.hint


def test_class_folders_that_hold_the_same_folders_are_warned_of(tmp_path):
    for place in ("north", "south"):
        folder(tmp_path / "in" / place)
    dataset = load(tmp_path / "in")
    assert dataset.classes == ("north", "south")
    assert any("the same folders ('cat', 'dog')" in warning for warning in dataset.warnings)


def test_no_class_is_lost_in_silence(tmp_path):
    root = folder(tmp_path / "in")
    (root / "cow").mkdir()
    (root / "cow" / "notes.txt").write_text("none yet")
    dataset = load(root)
    assert dataset.classes == ("cat", "dog")
    assert "1 folder without images left out ('cow')." in dataset.warnings
    (root / "cow").rename(root / "_cow")
    assert not load(root).warnings
