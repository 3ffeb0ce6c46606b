"""WebDataset shards: tar files whose members of one key follow each other, a picture and its label in either order.

The key of a member is its path up to the first dot of its file name. A label is `KEY.json`, an object with `identity`
(a name, a number, or null) and perhaps `source`, or `KEY.cls`, text. Names may hold more dots (`KEY.face.jpg` with
`KEY.json`; `a.b.jpg` with `a.b.json`). A shard in which a label could be lost, or could belong to two pictures, is
refused, so that nobody who was to be held out is trained on.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from facelet.archives import TAR_ERRORS
from facelet.errors import FaceletError, TransferSetError
from facelet.system_files import is_system_file

IMAGE_SUFFIXES = (".webp", ".jpg", ".jpeg", ".png", ".bmp")
SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
LABEL_SUFFIXES = (".json", ".cls")
"""Of labels; `.json` counts where it has an `identity`."""

DOCUMENTS = ("readme", "license", "licence", "notice")
"""How the names of files begin that may lie in a shard beside its samples."""

NOBODY = ("", "-1", "none", "null", "nan")
"""Names, in lower case, that mean that the person is not known."""

UNLABELLED_FIELDS = frozenset(("source", "landmarks"))
"""What a `.json` without `identity` may hold; any other field could be a label by another name."""

ADJACENT = "a picture and its label must follow each other: pack with tar --sort=name"

READ_CHUNK = 1 << 20


@dataclass(frozen=True)
class Item:
    """One image on its way into the pack: encoded bytes or a path, and its labels."""

    where: str
    identity: str | None
    source: str
    encoded: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True)
class _Member:
    """One file of a shard; `content` is empty where only names are looked at."""

    path: PurePosixPath
    content: bytes

    @property
    def key(self) -> PurePosixPath:
        """The path up to the first dot of the file name."""
        return self.path.parent / self.path.name.partition(".")[0]

    @property
    def stem(self) -> PurePosixPath:
        """The path without its last suffix."""
        return self.path.with_suffix("")

    @property
    def suffix(self) -> str:
        """The last suffix, in lower case."""
        return self.path.suffix.lower()


@dataclass(frozen=True)
class _Sample:
    """A picture and its labels by suffix."""

    image: _Member
    labels: dict[str, _Member]


def count_images(shard: Path) -> int:
    """Number of images of a shard, all of whose members are looked at.

    Raises:
        TransferSetError: the shard is damaged, or a label in it could be lost.
    """
    with _open_shard(shard) as tar:
        return sum(1 for _ in _samples(shard, tar, read=False))


def shard_items(shard: Path) -> Iterator[Item]:
    """The images of a shard with their labels, in their order.

    A person is known by the sample's source (the shard's name where it gives none) and identity together.

    Raises:
        TransferSetError: as `count_images`; or a label that cannot be read.
    """
    with _open_shard(shard) as tar:
        for sample in _samples(shard, tar, read=True):
            origin, identity = _labels(shard, sample)
            yield Item(
                f"{shard.name}:{sample.image.stem}",
                None if identity is None else f"{origin}/{identity}",
                origin,
                encoded=sample.image.content,
            )


def person(value: object, where: str) -> str | None:
    """The name of a person as a label gives it; None where it says that nobody knows: null, -1, or an empty name.

    Raises:
        TransferSetError: neither a name nor a whole number nor null.
    """
    name = _name(value, where, "identity")
    return None if name.lower() in NOBODY else name


def _name(value: object, where: str, what: str) -> str:
    """A name as a `.json` gives it: a text or a whole number; empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TransferSetError(
            f"{where}: its {what} is {json.dumps(value)[:60]}; expected a name, a whole number, or null"
        )
    name = str(value).strip()
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise TransferSetError(f"{where}: its {what} {name!r} holds half a character; write it as UTF-8") from error
    return name


