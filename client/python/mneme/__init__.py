"""Client of Mneme, a memory service that neural networks read and write while they run.

m = mneme.connect("127.0.0.1:7700").memory("wiki")
m.insert(keys, tokens)
p = m.distribution(q, k=1024, temperature=7).mix(lm_log_probs, 0.3)
"""

from . import _stubs  # noqa: F401  before what needs the stubs
from . import aio, masks, working
from .client import Client, connect
from .decode import DecodeStream
from .embedded import EmbeddedServer
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
from .leasing import Pinned
from .masks import Facts, Legal, Masks, TokenTrie
from .memory import Memory
from .mixture import Mixture, Source
from .read_outs import Attentions, Centroids, Groups, Matches, Selections
from .requests import PruneGuard, Search
from .results import Deleted, DenseNeighbours, Distributions, Inserted, Neighbours, Receipt, Remembered, SourceAnswer
from .security import Security
from .sparse import SparseVectors
from .wire import Entries, Filter
from .working import Session, State

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Attentions",
    "Cancelled",
    "Centroids",
    "Client",
    "DataLoss",
    "DeadlineExceeded",
    "DecodeStream",
    "Deleted",
    "DenseNeighbours",
    "Distributions",
    "EmbeddedServer",
    "Entries",
    "Facts",
    "FailedPrecondition",
    "Filter",
    "FingerprintMismatch",
    "Groups",
    "Inserted",
    "InvalidArgument",
    "Legal",
    "Masks",
    "Matches",
    "Memory",
    "Mixture",
    "MnemeError",
    "Neighbours",
    "NotFound",
    "PermissionDenied",
    "Pinned",
    "PruneGuard",
    "Receipt",
    "Remembered",
    "ResourceExhausted",
    "Search",
    "Security",
    "Selections",
    "Session",
    "Source",
    "SourceAnswer",
    "SparseVectors",
    "State",
    "TokenTrie",
    "Unavailable",
    "Violation",
    "connect",
    "working",
]
