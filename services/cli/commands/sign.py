"""`tidegate models sign`: give versions the signature of the present key, after the key was replaced."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from services.shared.manifests import Manifest
    from services.shared.objectstore import ObjectStore
    from services.shared.signing import SigningKey, TrustedKeys


def sign(
    model: Annotated[str | None, typer.Argument(help="only versions of this model; default: all")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would be signed")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Sign every version that another trusted key has signed with the present key. Nothing else of it changes.

    The present key is that of TIDEGATE_SIGNING_KEY_FILE. Only what a key of TIDEGATE_TRUSTED_KEYS has signed is signed
    again; a version with a wrong signature, or with that of a stranger, is named and left as it is. Then no worker
    needs the old key any more.
    """
    from services.cli.clients.registry import open_store, signing_key, trusted_keys
    from services.cli.views.output import out, print_json
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError

    work = sign_all(open_store(data_dir), signing_key(data_dir), trusted_keys(data_dir), model, dry_run=dry_run)
    try:
        signed, refused = asyncio.run(work)
    except StoreError as error:
        raise CommandFailed(f"the object store failed: {error}; call again to go on") from None
    except WrongManifest as error:
        raise CommandFailed(str(error)) from None
    if json:
        print_json({"signed": [f"{made.model}@{made.version}" for made in signed], "refused": refused})
    else:
        for made in signed:
            out().print(f"{made.model}@{made.version}: {'would be signed' if dry_run else 'signed'}, was {made.signer}")
        if not signed:
            out().print("the present key has signed every version that a trusted key has signed")
    if refused:
        raise CommandFailed("\n".join(["not signed:", *refused]))


async def sign_all(
    store: "ObjectStore", key: "SigningKey", trusted: "TrustedKeys", model: str | None, *, dry_run: bool
) -> "tuple[list[Manifest], list[str]]":
    """Returns what was signed, as it was before, and why the rest was not. Raises StoreError, WrongManifest."""
    from services.shared.registry import Registry
    from services.shared.signing import Untrusted

    registry = Registry(store)
    signed: list[Manifest] = []
    refused: list[str] = []
    async for manifest in registry.versions():
        if model not in (None, manifest.model) or manifest.signer == key.public:
            continue
        try:
            trusted.check(manifest)
        except Untrusted as error:
            refused.append(str(error))
            continue
        if dry_run or await registry.sign_again(manifest, key.sign(manifest)):
            signed.append(manifest)
    return signed, refused
