"""refusal: the teacher declines the request, or speaks of itself as an assistant that cannot.

A first person who cannot do something is ordinary prose (letters, dialogue, lyrics), so a refusal
must name the request or the help that is not given. Only the beginning of the answer is read, and
only where a sentence begins: the same words deep in a story or a summary are content. English, and
the fixed openings of eight other languages.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from app.curation.candidate import Candidate, Reject
from app.curation.check import Check

_CANNOT = (
    r"(?:can(?:no|')?t|can not|am (?:unable|not able) to|'m (?:unable|not able) to|won't be able to|"
    r"am not (?:allowed|permitted) to|'m not (?:allowed|permitted) to)"
)
_OBJECT = r"(?:that|this|these|those|such|your|the) (?:\w+ )?(?:request|question|prompt|instruction|task|topic|inquiry)s?"
_HELP = rf"(?:help|assist)(?: you)?(?: (?:with|in) (?:that|this|it|these|those|such|any|{_OBJECT})\b|[.!,]| further)"
_COMPLY = rf"(?:(?:fulfil+|comply with|complete|process|answer|respond to|satisfy|engage (?:with|in)|discuss) {_OBJECT}|do (?:that|this)\b[.!,])"
_GIVE = (
    r"(?:provide|create|generate|write|produce|share|offer|give|engage in)(?: you)?(?: with)? "
    r"(?:(?:any|such|explicit|harmful|illegal|hateful|sexual|medical|legal|financial) \w+|(?:that|this|the requested) (?:information|content)|(?:images|pictures|files|links)\b|(?:information|instructions|content|advice|guidance|details) (?:on|about|that|for|regarding))"
)
_REFUSED = rf"(?:{_HELP}|{_COMPLY}|{_GIVE})"
_AI = r"(?:ai|artificial intelligence|(?:large )?language model)(?: (?:language model|model|assistant|chatbot|system))?"
PATTERNS = [
    rf"(?:(?:i'm |i am )?(?:so |very |really |truly )?sorry|i apologi[sz]e|my apologies|apologies|unfortunately|regrettably),? (?:but )?i ?{_CANNOT} {_REFUSED}",
    rf"i ?{_CANNOT} {_REFUSED}",
    rf"as an? {_AI},? i ?(?:{_CANNOT}|do not|don't|am not|'m not|have no|lack)\b",
    rf"(?:(?:i'm|i am) )?(?:so |very |really |truly )?sorry,? but as an? {_AI}\b",
    rf"i(?:'m| am) (?:just |only |merely )?an? {_AI}\b[^.!?\n]{{0,40}}?(?:,| and| so) i ?{_CANNOT}\b",
    rf"i (?:must|have to) (?:respectfully |politely )?(?:decline|refuse) (?:to (?:answer|help|assist|provide|comply)\b|{_OBJECT})",
    r"lo siento,? pero no puedo (?:ayudar|cumplir|proporcionar|responder|generar|crear|asistir)",
    r"(?:je suis )?désolée?,? mais je ne (?:peux pas|suis pas en mesure de) (?:vous )?(?:aider|répondre|fournir|générer|créer)",
    r"es tut mir leid,? aber (?:ich kann|dabei kann ich)\b[^.!?\n]{0,40}\bnicht (?:helfen|beantworten|bereitstellen|erfüllen|erstellen|weiterhelfen)",
    r"mi dispiace,? ma non posso (?:aiutar|fornir|risponder|crear|generar)",
    r"(?:desculpe|sinto muito),? mas (?:eu )?não posso (?:ajudar|fornecer|responder|criar|gerar)",
    r"(?:很抱歉|对不起|抱歉)[,，]?\s*(?:但是?)?我?(?:不能|无法)(?:帮助|协助|提供|回答|满足|完成)",
    r"申し訳(?:ありません|ございません)が[、,]?[^。\n]{0,30}(?:お手伝い|お答え|対応|提供)[^。\n]{0,12}(?:できません|いたしかねます|できかねます)",
    r"извините,? но я не могу (?:помочь|ответить|предоставить|выполнить)",
]
OPENING = re.compile(r"(?:" + "|".join(PATTERNS) + r")", re.IGNORECASE)
# Where a sentence begins: at the start, or after a stop, a colon, a comma or a new line; past quotes and Markdown.
# Only there the patterns are tried: to search for them everywhere cost ten times as much.
BEGINNING = re.compile(r"(?:^|(?<=[.!?:\n,]))[ \t*_\"'“”‘>#-]*")


class Refusal(Check):
    """Reads the first `within_chars` characters of the answer."""

    check: Literal["refusal"]
    within_chars: Annotated[int, Field(ge=20, le=2000)] = 200

    def judge(self, candidate: Candidate) -> Reject | None:
        head = candidate.response[: self.within_chars + 200].replace("’", "'")
        for beginning in BEGINNING.finditer(head):
            if beginning.end() > self.within_chars:
                break
            match = OPENING.match(head, beginning.end())
            if match is not None:
                return self.reject(f"opens with {match.group()[:80]!r}")
        return None
