"""The notices that concern a whole session, in words. Those of one segment are made where the segment is."""

from .protocol import Notice, NoticeCode


def lagging(interval_ms: int, *, busier: bool) -> Notice:
    """The time between partials has changed."""
    message = "the server is busy: partials come less often" if busier else "partials come more often again"
    return Notice(code=NoticeCode.LAGGING, message=message, interval_ms=interval_ms)


def partials_dropped(count: int) -> Notice:
    """The client read too slowly to see all partials."""
    message = f"{count} partials were replaced by newer ones before you read them"
    return Notice(code=NoticeCode.PARTIALS_DROPPED, message=message)


def words_unavailable() -> Notice:
    """Word times were asked for in vain."""
    return Notice(code=NoticeCode.WORDS_UNAVAILABLE, message="this server has no aligner: finals carry no words")
