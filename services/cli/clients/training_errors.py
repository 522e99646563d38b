"""What ends a run or an evaluation, as a command tells it."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.cli.errors import REFUSED, WRONG_USE, CommandFailed


@contextmanager
def told() -> Iterator[None]:
    """Raises CommandFailed in place of what trainers raise."""
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from services.shared.registry import UnknownVersion
    from services.shared.staging import RefusedModel
    from trainer.announce import NotAnnounced, RolloutFailed
    from trainer.checksums import BrokenSeal
    from trainer.data.wrong import WrongData
    from trainer.errors import NoRoom, Unfit, WrongCheckpoint
    from trainer.gate import Worse
    from trainer.gptq import GptqFailed
    from trainer.loss_curve import Diverged
    from trainer.ranks.failures import RankDied
    from trainer.record import AnotherRun
    from trainer.responses import ChangedResponses
    from trainer.run import InUse
    from trainer.teacher import TeacherAway, TeacherRefused

    try:
        yield
    except (WrongData, Unfit, AnotherRun, BrokenSeal, ChangedResponses, InUse, UnknownVersion) as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    except Worse as error:
        raise CommandFailed(str(error), status=REFUSED) from None
    except (RefusedModel, WrongManifest, WrongCheckpoint, Diverged, NotAnnounced, RolloutFailed) as error:
        raise CommandFailed(str(error)) from None
    except (TeacherRefused, GptqFailed, RankDied, NoRoom) as error:
        raise CommandFailed(str(error)) from None
    except TeacherAway as error:
        raise CommandFailed(f"{error}; the answers so far are kept: call again to go on") from None
    except StoreError as error:
        raise CommandFailed(f"the object store failed: {error}; call again to go on") from None
