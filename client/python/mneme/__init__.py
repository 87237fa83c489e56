"""Client of Mneme, a memory service that neural networks read and write while they run.

m = mneme.connect("127.0.0.1:7700").memory("wiki")
m.insert(keys, tokens)
p = m.distribution(q, k=1024, temperature=7).mix(lm_log_probs, 0.3)
"""

from . import _stubs  # noqa: F401  before what needs the stubs
from .client import Client, connect
from .decode import DecodeStream
from .errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FingerprintMismatch,
    InvalidArgument,
    MnemeError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Violation,
)
from .memory import Memory
from .requests import PruneGuard, Search
from .results import Deleted, DenseNeighbours, Distributions, Inserted, Neighbours
from .wire import Entries, Filter

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "Client",
    "DataLoss",
    "DeadlineExceeded",
    "DecodeStream",
    "Deleted",
    "DenseNeighbours",
    "Distributions",
    "Entries",
    "FailedPrecondition",
    "Filter",
    "FingerprintMismatch",
    "Inserted",
    "InvalidArgument",
    "Memory",
    "MnemeError",
    "Neighbours",
    "NotFound",
    "PermissionDenied",
    "PruneGuard",
    "ResourceExhausted",
    "Search",
    "Unavailable",
    "Violation",
    "connect",
]
