"""What the page of one run shows: its data, predictions, console and files."""

import json

import pytest

from agent.server.pages.run import clean_line, read_records, worst
from agent.server.store.database import insert, update
from tests.server.pages_reader import (
    add_blob,
    add_predictions,
    data,
    make_run,
    see,
)
from tests.server.server_lab import Lab


def test_run_data_is_small_when_nothing_has_changed(lab: Lab) -> None:
    make_run(lab, "a")
    first = data(lab, "/local/p/runs/a/data")
    assert first["history"]["odd"]["y"] == [1, 2]
    assert (first["state"], first["is_live"]) == ("finished", False)
    assert ["odd", 2.0] in first["summary"]
    again = data(lab, f"/local/p/runs/a/data?revision={first['revision']}")
    assert set(again) == {"revision", "state", "is_live", "duration_s"}
    assert data(lab, "/local/p/runs/a/data?revision=nan&line=x")["console"]["lines"] == []


def test_the_twenty_worst_predictions_come_first() -> None:
    records = [
        {"output": f"o{i}", "gold": ["a", "b"], "score": i / 50, "n": None} for i in range(50)
    ]
    found = worst(records[::-1])
    assert found.columns == ("score", "output", "gold")  # no line has an n
    assert [line[1] for line in found.lines] == [f"o{i}" for i in range(20)]
    assert found.lines[1] == ("0.02", "o1", "a\nb")
    assert (found.count, found.failed, found.lowest) == (50, 1, "0")
    assert "no score" in worst([{"output": "x"}]).problem


def test_predictions_are_read_as_lines_or_as_a_table() -> None:
    table = b'{"columns": ["score", "output"], "data": [[0.5, "x"]]}'
    assert read_records(b'{"score": 0.5, "output": "x"}\n\n') == [{"score": 0.5, "output": "x"}]
    assert read_records(table) == [{"score": 0.5, "output": "x"}]
    with pytest.raises(ValueError, match="not an object"):
        read_records(b"[1]\n")


def _log_predictions(lab: Lab, run: str, content: bytes) -> None:
    with lab.services.database.write() as connection:
        add_predictions(connection, lab.services.blobs, run, content, lab.now)


def test_a_run_shows_its_worst_predictions_and_its_files_can_be_fetched(lab: Lab) -> None:
    make_run(lab, "a")
    assert "has logged no predictions" in see(lab, "/local/p/runs/a")
    lines = [json.dumps({"score": s, "output": f"<i>{s}</i>", "gold": "g"}) for s in (1.0, 0.25)]
    _log_predictions(lab, "a", "\n".join(lines).encode())
    text = see(lab, "/local/p/runs/a")
    assert text.index("&lt;i&gt;0.25") < text.index("&lt;i&gt;1.0")
    assert "The 2 worst of 2 by score; 1 of 2 have 0.25" in text
    address = text.split('href="/storage/')[1].split('"')[0]
    answer = lab.http.get(f"/storage/{address}")
    assert answer.content.decode() == "\n".join(lines)
    assert "attachment" in answer.headers["content-disposition"]


def test_unreadable_predictions_do_not_break_the_page(lab: Lab) -> None:
    make_run(lab, "a")
    _log_predictions(lab, "a", b"\xff\xfe not json")
    assert "cannot be read" in see(lab, "/local/p/runs/a")


def test_predictions_come_from_a_logged_table_where_there_is_no_artifact(lab: Lab) -> None:
    make_run(lab, "a")
    blob = add_blob(
        lab.services.blobs, b'{"columns": ["score", "output"], "data": [[0.5, "said so"]]}'
    )
    with lab.services.database.write() as connection:
        (run_id,) = connection.execute("SELECT id FROM run").fetchone()
        insert(
            connection,
            "run_file",
            run_id=run_id,
            name="media/t.json",
            size=50,
            md5="",
            blob=blob,
            updated_at=lab.now,
        )
        table = {"_type": "table-file", "path": "media/t.json"}
        update(connection, "run", run_id, summary=json.dumps({"t": table}))
    assert "said so" in see(lab, "/local/p/runs/a")


def test_the_console_shows_what_a_terminal_would(lab: Lab) -> None:
    assert clean_line("\x1b[32mok\x1b[0m\n") == "ok"
    assert clean_line(" 10%\r 55%\r100%") == "100%"
    assert clean_line("a\tb\x00c") == "a\tbc"
    make_run(lab, "a")
    content = [f"line {i}" for i in range(1200)]
    lab.post("a", {"files": {"output.log": {"offset": 0, "content": content}}})
    text = see(lab, "/local/p/runs/a")
    assert "line 1199" in text
    assert "line 199\n" not in text
    assert "the first 200 are in the file" in text
    news = data(lab, "/local/p/runs/a/data?line=1198")["console"]
    assert (news["lines"], news["next"]) == (["line 1198", "line 1199"], 1200)
