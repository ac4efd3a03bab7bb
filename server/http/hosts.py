"""Which names a request's Host header may have.

A web page whose name its owner points at this server's address (DNS rebinding) is of the server's own origin to the
browser, so that it may read all answers; its Host header, which no page can change, still has that name.
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from functools import lru_cache

_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]/?#@\s]+)(:[0-9]{0,5})?")
# Below these no name can be registered by anybody (RFC 6761, ICANN's reservation of .internal, Kubernetes).
_PRIVATE = (".localhost", ".local", ".internal", ".svc", ".cluster.local", ".home.arpa")


class AllowedHosts:
    """Decides on Host headers.

    Args:
        listening: the address that the server listens on. On loopback the names of loopback are allowed: localhost,
            127.0.0.1, [::1]. On others every address, as probes have it, the machine's own name, and what no stranger
            can own: a name without a dot, as of a container or a Kubernetes service, and names below .local,
            .internal, .svc and the like.
        further: names that are allowed beside these; "*": all.
    """

    def __init__(self, listening: str, further: Sequence[str]) -> None:
        self._is_local = _is_loopback(listening.strip("[]"))
        own = () if self._is_local else (socket.gethostname(),)
        self._further = frozenset(name.lower().rstrip(".") for name in (*further, *own))

    def is_allowed(self, host: str) -> bool:
        """Whether a Host header, with or without a port, is allowed."""
        found = _HOST.fullmatch(host)
        if "*" in self._further:
            return True
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        if name in self._further or host.lower() in self._further:
            return True
        if self._is_local:
            return _is_loopback(name.strip("[]"))
        return "." not in name or name.endswith(_PRIVATE) or _address_from(name.strip("[]")) is not None


def _is_loopback(name: str) -> bool:
    address = _address_from(name)
    return name == "localhost" or name.endswith(".localhost") if address is None else address.is_loopback


@lru_cache(maxsize=64)
def _address_from(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
