"""`sweep-agent store`: look at the training store, tidy it, move trainings between clusters.

Works on files alone: nothing here loads a model, so it runs on a login node.
"""

import argparse
import itertools
import json
from pathlib import Path

from agent.errors import StoreError
from agent.training import run_registry, store, store_gc, store_transfer
from agent.training.lease import is_held, watch

DEFAULT_STORE = Path("outputs/store")


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--store", type=Path, default=DEFAULT_STORE, help="default %(default)s")
    actions.add_parser("ls", parents=[place], help="one line a training")
    actions.add_parser("status", parents=[place], help="trainings demanded, executed, time saved")
    gc = actions.add_parser("gc", parents=[place], help="remove what no run needs")
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    gc.add_argument(
        "--adapters",
        choices=("all", "best"),
        default="all",
        help="which adapters stay: all, or the best and last of trainings that were not pruned",
    )
    gc.add_argument("--unsynced", action="store_true", help="even what W&B has not yet received")
    for name, text in (("pin", "keep a training from gc"), ("unpin", "let gc have it again")):
        pin = actions.add_parser(name, parents=[place], help=text)
        pin.add_argument("keys", nargs="+", metavar="KEY")
    out = actions.add_parser("export", parents=[place], help="trainings into one tar file")
    out.add_argument("file", type=Path)
    out.add_argument("keys", nargs="*", metavar="KEY", help="all when none is given")
    into = actions.add_parser("import", parents=[place], help="trainings from a tar file")
    into.add_argument("file", type=Path)


def run_store(args: argparse.Namespace) -> int:
    if not args.store.is_dir() and args.action != "import":
        raise StoreError(f"{args.store}: no such directory; name the store with --store")
    if args.action == "ls":
        _print_trainings(args.store)
    elif args.action == "status":
        _print_status(args.store)
    elif args.action == "gc":
        _collect(args.store, args)
    elif args.action in ("pin", "unpin"):
        for training in _named(args.store, args.keys):
            pinned = training.path / store_gc.PINNED
            pinned.touch() if args.action == "pin" else pinned.unlink(missing_ok=True)
    elif args.action == "export":
        chosen = _named(args.store, args.keys) if args.keys else store_gc.trainings(args.store)
        size = store_transfer.pack(chosen, args.file)
        print(f"{args.file}: {len(chosen)} trainings, {size / 1e9:.3f} GB")
    else:
        _import(args.file, args.store)
    return 0


def _import(file: Path, root: Path) -> None:
    taken = store_transfer.unpack(file, root)
    for key, points in taken.points.items():
        print(f"{key}: {points} evaluation points taken over")
    if taken.damaged:
        raise StoreError(
            f"{file}: damaged in the archive and left out: {', '.join(taken.damaged)}; "
            "what is whole was taken over"
        )


def _named(root: Path, keys: list[str]) -> list[store.TrainingDirectory]:
    """Trainings by key or by its first digits."""
    chosen = []
    for key in keys:
        matches = [t for t in store_gc.trainings(root) if t.key.startswith(key)]
        if len(matches) != 1:
            raise StoreError(f"{root}: {len(matches)} trainings begin with {key!r}; see store ls")
        chosen += matches
    return chosen


def _print_trainings(root: Path) -> None:
    print("key               points   step  precision  learning_rate  train_s      GB  state")
    for training in store_gc.trainings(root):
        identity = json.loads((training.path / "identity.json").read_text())
        chain = training.chain()
        seconds = chain[-1].record["cost"]["train_seconds"] if chain else 0.0
        print(
            f"{training.key}  {len(chain):6}  {chain[-1].step if chain else 0:5}  "
            f"{identity.get('training_precision', ''):9}  {identity.get('learning_rate', 0):13g}  "
            f"{seconds:7.1f}  {store_gc.size_of(training.path) / 1e9:6.3f}  {_state_of(training)}"
        )


def _state_of(training: store.TrainingDirectory) -> str:
    words = []
    if is_held(training.path):
        words.append("leased")
    if (training.path / store_gc.PINNED).exists():
        words.append("pinned")
    if training.divergence():
        words.append("diverged")
    if damaged := list(training.path.glob("damaged-*")):
        words.append(f"{len(damaged)} damaged set aside")
    return ", ".join(words) or "-"


def _print_status(root: Path) -> None:
    notes = list(run_registry.read_all(root))
    executed = [t for t in store_gc.trainings(root) if t.has_begun()]
    needed = sum(note.needed_seconds for note in notes)
    saved = sum(note.reused_seconds for note in notes)
    print(f"runs                 {len(notes)}")
    print(f"trainings demanded   {len(notes)}")
    print(f"trainings executed   {len(executed)}")
    print(f"training seconds     {needed:.1f} needed, {needed - saved:.1f} spent")
    print(f"seconds saved        {saved:.1f}")


def _say_waiting(leases: int, seconds: float) -> None:
    print(f"watching  {leases} leases held on other machines, for {seconds:g} s", flush=True)


def _collect(root: Path, args: argparse.Namespace) -> None:
    observers = watch((t.path for t in store_gc.trainings(root)), on_wait=_say_waiting)
    found = store_gc.plan(root, observers, adapters=args.adapters, unsynced=args.unsynced)
    total = 0
    for stay in (item for item in found if isinstance(item, store_gc.Stay)):
        print(f"stays    {stay.key}: {stay.reason}")
    removals = (item for item in found if isinstance(item, store_gc.Removal))
    for path, group in itertools.groupby(removals, key=lambda item: item.training.path):
        # Held while it is tidied, so that no worker reads or writes between the two looks.
        lease = None if args.dry_run else observers[path].try_acquire()
        if not args.dry_run and lease is None:
            print(f"stays    {path.name}: a worker has just taken its lease")
            continue
        try:
            for item in group:
                total += item.size
                size = f"{item.size / 1e9:.3f} GB"
                print(f"removes  {item.path.relative_to(root)}: {item.reason} ({size})")
                if lease:
                    store_gc.remove(item)
        finally:
            if lease:
                lease.release()
    print(f"{'would free' if args.dry_run else 'freed'} {total / 1e9:.3f} GB")
