"""GraphQL, executed for real: parse, check, run the field resolvers.

Nothing looks at an operation's name. Variables that a document does not declare, declared ones it
does not use, and a missing operation name are tolerated, because released clients send all three.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import graphql
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    OperationType,
)

from agent.errors import SweepAgentError
from agent.server.graphql.documents import (
    MAX_ROOT_FIELDS,
    Documents,
    choose_operation,
    known_variables,
    only_roots,
)
from agent.server.refusals import Refused
from agent.server.services import Services
from agent.server.store.budget import Budget
from agent.server.store.database import Connection
from agent.server.store.records import iso_time
from agent.server.store.scalars import make_strict
from agent.server.store.tokens import node_id

_RESOLVERS: dict[tuple[str, str], Callable[..., Any]] = {}
MAX_LIST = 20_000  # entries; the client sends files of an artifact in parts of 10,000
_PREPARATIONS: dict[str, Callable[[Connection, dict[str, Any]], None]] = {}


@dataclass(slots=True)
class Request:
    """One operation: who asks, on which connection, at what time. Resolvers get it as context."""

    services: Services
    entity: str
    connection: Connection
    now: float
    address: str
    budget: Budget
    roots: "Roots"


@dataclass(frozen=True, slots=True)
class Roots:
    """What the fields at the root of a mutation have given; `are_made` once all of them ran."""

    made: dict[str, Any]
    are_made: bool


Info = GraphQLResolveInfo[Request]
Resolver = TypeVar("Resolver", bound=Callable[..., Any])


def field(type_name: str, name: str) -> Callable[[Resolver], Resolver]:
    """Register the resolver of one field of the schema file."""

    def register(resolver: Resolver) -> Resolver:
        _RESOLVERS[type_name, name] = resolver
        return resolver

    return register


def change(name: str) -> Callable[[Resolver], Resolver]:
    """Register a mutation: a function of the request and its input."""

    def register(made: Resolver) -> Resolver:
        _RESOLVERS["Mutation", name] = lambda _, info, input: made(info.context, input)
        return made

    return register


def columns(type_name: str, **names: str) -> None:
    """Register fields that stand in a column of another name, as `field="column"`."""

    def register(name: str, column: str) -> None:
        _RESOLVERS[type_name, name] = lambda source, _: _written(name, getattr(source, column))

    for name, column in names.items():
        register(name, column)


def constants(type_name: str, **values: Any) -> None:
    """Register fields whose answer is always the same."""

    def register(name: str, value: Any) -> None:
        _RESOLVERS[type_name, name] = lambda *_, **__: value

    for name, value in values.items():
        register(name, value)


def before(name: str) -> Callable[[Resolver], Resolver]:
    """Register what a mutation reads ahead, from a snapshot, before the database is held for it.
    It gets the connection and the field's input as it came."""

    def register(preparation: Resolver) -> Resolver:
        _PREPARATIONS[name] = preparation
        return preparation

    return register


@cache
def build_schema() -> GraphQLSchema:
    """The schema file with all registered resolvers. Raises KeyError for a misspelt one."""
    text = Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8")
    schema = graphql.build_schema(text)
    make_strict(schema)
    for (type_name, name), resolver in _RESOLVERS.items():
        owner = schema.type_map[type_name]
        if not isinstance(owner, GraphQLObjectType):
            raise KeyError(f"{type_name} has no fields to resolve")
        wrap = _once if type_name == "Mutation" else _within_budget
        owner.fields[name].resolve = wrap(resolver)
    for name, type_of in _TYPES.items():
        abstract = schema.type_map[name]
        assert isinstance(abstract, GraphQLInterfaceType | GraphQLUnionType)
        abstract.resolve_type = type_of
    return schema


def _once(resolver: Callable[..., Any]) -> Callable[..., Any]:
    """A change is made while the database is held, and answered from a snapshot afterwards."""

    def resolve(source: Any, info: Info, **arguments: Any) -> Any:
        roots, key = info.context.roots, str(info.path.key)
        if not roots.are_made:
            roots.made[key] = resolver(source, info, **arguments)
        return roots.made[key]

    return resolve


