"""Compiles a project to a component: `dist/NAME.wasm`."""

import ast
import os
import shutil
import sys
import tempfile
from pathlib import Path

# The SDK may be shared or read-only.
sys.dont_write_bytecode = True
SDK = Path(__file__).resolve().parent
SOURCE = Path("module.py")
#: The functions of an author's module, and how the component exports them.
ROLES = {
    "filter": "check = _entry.verdict(exports.filter)\n\n\nclass Filter:\n"
    "    def check(self, event):\n        return _entry.run(module.filter, check, event)\n",
    "transform": "class Transform:\n"
    "    def apply(self, event):\n"
    "        return _entry.run(module.transform, _entry.drafts, event)\n",
    "route": "plan = _entry.dispatches(exports.route)\n\n\nclass Route:\n"
    "    def plan(self, event):\n        return _entry.run(module.route, plan, event)\n",
}


def find_roles() -> list[str]:
    try:
        tree = ast.parse(SOURCE.read_text(), str(SOURCE))
    except SyntaxError as error:
        sys.exit(f"{SOURCE}:{error.lineno}: {error.msg}")
    names = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
    roles = [role for role in ROLES if role in names]
    if not roles:
        sys.exit(f"{SOURCE} has none of the functions {', '.join(ROLES)}")
    return roles


def write_world(folder: Path, roles: list[str]) -> None:
    shutil.copytree(SDK.parent / "wit", folder / "wit")
    exports = " ".join(f"export {role};" for role in roles)
    world = f"package waybill:module@0.1.0;\nworld module {{ include capabilities; {exports} }}\n"
    (folder / "wit" / "module.wit").write_text(world)


def write_entry(folder: Path, roles: list[str]) -> None:
    # Only what is imported here is in the component: it has no files.
    lines = ["from waybill import _entry", "import module", "from wit_world import exports", ""]
    lines += [ROLES[role] for role in roles]
    (folder / "waybill_entry.py").write_text("\n".join(lines))


def main(name: str) -> None:
    roles = find_roles()
    try:
        from componentize_py import script
    except ImportError:
        sys.exit("cannot load componentize-py: run `pip install -r requirements.txt`")
    output = Path("dist")
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_world(folder, roles)
        write_entry(folder, roles)
        # A copy, because the interpreter in the component writes its caches beside the sources.
        shutil.copytree(SDK / "waybill", folder / "waybill")
        paths = [argument for path in (".", folder) for argument in ("-p", str(path))]
        sys.argv = ["componentize-py", "-q", "-d", str(folder / "wit"), "-w", "module"]
        sys.argv += ["componentize", *paths, "-o", str(output / f"{name}.wasm"), "waybill_entry"]
        # The virtual environment holds the compiler, not what the module needs.
        os.environ.pop("VIRTUAL_ENV", None)
        sys.exit(script())


if __name__ == "__main__":
    main(sys.argv[1])
