"""Putting a new memory in the place of the one behind an alias, while it is read."""

from __future__ import annotations

import contextlib
import uuid
import warnings
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import errors

if TYPE_CHECKING:
    from .client import Client
    from .memory import Memory

_MAX_NAME = 128


def replace(
    client: "Client", alias: str, like: Optional[str], keep_old: bool, fill: Callable[["Memory"], Any]
) -> "Memory":
    """See Client.replace. `fill` writes the new memory and builds its index."""
    old = client.aliases().get(alias)
    if old is None and like is None:
        raise errors.NotFound(
            errors.grpc.StatusCode.NOT_FOUND, f'there is no alias "{alias}"; say what the first memory is like'
        )
    suffix = "-" + uuid.uuid4().hex[:12]
    fresh = client.create_like(alias[: _MAX_NAME - len(suffix)] + suffix, like or old or "")
    try:
        fill(fresh)
        client.set_alias(alias, fresh.name, expected=old or "")
    except BaseException:
        with contextlib.suppress(errors.MnemeError):  # what failed first is what is told
            client.drop_memory(fresh.name)
        raise
    if old is not None and not keep_old:
        _drop(client, old)
    return fresh


def _drop(client: "Client", old: str) -> None:
    """The alias has swung, so that it is no failure of the replacement when the old memory stays; a warning tells."""
    try:
        client.drop_memory(old)
    except (errors.FailedPrecondition, errors.NotFound):
        pass  # another alias points to it; or somebody else dropped it
    except errors.MnemeError as error:
        warnings.warn(f'the memory "{old}" was replaced, and could not be dropped: {error}', stacklevel=4)
