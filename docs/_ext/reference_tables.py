"""Sphinx directives that generate the reference tables from the code."""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.dataset.names import OUTPUTS
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.nodes import nipype as nodes_of_nipype
from opnmf_pipeline.reporting.references import REFERENCES
from opnmf_pipeline.stages.anatomy import REGION_COLUMNS
from opnmf_pipeline.stages.halves import SPLIT_COLUMNS
from opnmf_pipeline.stages.metrics import HIERARCHY_COLUMNS, METRICS_COLUMNS

Schema = dict[str, Any]

LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
WORDS = {"object": "mapping", "string": "text", "boolean": "true or false"}
CONFVAL = """
:::{{confval}} {name}
:type: {kind}
:default: {default}

{description}
:::
"""


class SettingsReference(SphinxDirective):
    """All keys of the YAML file, from the models that read it."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(settings_text(), allow_section_headings=True)


def settings_text() -> str:
    schema = PipelineConfig.model_json_schema()
    sections = schema["properties"].items()
    return "\n".join(_section(name, _resolved(part, schema), schema) for name, part in sections)


def _section(name: str, model: Schema, schema: Schema, level: str = "##") -> str:
    text = [f"{level} {name}\n\n{model['description']}\n"]
    nested = []
    required = model.get("required", [])
    for key, field in model["properties"].items():
        part = _resolved(field, schema)
        if "properties" in part:
            nested.append(_section(f"{name}.{key}", part, schema, level + "#"))
            continue
        default = "required" if key in required else _default(field)
        description = field.get("description", "")
        kind = _kind(field)
        text.append(
            CONFVAL.format(
                name=f"{name}.{key}", kind=kind, default=default, description=description
            )
        )
    return "\n".join(text + nested)


def _resolved(field: Schema, schema: Schema) -> Schema:
    """Return the model that a field refers to, otherwise the field."""
    for option in (field, *field.get("anyOf", [])):
        if "$ref" in option:
            found: Schema = schema["$defs"][option["$ref"].rpartition("/")[2]]
            return found
    return field


def _kind(field: Schema) -> str:
    """Return the allowed type and range of a value, in words."""
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        kinds = [_kind(option) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if field.get("format") == "path":
        return "path"
    kind = field.get("type", "any value")
    if isinstance(kind, list):  # text, also without quotes
        return "text or null" if "null" in kind else "text"
    limits = [f"{sign} {field[limit]}" for limit, sign in LIMITS.items() if limit in field]
    if "items" in field:
        return f"list, each {_kind(field['items'])}"
    return " ".join([WORDS.get(kind, kind), ", ".join(limits)]).strip()


def _default(field: Schema) -> str:
    """Return the default; one that depends on other settings is in the description."""
    return _value(field["default"]) if "default" in field else "see the description"


def _value(default: Any) -> str:
    if default is None:
        return "not set"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if default == [] or default == {}:
        return "empty"
    return f"`{', '.join(map(str, default)) if isinstance(default, list) else default}`"


class OutputsReference(SphinxDirective):
    """All files of a run, from the table of outputs."""

    def run(self) -> list[nodes.Node]:
        rows = [(f"`{path}`", what, kind) for path, what, kind in OUTPUTS.values()]
        return self.parse_text_to_nodes(_table(("file", "content", "format"), rows))


class SolversReference(SphinxDirective):
    """Every solver, from the table that runs it."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(solvers_text())


def solvers_text() -> str:
    rows = []
    for name, solver in SOLVERS.items():
        works = [REFERENCES[key] for key in solver.references]
        settings = ["`init`", "`tol`", "`max_iter`", *(f"`{key}`" for key in solver.settings)]
        rows.append(
            (
                f"`{name}`",
                solver.summary,
                solver.criterion.words,
                ", ".join(settings),
                "; ".join(f"[{work.cited}]({work.address})" for work in works),
            )
        )
    return _table(("solver", "what it finds", "ends at", "settings", "references"), rows)


class ColumnsReference(SphinxDirective):
    """All columns of an output table."""

    required_arguments = 1
    tables: ClassVar = {
        "metrics": METRICS_COLUMNS,
        "splits": SPLIT_COLUMNS,
        "hierarchy": HIERARCHY_COLUMNS,
        "regions": {name: column["Description"] for name, column in REGION_COLUMNS.items()},
    }

    def run(self) -> list[nodes.Node]:
        columns = self.tables[self.arguments[0]]
        rows = [(f"`{name}`", what) for name, what in columns.items()]
        return self.parse_text_to_nodes(_table(("column", "content"), rows))


class NodesReference(SphinxDirective):
    """All nodes, from their Nipype specifications."""

    def run(self) -> list[nodes.Node]:
        text = "\n\n".join(node_text(name) for name in nodes_of_nipype.__all__)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def node_text(name: str) -> str:
    interface = getattr(nodes_of_nipype, name)
    inputs = interface.input_spec().traits(transient=None).items()
    outputs = interface.output_spec().traits(transient=None).items()
    given = [(f"`{key}`", _given(trait), _one_line(trait.desc)) for key, trait in inputs]
    made = [(f"`{key}`", _one_line(trait.desc)) for key, trait in outputs]
    tables = [_table(("input", "default", ""), given), _table(("output", ""), made)]
    return "\n\n".join([f"## {name}", interface.__doc__.partition("\n\n")[0], *tables])


def _given(trait: Any) -> str:
    """Return the default of an input."""
    if trait.mandatory:
        return "required"
    return _value(trait.default) if trait.usedefault else "not set"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings-reference", SettingsReference)
    app.add_directive("outputs-reference", OutputsReference)
    app.add_directive("solvers-reference", SolversReference)
    app.add_directive("columns-reference", ColumnsReference)
    app.add_directive("nodes-reference", NodesReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
