"""Two deltas of one choice as one."""

from services.worker.engine.contract import Delta


def joined(first: Delta, second: Delta) -> Delta | None:
    """Returns two deltas of one choice, of which the second follows the first, as one.

    None: they must stay apart, because a delta says in which order its parts come. Its reasoning comes before its text,
    and its calls come after both.
    """
    if first.tool_calls or second.tool_calls or first.finish_reason or (first.text and second.reasoning):
        return None
    return Delta(
        first.choice,
        text=first.text + second.text,
        token_ids=first.token_ids + second.token_ids,
        reasoning=first.reasoning + second.reasoning,
        logprobs=first.logprobs + second.logprobs,
        finish_reason=second.finish_reason,
        stop_reason=second.stop_reason,
        text_from=first.text_from,
        text_end=second.text_end,
    )
