"""The built-in agent: no network, no key, and every state of the widget on request.

What it answers is chosen by words in the question, so that a site developer can see Markdown,
sources, a slow answer, a failing one and a human take-over without any vendor.
"""

import re
from itertools import islice

from ..errors import Unavailable
from ..events import Citation, Cited, Ended, Finish, Learned, Rewritten, Sending, Text
from .base import DEADLINES, Ask, Field, Flow, Pause, Provider

MARKDOWN = """\
Here is what an answer can look like.

### A short list

- **Bold**, *italic*, ~~struck~~ and `code`
- A [link to example.com](https://example.com/)
- [x] A finished task
- [ ] An open one

| Plan | Seats | Price |
|:-----|:-----:|------:|
| Solo | 1     |   9 € |
| Team | 10    |  49 € |

```python
def greet(name: str) -> str:
    return f"Hello, {name}!"
```

> Quotes work as well.

1. First this,
2. then that.
"""

SOURCES = """\
Returns are free within 30 days [1]. Refunds reach your account within a week of the parcel \
reaching us [2].
"""

SLOW = """\
Thank you for your patience. Some agents look things up for a while before they say anything; \
while they do, visitors see that the answer is still coming, and they can leave and come back.
"""

LONG = " ".join(
    f"Paragraph {n} of a long answer, which shows that you can scroll up while it is coming, that "
    f"selected text stays selected, and that *stop* is heard at once.\n\n"
    for n in range(1, 41)
)

FILES = """\
Thank you for:

{files}
I read no files, but an agent that does would have them now, together with your question.
"""

HELP = """\
I am the built-in demo agent: no network, no key. You said:

> {question}

Ask me to **show Markdown**, **cite sources**, **answer slowly**, write a **long** answer, \
**rewrite** myself, or **fail**, and you will see each state of the widget. \
When you are done, connect your own agent in the admin.
"""


class Demo(Provider):
    """Answers from this page."""

    label = "Demo"
    needs_base_url = False
    streams = True
    takes_attachments = True
    resumes = True  # nothing leaves us, so starting again costs nothing
    stops_upstream = True  # the work is here, and ends
    option_fields = (
        Field(
            name="words_per_s",
            label="Speed (words a second)",
            kind="number",
            default=60.0,
        ),
        Field(name="think_s", label="Pause before an answer (s)", kind="number", default=0.4),
        *DEADLINES,
    )

    def answer(self, ask: Ask) -> Flow:
        """Pick an answer by the question's words and give it word by word."""
        question = ask.text.lower()
        files = "".join(f"- `{file.name}`, {file.size:,} bytes\n" for file in ask.attachments)
        yield Sending()  # from when on its time is counted, as every agent's
        yield Learned(answer={"from": "here"})  # any process can go on with it, and at once
        yield Rewritten("")  # after a crash: from the beginning
        yield Pause(8 if "slow" in question else self.number("think_s"))
        if re.search(r"\bfail", question):
            yield from self._say("Let me look that up. One moment, I am just about to")
            raise Unavailable("the demo agent was asked to fail", provider=self.label)
        if "rewrite" in question:
            yield from self._say("My first idea is not very good, I am afraid.")
            yield Pause(1)
            yield Rewritten("")
            yield from self._say("Here is a **better** answer, in place of the first.")
        elif files:
            yield from self._say(FILES.format(files=files))
        else:
            yield from self._say(self._text(question, ask.text))
        if re.search("cite|source", question):
            yield Cited(
                (
                    Citation(title="Returns and refunds", url="https://example.com/returns"),
                    Citation(title="How long a refund takes", url="https://example.com/refunds"),
                )
            )
        yield Ended(Finish.COMPLETE)

    def _text(self, question: str, original: str) -> str:
        for pattern, text in (
            (r"markdown|table|code", MARKDOWN),
            (r"cite|source", SOURCES),
            (r"slow", SLOW),
            (r"\blong", LONG),
        ):
            if re.search(pattern, question):
                return text
        return HELP.format(question="\n> ".join(original.splitlines()))

    def _say(self, text: str) -> Flow:
        pieces = iter(re.findall(r"\S+\s*|\s+", text))
        pace = max(1.0, self.number("words_per_s"))
        at_once = max(1, round(pace / 30))  # no more pieces a second than a screen can show
        while piece := "".join(islice(pieces, at_once)):
            yield Text(piece)
            yield Pause(at_once / pace)
