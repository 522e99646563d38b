"""A terminal of 80 columns."""

from rich.console import Console, RenderableType

WIDTH = 80


def shown(renderable: RenderableType) -> list[str]:
    console = Console(width=WIDTH, color_system=None, soft_wrap=True)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get().splitlines()
