"""The service's settings, with a channel layer that loses every other message and holds one."""

from typing import Any

from chatwidget.settings import *  # noqa: F403
from chatwidget.settings import CHANNEL_LAYERS

LAYER: dict[str, Any] = CHANNEL_LAYERS["default"]
LAYER["BACKEND"] = "tests.lossy_layer.LossyLayer"
LAYER["CONFIG"]["capacity"] = 1
