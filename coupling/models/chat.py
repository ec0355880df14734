"""Render prompts with a tokenizer's own chat template."""

import re
from typing import Any

from coupling.errors import CouplingError, CouplingWarning, missing_extra, one_line
from coupling.untrusted import clean


class PromptWarning(CouplingWarning):
    """Prompts are measured, but are probably not what was meant, or were damaged."""


def render(tokenizer: Any, name: str, conversations: list[list[dict[str, Any]]]) -> list[str]:
    """Each conversation as the text that the model is given before it answers.

    Args:
        tokenizer: its chat template is used, with ``add_generation_prompt=True``.
        name: the checkpoint's name.
        conversations: messages with ``role`` and ``content``.

    Raises:
        CouplingError: if the tokenizer has no template, or the template refuses a conversation.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise CouplingError(f"the tokenizer of {name} has no chat template, so `chat=True` does not apply to it")
    texts = []
    for index, messages in enumerate(conversations):
        try:
            texts.append(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except ImportError:
            raise missing_extra("jinja2", "a chat template") from None
        except Exception as error:  # templates raise anything: of a role, an order, a field
            raise CouplingError(
                f"the chat template of {name} refuses prompt {index}: {clean(one_line(error))}"
            ) from None
        if not isinstance(texts[-1], str) or re.search("[\ud800-\udfff]", texts[-1]):
            raise CouplingError(f"the chat template of {name} renders prompt {index} as something that is not text")
        if not texts[-1].strip():
            raise CouplingError(f"the chat template of {name} renders prompt {index} as an empty text")
    return texts


def as_messages(text: str) -> list[dict[str, Any]]:
    """A text as the message of a user."""
    return [{"role": "user", "content": text}]


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of messages."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)
