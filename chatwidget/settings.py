"""Every setting of the service, each read from the environment by one helper that fails loudly.

Without any environment the service runs on SQLite and the in-memory channel layer, in one process.
"""

import secrets
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

PACKAGE_DIR = Path(__file__).resolve().parent
# A checkout keeps templates and static files beside the package; the wheel carries them inside.
CHECKOUT = (PACKAGE_DIR.parent / "manage.py").exists()
BASE_DIR = PACKAGE_DIR.parent if CHECKOUT else Path.cwd()

# Where the service keeps what it makes for itself: the SQLite file and generated keys.
DATA_DIR = Path(env.str("DATA_DIR", str(BASE_DIR / ".data")))


def kept_secret(name: str, length: int = 48) -> str:
    """Return the secret kept in DATA_DIR under `name`, made on first use, readable by us only."""
    path = DATA_DIR / name
    if not path.exists():
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(length))
        try:
            path.hardlink_to(draft)  # atomic: of several first starts, one wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def kept_fernet_key(name: str) -> str:
    """As `kept_secret`, in the form Fernet wants: 32 bytes, URL-safe base64 with its padding."""
    return kept_secret(name, length=32) + "="


# --- Identity and address -------------------------------------------------------------------------

# Django's, for development: it shows our source to whoever meets an error.
DEBUG = env.bool("DEBUG", False)
# Signs operators' sessions, and keys the hashes by which addresses are counted.
SECRET_KEY = env.str("SECRET_KEY", "") or kept_secret("secret-key")
# Keys that encrypt provider credentials: the first encrypts, all of them decrypt.
CREDENTIAL_KEYS = env.list("CREDENTIAL_KEYS", default=[]) or [kept_fernet_key("credential-key")]
# The host names that are answered to.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
# The address visitors' browsers know the service by; empty: taken from each request.
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")
if PUBLIC_URL and (
    urlsplit(PUBLIC_URL).scheme not in ("http", "https") or urlsplit(PUBLIC_URL).path
):
    raise ImproperlyConfigured("PUBLIC_URL is an origin, such as https://chat.example.com")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
# How many proxies in front add themselves to X-Forwarded-For; 0 believes the socket alone.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Applications ---------------------------------------------------------------------------------

INSTALLED_APPS = [
    "chatwidget",
    "feedback",
    "chatwidget.site.OperatorAdminConfig",  # django.contrib.admin with our front page
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "chatwidget.middleware.security_headers",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "chatwidget.urls"
ASGI_APPLICATION = "chatwidget.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"] if CHECKOUT else [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Database and channel layer -------------------------------------------------------------------

# SQLite, or `postgres://…` with a pool of connections per process.
DATABASES = {"default": env.db_url("DATABASE_URL", f"sqlite:///{DATA_DIR / 'db.sqlite3'}")}
DATABASE = DATABASES["default"]
if DATABASE["ENGINE"] == "django.db.backends.sqlite3":
    # Without these three, eight writers see "database is locked" in most transactions;
    # `chatwidget.checks` refuses to start without them. And what is erased is overwritten. Forty
    # threads need no 2 MiB of pages each: the system's own cache is as near.
    DATABASE["CONN_MAX_AGE"] = None  # every thread that has one is kept
    DATABASE.setdefault("OPTIONS", {}).update(
        transaction_mode="IMMEDIATE",
        timeout=20,
        init_command=(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; "
            "PRAGMA secure_delete=ON; PRAGMA cache_size=-512;"
        ),
    )
elif DATABASE["ENGINE"] == "django.db.backends.postgresql":
    # Under ASGI connections belong to a pool, not to threads.
    DATABASE["CONN_MAX_AGE"] = 0
    DATABASE["CONN_HEALTH_CHECKS"] = True  # a restarted database leaves dead ones in the pool
    DATABASE.setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": env.int("DATABASE_POOL", 16),
        "timeout": 10,
        # Of those unused for this long one is closed at a time: after a rush, all in half a minute.
        "max_idle": env.float("DATABASE_IDLE_S", 1.5),
    }

# What several processes wake each other by; one alone needs none.
REDIS_URL = env.str("REDIS_URL", "")
if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {
                # redis-py 8 gives sockets a 5 s time-out, which cuts every idle listener.
                "hosts": [{"address": REDIS_URL, "socket_timeout": None}],
                "capacity": 10_000,
            },
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# --- Visitors -------------------------------------------------------------------------------------

