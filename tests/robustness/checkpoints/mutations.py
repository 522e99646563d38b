"""Checkpoints that nobody may load. Each kind is made from a good version by one change, which a seed chooses."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from services.shared.manifests import MANIFEST, Golden, Manifest, digest_of, make
from services.shared.registry import object_name
from tests.support.signing import KEY, STRANGER
from tests.support.tensor_files import header_of, row
from tests.unit.worker.models import manifest_of

MODEL = "tide"
WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
_CONFIGURATION: dict[str, Any] = {"architectures": ["Simulated"], "hidden_size": 16, "rope": {"layers": [{}]}}
_UNSIGNED = ("version", "signature", "signer", "publisher", "created")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A version that must not be loaded.

    Attributes:
        kind: Which change was made.
        version: What the worker is ordered to load.
        objects: What lies in the bucket, by name.
        reason: A part of what the worker must say.
    """

    kind: str
    version: str
    objects: dict[str, bytes]
    reason: str


def mutant(kind: str, seed: int) -> Mutant:
    """Makes one. The same kind and seed give the same."""
    return KINDS[kind](kind, Random(f"{kind} {seed}"))


def good(random: Random) -> dict[str, bytes]:
    """The files of a whole version: two tensors and their index, a configuration, a tokenizer.

    No two versions share a file: a worker takes a file that it has from its disk, whatever lies in the bucket.
    """
    first, second = random.randbytes(random.randrange(50, 200)), random.randbytes(64)
    rows = {"a": row(len(first)), "b": row(len(second), len(first))}
    return {
        WEIGHTS: header_of(rows) + first + second,
        CONFIG: json.dumps(_CONFIGURATION | {"name": random.random()}).encode(),
        "tokenizer.json": json.dumps({"name": random.random()}).encode(),
        INDEX: json.dumps({"weight_map": {"a": WEIGHTS, "b": WEIGHTS}, "name": random.random()}).encode(),
    }


def stored(kind: str, reason: str, files: dict[str, bytes], manifest: Manifest, document: bytes = b"") -> Mutant:
    """A mutant of these files, with this manifest or another document in its place."""
    objects = {object_name(MODEL, manifest.version, name): content for name, content in files.items()}
    objects[object_name(MODEL, manifest.version, MANIFEST)] = document or manifest.to_json()
    return Mutant(kind, manifest.version, objects, reason)


def _changed_file(kind: str, random: Random) -> Mutant:
    """What lies in the bucket is not what was signed."""
    files = good(random)
    manifest, name = manifest_of(files, MODEL), random.choice(sorted(files))
    content = bytearray(files[name])
    match kind:
        case "bit flip":
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        case "cut file":
            del content[random.randrange(len(content)) :]
        case _:
            content += random.randbytes(random.randrange(1, 99))
    reason = "is corrupt" if kind == "bit flip" else "its manifest says"
    return stored(kind, reason, files | {name: bytes(content)}, manifest)


def _wrong_hash(kind: str, random: Random) -> Mutant:
    files = good(random)
    listed = list(manifest_of(files, MODEL).files)
    at = random.randrange(len(listed))
    listed[at] = listed[at].model_copy(update={"sha256": random.randbytes(32).hex()})
    return stored(kind, "is corrupt", files, _signed(manifest_of(files, MODEL), files=tuple(listed)))


def _changed_manifest(kind: str, random: Random) -> Mutant:
    files = good(random)
    manifest = manifest_of(files, MODEL)
    document: dict[str, Any] = json.loads(manifest.to_json())
    if kind == "edited manifest":
        field = random.choice(("context_tokens", "vocab_size"))
        return stored(kind, "is wrong: it names", files, manifest, json.dumps(document | {field: 7}).encode())
    if kind == "unknown key":
        return stored(kind, "does not parse", files, manifest, json.dumps(document | {"hook": "os.system"}).encode())
    whole = manifest.to_json()
    return stored(kind, "does not parse", files, manifest, whole[: random.randrange(1, len(whole) - 1)])


def _pickle(kind: str, random: Random) -> Mutant:
    content = b"\x80\x04\x95" + random.randbytes(60) + b"."
    if kind == "pickle in safetensors":
        files = good(random) | {WEIGHTS: content}
        return stored(kind, "not a whole safetensors file", files, manifest_of(files, MODEL))
    name = random.choice(("pytorch_model.bin", "a.pt", "a.pkl", "a.ckpt", "modeling_tide.py", "run.sh", "weights"))
    files = good(random) | {name: content}
    return stored(kind, f"{name} does not have a safe format", files, manifest_of(files, MODEL))


def _remote_code(kind: str, random: Random) -> Mutant:
    name = random.choice((CONFIG, "tokenizer_config.json", "processor_config.json"))
    key = random.choice(("auto_map", "custom_pipelines", "trust_remote_code"))
    document: Any = {key: {"AutoModel": "tide.Model"}}
    for _ in range(random.randrange(5)):
        document = random.choice(({"inner": document}, {"list": [1, document]}))
    files = good(random) | {name: json.dumps(_CONFIGURATION | document).encode()}
    return stored(kind, f"{name} asks for remote code ({key})", files, manifest_of(files, MODEL))


