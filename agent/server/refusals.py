"""Why a request is refused: sent to the client, never a fault of the server's program."""

import sqlite3

from agent.errors import Fault, fault_of, one_line


class Refused(Exception):
    """The request asks for something it may not have or that does not exist.

    `status` decides how the client behaves: 200 carries a GraphQL error, 404 tells an agent that
    its sweep is gone, and of the rest only 400, 401, 403, 404, 409, 410, 413, 422 and 501 are not
    repeated for hours.
    """

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


def site_refusal(error: BaseException) -> Refused | None:
    """What is answered, and logged in this one line, when the disk is full, over its quota, broken
    or read-only; None for any other error. The client tries again until there is room.
    """
    if not isinstance(error, OSError | sqlite3.Error) or fault_of(error) is not Fault.SITE:
        return None
    return Refused(
        f"the server cannot write its data ({one_line(error)}); nothing of this request is "
        "stored, the client tries again: free space on the disk of the server's --data directory",
        status=503,
    )
