"""Where the models of a run come from, and where its result goes."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.shared.certificates import Tls
from services.shared.objectstore import ObjectStore
from services.shared.signing import SigningKey, TrustedKeys


@dataclass(frozen=True, slots=True)
class Registrar:
    """Where the base comes from and where the result goes. `trusted` are the keys that may have signed the base."""

    store: ObjectStore
    key: SigningKey
    trusted: TrustedKeys
    routers: Sequence[str] = ()
    tls: Tls | None = None
    publisher: str | None = None
