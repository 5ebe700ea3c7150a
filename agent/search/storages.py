"""Where studies are kept: a journal on the shared file system, or a server."""

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalStorage

from agent.errors import ConfigError, StudyError
from agent.search.journal import JournalFile

FIRST_TRIES = 5  # two workers that make a database's tables at once make one of them fail
PROXY_WAIT_S = 20.0
_TROUBLE = ("sqlalchemy", "psycopg", "psycopg2", "pymysql", "MySQLdb", "redis", "grpc")


def open_storage(url: str | None, default_journal: Path) -> BaseStorage:
    """The storage behind `pruning_storage`: a path or URL; None is `default_journal`.

    Journals take absolute paths and `journal://…`; servers `postgresql://`, `mysql://`, `redis://`
    and `grpc://host:port` (Optuna's storage proxy). Raises ConfigError for any other, StudyError
    when the place cannot be reached; neither shows a password.
    """
    if url is None:
        return _journal(default_journal)
    if url.startswith("/"):
        return _journal(Path(url))
    scheme = url.split("://")[0].lower()
    opener = _OPENERS.get(scheme.split("+")[0]) if "://" in url else None
    if opener is None:
        raise ConfigError([_unknown(url)], where="pruning_storage")
    with storage_errors(shown(url)):
        return opener(url)


def shown(url: str | None) -> str:
    """A storage URL fit for messages: without user name, password and query."""
    if url is None or "://" not in url:
        return url or "the pruning journal"
    return re.sub(r"//[^@/]*@", "//…@", url).split("?")[0]


@contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Turn what a file system, database driver or proxy raises into one StudyError."""
    try:
        yield
    except Exception as error:
        package = type(error).__module__.split(".")[0]
        if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__:
            error = error.__cause__  # type: ignore[assignment]  # Optuna wraps exceptions only
        elif not isinstance(error, OSError) and package not in _TROUBLE:
            raise
        text = " ".join(str(getattr(error, "orig", None) or error).split())
        text = re.sub(r"//[^@/\s]*@", "//…@", text)[:300]
        raise StudyError(
            f"the pruning storage {place} cannot be used: {text or type(error).__name__}; "
            "check pruning_storage and that its server runs"
        ) from None


def release_connections(storage: BaseStorage) -> None:
    """Close what a database storage holds open; it connects again when it is next asked.

    A run speaks to its study for milliseconds an hour, and a server's connections are few.
    """
    backend = getattr(storage, "_backend", None)
    if isinstance(backend, optuna.storages.RDBStorage):
        backend.engine.dispose()


def is_journal_file(storage: BaseStorage) -> bool:
    """Whether asking the storage reads a local or shared file, and connects to no server."""
    return isinstance(getattr(storage, "_backend", None), JournalFile)


def _journal(path: Path) -> BaseStorage:
    if not path.is_absolute():
        fault = f"{str(path)!r} is not absolute; workers start in different directories"
        raise ConfigError([fault], where="pruning_storage")
    return JournalStorage(JournalFile(path))


def _journal_url(url: str) -> BaseStorage:
    return _journal(Path(url.split("://", 1)[1]))


def _database(url: str) -> BaseStorage:
    """PostgreSQL or MySQL by whichever driver is installed."""
    scheme, rest = url.split("://", 1)
    drivers = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "MySQLdb")}
    if "+" not in scheme:
        found = [name for name in drivers[scheme] if importlib.util.find_spec(name)]
        if not found:
            fault = f"{scheme} needs a driver: pip install {drivers[scheme][0]}"
            raise ConfigError([fault], where="pruning_storage")
        scheme = f"{scheme}+{found[0].replace('MySQLdb', 'mysqldb')}"
    import sqlalchemy.exc

    options = {"pool_size": 1, "max_overflow": 2, "pool_pre_ping": True}
    for left in reversed(range(FIRST_TRIES)):
        try:
            database = optuna.storages.RDBStorage(f"{scheme}://{rest}", engine_kwargs=options)
            return optuna.storages.get_storage(database)
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            if not left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _redis(url: str) -> BaseStorage:
    if importlib.util.find_spec("redis") is None:
        raise ConfigError(["redis needs a driver: pip install redis"], where="pruning_storage")
    from optuna.storages.journal import JournalRedisBackend

    return JournalStorage(JournalRedisBackend(url, prefix="sweep-agent"))


def _proxy(url: str) -> BaseStorage:
    if importlib.util.find_spec("grpc") is None:
        fault = "Optuna's gRPC proxy needs a package: pip install grpcio"
        raise ConfigError([fault], where="pruning_storage")
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        raise ConfigError([f"{shown(url)!r}: write grpc://host:port"], where="pruning_storage")
    import warnings

    with warnings.catch_warnings():  # experimental in Optuna 5, and said so in the README
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.GrpcStorageProxy(host=parts.hostname, port=parts.port)
    storage.wait_server_ready(timeout=PROXY_WAIT_S)
    return storage


_OPENERS: dict[str, Callable[[str], BaseStorage]] = {
    "journal": _journal_url,
    "postgresql": _database,
    "mysql": _database,
    "redis": _redis,
    "rediss": _redis,
    "grpc": _proxy,
}


def _unknown(url: str) -> str:
    known = ", ".join(f"{name}://" for name in _OPENERS)
    if url.startswith("sqlite"):
        return f"{shown(url)!r}: SQLite is not safe on a shared file system; use {known}"
    return f"{shown(url)!r}: must be an absolute path of a journal, or one of {known}"
