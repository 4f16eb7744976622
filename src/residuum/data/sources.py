"""Sources: what the user names - a folder, an archive, a table, the embedded digits - becomes a Manifest.

FOLDER          class folders, optionally below train/, val/ and test/
csv:FILE        a table of path,label[,split][,group]
cifar10:PATH    the official archive, python or binary, extracted or .tar.gz
cifar100:PATH   likewise, with the fine labels
mnist:PATH      a folder of IDX files, gzipped or not
imagenet:PATH   the official folders of ILSVRC 2012, listed and not read
shards:PATTERN  WebDataset tars, from files or pipes, listed and not read (the patterns: shards/pattern.py)
digits          scikit-learn's handwritten digits
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from residuum.data.archives import Arrays
from residuum.data.cifar import read_cifar10, read_cifar100
from residuum.data.csv_file import list_csv
from residuum.data.embedded import read_digits
from residuum.data.exclusion import without
from residuum.data.folders import Listing, list_folder
from residuum.data.imagenet import HELD_OUT, Listed, list_imagenet
from residuum.data.manifest import Manifest, digest_of
from residuum.data.mnist import read_mnist
from residuum.data.parts import given_and_cut
from residuum.data.pictures import ArrayPictures, ListedPictures
from residuum.data.scan import Progress, refuse_too_many, scan
from residuum.data.shards.index import INDEX, LISTING
from residuum.data.shards.listing import Shards, list_shards
from residuum.data.shards.reading import ShardPictures
from residuum.data.splits import DEFAULT_FRACTION
from residuum.errors import UserError, nearest, shown

_FORMS = ("csv:FILE", "cifar10:PATH", "cifar100:PATH", "mnist:PATH", "imagenet:PATH", "shards:PATTERN", "digits")


def open_data(
    argument: str,
    *,
    val: float | None = None,
    allow_bad: bool = False,
    exclude: Mapping[str, str] | None = None,
    all_there: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """The data set that `argument` names (the forms are listed above); an existing folder wins over a name.

    `val` says what to hold out of the training pictures for validation: None is the default (the given
    validation part, else 10%, as in the paper's 45k/5k split of CIFAR), 0 none, a share below 1, or a number
    of pictures. Where it is given and the data have a validation part of their own, that part first joins the
    training part. The pictures that `exclude` names, with reasons (`exclusion.read_exclude_list`), are not looked at;
    one that is not there is an error where they must be `all_there`.
    Files that cannot be read are left out; more than 1% of them, or an empty class, is an error unless `allow_bad`.
    (Of imagenet: no file is read here.) `progress` is called with the number of files read and of all files. Raises
    UserError.
    """
    found, default = list_data(argument, progress)
    left_out: tuple[tuple[str, str], ...] = ()
    if exclude:
        found, left_out = without(found, exclude, argument, all_there)
    if isinstance(found, Listing):
        manifest = _from_listing(argument, found, val, allow_bad, progress)
    elif isinstance(found, Listed):
        manifest = _from_listed(argument, found, val, allow_bad)
    elif isinstance(found, Shards):
        manifest = _from_shards(argument, found, val, allow_bad, bool(left_out))
    else:
        manifest = _from_arrays(argument, found, val, default)
    return replace(manifest, excluded=(*left_out, *manifest.excluded), listed_out=left_out)


def list_data(argument: str, progress: Progress | None = None) -> tuple[Listing | Listed | Shards | Arrays, float]:
    """What `argument` names, before any file of a picture is read, and the share that is held out by default."""
    if os.path.isdir(argument):
        if all(os.path.isfile(os.path.join(argument, name)) for name in (INDEX, LISTING)):
            raise UserError(f"{shown(argument)} holds shards; write shards:{shown(argument)}")
        return list_folder(Path(argument)), DEFAULT_FRACTION
    if os.path.exists(argument):
        hint = f"; for a table of pictures give csv:{shown(argument)}" if argument.lower().endswith(".csv") else ""
        raise UserError(f"{shown(argument)} is a file; the data are a folder of class folders{hint}")
    if argument == "digits":
        return read_digits(), DEFAULT_FRACTION
    name, colon, path = argument.partition(":")
    archives: dict[str, tuple[Callable[[Path], Arrays], float]] = {
        "cifar10": (read_cifar10, DEFAULT_FRACTION),
        "cifar100": (read_cifar100, DEFAULT_FRACTION),
        "mnist": (read_mnist, 5000 / 60000),
    }
    if colon and path and name == "csv":
        return list_csv(Path(path)), DEFAULT_FRACTION
    if colon and path and name == "imagenet":
        return list_imagenet(Path(path), progress), HELD_OUT
    if colon and path and name == "shards":
        return list_shards(path, progress), DEFAULT_FRACTION
    if colon and path and name in archives:
        read, default = archives[name]
        return read(Path(path)), default
    raise UserError(_unknown(argument, name, colon))


def _unknown(argument: str, name: str, colon: str) -> str:
    known = {form.partition(":")[0]: form for form in _FORMS}
    if name in known:
        return f"{shown(argument)} is not complete: write {known[name]}"
    hint = nearest(name, known)
    if colon and os.sep not in name:
        return f'there is no data source named "{shown(name)}", nor a folder {shown(argument)}; {hint}'
    if "did you mean" in hint:
        return f"there is no folder {shown(argument)}; {hint}"
    return f"there is no folder {shown(argument)}; give a folder of class folders, or one of {', '.join(_FORMS)}"


def _from_listing(
    argument: str, listing: Listing, val: float | None, allow_bad: bool, progress: Progress | None
) -> Manifest:
    _refuse_one_class(argument, listing.classes)
    result = scan(listing.paths, listing.names, allow_bad=allow_bad, progress=progress)
    pick = [int(i) for i in result.kept]
    labels = [listing.labels[i] for i in pick]
    splits = [listing.splits[i] for i in pick]
    notes = list(listing.notes)

    trained = {label for label, split in zip(labels, splits, strict=True) if split in ("", "train")}
    empty = [c for c in listing.classes if c not in (trained if trained else set(labels))]
    if empty:
        which = ", ".join(shown(c) for c in empty[:3]) + (", ..." if len(empty) > 3 else "")
        if not set(empty).isdisjoint(labels):
            raise UserError(f"no training pictures of {which}, which val or test have; add some or remove the class")
        if not allow_bad:
            raise UserError(
                f"{len(empty)} of {len(listing.classes)} classes {'have' if len(empty) > 1 else 'has'} no pictures: "
                f"{which}; add some, remove the class, or leave it out with --allow-bad"
            )
        notes.append(f"classes without pictures were left out: {which}")
    classes = [c for c in listing.classes if c not in empty]
    _refuse_one_class(argument, classes)

    index = {c: i for i, c in enumerate(classes)}
    groups, group_names = _groups(None if listing.groups is None else [listing.groups[i] for i in pick])
    names = [listing.names[i] for i in pick]
    targets = np.array([index[label] for label in labels], np.int64)
    parts, more = given_and_cut(names, targets, splits, classes, groups, val, DEFAULT_FRACTION)
    return Manifest(
        argument=argument,
        names=tuple(names),
        labels=targets,
        classes=tuple(classes),
        parts=parts,
        pictures=result.pictures,
        digest=digest_of(classes, names, targets, splits, result.contents),
        excluded=result.excluded,
        groups=groups,
        group_names=group_names,
        notes=(*notes, *more),
    )


def _groups(named: Sequence[str] | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The number of each picture's group, int64 (n,), and the groups' names, sorted bytewise."""
    if named is None:
        return None, ()
    names, numbers = np.unique(np.array([os.fsencode(group) for group in named], object), return_inverse=True)
    return numbers.astype(np.int64), tuple(os.fsdecode(name) for name in names)


def _from_arrays(argument: str, arrays: Arrays, val: float | None, default: float = DEFAULT_FRACTION) -> Manifest:
    _refuse_one_class(argument, arrays.classes)
    contents = [hashlib.sha256(picture.tobytes()).digest() for picture in arrays.pixels]
    parts, more = given_and_cut(arrays.names, arrays.labels, arrays.splits, arrays.classes, None, val, default)
    return Manifest(
        argument=argument,
        names=tuple(arrays.names),
        labels=arrays.labels,
        classes=tuple(arrays.classes),
        parts=parts,
        pictures=ArrayPictures(arrays.pixels),
        digest=digest_of(arrays.classes, arrays.names, arrays.labels, arrays.splits, contents),
        notes=(*arrays.notes, *more),
        chiral=arrays.chiral,
    )


def _from_listed(argument: str, listed: Listed, val: float | None, allow_bad: bool) -> Manifest:
    _refuse_one_class(argument, listed.classes)
    notes = list(listed.notes)
    if allow_bad:
        notes.append("imagenet: files are read when they are used, so --allow-bad leaves none of them out")
    lengths = [int(length).to_bytes(8, "little") for length in listed.lengths]
    parts, more = given_and_cut(listed.names, listed.labels, listed.splits, listed.classes, None, val, HELD_OUT)
    return Manifest(
        argument=argument,
        names=tuple(listed.names),
        labels=listed.labels,
        classes=tuple(listed.classes),
        parts=parts,
        pictures=ListedPictures(listed.root, listed.names, listed.lengths),
        # by WNID, so that the words that people are shown change nothing
        digest=digest_of(listed.wnids, listed.names, listed.labels, listed.splits, lengths),
        notes=(*notes, *more),
    )


def _from_shards(argument: str, found: Shards, val: float | None, allow_bad: bool, fewer: bool) -> Manifest:
    """`fewer`: some of the pictures were asked to be left out."""
    refuse_too_many(found.excluded, len(found.names) + len(found.excluded), allow_bad)
    _refuse_one_class(argument, found.classes)
    groups, group_names = _groups(found.groups)
    parts, more = given_and_cut(found.names, found.labels, found.splits, found.classes, groups, val, DEFAULT_FRACTION)
    if "val" in parts and "val" not in found.splits and any(shard.place.piped for shard in found.shards):
        more.append(
            "validation pictures lie in all shards, so each validation opens all pipes; residuum shard parts them"
        )
    digest = found.digest
    if digest is None or fewer:
        lengths = [int(length).to_bytes(8, "little") for length in found.lengths]
        digest = digest_of(found.classes, found.names, found.labels, found.splits, lengths)
    return Manifest(
        argument=argument,
        names=tuple(found.names),
        labels=found.labels,
        classes=tuple(found.classes),
        parts=parts,
        pictures=ShardPictures(found),
        digest=digest,
        excluded=tuple(found.excluded),
        groups=groups,
        group_names=group_names,
        notes=(*found.notes, *more),
        chiral=found.chiral,
    )


def _refuse_one_class(argument: str, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        only = f"only one class, {shown(classes[0])}" if classes else "no class"
        raise UserError(f"{shown(argument)} has {only}; a classifier needs at least two")
