"""Artifacts beyond the first story: changes to versions, parts, links, tags, orders, deletion."""

from pathlib import Path

from agent.server.process import running_server
from tests.end_to_end.server_client import client_of

MAKE = """
import datetime, os, wandb
os.makedirs("tree/sub", exist_ok=True)
for name in ("tree/a.txt", "tree/sub/b.txt", "more.txt", "aside.txt"):
    open(name, "w").write("text of " + name)
with wandb.init(project="store", id="maker") as run:
    first = wandb.Artifact("data", "dataset", description="d", metadata={"deep": {"list": [1, 2]}})
    first.ttl = datetime.timedelta(days=3)
    first.add_dir("tree"); first.add_reference("file://" + os.path.abspath("aside.txt"), name="ref")
    first.add(wandb.Table(columns=["c"], data=[[1], [2]]), "tab")
    run.log_artifact(first, aliases=["best", "with space"], tags=["t1", "t2"]).wait()
    more = wandb.Artifact("data", "dataset", incremental=True)
    more.add_file("more.txt"); run.log_artifact(more).wait()
    draft = more.new_draft(); draft.remove("a.txt"); run.log_artifact(draft).wait()
    run.link_artifact(first, "local/store/shelf", aliases=["prod"])
    used = run.use_artifact("data:best")
for part in range(2):
    with wandb.init(project="store", group="parts") as run:
        piece = wandb.Artifact("parts", "dataset"); open(f"p{part}", "w").write(str(part))
        piece.add_file(f"p{part}"); run.upsert_artifact(piece, distributed_id="one")
        if part == 1:
            run.finish_artifact(wandb.Artifact("parts", "dataset"), distributed_id="one").wait()
with wandb.init(project="store", id="again") as run:
    same = wandb.Artifact("parts", "dataset")
    for part in range(2): same.add_file(f"p{part}")
    run.log_artifact(same).wait()
answer = 0
"""
READ = """
import wandb
api = wandb.Api()
def get(name): return wandb.Api().artifact("local/store/" + name)
def entries(name): return sorted(get(name).manifest.entries)
def fails(what):
    try: what()
    except Exception as error: return str(error)
best = get("data:best")
answer = {
    "first": entries("data:v0"), "more": entries("data:v1"), "draft": entries("data:v2"),
    "parts": entries("parts:latest"), "table": best.get("tab").data,
    "text": open(best.download(path_prefix="sub") + "/sub/b.txt").read(),
    "ref": open(best.get_entry("ref").download(root="ref")).read(),
    "known": [best.description, best.metadata, sorted(best.tags), best.file_count, best.state],
    "ttl": best.ttl.days, "verified": best.verify(best.download()),
    "orders": [[a.version for a in api.artifacts("dataset", "local/store/data", order=o)]
               for o in ("+version_index", "-created_at")],
    "tagged": [a.version for a in api.artifacts("dataset", "local/store/data", tags=["t1"])],
    "outputs": [a.name for a in api.run("local/store/again").logged_artifacts()],
    "lineage": [best.logged_by().id, [r.id for r in best.used_by()]],
    "link": [get("shelf:prod").qualified_name, get("shelf:prod").source_qualified_name,
             [a.qualified_name for a in best.linked_artifacts]],
    "type": fails(lambda: wandb.init(project="store").use_artifact("data:best", type="no")),
}
wandb.finish()
get("shelf:prod").unlink()
second = get("data:v1"); second.aliases += ["best"]; second.metadata["k"] = 1
second.tags = ["new"]; second.save()
answer["moved"] = [get("data:best").version, get("data:v0").aliases, get("data:v1").metadata,
                   get("data:v1").tags, api.artifact_exists("local/store/shelf:prod")]
shelf = wandb.Api().artifact_collection("dataset", "local/store/data")
shelf.description = "all"; shelf.tags = ["c1", "c2"]; shelf.save()
shelf = wandb.Api().artifact_collection("dataset", "local/store/data")
answer["collection"] = [shelf.description, sorted(shelf.tags)]
shelf.tags = ["c2"]; shelf.name = "renamed"; shelf.save()
project = wandb.Api().project("store", "local")
answer["renamed"] = [
    [c.name for c in project.collections(filters={"name": "renamed"})],
    [c.name for c in project.collections(order="name")],
    wandb.Api().artifact_collection("dataset", "local/store/renamed").tags]
answer["in use"] = fails(lambda: get("renamed:best").delete())
get("renamed:v2").delete(delete_aliases=True)
answer["after"] = [get("renamed:latest").version, fails(lambda: get("renamed:v2"))]
wandb.Api().artifact_collection("dataset", "local/store/parts").delete()
answer["gone"] = wandb.Api().artifact_collection_exists("local/store/parts", "dataset")
"""


def test_versions_are_changed_assembled_linked_ordered_and_deleted(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        client = client_of(server, tmp_path / "client")
        client.python(MAKE)
        found = client.python(READ)
    first = ["a.txt", "ref", "sub/b.txt", "tab.table.json"]
    assert found["first"] == first
    assert found["more"] == sorted([*first, "more.txt"])
    assert found["draft"] == sorted([*first[1:], "more.txt"])
    assert found["parts"] == ["p0", "p1"]
    assert found["table"] == [[1], [2]]
    assert (found["text"], found["ref"]) == ("text of tree/sub/b.txt", "text of aside.txt")
    assert found["known"] == ["d", {"deep": {"list": [1, 2]}}, ["t1", "t2"], 4, "COMMITTED"]
    assert found["ttl"] == 3
    assert found["orders"] == [["v0", "v1", "v2"], ["v2", "v1", "v0"]]
    assert found["tagged"] == ["v0"]
    assert found["outputs"] == ["parts:v0"]
    assert found["lineage"] == ["maker", ["maker"]]
    assert found["link"][:2] == ["local/store/shelf:prod", "local/store/data:v0"]
    assert found["link"][2] == ["local/store/shelf:v0"]
    assert "this artifact is of type 'dataset'" in found["type"]
    assert found["moved"] == ["v1", ["with space"], {"k": 1}, ["new"], False]
    assert found["collection"] == ["all", ["c1", "c2"]]
    assert found["renamed"] == [["renamed"], ["parts", "renamed", "shelf"], ["c2"]]
    assert "has aliases (best)" in found["in use"]
    assert found["after"][0] == "v1"
    assert "not found" in found["after"][1]
    assert found["gone"] is False
