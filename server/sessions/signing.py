"""Bytes that only a holder of the key can have made: a payload, then its HMAC-SHA256 (RFC 2104). Not encrypted."""

import hmac

from server.errors import SessionStateError

_SIZE = 32  # bytes of the code


def signed(payload: bytes, key: bytes, purpose: str) -> bytes:
    """The payload and its code.

    Args:
        payload: any bytes.
        key: the secret.
        purpose: what it is; signed for one purpose, it is refused for another.
    """
    return payload + _code(payload, key, purpose)


def verified(content: bytes, key: bytes, purpose: str) -> bytes:
    """The payload of what `signed` gave. Nothing of it is looked at before its code is found right.

    Raises:
        SessionStateError: it was changed, or signed with another key or for another purpose.
    """
    payload, code = content[:-_SIZE], content[-_SIZE:]
    if not hmac.compare_digest(code, _code(payload, key, purpose)):
        raise SessionStateError(
            f"The {len(content)} bytes are not a {purpose} signed with this server's key: they were changed on the "
            "way, or another RNNSERVE_SESSION_KEY signed them, which looks the same. Send them as they were "
            "given, to a server with the same key.",
            code="session_signature_wrong",
        )
    return payload


def _code(payload: bytes, key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, purpose.encode() + b"\0" + payload, "sha256")
