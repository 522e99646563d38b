"""Stop strings that arrive in pieces."""

from services.worker.engine.simulated.stops import StopStrings


def test_what_may_become_a_stop_string_is_held_back() -> None:
    stops = StopStrings(("END",))
    assert stops.push("say EN") == ("say ", None)
    assert stops.push("D now") == ("", "END")


def test_the_earliest_stop_string_counts() -> None:
    assert StopStrings(("later", "now")).push("just now or later") == ("just ", "now")


def test_nothing_is_held_back_without_stop_strings() -> None:
    assert StopStrings(()).push("all of it") == ("all of it", None)


def test_flush_gives_what_was_held_back() -> None:
    stops = StopStrings(("END",))
    stops.push("say EN")
    assert stops.flush() == "EN"
    assert stops.flush() == ""
