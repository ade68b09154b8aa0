"""The prepared data of a benchmark, and where they are from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fedmeta import identity
from fedmeta.core.types import ClientId
from fedmeta.data.encoding import Codebook
from fedmeta.data.encoding import checksum as codebook_checksum
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.ids import Ids
from fedmeta.data.partition import checksum
from fedmeta.identity import Settings


class Data(NamedTuple):
    """The prepared data of a benchmark."""

    records: FederatedDataset
    clients: pd.DataFrame
    client_split: dict[str, list[ClientId]]
    support_query: pd.DataFrame | None  # None: it is not asked which are which
    codebook: Codebook

    @property
    def partitioned(self) -> pd.DataFrame:
        """Support and query records, of data for which it is asked which they are."""
        assert self.support_query is not None
        return self.support_query

    def settings(self) -> Settings:
        """Checksums of the data, and the options that they were made with.

        Raises:
            ValueError: if some were made from other data than these.
        """
        divided = self.support_query
        found = {
            "data.records": self.records.checksum,
            "data.clients": checksum(self.clients),
            "data.client_split": self.client_split["checksum"],
            "data.codebook": codebook_checksum(self.codebook),
            **({} if divided is None else {"data.support_query": checksum(divided)}),
        }
        for name, held in {
            "clients table": self.clients.attrs.get("settings", {}),
            "client split": self.client_split.get("settings", {}),
            "codebook": self.codebook.settings,
            "partition": {} if divided is None else divided.attrs.get("settings", {}),
        }.items():
            if names := identity.conflicts(held, found):
                raise ValueError(
                    f"the {name} was made with {identity.in_words(names, held, found)};"
                    " without --from-nodes or --nodes, it is made again"
                )
            found |= held
        return found

    def part(self, name: str) -> Sequence[ClientId]:
        """Clients of a part of the split that have support and query records.

        Raises:
            ValueError: if there is none.
        """
        left, ids = self._divided(name), self.client_split[name]
        if not left:
            raise ValueError(
                f"partition: the gap leaves none of {len(ids)} {name} clients enough"
                " query records; lower partition.gap or partition.min_query, or keep"
                " larger clients (selection)"
            )
        return left

    def _divided(self, name: str) -> Sequence[ClientId]:
        ids, divided = self.client_split[name], self.support_query
        if divided is None or len(divided) == len(self.clients):
            return ids
        there = Ids(divided["client_id"])
        return [client for client in ids if client in there]

    @property
    def population(self) -> int | None:
        """The number of training clients; None: none is here."""
        return len(self._divided("train")) or None

    def without_partition(self) -> Settings:
        """Settings in place of those that do not affect a split-invariant training."""
        if self.support_query is None:
            return {}
        used = self.support_query.drop(columns=["num_support", "num_query"])
        used["order"] = used["order"].map(np.sort)
        return {
            "data.support_query": checksum(used),
            "partition.support_fraction": None,
        }