def _weights(kind: str, random: Random) -> Mutant:
    """The header does not describe the file. Everything is signed, and every digest is right."""
    size = random.randrange(10, 100)
    match kind:
        case "shape":
            content = header_of({"a": row(size) | {"shape": [size + random.randrange(1, 9)]}, "b": row(0, size)})
        case "overlap":
            content = header_of({"a": row(size), "b": row(size, random.randrange(size))})
        case "precision":
            content = header_of({"a": row(size) | {"dtype": random.choice(("F32", "F64", "OBJECT", "", "U8;"))}})
        case "header length":
            content = random.randrange(1 << 20, 1 << 64).to_bytes(8, "little") + b"{}"
        case _:
            content = _many_entries() + random.randbytes(2)
    files = good(random) | {WEIGHTS: content + random.randbytes(size)}
    return stored(kind, "not a whole safetensors file", files, manifest_of(files, MODEL))


@cache
def _many_entries() -> bytes:
    return header_of({f"layers.{number}": row(0) for number in range(100_000)})


def _index(kind: str, random: Random) -> Mutant:
    names = (f"../{MODEL}/{WEIGHTS}", "/etc/passwd", "../../seal.json", "other.safetensors")
    shards, reason = {"a": WEIGHTS, "b": random.choice(names)}, "names weight files that do not belong"
    if kind == "lost tensor":
        shards, reason = {"a": WEIGHTS, "b": WEIGHTS, f"layers.{random.randrange(99)}": WEIGHTS}, "it is not there"
    files = good(random) | {INDEX: json.dumps({"weight_map": shards}).encode()}
    return stored(kind, reason, files, manifest_of(files, MODEL))


def _traversal(kind: str, random: Random) -> Mutant:
    """The manifest cannot be made with our own code: it refuses such names."""
    files, content = good(random), b"{}"
    names = (
        "../config.json",
        "/etc/config.json",
        "a/../../config.json",
        "a//b.json",
        "..",
        ".part-x/a.json",
        "a\\b.json",
    )
    manifest = manifest_of(files, MODEL)
    document: dict[str, Any] = json.loads(manifest.to_json())
    document["files"].append({"name": random.choice(names), "size": len(content), "sha256": random.randbytes(32).hex()})
    version = digest_of({key: value for key, value in document.items() if key not in _UNSIGNED})
    signed = KEY.sign(manifest.model_copy(update={"version": version}))
    document |= {"version": version, "signature": signed.signature}
    return stored(kind, "a file name is", files, signed, json.dumps(document).encode())


def _signature(kind: str, random: Random) -> Mutant:
    files = good(random)
    manifest = manifest_of(files, MODEL)
    match kind:
        case "wrong signer":
            return stored(kind, "not among the trusted keys", files, STRANGER.sign(manifest))
        case "stranger as signer":
            forged = STRANGER.sign(manifest).model_copy(update={"signer": KEY.public})
            return stored(kind, "the signature is wrong", files, forged)
        case "unsigned":
            bare = manifest.model_copy(update={random.choice(("signature", "signer")): None})
            return stored(kind, "is not signed", files, bare)
    other = manifest_of(good(random), MODEL)
    return stored(kind, "the signature is wrong", files, manifest.model_copy(update={"signature": other.signature}))


def _replay(kind: str, random: Random) -> Mutant:
    """An old version, signed by a trusted key, under the name of another version or of another model."""
    if kind == "replay of another model":
        files = good(random)
        return stored(kind, "the manifest there belongs to shore", files, manifest_of(files, "shore"))
    old, files = manifest_of(good(random), MODEL), good(random)
    return stored(kind, "is wrong: it names", files, manifest_of(files, MODEL), old.to_json())


def _adapter(kind: str, random: Random) -> Mutant:
    files = good(random)
    base = f"{MODEL}@{random.randbytes(32).hex()}"
    return stored(kind, "is an adapter for", files, _signed(manifest_of(files, MODEL), kind="adapter", base=base))


def _configuration(kind: str, random: Random) -> Mutant:
    content = random.choice((b"[" * 100_000, b"[]", b"{", b"\xff\xfe\x00", b"", b"null", b'"config"'))
    files = good(random) | {CONFIG: content}
    return stored(kind, "config.json is not", files, manifest_of(files, MODEL))


def _unproven(kind: str, random: Random) -> Mutant:
    """Whole and signed, but the weights do not say what the manifest says that they do."""
    files = good(random)
    prompt = tuple(random.randrange(1, 200) for _ in range(3))
    golden = Golden(prompt_token_ids=prompt, expected_token_ids=(0, 0, 0))
    return stored(kind, "golden prompt 0", files, _signed(manifest_of(files, MODEL), golden=(golden,)))


def _signed(manifest: Manifest, **changed: Any) -> Manifest:
    return KEY.sign(make(**manifest.model_dump(exclude={"version", "signature", "signer"}) | changed))


KINDS: dict[str, Callable[[str, Random], Mutant]] = {
    **dict.fromkeys(("bit flip", "cut file", "grown file"), _changed_file),
    "wrong hash": _wrong_hash,
    **dict.fromkeys(("edited manifest", "unknown key", "torn manifest"), _changed_manifest),
    **dict.fromkeys(("pickle", "pickle in safetensors"), _pickle),
    "remote code": _remote_code,
    **dict.fromkeys(("shape", "overlap", "precision", "header length", "header of 100,000"), _weights),
    **dict.fromkeys(("traversal in the index", "lost tensor"), _index),
    "traversal": _traversal,
    **dict.fromkeys(("wrong signer", "stranger as signer", "unsigned", "signature of another"), _signature),
    **dict.fromkeys(("replay under a new name", "replay of another model"), _replay),
    "adapter for another base": _adapter,
    "configuration": _configuration,
    "unproven": _unproven,
}
"""How each kind is made."""