def _within_budget(resolver: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(source: Any, info: Info, **arguments: Any) -> Any:
        info.context.budget.check()
        return resolver(source, info, **arguments)

    return resolve


def _type_of_collection(value: Any, *_: Any) -> str:
    return "ArtifactSequence" if value.kind == "SEQUENCE" else "ArtifactPortfolio"


def _type_of_creator(*_: Any) -> str:
    return "Run"


_TYPES = {"ArtifactCollection": _type_of_collection, "ArtifactCreator": _type_of_creator}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One operation and what came with it."""

    document: DocumentNode
    operation: OperationDefinitionNode
    variables: dict[str, Any]
    entity: str
    address: str


class Executor:
    """Runs documents against the schema; parsed documents are remembered."""

    def __init__(self, services: Services, schema: GraphQLSchema) -> None:
        self.services = services
        self.schema = schema
        self._documents = Documents(schema)

    def run(
        self,
        text: str,
        variables: dict[str, Any],
        operation_name: str | None,
        entity: str,
        address: str,
    ) -> dict[str, Any]:
        """The response object. Raises Refused where the HTTP status itself is the answer."""
        document = self._documents.read(text)
        if isinstance(document, list):
            return {"data": None, "errors": [_described(error, text) for error in document]}
        operation = choose_operation(document, operation_name)
        if operation is None:
            return {"data": None, "errors": [{"message": "the document has no such operation"}]}
        if len(operation.selection_set.selections) > MAX_ROOT_FIELDS:
            message = f"more than {MAX_ROOT_FIELDS} fields at the root of one operation"
            return {"data": None, "errors": [{"message": message}]}
        known = known_variables(self.schema, operation, variables)
        asked = _Asked(document, operation, known, entity, address)
        if operation.operation is not OperationType.MUTATION:
            return _answer(self._read(asked), text)
        if _has_long_list(known):
            message = f"a list of more than {MAX_LIST} entries in one change: send it in parts"
            return {"data": None, "errors": [{"message": message}]}
        self._prepare(asked)
        made: dict[str, Any] = {}
        changed = self._change(replace(asked, document=only_roots(document, operation)), made)
        if changed.errors:
            return _answer(ExecutionResult(None, changed.errors), text)
        return _answer(self._read(asked, made), text)

    def _prepare(self, asked: "_Asked") -> None:
        """Let the mutation's fields read ahead; their input is judged when they are run."""
        for node in asked.operation.selection_set.selections:
            if not isinstance(node, graphql.FieldNode) or node.name.value not in _PREPARATIONS:
                continue
            for argument in node.arguments or ():
                given = graphql.value_from_ast_untyped(argument.value, asked.variables)
                if isinstance(given, dict):
                    with self.services.database.read(Budget()) as connection:
                        _PREPARATIONS[node.name.value](connection, given)

    def _change(self, asked: "_Asked", made: dict[str, Any]) -> ExecutionResult:
        """What a mutation changes, all of it or nothing; the values of its fields go to `made`."""
        try:
            with self.services.database.write() as connection:
                result = self._execute(asked, connection, Roots(made, are_made=False))
                if result.errors:
                    raise _RolledBack(result)
        except _RolledBack as failed:
            return failed.result
        return result

    def _read(self, asked: "_Asked", made: dict[str, Any] | None = None) -> ExecutionResult:
        """The answer, from a snapshot of what is committed: others write meanwhile."""
        budget = Budget()
        roots = Roots(made or {}, are_made=made is not None)
        with self.services.database.read(budget) as connection:
            return self._execute(asked, connection, roots, budget)

    def _execute(
        self,
        asked: "_Asked",
        connection: Connection,
        roots: Roots,
        budget: Budget | None = None,
    ) -> ExecutionResult:
        request = Request(
            self.services,
            asked.entity,
            connection,
            self.services.clock(),
            asked.address,
            budget or Budget(),
            roots,
        )
        name = asked.operation.name
        return graphql.execute_sync(
            self.schema,
            asked.document,
            context_value=request,
            variable_values=asked.variables,
            operation_name=name.value if name else None,
            field_resolver=_resolve_attribute,
        )


def _has_long_list(value: Any) -> bool:
    """Checking a list against the schema takes its time while the database is held."""
    if isinstance(value, list):
        return len(value) > MAX_LIST or any(map(_has_long_list, value))
    return isinstance(value, dict) and any(map(_has_long_list, value.values()))


class _RolledBack(Exception):
    """A mutation failed: nothing of it may stay."""

    def __init__(self, result: ExecutionResult) -> None:
        super().__init__("a mutation failed")
        self.result = result


def _resolve_attribute(source: Any, info: Info, **_: Any) -> Any:
    """A field without a resolver of its own is the key or column of the same name; the id of a row
    carries the name of its type."""
    if isinstance(source, dict):
        return source.get(info.field_name)
    if info.field_name == "id":
        info.context.budget.check()  # nearly every object of an answer is asked for its id
        return node_id(info.parent_type.name, source.id)
    return _written(info.field_name, getattr(source, _snake(info.field_name), None))


def _written(name: str, value: Any) -> Any:
    """A column as the client reads it: moments are text there."""
    return iso_time(value) if name.endswith("At") else value


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _answer(result: ExecutionResult, text: str) -> dict[str, Any]:
    data, errors = result.data, result.errors
    for error in errors or ():
        original = error.original_error
        if isinstance(original, Refused) and original.status != 200:
            raise original
        if original is not None and not isinstance(original, Refused | SweepAgentError):
            if isinstance(original, GraphQLError):
                continue
            raise original
    response: dict[str, Any] = {"data": data}
    if errors:
        response["errors"] = [_described(error, text) for error in errors]
    return response


def _described(error: GraphQLError, text: str) -> dict[str, Any]:
    """The error for the client. What the schema does not know names its operation."""
    message = error.message
    if error.original_error is None and message.startswith(("Cannot query", "Unknown")):
        message = f"{message} (operation {_operation_name(text)} is not supported by this server)"
    described: dict[str, Any] = {"message": message}
    if error.path:
        described["path"] = list(error.path)
    return described


def _operation_name(text: str) -> str:
    words = text[:2000].replace("(", " ").replace("{", " ").split()
    for word, following in pairwise(words):
        if word in ("query", "mutation", "subscription"):
            return following
    return "(unnamed)"
