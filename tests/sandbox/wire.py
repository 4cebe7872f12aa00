# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EC2 query protocol in both directions, driven by botocore's service model.

`parse` turns the body of a request into the parameters that a boto3 caller gave; `render` turns a boto3-shaped result
into EC2's XML. Nothing here knows an operation by name, so the sandbox reads and writes every operation of the model.
Readers and writers are built once per shape and kept, because DescribeSnapshots has to render 100,000 rows.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any
from urllib.parse import parse_qsl

from botocore.loaders import Loader
from botocore.model import (
    ListShape,
    MapShape,
    OperationModel,
    OperationNotFoundError,
    ServiceModel,
    Shape,
    StructureShape,
)
from botocore.utils import parse_timestamp

from .errors import Ec2Error

#: Parameters of every request that are not parameters of the operation.
PROTOCOL_PARAMETERS = frozenset(
    {
        "Action",
        "Version",
        "AUTHPARAMS",
        "AWSAccessKeyId",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "Expires",
        "SecurityToken",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
    }
)


@cache
def service_model() -> ServiceModel:
    """botocore's model of EC2."""
    return ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")


@cache
def operation_model(action: str) -> OperationModel | None:
    """The model of one operation, or None when EC2 has no such operation."""
    try:
        return service_model().operation_model(action)
    except OperationNotFoundError:
        return None


# --- requests ---------------------------------------------------------------------------------------------------------

Reader = Callable[[Any, str], Any]


def parse(body: bytes | str, query: str = "") -> tuple[str, dict[str, Any]]:
    """Read one request of the EC2 query protocol.

    body: the form-encoded body; query: the query string of the URL (for GET requests).
    Returns the action and its parameters in boto3's shape: lists are lists, blobs bytes, timestamps aware datetimes,
    integers and booleans Python's. `UserData` stays the base64 text that travels on the wire, as in EC2's own answers.
    Raises Ec2Error with MissingAction, InvalidAction, UnknownParameter, MissingParameter or InvalidParameterValue.
    """
    action, form = read_form(body, query)
    return action, read_parameters(action, form)


def read_form(body: bytes | str, query: str = "") -> tuple[str, dict[str, str]]:
    """Split the form into the action and its flat parameters (`{"TagSpecification.1.Tag.1.Key": "Name", …}`).

    Raises Ec2Error MissingAction when no action is named.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    pairs = parse_qsl(text, keep_blank_values=True)
    if query:
        pairs += parse_qsl(query, keep_blank_values=True)
    form = dict(pairs)
    action = form.get("Action", "")
    if not action:
        raise Ec2Error("MissingAction", "The request is missing an action or a required parameter.")
    return action, {name: value for name, value in form.items() if name not in PROTOCOL_PARAMETERS}


def read_parameters(action: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Turn flat parameters into boto3's shape by the operation's input shape; see `parse` for results and errors."""
    model = operation_model(action)
    if model is None:
        raise Ec2Error("InvalidAction", f"The action {action} is not valid for this web service.")
    if not form and (model.input_shape is None or not model.input_shape.required_members):
        return {}
    tree: dict[str, Any] = {}
    for name, value in form.items():
        node = tree
        *parents, leaf = name.split(".")
        for parent in parents:
            below = node.setdefault(parent, {})
            if not isinstance(below, dict):
                raise Ec2Error("UnknownParameter", f"The parameter {name} is not recognized")
            node = below
        if isinstance(node.get(leaf), dict):
            raise Ec2Error("UnknownParameter", f"The parameter {name} is not recognized")
        node[leaf] = value
    if model.input_shape is None:
        raise Ec2Error("UnknownParameter", f"The parameter {next(iter(tree))} is not recognized")
    parameters: dict[str, Any] = _reader(model.input_shape)(tree, "")
    return parameters


def query_name(shape: Shape, member: str) -> str:
    """The name under which a member travels in a request (the rule of botocore's EC2Serializer)."""
    if "queryName" in shape.serialization:
        return str(shape.serialization["queryName"])
    name = str(shape.serialization.get("name", member))
    return name[0].upper() + name[1:]


# Shapes can contain themselves, so readers and writers are kept by the shape's name and looked up when they are used.
_readers: dict[str, Reader] = {}


def _reader(shape: Shape) -> Reader:
    # The traits of a member (its names) live on the reference, those of its values on the shape's name: one per name.
    reader = _readers.get(shape.name)
    if reader is None:
        reader = _readers[shape.name] = _build_reader(shape)
    return reader


def _build_reader(shape: Shape) -> Reader:
    if isinstance(shape, StructureShape):
        return _structure_reader(shape)
    if isinstance(shape, ListShape):
        return _list_reader(shape)
    if isinstance(shape, MapShape):  # EC2 has none today; a new model must not be read wrongly in silence
        raise NotImplementedError(f"EC2 inputs with maps are not known to this sandbox: {shape.name}")
    return _SCALARS.get(shape.type_name, _read_string)


