"""The one home of HTTP: what a provider asks goes out, comes back, and fails, as one policy says (RELIABILITY §4).

`httpx` is loaded with the first request, so that a connection which is not used costs nothing.
"""

from __future__ import annotations

from qrun.foreign import parse
from qrun.http.client import ABSENT, Http
from qrun.http.hosts import segment
from qrun.http.policy import Call
from qrun.http.reply import Reply, Words

__all__ = ["ABSENT", "Call", "Http", "Reply", "Words", "parse", "segment"]
