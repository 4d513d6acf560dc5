"""The service's settings, for a process that stops where a test wants to kill it."""

from chatwidget.settings import *  # noqa: F403
from chatwidget.settings import INSTALLED_APPS

INSTALLED_APPS += ["tests.pausing.Pausing"]
