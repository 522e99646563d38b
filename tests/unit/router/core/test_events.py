from services.router.core import events
from services.router.core.events import DrainAsked, Granted, Queued, Refused, Revoked
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


def test_a_drain_survives_the_outbox() -> None:
    asked = DrainAsked("w", 500)
    assert events.decode_event(events.encode_drain(asked)) == asked
