"""Why a request is refused: sent to the client, never a fault of the server."""


class Refused(Exception):
    """The request asks for something it may not have or that does not exist.

    `status` decides how the client behaves: 200 carries a GraphQL error, 404 tells an agent that
    its sweep is gone, and of the rest only 400, 401, 403, 404, 409, 410, 413, 422 and 501 are not
    repeated for hours.
    """

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status
