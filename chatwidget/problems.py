"""Errors on the wire: RFC 9457 problem documents with a stable code."""

import logging
import math
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, RequestDataTooBig
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import bad_request as page_bad_request
from django.views.defaults import page_not_found, server_error
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from .models import Visitor

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

# code → status and title
PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid": (422, "Something in the request is not right"),
    "token_invalid": (401, "A visitor's token is needed"),
    "token_expired": (401, "The token has expired"),
    "origin_not_allowed": (403, "This site may not show the widget"),
    "widget_paused": (403, "The widget is paused"),
    "widget_not_found": (404, "No such widget"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "This method is not offered here"),
    "not_acceptable": (406, "Only JSON is offered"),
    "message_id_reused": (409, "This message id was used for another message"),
    "answer_in_progress": (409, "The last answer is still coming"),
    "retry_not_allowed": (409, "This message cannot be retried"),
    "feedback_not_allowed": (409, "This message cannot be rated"),
    "payload_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "Send application/json"),
    "rate_limited": (429, "Too many requests"),
    "internal_error": (500, "Something went wrong here"),
}


class Problem(exceptions.APIException):
    """An error with a code from PROBLEMS; raise it anywhere below a view.

    `reason` tells apart what has one code: `busy` of `rate_limited`, where others are many.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: dict[str, list[str]] | None = None,
        retry_after_s: float | None = None,
        reason: str = "",
    ) -> None:
        self.status_code, self.title = PROBLEMS[code]
        self.code, self.errors = code, errors
        self.retry_after_s, self.reason = retry_after_s, reason
        super().__init__(detail or self.title, code)


def document(code: str, detail: str, **more: Any) -> dict[str, Any]:
    """Return the problem document for `code`."""
    status, title = PROBLEMS[code]
    base = {"type": f"urn:chatwidget:problem:{code}", "title": title, "status": status}
    return {**base, "detail": detail, "code": code, **more}


def answer(code: str, detail: str = "", **more: Any) -> JsonResponse:
    """Return the problem as a plain Django response."""
    body = document(code, detail or PROBLEMS[code][1], **more)
    return JsonResponse(body, status=body["status"], content_type=MEDIA_TYPE)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler: every error becomes a problem document."""
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    wait_s: float | None = None
    match error:
        case Problem():
            code, detail = error.code, str(error.detail)
            if error.errors:
                more["errors"] = error.errors
            if error.reason:
                more["reason"] = error.reason
            wait_s = error.retry_after_s
        case exceptions.ValidationError():
            code, detail = "invalid", "See errors for the fields."
            more["errors"] = _fields(error.detail)
        case exceptions.ParseError():
            code, detail = "invalid", str(error.detail)
            more["status"] = 400
        case exceptions.Throttled():
            wait_s = getattr(error, "wait", None) or 1.0
            code, detail = "rate_limited", f"Try again in {max(1, math.ceil(wait_s))} s."
        case exceptions.NotAuthenticated():
            code, detail = "token_invalid", "Send `Authorization: Bearer <token>`."
        case exceptions.AuthenticationFailed():
            code, detail = str(error.get_codes()), str(error.detail)
        case Http404() | exceptions.NotFound():
            code, detail = "not_found", "There is nothing here, or it is not yours."
        case exceptions.MethodNotAllowed():
            code, detail = "method_not_allowed", str(error.detail)
        case exceptions.NotAcceptable():
            code, detail = "not_acceptable", str(error.detail)
        case exceptions.UnsupportedMediaType():
            code, detail = "unsupported_media_type", "Send application/json."
        case RequestDataTooBig():
            code, detail = "payload_too_large", "The body is too large."
        case PermissionDenied() | exceptions.PermissionDenied():
            code, detail = "token_invalid", "This needs a visitor's token."
        case ObjectDoesNotExist() | IntegrityError() if _erased_meanwhile(context["request"]):
            code, detail = "token_invalid", "This visitor has been erased."
        case _:
            return None  # a bug: Django logs it and `server_error` below answers
    if wait_s is not None:
        more["retry_after"] = max(1, math.ceil(wait_s))
        headers["Retry-After"] = str(more["retry_after"])
    set_rollback()
    body = document(code, detail, **more)
    if body["status"] == 401:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 11.6.1
    return Response(body, body["status"], headers=headers, content_type=MEDIA_TYPE)


def _erased_meanwhile(request: Request) -> bool:
    """Whether the visitor who asks was erased between being let in and now."""
    visitor = request.user
    return isinstance(visitor, Visitor) and not Visitor.objects.filter(pk=visitor.pk).exists()


def _fields(detail: Any, prefix: str = "") -> dict[str, list[str]]:
    """Flatten REST framework's nested errors into field → messages, as `page.url`."""
    if isinstance(detail, dict):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            found.update(_fields(inner, f"{prefix}.{name}" if prefix else str(name)))
        return found
    if isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        return _fields({str(at): item for at, item in enumerate(detail) if item}, prefix)
    return {prefix or "body": [str(item) for item in detail]}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's 400 (a host name that is not ours, say): likewise."""
    if request.path.startswith("/api/"):
        return answer("invalid", "The request cannot be read.", status=400)
    return page_bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's 404: a problem document below /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        return answer("not_found", "There is no such address.")
    return page_not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    """Django's 500, likewise."""
    if request.path.startswith("/api/"):
        return answer("internal_error", "It has been logged; please try again.")
    return server_error(request)
