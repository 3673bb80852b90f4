"""Pages that are made from the repository: a page for each method and example, and the API."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

__all__ = ["generated"]

API = {
    "dynsel.callbacks": "callbacks",
    "dynsel.samplers": "samplers",
    "dynsel.selectors": "dynsel/selectors",
    "dynsel.selectors.terms": "dynsel/selectors/terms",
    "dynsel.schedules": "dynsel/schedules.py",
    "dynsel.selection": "dynsel/selection.py",
    "dynsel.usage": "dynsel/usage.py",
    "dynsel.labels": "dynsel/labels.py",
    "dynsel.features": "dynsel/features",
    "dynsel.features.extractors": "dynsel/features/extractors",
    "dynsel.sae": "dynsel/sae",
    "dynsel.graph": "dynsel/graph",
    "dynsel.cfd": "dynsel/cfd",
    "dynsel.metrics": "dynsel/metrics.py",
    "dynsel.coreset": "dynsel/coreset.py",
    "dynsel.distill": "dynsel/distill",
    "dynsel.data": "dynsel/data",
    "dynsel.models": "dynsel/models",
}
COSTS = {
    "features": "features of the data set, extracted once or captured while training",
    "forward pass": "a forward pass over each batch of candidates",
    "small network": "a small network that is trained beside yours",
    "losses": "nothing beyond the training: losses are overheard",
    "logits": "nothing beyond the training: logits are overheard",
}


@cache
def generated(root: Path) -> dict[str, str]:
    """Names of the pages on the site, and their Markdown.

    Args:
        root: The repository.
    """
    return {**_methods(root), **_examples(root), **_api(root)}


# ---------------------------------------------------------------- methods
def _methods(root: Path) -> dict[str, str]:
    rows = [row for row in _rows((root / "README.md").read_text()) if re.fullmatch("`[a-z0-9-]+`", row[0])]
    listed = [f"| [{row[0]}]({row[0].strip('`')}.md) | {row[2]} | {row[3]} | {row[4]} |" for row in rows]
    head = '# Methods\n\nEach by its name, as in `DynamicSelection("rrd")` and `--selectors rrd`, or by its class.\n\n'
    index = head + "| name | what it trains on | needs | source |\n|---|---|---|---|\n" + "\n".join(listed) + "\n"
    results = [row for name in ("RECORDS", "RESULTS") for row in _results((root / f"recipes/{name}.md").read_text())]
    return {"methods/index.md": index, **{f"methods/{row[0].strip('`')}.md": _method(row, results) for row in rows}}


def _method(row: list[str], results: list[tuple[str, list[str]]]) -> str:
    """Page of one method, from its row in the README's table: `[name, class, what it trains on, needs, source]`."""
    name, cls = row[0].strip("`"), row[1].strip("`")
    costs = sorted((row[3].index(word), text) for word, text in COSTS.items() if word in row[3])
    facts = {
        "In Python": f'`DynamicSelection("{name}")`, or with arguments `DynamicSelection({cls}(...))`',
        "Compared": f"`dynsel compare --config dynsel:digits --selectors full random {name} --out runs/{name}`",
        "Needs": row[3] or "nothing",
        "Costs": costs[0][1] if costs else "nothing beyond the training",
        "Source": row[4] or "common knowledge",
    }
    lines = [
        f"# {cls}",
        "",
        f"*{row[2][0].upper()}{row[2][1:]}.*",
        "",
        *(f"- **{k}**: {v}" for k, v in facts.items()),
        "",
    ]
    lines += ["## Measured", ""]
    measured = [(setting, cells) for setting, cells in results if _is_of(cells[0], name, cls)]
    if measured:
        lines += ["| setting | method | accuracy % | vs random | p |", "|---|---|---:|---:|---:|"]
        lines += [f"| {setting} | {' | '.join(cells)} |" for setting, cells in measured]
        lines += [
            "",
            "Conditions and costs: [Results](../recipes/RESULTS.md) and [Records](../recipes/RECORDS.md).",
        ]
    else:
        lines += ["It stands in no comparison yet."]
    lines += ["", "## Reference", "", f"::: dynsel.selectors.{cls}", "    options: {heading_level: 3}"]
    return "\n".join(lines) + "\n"


