"""Short-lived keys that carry the session they were made for: signed, so that nothing has to be kept.

Knows bytes, an expiry and a signature. Refuses to know what the session says. Every server with the same API keys
accepts the same ephemeral keys.
"""

import base64
import binascii
import hmac
import struct

PREFIX = "ek_"
_MAC_BYTES = 32


class EphemeralKeys:
    """Issues and opens keys; `secret` signs them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, session: bytes, expires_at: int) -> str:
        """A key that is good until `expires_at` (seconds since the epoch)."""
        content = struct.pack(">Q", expires_at) + session
        signed = hmac.digest(self._secret, content, "sha256") + content
        return PREFIX + base64.urlsafe_b64encode(signed).decode().rstrip("=")

    def open(self, key: str, now_s: float) -> bytes | None:
        """What was given to `issue`; None for a key that is not ours or is over."""
        if not key.startswith(PREFIX):
            return None
        text = key.removeprefix(PREFIX)
        try:
            signed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            return None
        mac, content = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if not hmac.compare_digest(mac, hmac.digest(self._secret, content, "sha256")):
            return None
        (expires_at,) = struct.unpack_from(">Q", content)
        return content[struct.calcsize(">Q") :] if now_s < expires_at else None
