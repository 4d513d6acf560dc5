"""Chainlit as its documentation has it, reading the stream with aiohttp. It stores nothing."""

import chainlit

from benchmarks.contestants.sse import client, tokens

http = None


@chainlit.on_message  # type: ignore[untyped-decorator]  # not installed where types are checked
async def answer(question: chainlit.Message) -> None:
    """Stream the answer into one message."""
    global http
    http = http or client()
    message = chainlit.Message(content="")
    async for text in tokens(http, question.content):
        await message.stream_token(text)
    await message.send()
