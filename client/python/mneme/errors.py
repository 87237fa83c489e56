"""What the service refuses and why, as exceptions whose type says what the caller should do."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Optional, Type

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


@dataclasses.dataclass(frozen=True)
class Violation:
    """One field of the request that broke a rule."""

    field: str
    description: str


class MnemeError(Exception):
    """An answer other than OK. `code` is the gRPC status code, `reason` the machine-readable cause."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Optional[dict[str, str]] = None,
        violations: tuple[Violation, ...] = (),
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(f"{code.name}: {message}" if message else code.name)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = metadata or {}
        self.violations = violations
        self.retry_after = retry_after  # seconds; None: the server gave none


class InvalidArgument(MnemeError):
    """The request is wrong in itself: shape, range, NaN, token outside the vocabulary."""


class NotFound(MnemeError):
    """No such memory or entry. Few neighbours is never this."""


class AlreadyExists(MnemeError):
    """The name is taken."""


class FailedPrecondition(MnemeError):
    """The service is in another state than the request assumes."""


class FingerprintMismatch(FailedPrecondition):
    """The keys of the request were made by something else than the keys of the memory."""


class Aborted(MnemeError):
    """A race was lost; start the read-modify-write again."""


class ResourceExhausted(MnemeError):
    """A queue, a bound, a quota or the disk is full; `retry_after` says when to come back, and is None where no waiting
    helps: `reason` STORED_QUOTA (delete something; `metadata` has `quota`, `bound` and `used`) and STORAGE_FULL. At
    STORAGE_LOW somebody has to make room: deletions are taken."""


class Unavailable(MnemeError):
    """Nobody answers, or the server is draining; retrying is right."""


class DeadlineExceeded(MnemeError):
    """The time was over before the answer was there."""


class Cancelled(MnemeError):
    """The call was cancelled."""


class DataLoss(MnemeError):
    """Stored data is damaged and no good copy is left."""


class PermissionDenied(MnemeError):
    """The caller is not allowed to, or not known."""


_BY_CODE: dict[grpc.StatusCode, Type[MnemeError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
}
_BY_REASON: dict[str, Type[MnemeError]] = {"FINGERPRINT_MISMATCH": FingerprintMismatch}
_REASONS_OF_THE_CALLER = {"FINGERPRINT_MISMATCH", "LEASE_EXPIRED", "FOREIGN_VERSION"}
_DETAILS_KEY = "grpc-status-details-bin"


def _detail_messages() -> dict[str, Any]:
    """google.rpc in a pool of its own: another library may have registered another version of it in the shared one."""
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString((pathlib.Path(__file__).parent / "_proto" / "error_details.binpb").read_bytes())
    for file in files.file:
        pool.Add(file)
    names = ("Status", "ErrorInfo", "BadRequest", "RetryInfo")
    descriptors = {name: pool.FindMessageTypeByName("google.rpc." + name) for name in names}
    if hasattr(message_factory, "GetMessageClass"):
        return {name: message_factory.GetMessageClass(found) for name, found in descriptors.items()}
    factory = message_factory.MessageFactory(pool)  # protobuf before 4.22
    return {name: factory.GetPrototype(found) for name, found in descriptors.items()}


_MESSAGES = _detail_messages()


def _unpack(any_message: Any, name: str) -> Any:
    if not any_message.type_url.endswith("/google.rpc." + name):
        return None
    return _MESSAGES[name].FromString(any_message.value)


def check_on_error(on_error: str) -> None:
    """ValueError unless it is one of the two words."""
    if on_error not in ("raise", "empty"):
        raise ValueError(f'on_error is {on_error!r}; must be "raise" or "empty"')


def is_of_the_caller(error: MnemeError) -> bool:
    """True for what stays wrong until the caller changes it; failing open is for what is away, slow or full."""
    return isinstance(error, (InvalidArgument, NotFound, PermissionDenied)) or error.reason in _REASONS_OF_THE_CALLER


def from_rpc_error(error: grpc.RpcError) -> MnemeError:
    """The typed exception of a failed call, with what its details say."""
    code, message = error.code(), error.details() or ""
    reason, metadata, violations, retry_after = "", {}, [], None
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY:
            continue
        for detail in _MESSAGES["Status"].FromString(value).details:
            if (info := _unpack(detail, "ErrorInfo")) is not None:
                reason, metadata = info.reason, dict(info.metadata)
            elif (bad := _unpack(detail, "BadRequest")) is not None:
                violations += [Violation(each.field, each.description) for each in bad.field_violations]
            elif (retry := _unpack(detail, "RetryInfo")) is not None:
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9
    if code == grpc.StatusCode.CANCELLED and not reason:
        # Nobody here cancels calls and awaits them: the server shut down while it was taking this one.
        code, message = grpc.StatusCode.UNAVAILABLE, "the server closed the connection"
    return from_code(code, message, reason, metadata, tuple(violations), retry_after)


def from_code(code: grpc.StatusCode, message: str, reason: str = "", *details: Any) -> MnemeError:
    """The typed exception of a code and what is known beside it."""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, MnemeError)
    return kind(code, message, reason, *details)
