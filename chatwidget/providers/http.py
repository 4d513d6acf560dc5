"""The one HTTP client of a process, and the only place where a connection is allowed or refused.

httpx over aiohttp's transport: httpx's own pool costs several times as much per streamed event.
Building a client costs a TLS context, so there is one per process, not one per message.
"""

import errno
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import httpx
from aiohttp.connector import AddrInfoType
from django.conf import settings
from httpx_aiohttp import AiohttpTransport

from ..errors import Broken, Misconfigured, ProviderError, TimedOut, Unavailable

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
UNUSABLE = "the base URL or a credential cannot be used"
REFUSED = "a private or local address, which PROVIDER_ALLOW_PRIVATE does not allow"


def forbidden(address: str) -> bool:
    """Whether an IP address is not one of the public internet, also when wrapped in IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64 carries IPv4 in its last 32 bits
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return forbidden(str(inner))
        if ip not in GLOBAL_UNICAST:  # the rest is special: site-local, IPv4-compatible, …
            return True
    return not ip.is_global or ip.is_multicast


def trusted_authorities() -> ssl.SSLContext:
    """Return what vendors' certificates are checked against."""
    context = httpx.create_ssl_context(trust_env=False)
    if settings.PROVIDER_CA_FILE:
        context.load_verify_locations(settings.PROVIDER_CA_FILE)
    return context


def guarded_socket(info: AddrInfoType) -> socket.socket:
    """Make the socket for one resolved address, or refuse: what the name said does not count."""
    family, kind, proto, _, target = info
    if not settings.PROVIDER_ALLOW_PRIVATE and forbidden(str(target[0])):
        raise OSError(errno.EACCES, REFUSED)
    made = socket.socket(family, kind, proto)
    made.setblocking(False)
    return made


def new_session(**more: Any) -> aiohttp.ClientSession:
    """Return a session whose every connection is guarded; `more` goes to aiohttp."""
    connector = aiohttp.TCPConnector(
        limit=settings.PROVIDER_CONNECTIONS,
        keepalive_timeout=30,
        ssl=trusted_authorities(),
        socket_factory=guarded_socket,
    )
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, **more
    )


class NoCookies(httpx.Cookies):
    """Forgets what vendors set: what came for one visitor or agent must not go out for another."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep nothing."""


class Client(httpx.AsyncClient):
    """A client that many visitors and agents share."""

    @property  # type: ignore[misc]  # nobody sets any
    def cookies(self) -> httpx.Cookies:
        """None, whatever vendors set."""
        return NoCookies()


def new_client() -> httpx.AsyncClient:
    """Return a client for this event loop: no redirects, no proxies from the environment."""
    return Client(
        transport=AiohttpTransport(client=new_session), trust_env=False, follow_redirects=False
    )


@contextmanager
def mapped_errors(label: str) -> Iterator[None]:
    """Turn httpx's and aiohttp's errors into ours; wrap the network in it and nothing else."""
    try:
        yield
    except (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError) as error:
        raise _mapped(error, label) from error
    except (httpx.InvalidURL, ValueError) as error:  # what they say of an odd address or header
        raise Misconfigured(f"{label}: {UNUSABLE}", provider=label) from error


def _mapped(error: Exception, label: str) -> ProviderError:
    """Return ours for one of theirs.

    The transport calls nearly everything a ConnectTimeout, also a connection that broke after the
    request went out: what happened is in its cause, and none of it proves that nothing was sent.
    """
    cause = error.__cause__ if isinstance(error, httpx.TimeoutException) else error
    match cause or error:
        case _ if REFUSED in str(cause):
            return Misconfigured(f"{label}: {REFUSED}", provider=label)
        case httpx.UnsupportedProtocol() | aiohttp.InvalidURL():
            return Misconfigured(f"{label}: {UNUSABLE}", provider=label)
        case aiohttp.ClientSSLError():
            return Unavailable(f"the certificate of {label} is not valid", provider=label)
        case aiohttp.ClientConnectorError():
            return Unavailable(f"{label} cannot be reached", provider=label)
        case TimeoutError() | httpx.TimeoutException():
            return TimedOut(f"{label} did not answer in time", provider=label)
        case httpx.DecodingError():
            return Broken(f"{label} sent a body that cannot be decoded", provider=label)
        case _:
            return Unavailable(f"the connection to {label} broke", provider=label)
