"""The hash of all stages. datatrove's other one, xxhash, wants a release of that library before 4."""

from datatrove.utils.hashing import HashConfig

HASHES = HashConfig(precision=64, hash_fc="sha1")