# `off` lifts the limits per visitor and address: for load tests from outside.
RATE_LIMITS = env.str("RATE_LIMITS", "on").lower() not in ("off", "false", "0", "no")
# A socket that has not said who it is by then is closed.
HELLO_S = env.float("HELLO_S", 10.0)
# How often an open socket's token is looked at again.
RECHECK_S = env.float("RECHECK_S", 30.0)
# How long a visitor who stays away is still known.
VISITOR_TOKEN_DAYS = env.int("VISITOR_TOKEN_DAYS", 90)
MAX_BODY_BYTES = 64 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # the admin's forms; visitors' bodies are cut earlier
# Where visitors' files come in: the only large bodies that they send.
UPLOAD_PATH = "/api/v1/attachments"
# What one of their files may weigh, and all of them together that are kept to be sent (again).
ATTACHMENT_MAX_BYTES = env.int("ATTACHMENT_MAX_MB", 10) * 1024 * 1024
ATTACHMENTS_MAX_BYTES = env.int("ATTACHMENTS_MAX_MB", 2000) * 1024 * 1024

# --- Agents ---------------------------------------------------------------------------------------

# Lets base URLs point to loopback and private addresses. Never editable in the admin.
PROVIDER_ALLOW_PRIVATE = env.bool("PROVIDER_ALLOW_PRIVATE", False)
# A PEM file of authorities to trust beside the public ones, for a vendor in your own network.
PROVIDER_CA_FILE = env.str("PROVIDER_CA_FILE", "")
# Connections to all vendors together, per process. Four fifths are for answers, of which no agent
# gets more than half; a fifth is for everything else.
PROVIDER_CONNECTIONS = env.int("PROVIDER_CONNECTIONS", 1250)
# How late a polled answer is noticed on average; with a poll each second it is half a second.
# More for agents that take minutes.
POLL_LATE_S = env.float("POLL_LATE_S", 0.5)
# Answers that one visitor may have under way, unless RATE_LIMITS is off.
VISITOR_AT_ONCE = env.int("VISITOR_AT_ONCE", 3)
# An answer that has waited this long for its turn fails.
ANSWER_WAIT_S = env.float("ANSWER_WAIT_S", 60.0)
# After so many failures in a row an agent rests, at first for this long, a minute at most.
AGENT_FAILURES = env.int("AGENT_FAILURES", 5)
AGENT_REST_S = env.float("AGENT_REST_S", 10.0)
# How long a claimed turn stays another process's before it counts as orphaned.
LEASE_S = env.float("LEASE_S", 15.0)
# Deltas of an answer that comes faster are merged into one frame for each such time.
DELTA_WINDOW_S = env.float("DELTA_WINDOW_S", 0.033)
# Text of an answer that is still coming is stored at this pace; other processes show it from there,
# so where there are others it is stored more often.
SAVE_EVERY_S = env.float("SAVE_EVERY_S", 0.1 if REDIS_URL else 0.25)
# How often a conversation that a person may have is asked for new replies.
HUMAN_POLL_S = env.float("HUMAN_POLL_S", 3.0)

# --- Feedback -------------------------------------------------------------------------------------

# The wait before the first retry of a vote's delivery; later ones grow from it.
FEEDBACK_FIRST_RETRY_S = env.float("FEEDBACK_FIRST_RETRY_S", 5.0)
# How long a claimed delivery stays another process's. One attempt gets four fifths of it.
DELIVERY_LEASE_S = env.float("DELIVERY_LEASE_S", 25.0)

# --- Alerts ---------------------------------------------------------------------------------------

# The mail server: smtp://, smtp+tls:// (STARTTLS) or smtps://, with user:password@ where it wants
# them, percent-encoded. Empty: nothing is told by e-mail.
EMAIL_URL = env.str("EMAIL_URL", "")
if EMAIL_URL and (
    urlsplit(EMAIL_URL).scheme not in ("smtp", "smtp+tls", "smtps")
    or not urlsplit(EMAIL_URL).hostname
):
    raise ImproperlyConfigured("EMAIL_URL is such as smtp+tls://user:password@mail.example.com:587")
