"""GraphQL, executed for real: parse, check, run the field resolvers.

Nothing looks at an operation's name. Variables that a document does not declare, declared ones it
does not use, and a missing operation name are tolerated, because released clients send all three.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import graphql
from graphql import (
    DocumentNode,
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
from agent.server.refusals import Refused
from agent.server.services import Services
from agent.server.store.database import Connection
from agent.server.store.scalars import make_strict

MAX_TOKENS = 1_000  # four times what the longest document of the client has
MAX_DOCUMENT_BYTES = 50_000
MAX_DEPTH = 25
MAX_BRACKETS = 400
MAX_ROOT_FIELDS = 20
MAX_REMEMBERED_BYTES = 20_000
_NO_BRACKETS = re.compile(r"[^][{}()]+")
_TOLERATED = {
    "NoUndefinedVariablesRule",
    "NoUnusedVariablesRule",
    "NoUnusedFragmentsRule",
    "VariablesInAllowedPositionRule",
    "OverlappingFieldsCanBeMergedRule",
    "LoneAnonymousOperationRule",
    "UniqueOperationNamesRule",
}
CHECKS = [rule for rule in graphql.specified_rules if rule.__name__ not in _TOLERATED]
_RESOLVERS: dict[tuple[str, str], Callable[..., Any]] = {}


@dataclass(slots=True)
class Request:
    """One operation: who asks, on which connection, at what time. Resolvers get it as context."""

    services: Services
    entity: str
    connection: Connection
    now: float
    address: str


Info = GraphQLResolveInfo[Request]
Resolver = TypeVar("Resolver", bound=Callable[..., Any])


def field(type_name: str, name: str) -> Callable[[Resolver], Resolver]:
    """Register the resolver of one field of the schema file."""

    def register(resolver: Resolver) -> Resolver:
        _RESOLVERS[type_name, name] = resolver
        return resolver

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
        owner.fields[name].resolve = resolver
    for name, type_of in _TYPES.items():
        abstract = schema.type_map[name]
        assert isinstance(abstract, GraphQLInterfaceType | GraphQLUnionType)
        abstract.resolve_type = type_of
    return schema


def _type_of_collection(value: Any, *_: Any) -> str:
    return "ArtifactSequence" if value.kind == "SEQUENCE" else "ArtifactPortfolio"


def _type_of_creator(*_: Any) -> str:
    return "Run"


_TYPES = {"ArtifactCollection": _type_of_collection, "ArtifactCreator": _type_of_creator}


class Executor:
    """Runs documents against the schema; parsed documents are remembered."""

    def __init__(self, services: Services, schema: GraphQLSchema) -> None:
        self.services = services
        self.schema = schema
        self._parsed: OrderedDict[str, DocumentNode | list[GraphQLError]] = OrderedDict()
        self._lock = Lock()
        self._parsing = Lock()  # new documents take turns, so that known ones find a free moment

    def run(
        self,
        text: str,
        variables: dict[str, Any],
        operation_name: str | None,
        entity: str,
        address: str,
    ) -> dict[str, Any]:
        """The response object. Raises Refused where the HTTP status itself is the answer."""
        document = self._prepare(text)
        if isinstance(document, list):
            return {"data": None, "errors": [_described(error, text) for error in document]}
        operation = _choose_operation(document, operation_name)
        if operation is None:
            return {"data": None, "errors": [{"message": "the document has no such operation"}]}
        if len(operation.selection_set.selections) > MAX_ROOT_FIELDS:
            message = f"more than {MAX_ROOT_FIELDS} fields at the root of one operation"
            return {"data": None, "errors": [{"message": message}]}
        database = self.services.database
        is_mutation = operation.operation is OperationType.MUTATION
        known = known_variables(self.schema, operation, variables)
        try:
            with database.write() if is_mutation else database.read() as connection:
                request = Request(self.services, entity, connection, self.services.clock(), address)
                result = graphql.execute_sync(
                    self.schema,
                    document,
                    context_value=request,
                    variable_values=known,
                    operation_name=operation.name.value if operation.name else None,
                    field_resolver=_resolve_attribute,
                )
                if is_mutation and result.errors:
                    raise _RolledBack(result.errors)
        except _RolledBack as failed:
            return _answer(None, failed.errors, text)
        return _answer(result.data, result.errors, text)

    def _prepare(self, text: str) -> DocumentNode | list[GraphQLError]:
        if len(text) > MAX_DOCUMENT_BYTES:
            return [GraphQLError("the document is too long")]
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            remembered = self._parsed.get(digest)
        if remembered is not None:
            return remembered
        with self._parsing:
            known = self._parse(text)
        if len(text) > (MAX_REMEMBERED_BYTES if not isinstance(known, list) else 1000):
            return known  # only what is small is worth the memory
        with self._lock:
            self._parsed[digest] = known
            while len(self._parsed) > 256:
                self._parsed.popitem(last=False)
        return known

    def _parse(self, text: str) -> DocumentNode | list[GraphQLError]:
        brackets = _NO_BRACKETS.sub("", text)
        if len(brackets) > MAX_BRACKETS:
            return [GraphQLError(f"the document has more than {MAX_BRACKETS} brackets")]
        if _nesting(brackets) > MAX_DEPTH:
            return [GraphQLError(f"the document is nested more than {MAX_DEPTH} deep")]
        try:
            document = graphql.parse(text, no_location=False, max_lexical_tokens=MAX_TOKENS)
        except GraphQLError as error:
            return [error]
        return graphql.validate(self.schema, document, CHECKS, max_errors=5) or document


def known_variables(
    schema: GraphQLSchema, operation: OperationDefinitionNode, variables: dict[str, Any]
) -> dict[str, Any]:
    """The variables without input fields that the schema does not know.

    Newer clients add optional fields to their inputs, mostly null; refusing them would break a
    client for a field this server has no use for.
    """
    known = dict(variables)
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        kind = graphql.type_from_ast(schema, definition.type)
        if name in known and kind is not None:
            known[name] = _known_part(known[name], kind)
    return known


def _known_part(value: Any, kind: Any) -> Any:
    kind = graphql.get_nullable_type(kind)
    if graphql.is_list_type(kind) and isinstance(value, list):
        return [_known_part(item, kind.of_type) for item in value]
    if graphql.is_input_object_type(kind) and isinstance(value, dict):
        return {
            name: _known_part(item, kind.fields[name].type)
            for name, item in value.items()
            if name in kind.fields
        }
    return value


class _RolledBack(Exception):
    """A mutation failed: nothing of it may stay."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("a mutation failed")
        self.errors = errors


def _nesting(brackets: str) -> int:
    deepest = depth = 0
    for character in brackets:
        depth += 1 if character in "{[(" else -1
        deepest = max(deepest, depth)
    return deepest


def _choose_operation(
    document: DocumentNode, operation_name: str | None
) -> OperationDefinitionNode | None:
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    named = [o for o in operations if o.name and o.name.value == operation_name]
    return next(iter(named or operations), None)


def _resolve_attribute(source: Any, info: Info, **_: Any) -> Any:
    """A field without a resolver of its own is the attribute (or key) of the same name."""
    if isinstance(source, dict):
        return source.get(info.field_name)
    return getattr(source, _snake(info.field_name), None)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _answer(data: Any, errors: list[GraphQLError] | None, text: str) -> dict[str, Any]:
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
