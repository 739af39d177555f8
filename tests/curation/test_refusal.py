"""refusal: refusals are caught at the beginning of an answer; people who say "I cannot" in content are kept."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.curation.candidate import Candidate, Reject
from app.curation.refusal import Refusal


def judge(response: str, within_chars: int = 200) -> Reject | None:
    return Refusal(check="refusal", within_chars=within_chars).judge(Candidate("Do it.", "", None, response))


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "I am sorry, but as an AI language model I have no access to the internet.",
        "Sorry, but I cannot fulfil this request.",
        "I apologize, but I cannot provide that information.",
        "I can't help with that.",
        "I cannot assist with this request.",
        "I'm unable to help with that request.",
        "I am not able to provide medical advice.",
        "Unfortunately, I cannot create images.",
        "As an AI language model, I do not have personal opinions.",
        "As an AI, I can't browse the web.",
        "I must decline to answer this question.",
        "**I can't help with that.**",
        "Hello! I can't help with that.",
        "Thank you for asking. I cannot help with that.",
        "Lo siento, pero no puedo ayudar con eso.",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
        "Mi dispiace, ma non posso aiutarti.",
        "Desculpe, mas não posso ajudar com isso.",
        "很抱歉，我无法回答这个问题。",
        "抱歉，我不能提供帮助。",
        "申し訳ありませんが、お手伝いできません。",
        "Извините, но я не могу помочь с этим.",
    ],
)
def test_refusals_are_rejected(text: str) -> None:
    reject = judge(text)
    assert reject is not None
    assert reject.reason == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "The policy says that staff who cannot help with a request must forward it.",
        "We are sorry, but the shop is closed on Sundays.",
        "You cannot divide by zero.",
        "If I cannot create the file, the script exits with status 1.",
        'A polite refusal reads: "We can\'t help with that at present."',
        "Artificial intelligence cannot replace judgement.",
        "As an airline, we do not sell tickets by telephone.",
        "As an example, I do not count the first row.",
        "Apologies for the delay. Your parcel arrives tomorrow.",
        "I'm sorry to hear that you are ill. Get well soon!",
        "I can help you with that.",
        "I cannot wait to see you next week!",
        "I can't believe it is already July.",
        "Can't decide? Toss a coin.",
        "The robot said that it was unable to help.",
        "Lo siento mucho por tu pérdida.",
        "抱歉让你久等了。",
    ],
)
def test_ordinary_prose_is_kept(text: str) -> None:
    assert judge(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but that flight is full. Could we book you on the next one?",
        "Sorry, but as a friend I have to tell you the truth.",
        "As an AI researcher, I don't believe that scaling is all there is.",
        "As a language model grows, it is not clear that it improves.",
        "I can't help falling in love with you.",
        '"I can\'t help but wonder," she said.',
        "I can't answer the phone right now; please leave a message.",
        "I won't share your address with anyone.",
        "I cannot support this proposal: the budget is too small.",
        "I will not write about war, said the poet.",
        "I must decline your kind invitation, as I am abroad that week.",
        "I'd rather not go out tonight.",
        "Unfortunately, I will not continue my subscription.",
        "抱歉，我无法参加周五的会议。",
        "Es tut mir leid, aber ich kann morgen nicht kommen.",
        "申し訳ありませんが、会議に十分ほど遅れます。",
    ],
)
def test_letters_songs_and_speech_in_the_first_person_are_kept(text: str) -> None:
    assert judge(text) is None


def test_the_same_words_deep_in_an_answer_are_content() -> None:
    assert judge("A long story about a shop. " * 20 + "I can't help with that.") is None


def test_within_chars_sets_how_deep_it_reads() -> None:
    text = "A long story about a shop. " * 20 + "I can't help with that."
    assert judge(text, within_chars=2000) is not None


def test_a_refusal_in_the_middle_of_a_sentence_is_content() -> None:
    assert judge("The waiter told them that I can't help with that table.") is None


def test_a_refusal_on_a_line_of_its_own_is_rejected() -> None:
    """A salutation ends in no full stop, but its line does end."""
    assert judge("Dear user\n\nI cannot help with that.") is not None


def test_the_detail_quotes_what_was_found() -> None:
    reject = judge("Sure. I cannot help with that.")
    assert reject is not None
    assert reject.detail == "opens with 'I cannot help with that'"


@pytest.mark.parametrize("within_chars", [0, 19, 2001])
def test_within_chars_out_of_range_is_refused(within_chars: int) -> None:
    with pytest.raises(ValidationError, match="within_chars"):
        Refusal(check="refusal", within_chars=within_chars)
