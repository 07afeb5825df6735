"""Why a request is not answered as it wished."""


class Refused(Exception):
    """A request that cannot be answered; becomes a status and one line.

    Attributes:
      status: of HTTP.
      text: one line: what was wrong, and what to do.
      retry_after: seconds after which trying again may help; 0: it would not.
    """

    def __init__(self, status: int, text: str, retry_after: int = 0):
        super().__init__(text)
        self.status, self.text, self.retry_after = status, " ".join(text.split()), retry_after


class Gone(Exception):
    """The client went away; there is nobody to answer."""
