"""Connections at the limit of descriptors, and log lines that come again and again."""

import logging
from typing import Any

from agent.server.http.connections import Guests, most_guests
from agent.server.http.log_rate import RareLines


class Guest:
    """A connection that only notes whether it had to leave."""

    def __init__(self) -> None:
        self.has_left = False

    def leave(self) -> None:
        self.has_left = True


def come(guests: Guests, count: int) -> list[Any]:
    made: list[Any] = [Guest() for _ in range(count)]
    for guest in made:
        guests.come(guest)
    return made


def test_past_the_limit_the_oldest_connection_without_a_request_leaves() -> None:
    guests = Guests(most=5)
    asking, resting = come(guests, 2)
    guests.ask(asking)
    guests.ask(resting)
    guests.rest(resting)
    silent = come(guests, 4)
    assert [guest.has_left for guest in silent] == [True, False, False, False]
    assert not asking.has_left
    assert not resting.has_left
    for guest in silent[1:]:
        guests.ask(guest)  # all of them are being answered now
    guests.go(silent[0])
    come(guests, 1)
    assert resting.has_left  # it waits for its next request


def test_a_connection_between_two_requests_leaves_before_one_that_is_answered() -> None:
    guests = Guests(most=2)
    answered, idle = come(guests, 2)
    guests.ask(answered)
    guests.ask(idle)
    guests.rest(idle)
    (new,) = come(guests, 1)
    guests.ask(new)
    come(guests, 1)
    assert not answered.has_left
    assert not new.has_left


def test_some_descriptors_are_kept_for_files() -> None:
    assert most_guests(65_536) < 65_536 - 128
    assert most_guests(1024) < 1024 - 128
    assert most_guests(100) == 50


def test_a_line_that_comes_again_is_written_once_a_period_with_a_count() -> None:
    now = [0.0]
    lines = RareLines(10.0, lambda: now[0])

    def passes(text: str, *arguments: object) -> str | None:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, text, arguments, None)
        return record.getMessage() if lines.filter(record) else None

    assert passes("no descriptors %s", 1) == "no descriptors 1"
    assert [passes("no descriptors 1") for _ in range(1000)] == [None] * 1000
    assert passes("another") == "another"
    now[0] = 11.0
    assert passes("no descriptors 1") == "no descriptors 1 (1000 more like this since)"
