"""What one server tells the next, so that a mount outlives the process that serves it.

The connection is a descriptor; it lives as long as any process has it open. Who goes on with it needs to know what was
agreed at INIT, because the kernel says that once: this is `Connection`. What nodeids and handles mean is the file
system's own: see `InodeTable.dump` and `HandleTable.dump`, or use numbers that mean something by themselves.

Requests that the first server had read and not answered are sent again (FUSE_NOTIFY_RESEND, Linux 6.9) when `adopt`
begins. Each carries `request.is_resent`, since it may have been done already. FORGETs that were read are lost: nodes
that they were about stay until the unmount.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aiovfs.errors import ProtocolError
from aiovfs.fuse.negotiation import Features
from aiovfs.fuse.protocol.flags import InitFlags

__all__ = ["Connection"]


@dataclass(frozen=True, slots=True)
class Connection:
    """What was agreed with the kernel, and where it is mounted; made by `Session.connection`, needed by `adopt`.

    `backings` are the files that were open for passthrough at that moment: nodeid → (opens, backing id).
    """

    features: Features
    mountpoint: str | None
    device_number: str | None
    backings: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(
            {
                "features": {name: int(value) for name, value in asdict(self.features).items()},
                "mountpoint": self.mountpoint,
                "device_number": self.device_number,
                "backings": [[nodeid, *rest] for nodeid, rest in self.backings.items()],
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Connection:
        """The inverse of `to_json`. Raises `ProtocolError` for a text that it did not write."""
        try:
            values: dict[str, Any] = json.loads(text)
            features = dict(values["features"])
            for name in ("offered", "agreed"):
                features[name] = InitFlags(features[name])
            return cls(
                Features(**features),
                values["mountpoint"],
                values["device_number"],
                {nodeid: (count, backing_id) for nodeid, count, backing_id in values["backings"]},
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ProtocolError(f"this is no description of a connection: {type(exc).__name__}: {exc}") from exc
