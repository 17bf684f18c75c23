"""Train, test and class folders: the parts of a data set that the names of files tell."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from job.data.files.listing import Found
from job.data.findings import Finding
from job.errors import DataError

PARTS = {
    "train": re.compile(r"train(ing)?(set|data|images?|imgs?|folder)?"),
    "validation": re.compile(r"(val|valid|validation|dev)(set|data|images?|imgs?|folder)?"),
    "test": re.compile(r"(test(ing)?|eval|evaluation|holdout)(set|data|images?|imgs?|folder)?"),
}
"""What one word of a name says when it names a part, in small letters."""

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
        told = ((depth, part_of(name)) for depth, name in enumerate(folders))
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
        hint=f"Name {data} as the data and {test_data} in --test-data; to learn from both, name "
        "them with a comma between."
        if some
        else "Put them into two folders, and name the rows to test on in --test-data.",
    )


def part_of(name: str) -> str:
    """The part that a name speaks of, as seg_train, TestSet and valid do; else an empty text."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return next((p for word in words for p in PARTS if PARTS[p].fullmatch(word)), "")


def class_folders(found: Found) -> tuple[list[str], bool, list[Finding]]:
    """The class of each of a folder's images: the folder that it lies in.

    Returns:
        The classes, in the order of `found.images`; whether the folders train and test hold them;
        and what was assumed.

    Raises:
        DataError: An image lies in no class folder, or folders of parts, or one folder around all
            of them, stand where those of classes are expected.
    """
    keys = found.images
    tops = {key.partition("/")[0] for key in keys}
    parted = tops == {"train", "test"}
    depth = int(parted)
    if not parted:
        _refuse_parts_as_classes(found, tops)
    stray = next((key for key in keys if key.count("/") <= depth), None)
    if stray is not None:
        raise DataError(
            f"{found.uri}: expected each image in the folder of its class. "
            f"Received: {stray[:200]}.",
            hint="Lay them out as CLASS/IMAGE.png, or as train/CLASS/… and test/CLASS/…; or name "
            "a table of file names and labels as the data, and its column of labels in --label.",
        )
    paths = [key.split("/")[depth:-1] for key in keys]
    inner = {path[1] for path in paths if len(path) > 1}
    if len({path[0] for path in paths}) == 1 and all(len(path) > 1 for path in paths):
        parts = ("train/", "test/") if parted else ("",)
        raise DataError(
            f"{found.uri}: expected folders of classes. Received: one folder, "
            f"{paths[0][0][:200]}, that holds {', '.join(sorted(inner))[:200]}.",
            hint=_apart([f"{found.uri.rstrip('/')}/{part}{paths[0][0]}" for part in parts]),
        )
    findings = []
    full = {key.split("/")[depth] for key in keys}
    others = (key.split("/") for key in found.files if key.count("/") > depth)
    empty = sorted({folders[depth] for folders in others} - full)
    if empty:
        findings.append(
            Finding(code="folder-without-images", count=len(empty), values=tuple(empty[:5]))
        )
    holders = Counter(pair[1] for pair in {tuple(path[:2]) for path in paths if len(path) > 1})
    common = sorted(name for name, count in holders.items() if count == len(full) > 1)
    if len(common) > 1:
        findings.append(Finding(code="nested-folders", count=len(common), values=tuple(common[:5])))
    return [path[0] for path in paths], parted, findings


def _refuse_parts_as_classes(found: Found, tops: set[str]) -> None:
    parts = {top: part for top in tops if (part := part_of(top))}
    kinds, alone = set(parts.values()), len(parts) == len(tops)
    apart = len(kinds) > 1 and ("train" in kinds or alone)
    if not apart and not (alone and len(tops) == 1):  # a bullet train and a steam train are classes
        return
    order = sorted(parts, key=lambda top: (tuple(PARTS).index(parts[top]), top))
    root = found.uri.rstrip("/")
    places = [f"{root}/{order[0]}", f"{root}/{order[-1]}"]
    raise DataError(
        f"{found.uri}: expected folders of classes, or train and test and nothing else. "
        f"Received: {', '.join(order)[:200]}.",
        hint=f"{_apart(places[: len(order)])} Rows to validate on are held out of the training "
        "rows.",
    )


def _apart(places: Sequence[str]) -> str:
    data, *test = map(shlex.quote, places)
    return f"Name {data} as the data" + (f" and {test[0]} in --test-data." if test else ".")
