"""The JSON schema of sweep files, derived from the classes that validate them.

Editors complete and check sweep files with it. It accepts every valid file. Rules about several fields, expressions,
and fields that a trial lacks after ``grid:`` and ``sample:`` are left to `load_sweep`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.user_code_config import OWN_CODE
from orchestrator.study.sweep import SweepFile

_OWN_NAME = {"type": "string", "pattern": r"^[^:\s]+:[^:\s]+$", "description": f"Your own code: {OWN_CODE}"}
_PARTS_OF_TRIALS = ("orchestrator.study.config", "orchestrator.study.parts")


def sweep_file_schema() -> dict[str, Any]:
    """Returns the JSON schema of sweep files, of draft 7, which editors support."""
    _, found = models_json_schema(
        [(SweepFile, "validation"), (TrialConfig, "validation")], schema_generator=_Generator, by_alias=False
    )
    definitions = found["$defs"]
    file, trial = definitions.pop("SweepFile"), definitions["TrialConfig"]
    file["properties"]["trial"] |= {"$ref": "#/$defs/TrialConfig"}
    file["properties"]["grid"] |= _grid(list(trial["properties"]))
    definitions["SampleConfig"]["properties"]["values"]["propertyNames"] = {
        "pattern": _dotted_keys(trial["properties"])
    }
    quantity = definitions["MeasurementConfig"]["properties"]["estimators"]["items"]["then"]
    quantity["required"] = ["name"]  # no grid can give it to an element of a list
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **file,
        "title": "Sweep file of Hessian Dynamics",
        "required": ["trial"],
        "$defs": definitions,
    }


def _grid(fields: Sequence[str]) -> JsonSchemaValue:
    axis = {"type": "array", "minItems": 1}
    grid = {
        "type": "object",
        "properties": {name: {**axis, "items": {"$ref": f"#/$defs/TrialConfig/properties/{name}"}} for name in fields},
        "patternProperties": {_dotted_keys(fields): axis},
        "additionalProperties": False,
    }
    return {"if": {"type": "array"}, "then": {"items": grid, "minItems": 1}, "else": grid}


def _dotted_keys(fields: Iterable[str]) -> str:
    """The pattern of dotted keys of a trial."""
    return rf"^({'|'.join(fields)})(\..+)?$"


class _Generator(GenerateJsonSchema):
    """Generates the schema of a file whose trial may lack fields that a grid or a sample gives.

    Alternatives are written as conditions, not as ``anyOf``, so that an error names the field that is wrong.
    """

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        found = super().generate_inner(schema)
        found.pop("identity", None)  # the marker of fields that are not part of the trial id
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        found.pop("title", None)
        if schema["cls"].__module__.startswith(_PARTS_OF_TRIALS):
            found.pop("required", None)
        return found

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        found = super().tuple_schema(schema)
        if "prefixItems" in found:  # as in draft 7
            found["items"] = found.pop("prefixItems")
        return found

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """The allowed fields depend on the name. Without a name, the default's fields are allowed, or any fields."""
        members = {str(tag): self.generate_inner(choice) for tag, choice in schema["choices"].items()}
        discriminator = schema["discriminator"]
        default = discriminator({}) if callable(discriminator) else None
        conditions = [{"if": _has_name(name), "then": member} for name, member in members.items()]
        if default in members:
            conditions.append({"if": {"not": {"required": ["name"]}}, "then": members[default]})
        return {"type": "object", "properties": {"name": _names(members)}, "allOf": conditions}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Unions with a validator before them allow the name alone."""
        found = super().function_before_schema(schema)
        if schema["schema"]["type"] != "tagged-union":
            return found
        return {"if": {"type": "object"}, "then": found, "else": found["properties"]["name"]}


def _has_name(name: str) -> JsonSchemaValue:
    value = {"pattern": ":"} if name == OWN_CODE else {"const": name}
    return {"properties": {"name": value}, "required": ["name"]}


def _names(members: dict[str, JsonSchemaValue]) -> JsonSchemaValue:
    built_in = {"enum": [name for name in members if name != OWN_CODE]}
    own = {"if": {"type": "string", "pattern": ":"}, "then": _OWN_NAME, "else": built_in}
    return own if OWN_CODE in members else built_in
