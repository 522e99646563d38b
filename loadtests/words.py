"""Random text of known length: short words that are one token in most tokenizers and in the simulated engine."""

from random import Random

_LIST = """
bake bare base bite bone bore dare date dime dine dive dome dose fade fame fare fate file fine fire five gate gave
gaze give gone hate have here hero hide hike hire hole home hope hose kite lake lane late life like lime line live
lone lose love made make male mate maze mere mile mine mode more move name nine node none nose note page pale pane
pave pile pine pipe pole pope pose rage rare rate ride ripe rise robe rode role rope rose safe sage sake sale same
sane save side sine site size sole some sore take tale tame tape tide tile time tire tone vine vote wade wage wake
wave were wide wife wine wipe wire wise zero zone
"""
WORDS = tuple(_LIST.split())


def text(tokens: int, random: Random) -> str:
    """`tokens` random words. Each has a space before it, as tokenizers expect."""
    return "".join(f" {word}" for word in random.choices(WORDS, k=tokens))
