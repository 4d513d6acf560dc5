"""Web origins, compared exactly: scheme, host and port (RFC 6454), as a browser sends them."""

import ipaddress
import re
from urllib.parse import urlsplit

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}
LABEL = re.compile(r"^(?!-)[a-z0-9_-]{1,63}(?<!-)$")


def normalise_origin(value: object) -> str | None:
    """Return `value` as a browser would write the origin, or None if it is none.

    Lower case, IDN as punycode, the scheme's usual port left out. Refused: other schemes, paths,
    user names, wildcards, `null`, trailing dots, and whatever cannot be read.
    """
    if not isinstance(value, str) or not 0 < len(value) <= 300:
        return None
    if any(char.isspace() or ord(char) < 33 or char in "\\;,'\"*<>`{}|^%" for char in value):
        return None
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.hostname
    if scheme not in DEFAULT_PORTS or not host or "@" in parts.netloc:
        return None
    if parts.path not in ("", "/") or "?" in value or "#" in value or port == 0:
        return None
    if parts.netloc.endswith(":"):
        return None
    name = _host(host, bracketed="[" in parts.netloc)
    if name is None:
        return None
    return f"{scheme}://{name}" + (f":{port}" if port and port != DEFAULT_PORTS[scheme] else "")


def _host(host: str, *, bracketed: bool) -> str | None:
    if bracketed:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            return None
    try:
        # As browsers do it (UTS 46); Python's own older codec makes faß.de another site's fass.de.
        name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        return None
    if len(name) > 253 or not all(LABEL.match(label) for label in name.split(".")):
        return None
    if name.rpartition(".")[2].isdigit():  # looks like an IPv4 address, so it must be one
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            return None
    return name
