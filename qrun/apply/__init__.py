"""The loop: takes the steps that `plan` names until every job rests, and makes each fact durable before the next."""

from qrun.apply.loop import Apply, Outcome

__all__ = ["Apply", "Outcome"]
