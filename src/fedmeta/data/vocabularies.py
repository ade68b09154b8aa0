"""Classes and categories: texts that stand in records as their place in a list.

Metadata have the lists: `classes`, of the column `label`, and `categories`, by name, of
the columns of `categories`. Parts of a data set that were packed apart have lists of
their own, which `united` puts together and `recoded` puts into the records.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from fedmeta.data.errors import DataError
from fedmeta.data.federated import FederatedDataset, read_packed

CLASSES, CATEGORIES = "classes", "categories"
LISTS = (CLASSES, CATEGORIES)


def in_order(texts: Collection[str]) -> list[str]:
    """The texts sorted: by size where all are numbers, else by their characters.

    >>> in_order(["10", "9"]), in_order(["10", "9", "a"])
    (['9', '10'], ['10', '9', 'a'])
    """
    try:
        return sorted(texts, key=lambda text: (float(text), text))
    except ValueError:
        return sorted(texts)


def several_classes(records: FederatedDataset) -> list[str]:
    """The classes of all records.

    A node of a federation may have one alone; all of them together may not.

    Raises:
        DataError: for one class.
    """
    classes: list[str] = json.loads(records.metadata[CLASSES])
    if len(classes) < 2:
        raise DataError(
            f"{records.metadata.get('name', records.path)}: all records are of one"
            f" class, {classes[0]!r}; expected two or more: name another column as"
            " raw.label or, of images in folders, the folder above the clients as"
            " raw.folder"
        )
    return classes


def united(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The lists of all parts as one, for those of their metadata that have lists.

    Raises:
        ValueError: for categories of other names, or without the lists of another part.
    """
    lists = [{k: json.loads(part[k]) for k in LISTS if k in part} for part in parts]
    made: dict[str, str] = {}
    for key in {key: None for held in lists for key in held}:
        if not all(key in held for held in lists):
            raise ValueError(f"some have {key}, and others have none")
        held = [own[key] for own in lists]
        if key == CLASSES:
            made[key] = json.dumps(in_order({t for own in held for t in own}))
            continue
        if len({tuple(own) for own in held}) > 1:
            raise ValueError(f"their categories are {' and '.join(map(str, held))}")
        all_of = {n: in_order({t for own in held for t in own[n]}) for n in held[0]}
        made[key] = json.dumps(all_of)
    return made


def recoded(
    records: FederatedDataset, vocabularies: Mapping[str, str]
) -> FederatedDataset:
    """The records as if they had been packed with other lists, that hold theirs."""
    lists = {k: records.metadata[k] for k in vocabularies}
    if lists == dict(vocabularies):
        return records
    own, wanted = (
        {k: json.loads(held[k]) for k in held} for held in (lists, vocabularies)
    )
    given = {f.name: getattr(records, f.name) for f in fields(FederatedDataset)}
    given["metadata"] = {**records.metadata, **vocabularies}
    label = places(own.get(CLASSES, []), wanted.get(CLASSES, []))
    names = own.get(CATEGORIES, {})
    others = [places(names[name], wanted[CATEGORIES][name]) for name in names]
    return _Recoded(**given, label=label, others=others)


@dataclass(frozen=True, eq=False)
class _Recoded(FederatedDataset):
    label: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    others: Sequence[np.ndarray] = ()  # of each category

    def columns(self, client_id: str) -> dict[str, np.ndarray]:
        found = super().columns(client_id)
        found["label"] = self.label[found["label"]]
        if self.others:
            coded = found[CATEGORIES]
            found[CATEGORIES] = np.stack(
                [place[coded[:, n]] for n, place in enumerate(self.others)], 1
            )
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        lists = {k: v for k, v in self.metadata.items() if k in LISTS}
        return _again, (self.path, lists)


def _again(path: Any, vocabularies: Mapping[str, str]) -> FederatedDataset:
    return recoded(read_packed(path), vocabularies)


def places(own: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """int32 [own + 1]: where each text stands; the last, of -1, is what is missing."""
    place = {text: n for n, text in enumerate(wanted)}
    return np.array([*(place[text] for text in own), -1], np.int32)
