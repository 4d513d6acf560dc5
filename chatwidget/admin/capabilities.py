"""What a provider declares of its vendor, in an operator's words."""

from dataclasses import dataclass

from ..providers import Provider


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing a vendor can do or cannot, and what follows for visitors or operators."""

    yes: bool
    name: str
    words: str


def capabilities(provider: type[Provider]) -> list[Capability]:
    """Return everything a provider declares, in a fixed order."""
    limit = f", up to {provider.comment_limit} characters" if provider.comment_limit else ""
    alone = "" if provider.comment_needs_vote else " or alone"
    rows = [
        (
            provider.streams,
            "Streaming",
            "Answers appear word by word.",
            "Answers appear whole, once they are complete.",
        ),
        (
            provider.takes_votes,
            "Votes",
            "Thumbs up and down are brought to the vendor.",
            "Votes are kept here only: the vendor takes none.",
        ),
        (
            provider.clears_votes,
            "Taking a vote back",
            "A vote taken back is cleared at the vendor, too.",
            "A vote taken back is cleared here only.",
        ),
        (
            provider.takes_comments,
            "Comments",
            f"Comments are brought to the vendor with their vote{alone}{limit}.",
            "Comments are kept here only.",
        ),
        (
            provider.takes_attachments,
            "Files",
            "Visitors may attach files, where the widget lets them.",
            "Visitors cannot attach files.",
        ),
        (
            provider.has_humans,
            "People",
            "A person can take over; what they write reaches the visitor.",
            "Only the agent answers.",
        ),
        (
            provider.resumes,
            "Picking up again",
            "An answer goes on after this service was restarted.",
            "A restart of this service interrupts an answer; the visitor may retry.",
        ),
        (
            provider.stops_upstream,
            "Stopping",
            "Stopping an answer also ends the vendor's work on it.",
            "Stopping an answer ends it here; the vendor may still finish it.",
        ),
        (
            provider.erases,
            "Erasing",
            "The vendor is asked to erase a visitor who is erased here.",
            "Erasing a visitor erases what is kept here"
            + (", and closes their conversations at the vendor" * provider.closes)
            + "; ask the vendor about their side.",
        ),
    ]
    return [Capability(yes, name, can if yes else cannot) for yes, name, can, cannot in rows]
