"""Values of a vendor's JSON, read without trusting their type. Whatever is odd is left out."""

from urllib.parse import urlsplit

from .base import JSON


def string(value: JSON) -> str:
    """Return a string, "" for anything else."""
    return value if isinstance(value, str) else ""


def fields(value: JSON) -> dict[str, JSON]:
    """Return an object's fields, none of anything else."""
    return value if isinstance(value, dict) else {}


def objects(value: JSON) -> list[dict[str, JSON]]:
    """Return the objects of a list, and none of anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def web_address(value: JSON) -> str:
    """Return an address on the web that a browser may safely follow, "" for anything else."""
    url = string(value)
    try:
        address = urlsplit(url)
    except ValueError:  # brackets that hold no address
        return ""
    return url if address.scheme in ("http", "https") and address.netloc else ""
