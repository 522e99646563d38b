"""Evaluating a model beside its base and beside what is live, each in turn, so that one at a time is in memory."""

import asyncio
import json
from pathlib import Path
from typing import Any

from services.shared.clock import Clock
from services.shared.manifests import Manifest, digest_of
from services.shared.registry import DEFAULT_ALIAS, Reference, Registry, UnknownVersion
from services.shared.staging import Stager
from trainer import remote_data
from trainer.data import reader
from trainer.data.sample import Text
from trainer.data.wrong import WrongData
from trainer.errors import Unfit
from trainer.evaluation.decision import decide
from trainer.evaluation.evaluated import Evaluated
from trainer.evaluation.figures import FIGURES, Figures
from trainer.evaluation_plan import Evaluation
from trainer.quiet import no_code_of_metrics
from trainer.registrar import Registrar
from trainer.watcher import Watcher

EVALUATION = "evaluation"
"""Folder of a run for what was measured of it."""
RESULT = "result"
"""What the result of a run is called, which has no version yet."""
_CHECKED = "figures.json"
_DATA = "data"


class Evaluator:
    """Evaluates models by one plan.

    Args:
        plan: The recipe's.
        seed: The recipe's.
        folder: For what was measured, so that nothing is measured twice.
        registrar: Has the registry.
        cache: Of verified models.
        watcher: Is told what happens.
        clock: Paces the staging.
    """

    def __init__(
        self,
        plan: Evaluation,
        seed: int,
        folder: Path,
        registrar: Registrar,
        cache: Path,
        watcher: Watcher,
        clock: Clock,
    ) -> None:
        self._plan, self._folder, self._watcher = plan, folder, watcher
        self._registrar, self._cache, self._clock = registrar, cache, clock
        texts = self._texts()
        watcher.phase("loading the tasks of the evaluation")
        no_code_of_metrics()
        from trainer.harness import Harness

        self._harness = Harness(plan, seed, texts, folder / "tasks")
        asked = plan.model_dump(mode="json", exclude={"thresholds", "batch", "text"})
        self._digest = digest_of([asked, seed, texts])

    def compare(self, result: Path, name: str, parent: Manifest | None, model: str | None) -> Evaluated:
        """Measures a result, what it was made from, and what is live.

        Args:
            result: Folder of the model.
            name: What it is called here; the same name means the same weights.
            parent: What it was made from; None: that is not known.
            model: Whose `latest` is live; None: of no model.

        Raises:
            Diverged: A figure is not finite.
            Unfit: A model cannot be evaluated here.
            RefusedModel: A version is not what its manifest says.
            StoreError: The object store failed.
        """
        live = asyncio.run(self._live(model)) if model else None
        if live and live.version in (name, parent.version if parent else None):
            live = None
        own = self._measure("the result", name, result)
        before = self._measure_version("the base", parent) if parent else None
        beside = self._measure_version("the live version", live) if live else None
        decision = decide(self._plan.thresholds, own, before, beside)
        for reason in decision.reasons:
            self._watcher.note(reason)
        return Evaluated(own, before, beside, live.version if live else None, decision)

    def of_version(self, named: str) -> Evaluated:
        """Evaluates a version of the registry, beside what it was made from if that is still there.

        Args:
            named: A reference to it.

        Raises:
            As compare; UnknownVersion: there is no such version.
        """
        manifest, parent = asyncio.run(self._found(Reference.parse(named)))
        stager = Stager(self._registrar.store, self._cache, self._clock, self._registrar.trusted)
        self._watcher.phase(f"fetching {named}")
        folder = asyncio.run(stager.stage(manifest))
        return self.compare(folder, manifest.version, parent, manifest.model)

    async def _found(self, reference: Reference) -> tuple[Manifest, Manifest | None]:
        registry = Registry(self._registrar.store)
        manifest = await registry.resolve(reference)
        if manifest.kind == "adapter":
            raise Unfit(f"{reference} is an adapter: evaluate the whole model that its run published")
        if manifest.parent is None:
            return manifest, None
        parents = [found async for found in registry.versions() if found.version == manifest.parent]
        return manifest, parents[0] if parents else None

    def _texts(self) -> tuple[str, ...]:
        named = self._plan.text
        if named is None:
            return ()
        if not isinstance(named, Path):
            self._watcher.phase(f"fetching {named}")
            named = asyncio.run(remote_data.fetch(named, self._folder / _DATA))
        found = tuple(reader.Reader(named, None).samples())
        texts = tuple(sample.text for sample in found if isinstance(sample, Text))
        if len(texts) != len(found) or not texts:
            raise WrongData(f"evaluate.text = {named}: it holds no texts; the field is called text, or the file .txt")
        return texts

    async def _live(self, model: str) -> Manifest | None:
        try:
            found = await Registry(self._registrar.store).resolve(Reference(model, DEFAULT_ALIAS))
        except UnknownVersion:
            return None
        return found if found.kind == "model" else None

    def _measure_version(self, what: str, manifest: Manifest) -> Figures:
        if known := self._known(manifest.version):
            return known
        stager = Stager(self._registrar.store, self._cache, self._clock, self._registrar.trusted)
        return self._measure(what, manifest.version, asyncio.run(stager.stage(manifest)))

    def _measure(self, what: str, name: str, folder: Path) -> Figures:
        if known := self._known(name):
            return known
        self._watcher.phase(f"evaluating {what}")
        figures: Figures = self._harness.measure(folder)
        kept = {**self._kept(), name: {key: figure.model_dump() for key, figure in figures.items()}}
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{_CHECKED}.new"
        draft.write_text(json.dumps({"plan": self._digest, "figures": kept}, indent=2))
        draft.replace(self._folder / _CHECKED)
        return figures

    def _known(self, name: str) -> Figures | None:
        found = self._kept().get(name)
        if found is None:
            return None
        return FIGURES.validate_python(found)

    def _kept(self) -> dict[str, Any]:
        """What was measured by the same plan."""
        file = self._folder / _CHECKED
        document = json.loads(file.read_bytes()) if file.exists() else {}
        if document.get("plan") != self._digest:
            return {}
        return dict(document["figures"])
