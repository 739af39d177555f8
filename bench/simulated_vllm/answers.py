"""The text of an answer: a pure function of the prompt, the sampling seed and the behaviour."""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass, replace
from functools import cache

from bench.simulated_vllm.behaviour import Behaviour
from bench.simulated_vllm.vocabulary import ADJECTIVES, ADVERBS, NOUNS, VERBS

WORDS_A_SENTENCE = 8
SENTENCES = 8192  # a power of two, so that masked bits of a digest index it without bias
REFUSAL = "I'm sorry, but I can't help with that request."
DUPLICATE = "The answer that is always the same says the same thing, word for word, every time."


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` is None where the token limit fell within the reasoning."""

    reasoning: str | None
    content: str | None
    finish_reason: str
    completion_tokens: int
    reasoning_tokens: int


@cache
def sentences() -> list[str]:
    """Made once, so that an answer costs a digest and a join."""
    pick = random.Random(1729).choice
    return [
        f"The {pick(ADJECTIVES)} {pick(NOUNS)} {pick(VERBS)} the {pick(ADJECTIVES)} {pick(NOUNS)} {pick(ADVERBS)}."
        for _ in range(SENTENCES)
    ]


def prompt_key(messages: bytes) -> str:
    """The name of a prompt in the statistics: `messages` as orjson writes them."""
    return hashlib.blake2b(messages, digest_size=8).hexdigest()


def answer(behaviour: Behaviour, messages: bytes, seed: int | None, index: int, max_tokens: int) -> Answer:
    """At most `max_tokens` long, reasoning included; one token a word."""
    n_content = max(1, round(behaviour.words / WORDS_A_SENTENCE))
    n_reasoning = max(1, round(behaviour.reasoning_words / WORDS_A_SENTENCE))
    if behaviour.reasoning == "none" or behaviour.reasoning_words == 0:
        n_reasoning = 0
    count = n_content + n_reasoning
    # 64 bits draw the kind of answer, 16 bits each sentence.
    salted = b"%d/%d/%b" % (seed or 0, index, messages)
    digest = hashlib.shake_128(salted).digest(8 + 2 * count)
    draw, *picks = struct.unpack(f"<Q{count}H", digest)
    pool = sentences()
    drawn = [pool[pick % SENTENCES] for pick in picks]
    reasoning = " ".join(drawn[:n_reasoning]) if n_reasoning else None
    whole = Answer(
        reasoning=reasoning,
        content=" ".join(drawn[n_reasoning:]),
        finish_reason="stop",
        completion_tokens=count * WORDS_A_SENTENCE,
        reasoning_tokens=n_reasoning * WORDS_A_SENTENCE,
    )
    return cut(special(behaviour, whole, draw / 2**64), max_tokens)


def special(behaviour: Behaviour, whole: Answer, draw: float) -> Answer:
    """The shares: duplicate, refusal, empty or cut, by where the draw falls."""
    for share, text in (
        (behaviour.duplicates_share, DUPLICATE),
        (behaviour.refusal_share, REFUSAL),
        (behaviour.empty_share, ""),
    ):
        if draw < share:
            tokens = whole.reasoning_tokens + len(text.split())
            return replace(whole, content=text, completion_tokens=tokens)
        draw -= share
    if draw < behaviour.length_share:
        return cut(whole, whole.completion_tokens // 2)
    return whole


def cut(whole: Answer, max_tokens: int) -> Answer:
    """As a token limit does, wherever it falls."""
    if whole.completion_tokens <= max_tokens:
        return whole
    left = max_tokens - whole.reasoning_tokens
    reasoning, content = whole.reasoning, whole.content
    if left > 0:
        content = " ".join((content or "").split()[:left])
    elif reasoning is not None:
        reasoning, content = " ".join(reasoning.split()[:max_tokens]), None
    return Answer(reasoning, content, "length", max_tokens, min(whole.reasoning_tokens, max_tokens))