# Whom alerts come from.
EMAIL_FROM = env.str("EMAIL_FROM", f"chatwidget@{urlsplit(PUBLIC_URL).hostname or 'localhost'}")
# Of one kind, widget and channel a message goes out this often at most; it tells all that came.
ALERT_EVERY_S = env.float("ALERT_EVERY_S", 300.0)
# A vote that has been on its way for longer than this is late.
ALERT_LATE_S = env.float("ALERT_LATE_S", 900.0)
# The wait before a message that did not get through is tried again; later ones grow from it.
ALERT_RETRY_S = env.float("ALERT_RETRY_S", 30.0)

# --- Background work ------------------------------------------------------------------------------

# The server process also does what `manage.py worker` does. Leases keep the two apart.
EMBEDDED_WORKER = env.bool("EMBEDDED_WORKER", True)
# After SIGTERM the server still listens for this long, so that a proxy can hear it is not ready.
LINGER_S = env.float("LINGER_S", 2.0)
# A process that ends gives answers this long that another could not go on with.
FINISH_S = env.float("FINISH_S", 5.0)
# `make run`: the demo site at `/`, instead of a plain notice.
DEMO_SITE = env.bool("DEMO_SITE", False)

# --- API ------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["chatwidget.tokens.VisitorAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["chatwidget.tokens.IsVisitor"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["chatwidget.parsers.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "chatwidget.parsers.FirstRenderer",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chatwidget.problems.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Visitor API",
    "VERSION": "1",
    "DESCRIPTION": "What a visitor's client speaks: sessions, conversations, messages, votes.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "MessageStatus": "chatwidget.models.Status.choices",
        "MessageRole": "chatwidget.models.Role.choices",
    },
    "OAS_VERSION": "3.1.0",
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "format": "uuid"}},
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "chatwidget.openapi.problem_documents",
    ],
}

# --- Static files ---------------------------------------------------------------------------------

STATIC_URL = "static/"
# Where `collectstatic` puts them, and they are served from.
STATIC_ROOT = Path(env.str("STATIC_ROOT", str(BASE_DIR / ".staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"] if CHECKOUT else []
# After `collectstatic`, names carry a hash and are cached for good; before it, files are
# served from where they lie.
COLLECTED = (STATIC_ROOT / "staticfiles.json").exists()
WHITENOISE_USE_FINDERS = not COLLECTED
warnings.filterwarnings("ignore", "No directory at", UserWarning)  # whitenoise, before it is made
WHITENOISE_AUTOREFRESH = DEBUG
# The hash of `collectstatic`, and of what the panel loads by a name it was built with.
WHITENOISE_IMMUTABLE_FILE_TEST = r"\.[0-9a-f]{12}\.\w+$"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- Security -------------------------------------------------------------------------------------

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
# The operator's cookies; visitors have none. A public https address makes them https-only.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
SECURE_HSTS_SECONDS = 3600 * 24 * 365 if PUBLIC_URL.startswith("https://") else 0
SESSION_COOKIE_SAMESITE = "Lax"
SILENCED_SYSTEM_CHECKS = [
    "security.W002",  # who may frame a page is said by its policy (middleware.py)
    "security.W005",  # the host's other subdomains are not ours to bind
    "security.W008",  # the proxy that ends TLS redirects; probes come by plain http
    "security.W021",  # as W005: being preloaded binds a whole domain, for good
]

# --- Language and time ----------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_TZ = True
# In which operators read times, and in which days begin and end.
TIME_ZONE = env.str("TIME_ZONE", "UTC")

# --- Logs -----------------------------------------------------------------------------------------

# `plain` for people, `json` for machines: one object a line.
LOG_FORMAT = env.str("LOG_FORMAT", "plain").lower()
if LOG_FORMAT not in ("plain", "json"):
    raise ImproperlyConfigured("LOG_FORMAT is plain or json")
# LOG_LEVEL: of our lines INFO and above, of the libraries' WARNING, unless it says otherwise.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": "chatwidget.logs.PlainFormatter"},
        "json": {"()": "chatwidget.logs.JSONFormatter"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", "WARNING")},
    "loggers": {
        "chatwidget": {"level": env.str("LOG_LEVEL", "INFO")},
        "feedback": {"level": env.str("LOG_LEVEL", "INFO")},
        # httpx writes whole addresses at INFO.
        "httpx": {"level": "WARNING"},
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
    },
}
