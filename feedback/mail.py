"""Plain text by e-mail, to the server of EMAIL_URL."""

import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.utils import timezone

TIMEOUT_S = 15.0
PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


def send(to: list[str], subject: str, text: str, *, message_id: str) -> list[str]:
    """Send one message to all of `to`; it takes seconds, so on a thread.

    Returns whom the server refused, if not everybody. Raises OSError (also smtplib's errors) when
    it is not reached or takes the message for nobody.
    """
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = settings.EMAIL_FROM, ", ".join(to)
    message["Subject"] = subject
    message["Date"] = format_datetime(timezone.now())
    message["Message-ID"] = f"<{message_id}@{settings.EMAIL_FROM.rpartition('@')[2].rstrip('>')}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    with _connected() as server:
        return list(server.send_message(message))


def _connected() -> smtplib.SMTP:
    address = urlsplit(settings.EMAIL_URL)
    where = (address.hostname or "", address.port or PORTS[address.scheme])
    if address.scheme == "smtps":
        context = ssl.create_default_context()
        server: smtplib.SMTP = smtplib.SMTP_SSL(*where, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(*where, timeout=TIMEOUT_S)
    try:
        if address.scheme == "smtp+tls":
            server.starttls(context=ssl.create_default_context())
        if address.username:
            server.login(unquote(address.username), unquote(address.password or ""))
    except BaseException:
        server.close()
        raise
    return server
