"""report.html: one page that needs no other files."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtests import tables
from loadtests.plots import plots
from loadtests.report import Report
from loadtests.sample import Sample

FILE = "report.html"
TEMPLATE = "page.html.j2"


def write(folder: Path, report: Report, samples: Sequence[Sample]) -> Path:
    """Writes the page into `folder`; returns its path."""
    file = folder / FILE
    file.write_text(render(report, samples))
    return file


def render(report: Report, samples: Sequence[Sample]) -> str:
    """The page as HTML."""
    here = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=here, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = {name: Markup(svg) for name, svg in plots(report, samples).items()}  # noqa: S704 (our own SVG)
    return environment.get_template(TEMPLATE).render(
        report=report,
        plots=drawn,
        summary_head=tables.SUMMARY,
        summary=list(tables.summary_rows(report)),
        latency_head=tables.COLUMNS,
        latencies=list(tables.latency_rows(report)),
        profile_yaml=yaml.safe_dump(report.profile.model_dump(mode="json", exclude_none=True), sort_keys=False),
        number=tables.number,
    )
