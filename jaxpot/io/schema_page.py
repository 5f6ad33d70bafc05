"""The reference of configurations for people: the schema as a page of Markdown, for Sphinx with MyST."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "array": "list", "object": "table"}
_SPACES = ("potentials", "descriptors", "radial", "cutoffs", "heads", "kernels", "empirical", "longrange", "molecules", "tensors", "fit")
_BEGIN = """# Configuration

What `jaxpot fit` reads, section by section and class by class. This page and `jaxpot schema`, which writes the same for editors, are made from the classes
of the library; `jaxpot init` writes a configuration to begin with, and [the command line](../command_line.md) shows what it looks like.

A class is a table with its name, `class = "CosineCutoff"`, and its fields. Numbers are a number or nested lists of numbers; where a field may be left
empty, `"none"` stands for nothing. Paths are relative to the file."""
_NOBODYS = "Made by passes, readers and fits"


def page(schema: Mapping[str, Any]) -> str:
    """The schema of `schema()` as Markdown.

    Example:
      >>> from jaxpot.io.schema import schema
      >>> print(page(schema()).splitlines()[0])
      # Configuration
    """
    classes = {name: one for name, one in schema["$defs"].items() if "class" in one.get("properties", {})}
    lines = [_BEGIN, "## Sections"]
    for name, section in schema["properties"].items():
        needed = " It has to be there." if name in schema["required"] else ""
        lines.append(f"### [{name}]\n\n{_text(section['description'])}{needed}")
        lines.append(_table(section) if "properties" in section else f"It is a {_kind(section['anyOf'][0])}, or sections `[[model.terms]]` of one each.")
    lines += ["## Kinds of classes", "Where a field asks for a kind, one of these classes may stand."]
    for kind, names in sorted(_kinds(schema).items()):
        if names != [kind]:
            lines.append(f"(kind-{kind.lower()})=\n**{kind}**: {', '.join(_link('class', name) for name in names)}")
    lines.append("## Classes")
    for space, names in _by_space(classes).items():
        lines.append(f"### {space}")
        for name in names:
            lines.append(f"(class-{name.lower()})=\n**{name}**: {_text(classes[name]['description'])}")
            lines += [_table(classes[name])] if len(classes[name]["properties"]) > 1 else []
    return "\n\n".join(lines) + "\n"


def _by_space(classes: Iterable[str]) -> dict[str, list[str]]:
    """Names of classes by the namespace of which they are; those of none are what passes and readers make."""
    import jaxpot

    homes = {f"jaxpot.{space}": getattr(jaxpot, space) for space in _SPACES} | {"jaxpot": jaxpot}
    found: dict[str, list[str]] = {space: [] for space in (*homes, _NOBODYS)}
    for name in classes:
        found[next((space for space, home in homes.items() if hasattr(home, name)), _NOBODYS)].append(name)
    return {space: names for space, names in found.items() if names}


def _kinds(schema: Any) -> dict[str, list[str]]:
    """What may stand where a kind is asked for, by its name, all over a schema."""
    found: dict[str, list[str]] = {}
    if isinstance(schema, Mapping):
        if "title" in schema and "anyOf" in schema:
            found[schema["title"]] = [one["$ref"].rpartition("/")[2] for one in schema["anyOf"]]
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            found |= _kinds(one)
    return found


def _table(section: Mapping) -> str:
    """The keys of a section or class."""
    rows = []
    for key, own in section["properties"].items():
        if key == "class":
            continue
        default = f"`{json.dumps(own['default'], ensure_ascii=False)}`" if "default" in own else "needed" if key in section.get("required", ()) else ""
        rows.append(f"| `{key}` | {_kind(own)} | {default} | {_text(own.get('description', ''))} |")
    return "| key | what it may be | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows)


def _kind(own: Mapping) -> str:
    """What a value may be, in words."""
    if "title" in own:
        alone = own["anyOf"] == [{"$ref": f"#/$defs/{own['title']}"}]
        return _link("class" if alone else "kind", own["title"])
    if "anyOf" in own:
        return " or ".join(dict.fromkeys(_kind(one) for one in own["anyOf"]))
    if "const" in own or "enum" in own:
        return ", ".join(f'`"{word}"`' for word in own.get("enum", [own.get("const")]))
    if own.get("$ref", "").endswith("/numbers"):
        return "numbers"
    if "rule" in own.get("properties", {}):
        return '`{rule = "forces", ...}`'
    if own.get("type") == "array" and "items" in own:
        return f"list of {_kind(own['items'])}"
    more = f" ≥ {own['minimum']}" if "minimum" in own else f" > {own['exclusiveMinimum']}" if "exclusiveMinimum" in own else ""
    return _WORDS.get(own.get("type", ""), "") + more


def _link(what: str, name: str) -> str:
    return f"[{name}](#{what}-{name.lower()})"


def _text(words: str) -> str:
    """Words of a docstring in a cell of a table: formulas as MyST has them, and bars and asterisks that are no markup."""
    found = re.split(r"((?::math:)?`[^`]*`)", words)
    code = [part.replace(":math:", "{math}").replace("|", r"\|") for part in found[1::2]]
    plain = [re.sub(r"([|*<$\[\]])", r"\\\1", part) for part in found[::2]]
    return "".join(itertools.chain(*itertools.zip_longest(plain, code, fillvalue="")))
