"""Everything that can go wrong between a request and a well-formed reply.

TeacherError
├── TeacherFault         nobody's seed is to blame: the teacher is left alone for a while
│   ├── Unreachable      connect        no connection
│   ├── Overloaded       overloaded     429, 503
│   ├── Unavailable      unavailable    502, 504: a proxy in front of a teacher that is away
│   ├── Unauthorized     unauthorized   401, 403
│   ├── NotServed        not_found      404: wrong model or wrong URL
│   └── WrongModel       wrong_model    200, but another model answered
├── PassingFault         may be the seed's fault or not: tried again, a bounded number of times
│   ├── TimedOut         timeout
│   ├── ConnectionLost   connection_lost
│   ├── ServerFailed     server_error   5xx, other than 503
│   ├── BadReply         bad_reply      HTML, cut JSON, no choices, too long
│   ├── Aborted          aborted        200 with finish_reason `abort`
│   └── Unforeseen       internal       a defect of ours, or a library's; the log has it
├── SeedRefused          bad_request    400, 422 and the like: the seed fails with the teacher's words
└── Recalled             recalled       we hung up: the dataset was paused or cancelled
"""

from __future__ import annotations

from typing import ClassVar


class TeacherError(Exception):
    """A teacher call without a well-formed reply. `raw` holds what did come."""

    error_class: ClassVar[str]

    def __init__(self, message: str, *, raw: bytes | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.raw = raw
        self.latency_ms = 0


class TeacherFault(TeacherError):
    """The teacher cannot be used at present."""


class Unreachable(TeacherFault):
    error_class = "connect"


class Overloaded(TeacherFault):
    error_class = "overloaded"


class Unavailable(TeacherFault):
    error_class = "unavailable"


class Unauthorized(TeacherFault):
    error_class = "unauthorized"


class NotServed(TeacherFault):
    error_class = "not_found"


class WrongModel(TeacherFault):
    error_class = "wrong_model"


class PassingFault(TeacherError):
    """This call failed; another may not."""


class TimedOut(PassingFault):
    error_class = "timeout"


class ConnectionLost(PassingFault):
    error_class = "connection_lost"


class ServerFailed(PassingFault):
    error_class = "server_error"


class BadReply(PassingFault):
    error_class = "bad_reply"


class Aborted(PassingFault):
    error_class = "aborted"


class Unforeseen(PassingFault):
    error_class = "internal"


class SeedRefused(TeacherError):
    """The teacher refuses this very request."""

    error_class = "bad_request"


class Recalled(TeacherError):
    """`sent` False: the teacher never had it, so there is no attempt to speak of."""

    error_class = "recalled"

    def __init__(self, *, sent: bool) -> None:
        super().__init__("the dataset was paused or cancelled while this call was in flight")
        self.sent = sent
