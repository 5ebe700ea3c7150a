"""Ids of deleted rows are never used again, so nothing that outlives a row can reach another."""

from pathlib import Path

from agent.server.store.database import Database, insert
from agent.server.store.tables import IDENTIFIED, MIGRATIONS
from tests.server.server_lab import Lab, mutation


def test_a_new_run_never_gets_the_id_of_a_deleted_one(lab: Lab) -> None:
    first = lab.init("first")["bucket"]
    lab.delete_run("first")
    assert lab.init("second")["bucket"]["id"] != first["id"]


def test_the_history_of_a_deleted_run_is_not_shown_for_the_next(lab: Lab) -> None:
    lab.init("first")
    lab.post("first", {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"loss": 1}']}}})
    lab.delete_run("first")
    lab.init("second")
    found = lab.ask('query {project(name: "p") {run(name: "second") {history historyLineCount}}}')[
        "project"
    ]["run"]
    assert found == {"history": [], "historyLineCount": 0}


def test_the_upload_address_of_a_deleted_run_is_dead(lab: Lab) -> None:
    lab.init("first")
    address = lab.upload_path("first", "a.txt")
    lab.delete_run("first")
    lab.init("second")
    assert lab.http.put(address, content=b"mine").status_code == 404
    with lab.services.database.read() as connection:
        assert connection.execute("SELECT count(*) FROM run_file").fetchone()[0] == 0


def test_an_agent_of_a_deleted_sweep_gets_no_work_of_the_next(lab: Lab) -> None:
    sweep = lab.make_sweep()
    agent = lab.make_agent(sweep)
    with lab.services.database.write() as connection:
        connection.execute("DELETE FROM sweep WHERE name = ?", (sweep["name"],))
    lab.make_agent(lab.make_sweep())
    document = mutation("agentHeartbeat", "commands")
    answer = lab.http.post(
        "/graphql",
        json={"query": document, "variables": {"i": {"id": agent, "runState": "{}"}}},
        auth=("api", "local-" + "k" * 40),
    )
    assert answer.status_code == 404


def test_ids_go_on_where_an_older_server_stopped(tmp_path: Path) -> None:
    before = next(n for n, text in enumerate(MIGRATIONS) if "identity" in text)
    older = Database(tmp_path / "server.db", MIGRATIONS[:before])
    with older.write() as connection:
        connection.execute(
            "INSERT INTO project (id, entity, name, created_at, updated_at) "
            "VALUES (7, 'local', 'old', 0, 0)"
        )
    older.close()
    newer = Database(tmp_path / "server.db")
    with newer.write() as connection:
        connection.execute("DELETE FROM project")
        values = {"entity": "local", "name": "new", "created_at": 0, "updated_at": 0}
        assert insert(connection, "project", **values) == 8
        counted = {row[0] for row in connection.execute("SELECT kind FROM identity")}
    newer.close()
    assert counted == set(IDENTIFIED)
