from services.cli.views.output import build_table
from tests.unit.cli.terminal import WIDTH, shown


def test_what_is_too_wide_for_the_terminal_goes_on_below() -> None:
    model, source = "w" * 50, "z" * 90
    lines = shown(build_table(("model", "aliases", "source"), [(model, "latest, stable", source)]))
    assert max(map(len, lines)) <= WIDTH
    for whole in (model, source):
        assert "".join(lines).count(whole[0]) == len(whole)


def test_what_fits_stands_on_one_line() -> None:
    assert shown(build_table(("model", "aliases"), [("m" * 40, "latest, stable")]))[1:] == [
        f"{'m' * 40}  latest, stable"
    ]
