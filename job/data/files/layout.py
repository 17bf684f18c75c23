"""How a data set lies in folders: parts, classes, and what would be learned from by mistake."""

import re
import shlex

from job.data.dataset import Part
from job.data.files.listing import IMAGE, Found
from job.errors import DataError

OTHER_IMAGE = re.compile(r"(?i).*\.(gif|bmp|tiff?|webp|avif|heic|jfif|pgm|ppm)")

PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What the parts of a data set are called, in small letters."""

FEW = 3
"""Places that advice names one by one."""


def refuse_parts(found: Found, keys: tuple[str, ...]) -> None:
    """Refuses to make one table of training and test rows, which the names of files give away.

    Raises:
        DataError: A file or folder is called train and another one test or validation.
    """
    places: dict[str, set[str]] = {part: set() for part in PARTS}
    for key in keys:
        folders, path = key.split("/"), found.name(key).split("/")
        told = ((depth, _part_of(name)) for depth, name in enumerate(folders))
        depth, part = next((each for each in told if each[1]), (0, ""))
        if part:
            places[part].add("/".join(path[: len(path) - len(folders) + depth + 1]))
    train, test = places["train"], places["test"] or places["validation"]
    if not train or not test:
        return
    if places["test"]:
        train |= places["validation"]  # of which the job holds out its own
    some = max(len(train), len(test)) <= FEW
    data, test_data = (shlex.quote(",".join(sorted(places))) for places in (train, test))
    raise DataError(
        f"{found.uri}: expected the rows of one part. Received: by their names, rows to train on "
        f"and rows to test on, {min(train)[:200]} and {min(test)[:200]}.",
        hint=f"`--data {data} --test-data {test_data}` names them apart; to learn from both, name "
        "them with a comma between."
        if some
        else "Put them into two folders, one for --data and one for --test-data.",
    )


def labelled_images(found: Found, part: Part) -> tuple[tuple[str, ...], list[str], bool]:
    """The images of a part, the class of each, and whether folders hold the parts.

    Raises:
        DataError: An image lies in no class folder, a class has no image that can be read, or
            folders of parts stand where those of classes are expected.
    """
    keys = tuple(key for key in found.keys if IMAGE.fullmatch(key))
    tops = {key.partition("/")[0] for key in keys}
    parted = tops == {"train", "test"}
    if not parted:
        _refuse_parts_as_classes(found, tops)
    _refuse_unreadable(found, keys, parted)
    if parted:
        keys = tuple(key for key in keys if key.startswith(f"{part}/"))
    return keys, [_class(found, key, parted) for key in keys], parted


def _class(found: Found, key: str, parted: bool) -> str:
    parts = key.split("/")[parted:]
    if len(parts) < 2:
        raise DataError(
            f"{found.uri}: expected each image in the folder of its class. Received: {key[:200]}.",
            hint="Lay them out as CLASS/IMAGE.png, or as train/CLASS/… and test/CLASS/….",
        )
    return parts[0]


def _refuse_parts_as_classes(found: Found, tops: set[str]) -> None:
    parts = {top: part for top in tops for part in PARTS if top.lower() in PARTS[part]}
    if not parts or len(parts) < min(len(tops), 2):
        return
    order = sorted(parts, key=lambda top: (tuple(PARTS).index(parts[top]), top))
    root = found.uri.rstrip("/")
    said = f"--data {shlex.quote(f'{root}/{order[0]}')}"
    if len(order) > 1:
        said += f" --test-data {shlex.quote(f'{root}/{order[-1]}')}"
    raise DataError(
        f"{found.uri}: expected folders of classes, or train and test and nothing else. "
        f"Received: {', '.join(order)[:200]}.",
        hint=f"`{said}` names the parts; rows to validate on are held out of the training rows.",
    )


def _refuse_unreadable(found: Found, keys: tuple[str, ...], parted: bool) -> None:
    other = next((key for key in found.keys if OTHER_IMAGE.fullmatch(key)), None)
    if other is not None:
        raise DataError(
            f"{found.name(other)}: expected PNG or JPEG images. Received: another format.",
            hint="Save it as PNG; what has _ in front of its name is left out.",
        )
    depth = 1 + parted
    full = {tuple(key.split("/")[:depth]) for key in keys}
    for key in found.keys:
        folder = tuple(key.split("/")[:depth])
        if key.count("/") >= depth and folder not in full:
            raise DataError(
                f"{found.uri}: expected PNG or JPEG images in the folder of each class. "
                f"Received: in {'/'.join(folder)[:200]} none, but {key[:200]}.",
                hint="Put images there; a folder with _ in front of its name is left out.",
            )


def _part_of(name: str) -> str:
    """The part that a name speaks of; else an empty text."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((part for word in words for part in PARTS if word in PARTS[part]), "")
