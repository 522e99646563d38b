"""Content blocks of Anthropic's Messages API. They hold text only: the gateway never fetches what a client names."""

from typing import Annotated, Any, Literal

from pydantic import Field

from services.gateway.openai.fields import Name, Request, Text

MAX_BLOCKS = 1024
BlockId = Annotated[str, Field(min_length=1, max_length=128)]


class TextBlock(Request):
    """Text."""

    type: Literal["text"]
    text: Text


Texts = Annotated[list[TextBlock], Field(max_length=MAX_BLOCKS)]


class PlainSource(Request):
    """The text of a document."""

    type: Literal["text"]
    data: Text
    media_type: str | None = None

    @property
    def text(self) -> str:
        """The text."""
        return self.data


class ContentSource(Request):
    """The text of a document, in blocks."""

    type: Literal["content"]
    content: Text | Texts

    @property
    def text(self) -> str:
        """The text."""
        return self.content if isinstance(self.content, str) else "\n".join(block.text for block in self.content)


class DocumentBlock(Request):
    """A document."""

    type: Literal["document"]
    source: Annotated[PlainSource | ContentSource, Field(discriminator="type")]
    title: Text | None = None
    context: Text | None = None

    @property
    def text(self) -> str:
        """Title, context and text of the document, in lines."""
        return "\n".join(filter(None, (self.title, self.context, self.source.text)))


class SearchResultBlock(Request):
    """Something that was found."""

    type: Literal["search_result"]
    title: Text
    source: Text
    content: Texts

    @property
    def text(self) -> str:
        """Title, source and text of what was found, in lines."""
        return "\n".join([self.title, self.source, *(block.text for block in self.content)])


ReadBlock = TextBlock | DocumentBlock | SearchResultBlock
"""A block that the model reads as text."""
ReadContent = Text | Annotated[list[Annotated[ReadBlock, Field(discriminator="type")]], Field(max_length=MAX_BLOCKS)]


class ToolUseBlock(Request):
    """A call of a tool, as the model made it."""

    type: Literal["tool_use"]
    id: BlockId
    name: Name
    input: dict[str, Any]


class ToolResultBlock(Request):
    """What a tool returned."""

    type: Literal["tool_result"]
    tool_use_id: BlockId
    content: ReadContent | None = None
    is_error: bool | None = None


class ThinkingBlock(Request):
    """Reasoning of the model. Nobody here checks the signature."""

    type: Literal["thinking"]
    thinking: Text
    signature: str | None = None


class RedactedThinkingBlock(Request):
    """Reasoning that only another server can read. Its `data` is left out."""

    type: Literal["redacted_thinking"]


UserBlock = Annotated[TextBlock | DocumentBlock | SearchResultBlock | ToolResultBlock, Field(discriminator="type")]
AssistantBlock = Annotated[
    TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock, Field(discriminator="type")
]
UserContent = Text | Annotated[list[UserBlock], Field(max_length=MAX_BLOCKS)]
AssistantContent = Text | Annotated[list[AssistantBlock], Field(max_length=MAX_BLOCKS)]
