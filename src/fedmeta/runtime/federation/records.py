"""Messages as the records that Flower sends. This imports Flower, and no torch.

All arrays are one, of bytes: Flower stores and sends each by requests of its own, which
for the tensors of some clients' updates takes longer than the clients do.
"""

import json

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedmeta.runtime.federation.messages import Message, packed, unpacked

VALUES, ARRAYS = "values", "arrays"  # the two records
JSON, SAFETENSORS = "json", "safetensors"  # what each holds


def to_records(message: Message) -> RecordDict:
    """The content of a message of Flower's."""
    content = np.frombuffer(packed(message.arrays), np.uint8)
    return RecordDict(
        {
            VALUES: ConfigRecord({JSON: json.dumps(message.values)}),
            ARRAYS: ArrayRecord({SAFETENSORS: Array(content)}),
        }
    )


def from_records(kind: str, records: RecordDict) -> Message:
    """The message that `to_records` was given.

    Raises:
        ValueError, KeyError: for other records.
    """
    values = json.loads(str(records.config_records[VALUES][JSON]))
    content = records.array_records[ARRAYS][SAFETENSORS].numpy()
    return Message(kind, values, unpacked(content.tobytes()))