@contextmanager
def _open_shard(shard: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(shard) as tar:
            yield tar
    except FaceletError:
        raise
    except (*TAR_ERRORS, ValueError, IndexError, OverflowError) as error:  # a damaged PAX header raises the last three
        reason = str(error).partition(":\n")[0]  # tarfile lists every compression that it tried
        raise TransferSetError(
            f"{shard}: not a readable tar shard: cut off or damaged ({reason}); copy or write it again"
        ) from error


def _members(shard: Path, tar: tarfile.TarFile, read: bool) -> Iterator[_Member]:
    """The files of a shard, bar those of a system and documents; behind the last one its end mark is checked."""
    last = "its start"
    for info in tar:
        path = PurePosixPath(info.name)
        last = info.name
        if info.isdir() or is_system_file(path) or path.name.lower().startswith(DOCUMENTS):
            continue
        if not info.isfile():
            raise TransferSetError(
                f"{shard.name}:{info.name}: a link or device, not a file; pack it with tar --dereference "
                "--hard-dereference"
            )
        wanted = read and path.suffix.lower() in (*IMAGE_SUFFIXES, *LABEL_SUFFIXES)
        stream = tar.extractfile(info) if wanted else None
        yield _Member(path, stream.read() if stream else b"")
    _check_end(shard, tar, last)


def _check_end(shard: Path, tar: tarfile.TarFile, last: str) -> None:
    """Refuses a shard that does not end in a block of zeros: its later members would be lost without a word."""
    stream: Any = tar.fileobj
    stream.seek(tar.offset)
    mark = stream.read(tarfile.BLOCKSIZE)
    if len(mark) < tarfile.BLOCKSIZE:
        raise TransferSetError(
            f"{shard}: ends after {last} without an end mark: its writer was stopped, or the copy is cut; write or "
            "copy it again"
        )
    if any(mark):
        raise TransferSetError(f"{shard}: damaged after {last}: no member begins there; copy or write it again")
    while chunk := stream.read(READ_CHUNK):  # to the very end, where gzip keeps its checksum
        if any(chunk):
            raise TransferSetError(
                f"{shard}: goes on after its end mark, behind {last}; give tars that were joined as one file each"
            )


def _samples(shard: Path, tar: tarfile.TarFile, read: bool) -> Iterator[_Sample]:
    labelled: dict[PurePosixPath, bool] = {}
    for _, members in groupby(_members(shard, tar, read), key=lambda member: member.key):
        for sample in _group_samples(shard, list(members)):
            name = sample.image.stem
            if labelled.setdefault(name, bool(sample.labels)) != bool(sample.labels):
                raise TransferSetError(
                    f"{shard.name}:{sample.image.path}: its key comes twice, once with a label and once without; "
                    + ADJACENT
                )
            yield sample


def _group_samples(shard: Path, members: list[_Member]) -> list[_Sample]:
    """The samples of members that have one key and follow each other: one, unless their names hold further dots."""
    images = [member for member in members if member.suffix in IMAGE_SUFFIXES]
    labels = [member for member in members if member.suffix in LABEL_SUFFIXES]
    others = [member for member in members if member not in images and member not in labels]
    if labels and not images:
        raise TransferSetError(f"{shard.name}:{labels[0].path}: a label without its picture beside it; {ADJACENT}")
    if others and not labels:
        raise TransferSetError(
            f"{shard.name}:{others[0].path}: neither a picture ({', '.join(IMAGE_SUFFIXES)}) nor a label; give labels "
            "as KEY.json or KEY.cls beside KEY.jpg, or take the file out"
        )
    if len(images) == 1:
        return [_Sample(images[0], _by_suffix(shard, images[0], labels))]
    own = {image.stem: [label for label in labels if label.stem == image.stem] for image in images}
    n_labelled = sum(bool(found) for found in own.values())
    n_used = sum(len(found) for found in own.values())
    if len(own) < len(images) or n_used < len(labels) or n_labelled not in (0, len(images)):
        raise TransferSetError(
            f"{shard.name}:{images[1].path}: a second picture of the key {images[1].key}, and no way to know whose its "
            "labels are; give each picture a name without further dots, and a label of that name"
        )
    return [_Sample(image, _by_suffix(shard, image, own[image.stem])) for image in images]


def _by_suffix(shard: Path, image: _Member, labels: list[_Member]) -> dict[str, _Member]:
    """The labels of an image, one of each suffix: of several the one with the image's own name."""
    found: dict[str, _Member] = {}
    for suffix in LABEL_SUFFIXES:
        alike = [label for label in labels if label.suffix == suffix]
        own = [label for label in alike if label.stem == image.stem] or alike
        if len(own) > 1:
            raise TransferSetError(f"{shard.name}:{own[1].path}: a second {suffix} of {image.path}; take one out")
        if own:
            found[suffix] = own[0]
    return found


def _labels(shard: Path, sample: _Sample) -> tuple[str, str | None]:
    """Source and identity of a sample."""
    where = f"{shard.name}:{sample.image.stem}"
    fields = _json_fields(where, sample.labels[".json"].content) if ".json" in sample.labels else {}
    origin = _name(fields.get("source"), where, "source") or shard.name
    if "identity" in fields:
        return origin, person(fields["identity"], where)
    if ".cls" in sample.labels:
        try:
            return origin, person(sample.labels[".cls"].content.decode(), where)
        except UnicodeDecodeError as error:
            raise TransferSetError(f"{where}: its .cls is not UTF-8 text ({error})") from error
    if strange := sorted(fields.keys() - UNLABELLED_FIELDS):
        raise TransferSetError(
            f'{where}: its .json has {", ".join(strange)[:60]} and no identity; write "identity": the person\'s name, '
            "or null where it is not known"
        )
    return origin, None


def _json_fields(where: str, content: bytes) -> dict[str, object]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise TransferSetError(f"{where}: its .json is not JSON in UTF-8 ({reason})") from error
    if not isinstance(fields, dict):
        raise TransferSetError(f"{where}: its .json must be an object, found {type(fields).__name__}")
    return fields
