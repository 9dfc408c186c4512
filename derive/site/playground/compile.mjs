// Compiles the modules in an archive by the Python that will run them, so that a browser need not: node compile.mjs PYODIDE IN.zip OUT.zip
import { readFileSync, writeFileSync } from "node:fs";

const [folder, given, made] = process.argv.slice(2);
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const python = await loadPyodide({ indexURL: folder });
python.FS.writeFile("/in.zip", new Uint8Array(readFileSync(given)));
python.runPython(`
import importlib._bootstrap_external as machinery, zipfile
from importlib.util import source_hash

with zipfile.ZipFile("/in.zip") as sources, zipfile.ZipFile("/out.zip", "w") as modules:
    for name in sources.namelist():
        text = sources.read(name)
        ours = name.startswith("derive/")  # of others' modules, docstrings are half the size
        code = compile(text, name, "exec", dont_inherit=True, optimize=0 if ours else 2)
        modules.writestr(zipfile.ZipInfo(name + "c"), machinery._code_to_hash_pyc(code, source_hash(text), False))
`);
writeFileSync(made, python.FS.readFile("/out.zip"));