def _structure_reader(shape: StructureShape) -> Reader:
    members = {query_name(member, name): (name, member) for name, member in shape.members.items()}
    required = [(name, query_name(shape.members[name], name)) for name in shape.required_members]

    def read(node: Any, path: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            if node == "":
                node = {}
            else:
                raise Ec2Error("UnknownParameter", f"The parameter {path} is not recognized")
        prefix = f"{path}." if path else ""
        result: dict[str, Any] = {}
        for key, value in node.items():
            member = members.get(key)
            if member is None:
                raise Ec2Error("UnknownParameter", f"The parameter {prefix}{key} is not recognized")
            result[member[0]] = _reader(member[1])(value, prefix + key)
        for name, wire_name in required:
            if name not in result:
                raise Ec2Error("MissingParameter", f"The request must contain the parameter {prefix}{wire_name}")
        return result

    return read


def _list_reader(shape: ListShape) -> Reader:
    item = shape.member

    def read(node: Any, path: str) -> list[Any]:
        if node == "":
            return []
        if not isinstance(node, dict):
            # EC2 also accepts `VolumeId=vol-1` for a list of one, from old clients.
            return [_reader(item)(node, path)]
        try:
            ordered = sorted((int(position), value) for position, value in node.items())
        except (ValueError, TypeError):
            raise Ec2Error("UnknownParameter", f"The parameter {path}.{next(iter(node))} is not recognized") from None
        return [_reader(item)(value, f"{path}.{position}") for position, value in ordered]

    return read


def _scalar(node: Any, path: str) -> str:
    if isinstance(node, dict):
        raise Ec2Error("UnknownParameter", f"The parameter {path}.{next(iter(node))} is not recognized")
    return str(node)


def _read_string(node: Any, path: str) -> str:
    return _scalar(node, path)


def _wrong(path: str, value: str, expected: str) -> Ec2Error:
    return Ec2Error("InvalidParameterValue", f"Value ({value}) for parameter {path} is invalid. Expected {expected}.")


def _read_integer(node: Any, path: str) -> int:
    text = _scalar(node, path)
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise _wrong(path, text, "an integer")
    return int(text)


def _read_float(node: Any, path: str) -> float:
    text = _scalar(node, path)
    try:
        return float(text)
    except ValueError:
        raise _wrong(path, text, "a number") from None


def _read_boolean(node: Any, path: str) -> bool:
    text = _scalar(node, path).lower()
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise _wrong(path, text, "a boolean")


def _read_timestamp(node: Any, path: str) -> datetime:
    text = _scalar(node, path)
    try:
        moment: datetime = parse_timestamp(text)
    except (ValueError, OverflowError):
        raise _wrong(path, text, "a timestamp") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_blob(node: Any, path: str) -> bytes:
    text = _scalar(node, path)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(path, text, "base64") from None


_SCALARS: dict[str, Reader] = {
    "string": _read_string,
    "integer": _read_integer,
    "long": _read_integer,
    "float": _read_float,
    "double": _read_float,
    "boolean": _read_boolean,
    "timestamp": _read_timestamp,
    "blob": _read_blob,
}


# --- answers ----------------------------------------------------------------------------------------------------------

Writer = Callable[[Any, list[str]], None]

# This includes characters that XML 1.0 does not allow at all. EC2 cannot send them, and one such tag must not spoil a
# whole page.
_UNSAFE = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"}


def escaped(text: str) -> str:
    """XML text."""
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub(lambda match: _ENTITIES.get(match.group(), "?"), text)


def render(action: str, result: Mapping[str, Any] | None, request_id: str = "") -> bytes:
    """The XML answer to an action.

    result: boto3-shaped; members that are None are left out. For Describe operations the top-level lists that the
    result does not name are rendered empty, as EC2 does; those that ask for one attribute answer that attribute alone.
    An operation without output answers `<return>true</return>`.
    Raises KeyError, naming the shape, when the result has a member that the model does not know, and TypeError when a
    value has the wrong type: both are errors in a handler.
    """
    name, inner = _document(action)
    out = [
        (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="http://ec2.amazonaws.com/doc/{_api_version()}/">'
            f"<requestId>{escaped(request_id)}</requestId>"
        )
    ]
    inner(result or {}, out)
    out.append(f"</{name}>")
    return "".join(out).encode("utf-8")


@cache
def _api_version() -> str:
    return str(service_model().api_version)


@cache
def _document(action: str) -> tuple[str, Writer]:
    model = operation_model(action)
    if model is None:
        raise KeyError(f"EC2 has no action {action}")
    shape = model.output_shape
    if shape is None:

        def nothing(value: Any, out: list[str]) -> None:
            out.append("<return>true</return>")

        return f"{action}Response", nothing
    write = _structure_writer(shape)
    if not action.startswith("Describe") or action.endswith("Attribute"):
        return f"{action}Response", write
    lists = {name: member for name, member in shape.members.items() if isinstance(member, ListShape)}

    def describe(value: Any, out: list[str]) -> None:
        write(value, out)
        for name, member in lists.items():
            if value.get(name) is None:
                out.append(f"<{_element(member, name)}/>")

    return f"{action}Response", describe


def _element(shape: Shape, member: str) -> str:
    return str(shape.serialization.get("name", member))


_writers: dict[str, Writer] = {}


def _writer(shape: Shape) -> Writer:
    writer = _writers.get(shape.name)
    if writer is None:
        writer = _writers[shape.name] = _build_writer(shape)
    return writer


def _build_writer(shape: Shape) -> Writer:
    if isinstance(shape, StructureShape):
        return _structure_writer(shape)
    if isinstance(shape, ListShape):
        return _list_writer(shape)
    scalar = _scalar_text(shape)

    def write(value: Any, out: list[str]) -> None:
        out.append(scalar(value))

    return write


def _structure_writer(shape: StructureShape) -> Writer:
    """A writer that walks the row's members, not the shape's: rows are sparse and shapes wide.

    The table of a member is filled when the member is first seen, because a shape may contain itself.
    """
    text_members: dict[str, tuple[str, Callable[[Any], str], str]] = {}
    other_members: dict[str, tuple[str, Writer, str]] = {}

    def learn(name: str) -> None:
        member = shape.members.get(name)
        if member is None:
            raise KeyError(f"{shape.name} has no member {name}")
        element = _element(member, name)
        if isinstance(member, (StructureShape, ListShape)):
            other_members[name] = (f"<{element}>", _writer(member), f"</{element}>")
        else:
            text_members[name] = (f"<{element}>", _scalar_text(member), f"</{element}>")

    def write(row: Any, out: list[str]) -> None:
        name = None
        try:
            for name, value in row.items():
                if value is None:
                    continue
                text = text_members.get(name)
                if text is not None:
                    out.append(f"{text[0]}{text[1](value)}{text[2]}")
                    continue
                other = other_members.get(name)
                if other is not None:
                    out.append(other[0])
                    other[1](value, out)
                    out.append(other[2])
                    continue
                learn(name)
                write({name: value}, out)
        except TypeError as error:
            raise TypeError(f"{shape.name}.{name}: {error}") from None

    return write


def _list_writer(shape: ListShape) -> Writer:
    element = str(shape.member.serialization.get("name", "item"))
    if isinstance(shape.member, (StructureShape, ListShape)):
        if _is_key_value(shape.member):
            return _pairs_writer(element)
        inner: Writer | None = None
        opening, closing = f"<{element}>", f"</{element}>"

        def write(rows: Any, out: list[str]) -> None:
            nonlocal inner
            if inner is None:
                inner = _writer(shape.member)
            append = out.append
            for row in rows:
                append(opening)
                inner(row, out)
                append(closing)

        return write
    scalar = _scalar_text(shape.member)

    def write_scalars(values: Any, out: list[str]) -> None:
        out.append("".join([f"<{element}>{scalar(value)}</{element}>" for value in values]))

    return write_scalars


def _is_key_value(shape: Shape) -> bool:
    return isinstance(shape, StructureShape) and shape.name == "Tag"


def _pairs_writer(element: str) -> Writer:
    # Tags are most of the rows of a Describe answer: one string per tag.
    def write(rows: Any, out: list[str]) -> None:
        safe = _UNSAFE.search
        for row in rows:
            key, value = row["Key"], row["Value"]
            if safe(key) is not None or safe(value) is not None:
                key, value = escaped(key), escaped(value)
            out.append(f"<{element}><key>{key}</key><value>{value}</value></{element}>")

    return write


@lru_cache(maxsize=4096)
@lru_cache(maxsize=1 << 18)
def timestamp_text(moment: datetime) -> str:
    """EC2's form of a time: UTC with milliseconds, `2026-11-23T04:05:06.789Z`. Raises ValueError for a naive time."""
    if moment.tzinfo is None:
        raise ValueError(f"a naive time cannot be rendered: {moment!r}")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _text_of_boolean(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise TypeError(f"a boolean is needed, not {value!r}")


def _text_of_integer(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"an integer is needed, not {value!r}")


def _text_of_real(value: Any) -> str:
    return repr(float(value))


def _text_of_string(value: Any) -> str:
    if isinstance(value, str):
        return value if _UNSAFE.search(value) is None else escaped(value)
    raise TypeError(f"a string is needed, not {value!r}")


def _text_of_moment(value: Any) -> str:
    if isinstance(value, datetime):
        return timestamp_text(value)
    raise TypeError(f"a datetime is needed, not {value!r}")


def _text_of_blob(value: Any) -> str:
    return base64.b64encode(value).decode("ascii")


_TEXTS: dict[str, Callable[[Any], str]] = {
    "boolean": _text_of_boolean,
    "integer": _text_of_integer,
    "long": _text_of_integer,
    "float": _text_of_real,
    "double": _text_of_real,
    "timestamp": _text_of_moment,
    "blob": _text_of_blob,
}


def _scalar_text(shape: Shape) -> Callable[[Any], str]:
    return _TEXTS.get(shape.type_name, _text_of_string)


def render_error(code: str, message: str, request_id: str = "") -> bytes:
    """EC2's error document."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Response><Errors><Error><Code>{escaped(code)}</Code><Message>{escaped(message)}</Message></Error></Errors>"
        f"<RequestID>{escaped(request_id)}</RequestID></Response>"
    ).encode()
