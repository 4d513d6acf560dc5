"""Files that visitors give with a question: taken, handed to the agent's vendor, and let go.

The bytes are kept for as long as the question may have to be sent again, a day; one that was never
sent goes after an hour. What stays are name, type and size, with the message. Nobody gets the bytes
back from here: what strangers upload is not served from this address.
"""

import unicodedata
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from .errors import Rejected
from .models import Agent, Attachment, Visitor, Widget
from .problems import Problem
from .providers import PROVIDERS
from .providers.base import Attached

MAX_COUNT = 5
"""Files with one question."""
MAX_NAME = 120
UNSENT, KEPT = timedelta(hours=1), timedelta(days=1)

TYPES = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "json": "application/json",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}
"""By the end of the name: what a client says of a file's type is not believed."""


def takes(agent: Agent) -> bool:
    """Whether files can be brought to the agent's vendor."""
    adapter = PROVIDERS.get(agent.provider)
    return bool(adapter and adapter.takes_attachments)


def offered(widget: Widget) -> bool:
    """Whether the widget's visitors may give files."""
    return widget.attachments_enabled and takes(widget.agent)


def new(visitor: Visitor, name: str, content: bytes) -> Attachment:
    """Return a file to store. Raises `invalid`, `payload_too_large`, or `rate_limited`: no room."""
    if not offered(visitor.widget):
        raise Problem("invalid", errors={"file": ["No files can be given in this chat."]})
    name, kind = _named(name)
    if not content:
        raise Problem("invalid", errors={"file": ["This file is empty."]})
    if len(content) > settings.ATTACHMENT_MAX_BYTES:
        raise Problem("payload_too_large")
    kept = Attachment.objects.exclude(content=None).aggregate(bytes=Sum("size"))["bytes"] or 0
    if kept + len(content) > settings.ATTACHMENTS_MAX_BYTES:
        words = "There is no room for more files right now."
        raise Problem("rate_limited", words, retry_after_s=60.0, reason="busy")
    return Attachment(
        visitor=visitor, name=name, content_type=kind, size=len(content), content=content
    )


def _named(name: str) -> tuple[str, str]:
    """Return the name as it is kept, and the type it stands for. Raises `invalid`."""
    name = PurePosixPath(name.replace("\\", "/")).name
    # Neither control characters nor those that turn the writing around: `gpj.exe` is no picture.
    name = "".join(one for one in name if unicodedata.category(one) not in ("Cc", "Cf", "Cs"))
    stem, _, ending = name.strip().rpartition(".")
    kind = TYPES.get(ending.lower())
    if not stem or kind is None:
        raise Problem("invalid", errors={"name": [f"One of these: {', '.join(TYPES)}."]})
    return f"{stem[: MAX_NAME - len(ending) - 1]}.{ending}", kind


def unsent(visitor: uuid.UUID, wanted: Sequence[uuid.UUID]) -> list[Attachment] | None:
    """Return the visitor's files as they were given, locked; None if one was sent, or is none."""
    mine = Attachment.objects.select_for_update().defer("content")
    found = mine.filter(visitor=visitor, question=None).in_bulk(list(wanted))
    return [found[pk] for pk in wanted] if len(found) == len(wanted) else None


def as_json(attachment: Attachment) -> dict[str, Any]:
    """Return what a message tells of a file."""
    return {
        "id": str(attachment.pk),
        "name": attachment.name,
        "content_type": attachment.content_type,
        "size": attachment.size,
    }


def content_of(attached: Attached) -> bytes:
    """Return a file's bytes. Raises Rejected if they were let go."""
    kept = Attachment.objects.filter(pk=attached.id).values_list("content", flat=True).first()
    if kept is None:
        raise Rejected("a file of this question is no longer kept")
    return bytes(kept)


def let_go() -> None:
    """Forget files that nobody sent, and the bytes of those whose question is long asked."""
    now = timezone.now()
    kept = Attachment.objects.exclude(content=None)
    kept.filter(question=None, created_at__lt=now - UNSENT).delete()
    kept.filter(created_at__lt=now - KEPT).update(content=None)
