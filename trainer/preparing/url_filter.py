"""Documents by their URL. Nothing is fetched: the list of public suffixes is the one in tldextract's package."""

from pathlib import Path
from types import SimpleNamespace

from datatrove.data import Document
from datatrove.pipeline.filters.url_filter import URLFilter
from datatrove.pipeline.writers.disk_base import DiskWriter
from tldextract import TLDExtract

from trainer.data.wrong import WrongData
from trainer.preparing.documents import URL
from trainer.preparing.filter_settings import Url

MAX_LIST_BYTES = 1 << 28


class UrlFilter(URLFilter):  # type: ignore[misc]
    """datatrove's filter. Documents without a URL pass, and are counted; there they end the run."""

    def __init__(self, settings: Url, exclusion_writer: DiskWriter) -> None:
        super().__init__(
            soft_word_threshold=settings.soft_word_threshold,
            extra_domains=_entries(settings.domains),
            extra_urls=_entries(settings.urls),
            banned_words=_entries(settings.banned_words),
            soft_banned_words=_entries(settings.soft_banned_words),
            use_integrated_lists=settings.use_integrated_lists,
            exclusion_writer=exclusion_writer,
        )
        self.tldextractor = _Hosts()

    def filter(self, document: Document) -> bool | tuple[bool, str]:
        """See BaseFilter."""
        if not document.metadata.get(URL):
            self.stat_update("without_url")
            return True
        found: bool | tuple[bool, str] = super().filter(document)
        return found


class _Hosts:
    """What datatrove asks tldextract for, by the names that tldextract has now."""

    def __init__(self) -> None:
        self._extract = TLDExtract(suffix_list_urls=(), cache_dir=None)

    def __call__(self, url: str) -> SimpleNamespace:
        found = self._extract(url)
        return SimpleNamespace(registered_domain=found.top_domain_under_public_suffix, fqdn=found.fqdn)


def _entries(file: Path | None) -> list[str]:
    """The lines of a list. Raises WrongData: It is too large, or is no text."""
    if file is None:
        return []
    if file.stat().st_size > MAX_LIST_BYTES:
        raise WrongData(f"{file}: the list has more than {MAX_LIST_BYTES} bytes")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise WrongData(f"{file}: the list is not UTF-8") from None
    return [line.strip() for line in lines if line.strip()]
