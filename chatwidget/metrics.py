"""What `/metrics` tells, in Prometheus' text format. Labels are few and never a visitor's."""

from prometheus_client import Counter, Gauge, Histogram

turns = Counter(
    "chatwidget_turns", "Answers that ended, by provider and state", ["provider", "state"]
)
answer_seconds = Histogram(
    "chatwidget_answer_seconds",
    "Time from taking a turn to its end",
    ["provider"],
    buckets=(0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300),
)
first_text_seconds = Histogram(
    "chatwidget_first_text_seconds",
    "Time from the question to the first of its answer's text",
    ["provider"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300),
)
upstream_calls = Counter(
    "chatwidget_upstream_calls",
    "Calls to vendors, by what they were for (receive: polls) and what came of them",
    ["provider", "step", "outcome"],
)
upstream_errors = Counter(
    "chatwidget_upstream_errors", "Errors of vendors, by kind", ["provider", "kind"]
)
sockets = Gauge("chatwidget_sockets", "Open visitor sockets of this process")
tasks = Gauge("chatwidget_tasks", "Tasks of this process's event loop")
deliveries = Counter(
    "chatwidget_feedback_attempts",
    "Attempts to deliver feedback, by outcome",
    ["provider", "outcome"],
)
backlog = Gauge("chatwidget_feedback_backlog", "Votes that are on their way")
backlog_age = Gauge("chatwidget_feedback_backlog_age_seconds", "Age of the oldest of them")
