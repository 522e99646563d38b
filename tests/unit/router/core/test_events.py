from services.router.core import events
from services.router.core.events import DeliveryAsked, DrainAsked, Granted, Queued, Refused, Revoked, StageAsked
from services.shared.classes import ServiceClass

GRANT = (
    b'{"kind":"grant","session":"s","request":"r","attempt":"2","rank":"0","worker":"w","address":"h:1",'
    b'"epoch":"18000000000000000000","version":"v","wait_ms":12,"cached":"0"}'
)


def test_a_grant_keeps_every_digit_of_the_epoch() -> None:
    grant = events.decode_event(GRANT)
    assert grant == Granted("s", "r", 2, ServiceClass.PRIORITY, "w", "h:1", 18_000_000_000_000_000_000, "v", 12)


def test_answers() -> None:
    assert events.decode_answer(b'{"kind":"queued","position":3,"wait_ms":40}', "s", "r", 1) == Queued(3, 40)
    assert events.decode_answer(b'{"kind":"queue_full"}', "s", "r", 1) == Refused("queue_full")
    assert events.decode_answer(b'{"kind":"revoke","reason":"lost"}', "s", "r", 1) == Revoked("s", "r", 1, "lost")


def test_what_python_writes_survives_the_outbox() -> None:
    for asked in (DrainAsked("w", 500), DeliveryAsked("w", "d", "v", 700, "recompute"), StageAsked("w", "s", "v")):
        assert events.decode_event(events.encode_event(asked)) == asked


def test_json_names_stay_as_replicas_of_other_releases_know_them() -> None:
    names = {kind: " ".join(name for name, _ in events.json_fields(event)) for kind, event in events.EVENTS.items()}
    assert names == {
        "grant": "session request attempt rank worker address epoch version wait_ms cached",
        "revoke": "session request attempt reason",
        "expired": "session request attempt",
        "crowded_out": "session request attempt retry_after_ms",
        "yield": "session request attempt",
        "drain": "worker timeout_ms",
        "deliver": "worker delivery version finish_timeout_ms mode speculator",
        "stage": "worker stage version speculator",
    }


def test_a_replica_of_an_earlier_release_names_no_mode() -> None:
    written = b'{"kind":"deliver","worker":"w","delivery":"d","version":"v","finish_timeout_ms":700}'
    assert events.decode_event(written) == DeliveryAsked("w", "d", "v", 700)
