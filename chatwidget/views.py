"""The visitor's REST interface, and the few pages the service shows by itself."""

import base64
import re
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.staticfiles import finders
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from . import (
    attachments,
    chat,
    demo,
    embed,
    erasure,
    identity,
    languages,
    limits,
    process,
    serializers,
    tokens,
)
from .identity import Identity
from .models import Conversation, Message, Visitor, VisitorToken, Widget
from .origins import normalise_origin
from .parsers import BytesParser
from .prepared import Prepared
from .problems import Problem

PAGE, LONGEST_PAGE = 50, 100

PROBLEM = OpenApiResponse(serializers.ProblemOut, "A problem document; see its code.")


def problems(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return, for the schema, the errors of a call beside those that every such call has."""
    return dict.fromkeys(statuses, PROBLEM)


PAGING = [
    OpenApiParameter("before", str, description="`next` of the page before."),
    OpenApiParameter("limit", int, description="At most 100; 50 if left out."),
]


# --- widgets and sessions -------------------------------------------------------------------------


def own_origin(request: HttpRequest) -> str:
    """Return the service's own origin, as browsers see it."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}".lower()


def refuse_if_paused(widget: Widget) -> None:
    """Raise `widget_paused` where nothing new may begin; what there is can still be read."""
    if widget.paused:
        raise chat.paused()


class WidgetView(APIView):
    """Common to the calls that a host page may make: found by key, and only from where it may."""

    authentication_classes: list[type] = []
    permission_classes = [AllowAny]

    def widget(self, request: Request, key: str) -> Widget:
        """Return the widget. Raises `widget_not_found`, `origin_not_allowed`."""
        self.allowed_origin = ""
        widget = Widget.objects.select_related("agent").filter(pk=key).first()
        if widget is None:
            raise Problem("widget_not_found", "There is no widget with this key.")
        seen = request.META.get("HTTP_ORIGIN")
        if seen is None:
            return widget
        origin = normalise_origin(seen)
        if origin is None or origin not in (
            normalise_origin(own_origin(request)),
            *widget.allowed_origins,
        ):
            raise Problem(
                "origin_not_allowed",
                f"The widget is not allowed on {seen[:200]!a}. "
                "Its operator can add this origin to the widget in the admin.",
            )
        self.allowed_origin = seen
        return widget

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Let the allowed origin read the answer (CORS); others get no such word."""
        response = super().finalize_response(request, response, *args, **kwargs)
        patch_vary_headers(response, ["Origin"])
        if getattr(self, "allowed_origin", ""):
            response["Access-Control-Allow-Origin"] = self.allowed_origin
        return response

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Answer a preflight."""
        self.widget(request, kwargs["key"])
        response = Response(status=204)
        response["Access-Control-Allow-Methods"] = ", ".join(self.allowed_methods)
        response["Access-Control-Allow-Headers"] = "Content-Type"
        response["Access-Control-Max-Age"] = "600"
        return response


class WidgetSettings(WidgetView):
    """Public settings of a widget."""

    @extend_schema(responses={200: serializers.WidgetOut, **problems(403, 404)}, auth=[])
    def get(self, request: Request, key: str) -> Response:
        """Return what the widget draws, and nothing else."""
        return Response(serializers.WidgetOut(self.widget(request, key)).data)


class Sessions(WidgetView):
    """Where a visitor begins."""

    throttle_classes = [limits.SessionThrottle]

    @extend_schema(
        request=serializers.NewSession,
        responses={201: serializers.SessionOut, **problems(401, 403, 404, 422, 429)},
        auth=[],
    )
    def post(self, request: Request, key: str) -> Response:
        """Open a session: a signed-in visitor's, or whose earlier token it is, or a new one's."""
        widget = self.widget(request, key)
        body = serializers.NewSession(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        refuse_if_paused(widget)
        token, locale = wanted.get("token") or "", wanted.get("locale") or ""
        person = self._person(widget, wanted.get("identity") or "")
        if widget.identity_required and not (person or self._stored(widget, token)):
            words = "This chat is for signed-in visitors: the site has to say who you are."
            raise Problem("token_invalid", words, reason="identity_required")
        visitor, token = process.commit(partial(self._enter, widget, person, token, locale))
        return Response(
            serializers.SessionOut(
                {
                    "token": token,
                    "visitor": visitor,
                    "widget": widget,
                    "conversations": visitor.conversations.order_by("-created_at")[:PAGE],
                }
            ).data,
            status=201,
        )

    def _person(self, widget: Widget, token: str) -> Identity | None:
        """Return who the site says it is, if it says so. Raises `token_invalid`, `…_expired`."""
        if token:
            try:
                return identity.verify(widget, token)
            except identity.IdentityError as refused:
                code = "token_expired" if refused.expired else "token_invalid"
                raise Problem(code, refused.detail, reason="identity") from None
        return None

    def _enter(
        self, widget: Widget, person: Identity | None, token: str, locale: str
    ) -> tuple[Visitor, str]:
        if person:
            return self._signed_in(widget, person, locale)
        visitor, token = self._returning(widget, token)
        if visitor is None:
            visitor = Visitor.objects.create(widget=widget, locale=locale)
            return visitor, tokens.issue(visitor)
        Visitor.objects.filter(pk=visitor.pk).update(seen_at=timezone.now())
        return visitor, token

    def _signed_in(self, widget: Widget, person: Identity, locale: str) -> tuple[Visitor, str]:
        """The same person is the same visitor in every browser, and never anybody anonymous."""
        visitor, _ = Visitor.objects.update_or_create(
            widget=widget,
            identity=person.sub,
            defaults={"name": person.name, "seen_at": timezone.now()},
            create_defaults={"name": person.name, "locale": locale},
        )
        return visitor, tokens.issue(visitor)

    def _returning(self, widget: Widget, token: str) -> tuple[Visitor | None, str]:
        stored = self._stored(widget, token)
        if stored is None:
            return None, ""
        if tokens.needs_renewal(stored):
            token = tokens.issue(stored.visitor)
        return stored.visitor, token

    def _stored(self, widget: Widget, token: str) -> VisitorToken | None:
        """Return what is kept of a token of this widget that is still good."""
        try:
            stored = tokens.find(token)
        except tokens.TokenError:
            return None
        return stored if stored.visitor.widget_id == widget.pk else None


# --- conversations --------------------------------------------------------------------------------


@Prepared
def _own_conversation(visitor: UUID, pk: UUID) -> QuerySet[Conversation]:
    return Conversation.objects.select_related("agent").filter(visitor=visitor, pk=pk)


class VisitorView(APIView):
    """Common to everything that belongs to one visitor."""

    def visitor(self, request: Request) -> Visitor:
        """Return whom the token belongs to."""
        assert isinstance(request.user, Visitor)
        return request.user

    def conversation(self, request: Request, pk: UUID) -> Conversation:
        """Return the visitor's own conversation. Raises `not_found`."""
        visitor = self.visitor(request)
        found = _own_conversation.first(visitor.pk, pk)
        if found is None:
            raise Problem("not_found")
        found.visitor = visitor
        return found

    def limit(self, request: Request) -> int:
        """Return the page's length. Raises `invalid`."""
        text = request.query_params.get("limit", str(PAGE))
        if not (re.fullmatch("[0-9]{1,3}", text) and 1 <= int(text) <= LONGEST_PAGE):
            message = f"A whole number from 1 to {LONGEST_PAGE}."
            raise Problem("invalid", errors={"limit": [message]})
        return int(text)


def _bad_cursor() -> Problem:
    return Problem("invalid", errors={"before": ["Not a cursor of ours."]})


def conversation_cursor(conversation: Conversation) -> str:
    """Return an opaque cursor behind `conversation`."""
    place = f"{conversation.created_at.isoformat()} {conversation.pk}"
    return base64.urlsafe_b64encode(place.encode()).decode()


def before_conversation(cursor: str) -> Q:
    """Return what comes behind a cursor. Raises `invalid`."""
    try:
        at, pk = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        created_at, last = datetime.fromisoformat(at).astimezone(UTC), UUID(pk)
    except (ValueError, OverflowError):
        raise _bad_cursor() from None
    return Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lt=last)


class Conversations(VisitorView):
    """The visitor's conversations."""

    @extend_schema(
        parameters=PAGING,
        responses={200: serializers.ConversationPage, **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """List them, newest first."""
        limit = self.limit(request)
        found = self.visitor(request).conversations.order_by("-created_at", "-pk")
        if cursor := request.query_params.get("before"):
            found = found.filter(before_conversation(cursor))
        page = list(found[: limit + 1])
        more = len(page) > limit
        page = page[:limit]
        following = conversation_cursor(page[-1]) if more else None
        return Response(serializers.ConversationPage({"results": page, "next": following}).data)

    @extend_schema(request=None, responses={201: serializers.ConversationOut, **problems(403, 429)})
    def post(self, request: Request) -> Response:
        """Start a conversation."""
        refuse_if_paused(self.visitor(request).widget)
        conversation = chat.start_conversation(self.visitor(request))
        return Response(serializers.ConversationOut(conversation).data, status=201)

    def get_throttles(self) -> list[Any]:
        return [limits.SendThrottle()]


class ReadMarks(VisitorView):
    """What the visitor has seen."""

    @extend_schema(request=None, responses={204: None, **problems(404)})
    def post(self, request: Request, pk: UUID) -> Response:
        """Mark everything in the conversation as read."""
        chat.mark_read(self.conversation(request, pk))
        return Response(status=204)


class Messages(VisitorView):
    """The messages of a conversation."""

    throttle_classes = [limits.SendThrottle]

    @extend_schema(
        parameters=PAGING,
        responses={200: serializers.MessagePage, **problems(404, 422)},
    )
    def get(self, request: Request, pk: UUID) -> Response:
        """List them: a page in ascending order, the newest page first."""
        conversation, limit = self.conversation(request, pk), self.limit(request)
        found = Message.objects.only_to_show().filter(conversation=conversation)
        if cursor := request.query_params.get("before"):
            if not re.fullmatch("[0-9]{1,9}", cursor):
                raise _bad_cursor()
            found = found.filter(position__lt=int(cursor))
        page = list(found.order_by("-position")[: limit + 1])
        more = len(page) > limit
        page = page[:limit]
        following = str(page[-1].position) if more else None
        return Response(serializers.MessagePage({"results": page[::-1], "next": following}).data)

    @extend_schema(
        request=serializers.NewMessage,
        responses={
            201: serializers.Asked,
            200: OpenApiResponse(serializers.Asked, "The same message, sent again."),
            **problems(403, 404, 409, 422, 429),
        },
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Ask a question."""
        conversation = self.conversation(request, pk)
        body = serializers.NEW_MESSAGE.run_validation(request.data)
        question, answer, new = chat.ask(
            conversation,
            message_id=body["id"],
            text=body["text"],
            page=body.get("page") or {},
            files=body.get("attachments") or [],
        )
        shown = serializers.Asked({"question": question, "answer": answer}).data
        return Response(shown, status=201 if new else 200)


class Attachments(VisitorView):
    """Files to ask with."""

    parser_classes = [BytesParser]
    throttle_classes = [limits.UploadThrottle]

    @extend_schema(
        parameters=[OpenApiParameter("name", str, required=True, description="The file's name.")],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={201: serializers.AttachmentOut, **problems(403, 422, 429)},
    )
    def post(self, request: Request) -> Response:
        """Give a file; the body is its bytes. A question then names it by its id."""
        visitor = self.visitor(request)
        refuse_if_paused(visitor.widget)
        name = serializers.as_stored(request.query_params.get("name", ""))
        content = request.data if isinstance(request.data, bytes) else b""
        attachment = chat.attach(visitor, name, content)
        return Response(attachments.as_json(attachment), status=201)


class AttachmentSelf(VisitorView):
    """A file that was given and not sent."""

    @extend_schema(responses={204: None, **problems(404)})
    def delete(self, request: Request, pk: UUID) -> Response:
        """Take it back."""
        chat.detach(self.visitor(request), pk)
        return Response(status=204)


class Stop(VisitorView):
    """Ending an answer early."""

    @extend_schema(request=None, responses={202: serializers.MessageOut, **problems(404)})
    def post(self, request: Request, pk: UUID) -> Response:
        """Stop an answer that is still coming."""
        answer = chat.stop(chat.find_message(self.visitor(request), pk))
        return Response(serializers.MessageOut(answer).data, status=202)


class Retry(VisitorView):
    """Asking again."""

    throttle_classes = [limits.SendThrottle]

    @extend_schema(
        request=None,
        responses={
            201: serializers.Retried,
            200: OpenApiResponse(serializers.Retried, "The same retry again."),
            **problems(403, 404, 409, 429),
        },
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Ask the question of a failed or stopped answer again."""
        answer, new = chat.retry(chat.find_message(self.visitor(request), pk))
        return Response(serializers.Retried({"answer": answer}).data, status=201 if new else 200)


class VisitorSelf(VisitorView):
    """The visitor."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request) -> Response:
        """Erase the visitor with everything kept about them."""
        erasure.erase_visitor(self.visitor(request))
        return Response(status=204)


# --- pages ----------------------------------------------------------------------------------------


def language_of(request: HttpRequest, widget: Widget | None) -> languages.Language:
    """Return what to speak: as the site says, as the widget is set, or as the browser likes."""
    said = request.GET.get("locale", "")
    own = widget.locale if widget else ""
    liked = [] if own else languages.accepted(request.headers.get("Accept-Language", ""))
    return languages.choose(said, own, *liked)


@require_safe
@xframe_options_exempt
@gzip_page  # it holds no secret
@vary_on_headers("Accept-Language")
def panel(request: HttpRequest, key: str) -> HttpResponse:
    """The iframe's page. Who may frame it is the widget's own setting."""
    widget = Widget.objects.select_related("agent").filter(pk=key).first()
    language = language_of(request, widget)
    if widget is None:
        unknown = {
            "language": language,
            "title": language.words.get("unavailable", "This chat is not available"),
            "detail": "No chat widget has this key. Compare the snippet with the admin's.",
        }
        response = render(request, "chatwidget/panel_unavailable.html", unknown, status=404)
        embed.let_frame(request, response, [])
        return response
    context = {
        "widget": widget,
        "language": language,
        "settings": embed.as_json(serializers.WidgetOut(widget).data),
        "words": embed.as_json(language.words),
    }
    response = render(request, "chatwidget/panel.html", context)
    embed.let_frame(request, response, widget.allowed_origins)
    response["Cache-Control"] = "no-cache"
    return response


@require_safe
@gzip_page
@vary_on_headers("Accept-Language")
def words(request: HttpRequest, key: str) -> HttpResponse:
    """Another language for a panel that is already there, chosen as its page's is."""
    language = language_of(request, Widget.objects.filter(pk=key).first())
    response = JsonResponse(
        {"tag": language.tag, "direction": language.direction, "words": language.words},
        json_dumps_params={"ensure_ascii": False, "separators": (",", ":")},
    )
    response["Cache-Control"] = "no-cache"
    return response


@require_safe
@xframe_options_exempt
def doctor(request: HttpRequest, key: str) -> HttpResponse:
    """What the script shows where the panel cannot be, on any site: its script says why."""
    response = render(request, "chatwidget/doctor.html")
    embed.let_frame(request, response, ["*"])
    return response


def icon(request: HttpRequest) -> HttpResponse:
    """Lead browsers, who look here for a page that names no icon, to the one there is."""
    return redirect(static("admin_look/logo.svg"))


@cache
def _built(name: str, modified: float) -> bytes:
    return Path(name).read_bytes()


@require_safe
def widget_script(request: HttpRequest) -> HttpResponse:
    """`/widget.js`: one file for every widget, at an address that never changes."""
    found = finders.find("chatwidget/widget.js")
    if not isinstance(found, str):
        return HttpResponseNotFound("// The widget is not built: run `make`.", "text/javascript")
    path, encoding = Path(found), ""
    accepted = request.headers.get("Accept-Encoding", "")
    for name, suffix in (("br", ".br"), ("gzip", ".gz")):
        if name in accepted and path.with_name(path.name + suffix).exists():
            path, encoding = path.with_name(path.name + suffix), name
            break
    response = HttpResponse(
        _built(str(path), path.stat().st_mtime), content_type="text/javascript; charset=utf-8"
    )
    if encoding:
        response["Content-Encoding"] = encoding
    patch_vary_headers(response, ["Accept-Encoding"])
    response["Cache-Control"] = "public, max-age=600, stale-while-revalidate=86400"
    # Any site may load it, also one that isolates itself (COEP).
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    response["Access-Control-Allow-Origin"] = "*"
    return response


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The demo site with the demo's widget, or the one asked for; or a plain notice."""
    key = request.GET.get("widget", demo.WIDGET_KEY)
    if settings.DEMO_SITE and (widget := Widget.objects.filter(pk=key).first()):
        snippet = embed.snippet(widget, own_origin(request))
        return render(request, "chatwidget/demo.html", {"snippet": snippet, "widget": widget})
    return render(request, "chatwidget/home.html")
