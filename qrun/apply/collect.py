"""Bring results home: raw bytes durable before anybody parses them, then the normal form beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from qrun.canonical import canonical
from qrun.errors import ProviderError, Unexpected
from qrun.fact import Fetched
from qrun.failpoint import failpoint
from qrun.record import Download, Handle, Output, Record
from qrun.redact import redacted_bytes

if TYPE_CHECKING:
    from qrun.apply.ledger import Ledger
    from qrun.provider import Provider

INLINE: Final = 64 * 1024  # the largest normal form that the record itself holds, in bytes
RESULTS: Final = "results.json"


@dataclass(kw_only=True, slots=True)
class Basket:
    """What one job's fetch brought."""

    record: Record
    outputs: list[Output] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)
    results: Mapping[str, Any] | None = None
    gone: str | None = None


class Collector:
    """The sink of one fetch, for all wanted members of a container at once."""

    def __init__(self, ledger: Ledger, wanted: Mapping[Handle, Record]) -> None:
        self.ledger = ledger
        self.baskets = {handle: Basket(record=record) for handle, record in wanted.items()}

    async def raw(self, handle: Handle, name: str, data: bytes) -> None:
        data = redacted_bytes(data)  # of a provider that repeats our credentials
        basket = self.baskets[handle]
        basket.outputs.append(await self.ledger.keep(_download(basket.record, name, data)))
        basket.raw[name] = data
        failpoint("kept")

    async def results(self, handle: Handle, results: Mapping[str, Any]) -> None:
        self.baskets[handle].results = results

    async def gone(self, handle: Handle, words: str) -> None:
        self.baskets[handle].gone = words


async def collect(ledger: Ledger, provider: Provider, wanted: Mapping[Handle, Record]) -> dict[Handle, Fetched | str]:
    """For each handle the fact that its outputs are durable, or the words with which the provider says they are gone.

    Raises ProviderError when nothing could be fetched.
    """
    sink = Collector(ledger, wanted)
    await provider.fetch(list(wanted), sink)
    return {handle: await _fact(ledger, provider, basket) for handle, basket in sink.baskets.items()}


async def _fact(ledger: Ledger, provider: Provider, basket: Basket) -> Fetched | str:
    record, store = basket.record, ledger.store
    assert record.last is not None
    if basket.gone is not None:
        return basket.gone
    results = basket.results
    if results is None and basket.raw:
        try:
            programs = store.programs(record.key, record.digest)
            results = provider.read(store.job(record.key, record.digest), {**programs, **basket.raw})
        except ProviderError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise Unexpected(f'the results of "{record.key}" have a shape that this qrun does not know') from error
    if results is None:
        return "the provider gave no results"
    text = canonical(results)
    if len(text) > INLINE:
        kept = await ledger.keep(_download(record, RESULTS, text))
    else:
        kept = Output(name=RESULTS, sha256=sha256(text).hexdigest(), size=len(text))
    return Fetched(
        key=record.key,
        digest=record.digest,
        attempt=record.last.n,
        outputs=(*basket.outputs, kept),
        results=results if len(text) <= INLINE else None,
    )


def _download(record: Record, name: str, data: bytes) -> Download:
    assert record.last is not None
    return Download(key=record.key, digest=record.digest, attempt=record.last.n, name=name, data=data)


def headline(results: Mapping[str, Any] | None) -> Sequence[tuple[str, int]]:
    """The most frequent outcomes, at most eight, most frequent first."""
    counts = (results or {}).get("counts")
    if not isinstance(counts, Mapping):
        return ()
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:8])
