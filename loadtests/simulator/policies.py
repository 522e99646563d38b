"""The policies by name: those of the router's scripts, and those that they are compared with."""

from collections.abc import Sequence
from typing import Literal, get_args

import redis

from loadtests.simulator.dispatch import Dispatch
from loadtests.simulator.engine import Engine
from loadtests.simulator.oracle import Oracle
from loadtests.simulator.peers import PeerDispatch
from loadtests.simulator.radix import Radix
from loadtests.simulator.router import RouterDispatch
from loadtests.simulator.scenario import Scenario

Placement = Literal["prefix", "least_load", "round_robin"]
Peer = Literal["radix", "radix_ranked", "oracle"]
Policy = Literal[Placement, Peer]

PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
PEERS: tuple[Peer, ...] = get_args(Peer)
POLICIES: tuple[Policy, ...] = (*PLACEMENTS, *PEERS)


def dispatch_of(policy: Policy, scenario: Scenario, fleet: Sequence[Engine], client: redis.Redis) -> Dispatch:
    """The dispatch of one policy."""
    match policy:
        case "radix":
            return PeerDispatch(Radix(), len(fleet))
        case "radix_ranked":
            return PeerDispatch(Radix(), len(fleet), ranked=True)
        case "oracle":
            return PeerDispatch(Oracle(fleet), len(fleet))
        case placement:
            return RouterDispatch(client, scenario.cluster(placement), scenario.expected_output_tokens)
