"""The environment of every test run, set before Django reads it. One data folder per worker.

STACK says on what the tests run: `default`, or `outgrown` (see tests/stack.py).
Waits that are long in production are short here; what is measured in tests is order and outcome.
"""

import os
import tempfile
from pathlib import Path

from .certificates import AUTHORITY

OUTGROWN = {"default": False, "outgrown": True}[os.environ.get("STACK", "default")]
DATA_DIR = tempfile.mkdtemp(prefix="chatwidget-test-")

Path(DATA_DIR, "authority.pem").write_bytes(AUTHORITY.pem)

os.environ.setdefault("XDG_RUNTIME_DIR", DATA_DIR)  # the PostgreSQL of the tests wants one
os.environ.update(
    DATA_DIR=DATA_DIR,
    SECRET_KEY="test-secret-key-that-is-long-enough-for-every-check",
    PROVIDER_ALLOW_PRIVATE="true",
    RATE_LIMITS="off",
    FEEDBACK_FIRST_RETRY_S="0.1",
    HUMAN_POLL_S="0.1",
    LEASE_S=os.environ.get("LEASE_S", "3"),
    LINGER_S="0",
    FINISH_S="0",
    DELIVERY_LEASE_S="5",
    PROVIDER_CA_FILE=f"{DATA_DIR}/authority.pem",
    DJANGO_ALLOW_ASYNC_UNSAFE="true",  # tests that await also look into the database
)
for name in ("DATABASE_URL", "REDIS_URL", "CREDENTIAL_KEYS", "PUBLIC_URL", "DEBUG", "DEMO_SITE"):
    os.environ.pop(name, None)
if OUTGROWN:  # where tests/conftest.py starts them
    os.environ.update(
        DATABASE_URL=f"postgresql://postgres:@/postgres?host={DATA_DIR}/postgres",
        REDIS_URL=f"unix://{DATA_DIR}/redis.sock",
    )
