"""A channel layer that keeps less than it promises."""

import random
from typing import Any

from channels_redis.core import RedisChannelLayer


class LossyLayer(RedisChannelLayer):  # type: ignore[misc]  # channels_redis is not typed
    """Drops half of what is sent to groups, at random, as it drops anything over its capacity."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if random.random() < 0.5:
            await super().group_send(group, message)
