"""Every alert says how urgent it is, and has a section in the runbooks that says what to do."""

import re
from pathlib import Path

from tests.deploy.chart import EXAMPLES, everything, render
from tests.deploy.observability import rules

RUNBOOKS = Path("docs/runbooks.md")
ALERTS = [rule for rule in rules() if "alert" in rule]


def sections() -> dict[str, str]:
    """The text of each section, by its title."""
    parts = re.split(r"^## (.+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_alert_pages_or_waits() -> None:
    assert {alert["labels"]["severity"] for alert in ALERTS} == {"page", "ticket"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert sections().keys() == {alert["alert"] for alert in ALERTS}
    for alert in ALERTS:
        name, severity = alert["alert"], alert["labels"]["severity"]
        assert alert["annotations"]["runbook_url"] == f"{RUNBOOKS}#{name.lower()}"
        text = sections()[name]
        assert f"**Means ({severity}).**" in text
        assert "**Look" in text
        assert "do.**" in text.lower()


def test_the_chart_links_runbooks_to_where_the_docs_are_published() -> None:
    values = everything(EXAMPLES[0])
    values["monitoring"]["rules"] = {"enabled": True, "docs": "https://wiki.example/tidegate"}
    (rule,) = (item for item in render(values) if item["kind"] == "PrometheusRule")
    links = [
        one["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for one in group["rules"]
        if "alert" in one
    ]
    assert len(links) == len(ALERTS)
    assert all(link.startswith("https://wiki.example/tidegate/runbooks.md#tidegate") for link in links)