def _rows(text: str) -> list[list[str]]:
    """Cells of the table rows of a page."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def _results(text: str) -> list[tuple[str, list[str]]]:
    """Setting and `[method, value, vs random, p]` of each row of the results."""
    found, section, lead, tables = [], "", "", 0
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip().splitlines()
        if lines[0].startswith("## "):
            section, tables = lines[0].removeprefix("## "), 0
        elif not lines[0].startswith("|"):
            lead = " ".join(lines)
        else:
            tables += 1
            heads, _, *rows = _rows(block)
            setting = _setting(section, lead, tables)
            if columns := _columns(heads):
                found += [(setting, [row[i] if i < len(row) else "" for i in columns]) for row in rows]
    return found


def _columns(heads: list[str]) -> list[int]:
    """Places of method, accuracy, difference to random and its p-value; empty for a table of something else."""
    value = next((i for i, head in enumerate(heads) if "accuracy" in head), None)
    return (
        [] if value is None or not {"vs random", "p"} <= {*heads} else [0, value, *map(heads.index, ("vs random", "p"))]
    )


def _setting(section: str, lead: str, number: int) -> str:
    """What a table was measured on: its section, and for a further table of it what stands above that one."""
    if number == 1:
        return section
    lead = re.sub(r"`[^`]*stress/(\w+)\.yaml[^`]*`", lambda found: found[1].replace("_", " "), lead)
    plain = re.sub(r"`[^`]*`[,:]?|\[([^]]*)\]\([^)]*\)", r"\1", lead)
    words = " ".join(re.sub(r"\(\W*\w*\)|\b(with|and) (?=n =)", "", plain).split()).replace(" ,", ",")
    short = words if len(words) <= 100 else words[:100].rpartition(" ")[0] + " …"
    return f"{section.partition(',')[0]}: {short[0].lower()}{short[1:].rstrip(' ,:')}"


def _is_of(method: str, name: str, cls: str) -> bool:
    plain = method.replace("*", "").replace("ε", "epsilon").lower()
    spelled = (name, name.replace("-", " "), cls.lower())
    return any(plain == word or plain.startswith((f"{word},", f"{word} ")) for word in spelled)


# ---------------------------------------------------------------- examples
def _examples(root: Path) -> dict[str, str]:
    scripts = sorted((root / "examples").glob("*.py"))
    if not scripts:
        return {}
    told = {path: ast.get_docstring(ast.parse(path.read_text())) or path.stem for path in scripts}
    lines = ["- [A notebook: what is chosen while it trains](first_selection.md)"]
    lines += [f"- [{text.splitlines()[0].rstrip('.')}]({path.stem}.md)" for path, text in told.items()]
    index = (
        "# Examples\n\nEach runs as it stands, in seconds, on a CPU; the tests run them all.\n\n"
        + "\n".join(lines)
        + "\n"
    )
    return {
        "examples/index.md": index,
        "examples/first_selection.md": _notebook(root),
        **{f"examples/{path.stem}.md": _example(path, told[path]) for path in scripts},
    }


def _example(path: Path, told: str) -> str:
    title, _, rest = told.partition("\n")
    code = re.sub(r'^""".*?"""\n+', "", path.read_text(), count=1, flags=re.DOTALL)
    return f"# {title.rstrip('.')}\n\n{rest.strip()}\n\n`examples/{path.name}`:\n\n```python\n{code}```\n"


def _notebook(root: Path) -> str:
    """The notebook's cells, one after another."""
    cells = json.loads((root / "examples/first_selection.ipynb").read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    parts = [f"```python\n{t}\n```" if c["cell_type"] == "code" else t for c, t in zip(cells, texts, strict=True)]
    return "\n\n".join(parts) + "\n\nThe notebook: `examples/first_selection.ipynb`.\n"


# ---------------------------------------------------------------- the API
def _api(root: Path) -> dict[str, str]:
    """A page for each public package, with what its `__all__` names."""
    made = {}
    for module, place in API.items():
        path = root / place
        tree = ast.parse((path / "__init__.py" if path.is_dir() else path).read_text())
        told = (ast.get_docstring(tree) or "").partition("\n\n")[0]
        blocks = [f"::: {module}.{name}" for name in _public(tree)]
        made[f"api/{module.removeprefix('dynsel.')}.md"] = f"# {module}\n\n{told}\n\n" + "\n\n".join(blocks) + "\n"
    return made


def _public(tree: ast.Module) -> list[str]:
    """Names in `__all__`, without constants, which have no docstring."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(name for name in ast.literal_eval(node.value) if not name.isupper() or name in _classes(tree))
    return []


def _classes(tree: ast.Module) -> set[str]:
    """Names that are imported from files, so that an upper-case one is a class such as `AUM`."""
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dynsel.")
        for alias in node.names
        if not alias.name.endswith("S") or alias.name in ("BLS", "CCS", "GSTDS")
    }
