"""Days as the operators' figures and filters have them: those of the service's time zone."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.utils import timezone


def midnight(day: date) -> datetime:
    """Return the moment at which a day begins."""
    return timezone.make_aware(datetime.combine(day, time()))


def days_between(first: date, last: date) -> list[date]:
    """Return all days from `first` to `last`, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both included."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        return days_between(self.first, self.last)

    @property
    def before(self) -> "Period":
        """As many days before."""
        length = self.last - self.first + timedelta(days=1)
        return Period(self.first - length, self.last - length)

    def __str__(self) -> str:
        year = "" if self.first.year == self.last.year else " %Y"
        return f"{self.first.strftime('%-d %b' + year)} – {self.last:%-d %b %Y}"
