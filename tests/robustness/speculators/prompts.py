"""Questions for the drafter: it learns from the answers to some, and is measured on others with other topics."""

FORMS = (
    "Explain in simple words what {} is.",
    "Write a short story about {}.",
    "List five facts about {}.",
    "Why is {} important?",
    "Describe {} to a child.",
    "Give me three tips about {}.",
    "Write a short letter to a friend about {}.",
    "What should a beginner know about {}?",
)
LEARNT = (
    "a lighthouse", "the moon", "bread", "a bicycle", "winter", "the human heart", "a library", "chess", "rain",
    "a garden", "the sea", "electricity", "a school", "coffee", "a mountain", "music", "the sun", "a train", "sleep",
    "a river", "history", "a cat", "gravity", "football", "a bridge", "friendship", "the internet", "cheese", "wind",
    "a hospital",
)  # fmt: skip
HELD_OUT = ("a harbour", "a volcano", "tea", "the violin", "a forest", "swimming")


def questions(topics: tuple[str, ...]) -> list[str]:
    """Every form with every topic."""
    return [form.format(topic) for topic in topics for form in FORMS]
