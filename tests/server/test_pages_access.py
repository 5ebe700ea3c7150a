"""What a browser gets: for whom, with which rules, and with every text of a user escaped."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import agent.server.pages
from agent.server.admission import LOOPBACK_HOSTS
from agent.server.app import build_app
from tests.server.pages_reader import AUTH, HOSTILE, log_in, make_run, see, token_in
from tests.server.server_lab import KEY, OTHER_KEY, Lab

HERE = Path(agent.server.pages.__file__).parent


def test_the_addresses_that_the_client_prints_open_pages(lab: Lab) -> None:
    sweep = lab.make_sweep()
    make_run(lab, learning_rate=0.1)
    for path in ("/", "/local", "/local/p", "/local/p/workspace", "/local/p/sweeps"):
        assert "<h1>" in see(lab, path)
    assert "0.1" in see(lab, "/local/p/runs/r1")
    assert "Console" in see(lab, "/local/p/runs/r1/logs")
    assert sweep["name"] in see(lab, f"/local/p/sweeps/{sweep['name']}")
    assert "sweep-agent env" in lab.http.get("/authorize").text
    for path in ("/local/p/runs/nothing", "/local/p/sweeps/nothing", "/local/nothing", "/nobody"):
        assert "Not here" in see(lab, path, 404)


def test_without_a_key_there_is_neither_a_page_nor_its_data(lab: Lab) -> None:
    sweep = lab.make_sweep()["name"]
    make_run(lab)
    pages = ("/local/p", f"/local/p/sweeps/{sweep}", "/local/p/runs/r1")
    for path in pages:
        answer = lab.http.get(f"{path}?sort=a%26b", follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=/local/p")
        assert "sort%3Da%2526b" in answer.headers["location"]
        assert lab.http.get(path, auth=("api", OTHER_KEY)).status_code == 404
        see(lab, path.replace("/local/", "/others/"), 404)
    for path in (*pages, "/local/p/curves"):
        address = path if path.endswith("curves") else f"{path}/data"
        assert lab.http.get(address).status_code == 401
        assert lab.http.get(address, auth=("api", OTHER_KEY)).status_code == 404


def test_a_login_gives_a_cookie_that_scripts_and_other_sites_cannot_use(lab: Lab) -> None:
    make_run(lab)
    refused = log_in(lab, "wrong")
    assert refused.status_code == 401
    assert 'role="alert"' in refused.text
    answer = log_in(lab, target="/local/p")
    assert (answer.status_code, answer.headers["location"]) == (303, "/local/p")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert lab.http.get("/local/p").status_code == 200
    lab.http.post("/logout")
    assert lab.http.get("/local/p", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil", "/a\nb"])
def test_a_login_leads_to_pages_of_this_server_only(lab: Lab, target: str) -> None:
    assert log_in(lab, target=target).headers["location"] == "/"


def test_a_session_ends_with_its_time_and_with_its_key(lab: Lab) -> None:
    log_in(lab)
    assert lab.http.get("/", follow_redirects=False).status_code == 200
    lab.now += 12 * 3600 + 1
    assert lab.http.get("/", follow_redirects=False).status_code == 303
    log_in(lab)
    with lab.services.database.write() as connection:
        connection.execute("UPDATE api_key SET revoked_at = 1")
    assert lab.http.get("/", follow_redirects=False).status_code == 303


def test_texts_of_users_are_escaped_on_every_page(lab: Lab) -> None:
    config = f"name: {json.dumps(HOSTILE)}\nmethod: random\nparameters: {{x: {{min: 0, max: 1}}}}"
    sweep = lab.make_sweep(config, description=HOSTILE, displayName=HOSTILE)["name"]
    lab.init(
        "r",
        displayName=HOSTILE,
        notes=HOSTILE,
        groupName=HOSTILE,
        tags=[HOSTILE],
        sweep=sweep,
        host=HOSTILE,
        jobType=HOSTILE,
        config=json.dumps({HOSTILE: {"value": HOSTILE}}),
    )
    lines = {"offset": 0, "content": [HOSTILE, "\x1b[31mred\x1b[0m"]}
    summary = {"offset": 0, "content": [json.dumps({HOSTILE: HOSTILE, "score": 1})]}
    lab.post("r", {"files": {"output.log": lines, "wandb-summary.json": summary}})
    query = f"?q={HOSTILE}&sort={HOSTILE}&columns={HOSTILE},name"
    for path in ("/local/p", f"/local/p{query}", f"/local/p/sweeps/{sweep}", "/local/p/runs/r"):
        text = see(lab, path)
        assert "&lt;img src=x onerror=alert(1)&gt;" in text, path
        assert "<img" not in text
        assert "{{7*7}}" in text  # it is text, not a template
        assert "&lt;/script&gt;" in text
    assert "red" in see(lab, "/local/p/runs/r")
    assert "\x1b" not in see(lab, "/local/p/runs/r")


def test_pages_forbid_everything_from_outside_and_all_scripts_but_their_own(lab: Lab) -> None:
    make_run(lab)
    answer = lab.http.get("/local/p/runs/r1", auth=AUTH)
    policy = answer.headers["content-security-policy"]
    for rule in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "base-uri 'none'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ):
        assert rule in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    # `no-referrer` would make browsers send their own forms with `Origin: null`.
    assert answer.headers["referrer-policy"] == "same-origin"


def test_no_template_has_inline_code_and_no_script_makes_markup_of_text() -> None:
    for path in sorted((HERE / "templates").iterdir()):
        text = path.read_text()
        assert not re.search(r"\son\w+=|\sstyle=|<style|\|\s*safe\b", text), path.name
        assert not re.findall(r"<script(?![^>]*\bsrc=)", text), path.name
        assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", text), path.name
    for path in sorted((HERE / "static").rglob("*.*s")):
        text = path.read_text()
        for name in ("http://www.w3.org/2000/svg", "https://github.com/leeoniya/uPlot"):
            text = text.replace(name, "")  # names, which nothing is fetched from
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert not re.search(r"https?://|@import|url\((?!#)", text), path.name


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_and_marks_stand_out_from_their_ground_in_light_and_dark(theme: int) -> None:
    style = (HERE / "static" / "pages.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]
    colours = dict(re.findall(r"--(\w+): (#\w+);", block))
    for ground in ("ground", "raised"):
        for text in ("ink", "soft", "link", "good", "bad", "busy", "warn"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for mark in (f"s{i}" for i in range(7)):
            assert contrast(colours[mark], colours[ground]) >= 3.0, (mark, ground)


def test_assets_are_served_whole_and_only_by_their_names(lab: Lab) -> None:
    first = lab.http.get("/static/pages.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = lab.http.get("/static/pages.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("nothing.js", "..%2Fpages.py", "%2e%2e%2fapp.py"):
        assert lab.http.get(f"/static/{name}").status_code == 404


def test_a_sweep_is_steered_by_its_page(lab: Lab) -> None:
    sweep = lab.make_sweep()
    path = f"/local/p/sweeps/{sweep['name']}"
    log_in(lab)
    for wanted in ("PAUSED", "RUNNING", "FINISHED", "RUNNING", "CANCELED"):
        text = lab.http.get(path).text
        form = {"token": token_in(text), "state": wanted}
        answer = lab.http.post(f"{path}/state", data=form, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, path)
        assert lab.sweep_state(sweep) == wanted
    assert "Resume" in lab.http.get(path).text
    assert "Pause" not in lab.http.get(path).text


def test_a_sweep_is_not_steered_by_a_form_of_another_session_or_site(lab: Lab) -> None:
    sweep = lab.make_sweep()
    path = f"/local/p/sweeps/{sweep['name']}"
    log_in(lab)
    foreign = token_in(lab.http.get(path).text)
    lab.http.cookies.clear()
    assert lab.http.post(f"{path}/state", data={"state": "PAUSED"}).status_code == 401
    log_in(lab)  # the same key in another browser
    token = token_in(lab.http.get(path).text)
    ((_, session),) = lab.http.cookies.items()
    for form in ({}, {"token": foreign}, {"token": token[:-2]}, {"token": session}):
        answer = lab.http.post(f"{path}/state", data={**form, "state": "PAUSED"})
        assert answer.status_code == 403
        assert "reload the page" in answer.text
    evil = lab.http.post(
        f"{path}/state",
        data={"token": token, "state": "PAUSED"},
        headers={"Origin": "https://evil.example"},
    )
    assert evil.status_code == 403
    wrong = lab.http.post(f"{path}/state", data={"token": token, "state": "DELETED"})
    assert wrong.status_code == 409
    assert lab.sweep_state(sweep) == "PENDING"


def test_a_page_that_fails_says_so_without_a_traceback(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.make_sweep()

    def fail(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("agent.server.pages.routes.draw", fail)
    monkeypatch.setattr("agent.server.pages.routes.payload", fail)
    for path in ("/local/p", "/local/p/data"):
        text = see(lab, path, 500)
        assert "log says why" in text
        assert "secret" not in text


def test_a_session_of_a_key_that_a_restore_has_lost_opens_nothing_of_the_next_key(lab: Lab) -> None:
    lab.http.post("/login", data={"key": KEY, "next": "/"}, follow_redirects=False)
    assert lab.http.get("/local", follow_redirects=False).status_code == 200
    with lab.services.database.write() as connection:
        connection.execute("UPDATE api_key SET entity = 'others', created_at = created_at + 5")
    for path in ("/local", "/others"):
        assert lab.http.get(path, follow_redirects=False).status_code == 303


def test_the_pages_have_a_host_name_of_their_own_that_no_cookie_of_the_machine_goes_to(
    lab: Lab,
) -> None:
    name = lab.services.signer.host
    assert name.endswith(".localhost")
    app = build_app(lab.services, LOOPBACK_HOSTS | {name})
    client = TestClient(app, base_url=f"http://{name}")
    answer = client.post("/login", data={"key": KEY, "next": "/"}, follow_redirects=False)
    assert answer.status_code == 303
    assert "domain" not in answer.headers["set-cookie"].lower()  # this host only
    assert client.get("/local").status_code == 200
    foreign = TestClient(app, base_url="http://sweeps-000000000000.localhost")
    assert foreign.get("/login").status_code == 403
