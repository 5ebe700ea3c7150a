"""`sweep-agent serve`, `env`, `keys` and `backup`."""

import argparse
import fcntl
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import ConfigError, ServerError
from agent.files import write_atomically
from agent.server.data_dir import open_database
from agent.server.store.claims import Policy
from agent.server.store.database import Database
from agent.server.store.keys import add_key, list_keys, new_key, revoke_key
from agent.server_note import read_note


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the server's data directory"
    )


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep-agent serve`."""
    policy = Policy()
    _add_data(parser)
    parser.add_argument(
        "--port",
        type=int,
        default=8686,
        help="TCP port; 0 for the one used last, else a free one (default %(default)s)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; anything but loopback opens the server to the network "
        "(default %(default)s)",
    )
    parser.add_argument("--advertise", metavar="URL", help="URL that others reach the server under")
    parser.add_argument("--entity", default="local", help="entity of the first key (%(default)s)")
    parser.add_argument("--certfile", type=Path, help="TLS certificate (PEM)")
    parser.add_argument("--keyfile", type=Path, help="TLS private key (PEM)")
    parser.add_argument(
        "--lease-s",
        type=float,
        default=policy.lease_s,
        metavar="SECONDS",
        help="a grid point is assigned again when neither its agent nor its run has been "
        "heard of for this long (default %(default)g)",
    )
    parser.add_argument(
        "--silence-s",
        type=float,
        default=policy.silence_s,
        metavar="SECONDS",
        help="a run that sends nothing for this long counts as crashed (default %(default)g)",
    )
    parser.add_argument(
        "--settle-s",
        type=float,
        default=policy.settle_s,
        metavar="SECONDS",
        help="how long the last messages of a run are waited for after its agent has lost it "
        "(default %(default)g)",
    )
    parser.add_argument(
        "--max-attempts",
        type=int,
        default=policy.max_attempts,
        metavar="N",
        help="how often a grid point is handed out, preemptions not counted (%(default)s)",
    )


def run_serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from agent.server.serving import Listening, serve

    if bool(args.certfile) != bool(args.keyfile):
        raise ConfigError(["--certfile and --keyfile belong together"], where="the options")
    try:
        policy = Policy(
            lease_s=args.lease_s,
            silence_s=args.silence_s,
            settle_s=args.settle_s,
            max_attempts=args.max_attempts,
        )
    except ValueError as error:
        raise ConfigError([str(error)], where="the options") from None
    listening = Listening(
        args.host, args.port, args.entity, args.advertise, args.certfile, args.keyfile
    )
    serve(args.data, listening, policy)
    return 0


def add_env_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep-agent env`."""
    _add_data(parser)


def run_env(args: argparse.Namespace) -> int:
    """Print the export lines for a shell: eval "$(sweep-agent env --data DIR)"."""
    note = read_note(args.data)
    if note is None:
        raise ServerError(
            f"no server has run on {args.data} yet; start `sweep-agent serve --data {args.data}`"
        )
    for name, value in note.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def add_keys_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep-agent keys`."""
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="make a key; one piped into standard input is taken")
    _add_data(add)
    add.add_argument("--entity", required=True, help="whose projects the key opens")
    add.add_argument("--label", default="", help="a note to tell keys apart")
    add.add_argument("--key", help="the key itself; only for tests, others can see arguments")
    add.add_argument("--output", type=Path, help="write the key to this file (0600), not to stdout")
    listing = actions.add_parser("list", help="list keys by number and first characters")
    _add_data(listing)
    revoke = actions.add_parser("revoke", help="make a key invalid at once")
    _add_data(revoke)
    revoke.add_argument("id", type=int, help="the number that `list` shows")


def run_keys(args: argparse.Namespace) -> int:
    """Add, list or revoke keys; works while the server runs."""
    database = open_database(args.data)
    try:
        return {"add": _add, "list": _list, "revoke": _revoke}[args.action](database, args)
    finally:
        database.close()


def _add(database: Database, args: argparse.Namespace) -> int:
    given = args.key or ("" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.readline())
    key = given.strip() or new_key()
    with database.write() as connection:
        add_key(connection, key, args.entity, now=time.time(), label=args.label)
    if args.output:
        write_atomically(args.output, key + "\n", mode=0o600)
    elif not given.strip():
        print(key)
    return 0


def _list(database: Database, _: argparse.Namespace) -> int:
    with database.read() as connection:
        keys = list_keys(connection)
    for key in keys:
        made = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        state = "revoked" if key.revoked_at else "valid"
        print(f"{key.id:4}  {key.hint}…  {key.entity:20}  {made}  {state:8}  {key.label}")
    return 0


def _revoke(database: Database, args: argparse.Namespace) -> int:
    with database.write() as connection:
        revoked = revoke_key(connection, args.id, now=time.time())
    if not revoked:
        raise ServerError(f"no valid key number {args.id}; see `sweep-agent keys list`")
    return 0


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep-agent backup`."""
    _add_data(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new directory")


def run_backup(args: argparse.Namespace) -> int:
    """Copy the data directory while the server works; `serve --data` takes the copy as it is."""
    from agent.server.backups import back_up

    count, size = back_up(args.data, args.to)
    print(f"copied the database and {count} files ({size / 2**20:.1f} MiB) to {args.to}")
    return 0


def add_sync_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep-agent sync`."""
    _add_data(parser)
    parser.add_argument(
        "--to",
        default="https://api.wandb.ai",
        metavar="URL",
        help="the server to send to (default %(default)s)",
    )
    parser.add_argument("--entity", help="entity there (default: the key's own)")
    parser.add_argument("--project", help="send this project only (default: all)")


def run_sync(args: argparse.Namespace) -> int:
    """Recreate the sweeps of a data directory (or of a backup of one) on another W&B server."""
    from agent.server.backups import contents_held
    from agent.server.store.records import Project
    from agent.server.sync.destination import Destination, server_mark, whoami
    from agent.server.sync.ledger import Ledger
    from agent.server.sync.remote import Remote, find_key
    from agent.server.sync.runs import sync_project

    if not (args.data / "server.db").exists():
        raise ServerError(f"{args.data} is not the data directory of a sweep server")
    url = args.to.rstrip("/")
    remote = Remote(url, find_key(url))
    entity = args.entity or whoami(remote)
    database = open_database(args.data)
    ledger = Ledger(args.data / "sync.db", f"{url} {entity}")
    try:
        with database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM project WHERE ? IS NULL OR name = ? ORDER BY id",
                (args.project, args.project),
            ).fetchall()
            if args.project and not rows:
                raise ServerError(f"{args.data} has no project {args.project!r}")
            to = Destination(remote, entity, ledger, server_mark(connection))
            for project in map(Project.of, rows):
                with contents_held(args.data, fcntl.LOCK_SH):  # the server removes none meanwhile
                    tally = sync_project(connection, args.data, to, project, print)
                print(
                    f"{project.name}: sent {tally.sweeps} sweeps, {tally.runs} runs, "
                    f"{tally.lines} lines, {tally.files} files, {tally.artifacts} artifacts"
                )
    finally:
        ledger.close()
        database.close()
    return 0
