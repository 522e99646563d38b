"""A terminal of 80 columns, or of another width."""

from rich.console import Console, RenderableType

WIDTH = 80


def shown(renderable: RenderableType, width: int = WIDTH) -> list[str]:
    console = Console(width=width, color_system=None, soft_wrap=True)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get().splitlines()
