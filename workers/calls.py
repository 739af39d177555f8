"""Calls to one teacher: each waits for its turn at the gate, and tells the gate how it went."""

from __future__ import annotations

import time
from typing import Self

from app.logs import get_logger
from app.teachers.config import Teacher
from workers.teacher.client import TeacherClient
from workers.teacher.errors import Overloaded, SeedRefused, TeacherError, TeacherFault
from workers.teacher.gate import Gate
from workers.teacher.types import ChatRequest, Reply

logger = get_logger(__name__)


class TeacherCalls:
    """A teacher's client behind its gate; a context manager that closes the client."""

    def __init__(self, teacher: Teacher, max_in_flight: int) -> None:
        self.gate = Gate(time.monotonic, max_in_flight)
        self._name = teacher.name
        self._client = TeacherClient(teacher)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.__aexit__(*exc)

    async def generate(self, request: ChatRequest) -> Reply:
        """One call, when its turn has come.

        Raises:
            TeacherError: as the client raises it.
        """
        began = await self.gate.enter()
        try:
            reply = await self._client.generate(request)
        except TeacherError as exc:
            self._tell(exc, began)
            raise
        else:
            self.gate.answered(began)
            return reply
        finally:
            self.gate.leave()

    def _tell(self, exc: TeacherError, began: float) -> None:
        pause_s = None
        if isinstance(exc, SeedRefused):
            self.gate.answered(began)
        elif isinstance(exc, TeacherFault):
            pause_s = self.gate.failed(began, overloaded=isinstance(exc, Overloaded))
        else:
            pause_s = self.gate.stumbled(began)
        words = {"teacher": self._name, "error_class": exc.error_class, "error": exc.message[:300]}
        if pause_s is not None:
            logger.warning("teacher_left_alone", **words, pause_s=round(pause_s, 1), level=round(self.gate.level))
        else:
            logger.debug("attempt_failed", **words)
