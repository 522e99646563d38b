"""Addresses of persons are replaced, and counted. datatrove's patterns find mail and IPv4 addresses."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.formatters.pii import PIIFormatter, PIIReplacer

from trainer.preparing.documents import PII
from trainer.preparing.filter_settings import Pii


class Scrub(PIIFormatter):  # type: ignore[misc]
    """datatrove's step. What was replaced in a document stands in its metadata."""

    def __init__(self, settings: Pii) -> None:
        super().__init__(
            remove_emails=settings.remove_emails,
            remove_ips=settings.remove_ips,
            only_remove_public_ips=settings.only_remove_public_ips,
            email_replacement=settings.email_replacement,
            ip_replacement=settings.ip_replacement,
        )
        self._own = {settings.email_replacement, settings.ip_replacement}

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """See PipelineStep."""
        for document in data:
            if found := self.found(document.text):
                document.metadata[PII] = dict(found)
                document.text = self.format(document.text)
            yield document

    def found(self, text: str) -> Counter[str]:
        """How many addresses are replaced in a text, by kind."""
        kinds: list[tuple[str, bool, PIIReplacer]] = [
            ("emails", self.remove_emails, self.emails_replacer),
            ("ips", self.remove_ips, self.ip_replacer),
        ]
        counts: Counter[str] = Counter()
        for kind, is_on, replacer in kinds:
            if is_on and (count := sum(1 for match in replacer.regex.finditer(text) if self._counts(match, replacer))):
                counts[kind] = count
        return counts

    def _counts(self, match: re.Match[str], replacer: PIIReplacer) -> bool:
        if match.group() in self._own:
            return False  # it would be replaced by itself
        return replacer.validator is None or bool(replacer.validator(match.group()))
