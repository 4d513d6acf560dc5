"""Reading an OpenAI-compatible stream with aiohttp, as the bare relay and Chainlit's app do it."""

import json
import os
from collections.abc import AsyncIterator

import aiohttp

URL = os.environ.get("UPSTREAM", "") + "/v1/chat/completions"


def asked(question: str) -> dict[str, object]:
    """Return the body that asks `question`."""
    messages = [{"role": "user", "content": question}]
    return {"model": "clock", "stream": True, "messages": messages}


def token(line: str) -> str:
    """Return the text in one line of the stream, if it has any."""
    if not line.startswith("data: {"):
        return ""
    return json.loads(line[6:])["choices"][0]["delta"].get("content") or ""


async def tokens(http: aiohttp.ClientSession, question: str) -> AsyncIterator[str]:
    """Ask the upstream and yield its tokens."""
    async with http.post(URL, json=asked(question)) as answer:
        async for line in answer.content:
            if text := token(line.decode()):
                yield text


def client() -> aiohttp.ClientSession:
    """Return a client for the whole process, without aiohttp's limit of 100 connections."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
