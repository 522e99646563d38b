"""Reads a data set: files of any form and container in, samples of the inner form out, each of them counted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.containers.record import Fault, Record
from trainer.data.content import Budget
from trainer.data.folder import DataFile, files_of
from trainer.data.forms.form import KNOWN_FIELDS, Form, converter, form_of
from trainer.data.records import records
from trainer.data.report import Notes, Report
from trainer.data.sample import Kind, Sample, kind_of
from trainer.data.wrong import Complaints, Dropped, WrongData, WrongRecord

ENOUGH = 2
"""Samples: one to learn from and one to measure with."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """All samples of a data set, in the order of its files and of the lines in each, and what became of the others."""

    samples: tuple[Sample, ...]
    report: Report

    @property
    def kind(self) -> Kind:
        """What all samples are."""
        return kind_of(self.samples[0])


def load(place: Path, form: Form | None = None) -> DataSet:
    """Reads a file or a folder as a whole.

    Args:
        place: The file, or the folder of files.
        form: The form of all files; None: found out, for each file.

    Raises:
        WrongData: A file cannot be read, or has places that are wrong; fewer than ENOUGH samples are left.
    """
    reader = Reader(place, form)
    samples = tuple(reader.samples())
    if len(samples) < ENOUGH:
        raise WrongData(
            f"{place.name} holds {len(samples)} samples{_dropped(reader.report)}; {ENOUGH} are needed, one to learn "
            "and one to measure with"
        )
    return DataSet(samples, reader.report)


@dataclass(slots=True)
class Reader:
    """Reads one sample after another. `report` is whole when `samples` has ended."""

    place: Path
    form: Form | None = None
    report: Report = field(default_factory=Report)
    _complaints: Complaints = field(default_factory=Complaints)
    _kind: Kind | None = None

    def samples(self) -> Iterator[Sample]:
        """Raises WrongData: After the last record, or after MAX_ERRORS wrong ones."""
        files, self.report.files_left_out = files_of(self.place)
        budget = Budget()
        for file in files:
            yield from self._samples_of(file, budget)
        self._complaints.end()

    def _samples_of(self, file: DataFile, budget: Budget) -> Iterator[Sample]:
        form = self.form
        for found in records(file, budget, KNOWN_FIELDS):
            if isinstance(found, Fault):
                self._complaints.add(found.place, found.sentence)
                continue
            try:
                if form is None:
                    form = form_of(found.fields)
            except WrongRecord as error:
                self._complaints.add(found.place, error)
                return  # the other records of the file will have the same fields
            if sample := self._sample(found, form):
                yield sample
        if form:
            self.report.forms[form] += 1

    def _sample(self, record: Record, form: Form) -> Sample | None:
        notes = Notes()
        try:
            sample = converter(form)(record.place, record.fields, notes)
        except Dropped as error:
            self.report.drop(record.place, str(error))
            return None
        except WrongRecord as error:
            self._complaints.add(record.place, error)
            return None
        self._kind = self._kind or kind_of(sample)
        if kind_of(sample) != self._kind:
            raise WrongData(
                f"{record.place}: the files before hold {self._kind}, and this one {kind_of(sample)}: keep them in "
                "folders of their own"
            )
        self.report.keep(notes)
        return sample


def _dropped(report: Report) -> str:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in report.dropped.items())
    return f" ({reasons})" if reasons else ""
