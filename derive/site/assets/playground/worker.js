// What the worker does: it starts Python, then derives what it is sent. The function's own text becomes the worker's script, so it uses
// nothing from outside. Scripts are `data:` addresses: of a page that is read from a folder, browsers load modules from nowhere else.
"use strict";
playground.work = async function () {
  const say = (message) => self.postMessage(message);
  const { files } = await new Promise((resolve) => self.addEventListener("message", (event) => resolve(event.data), { once: true }));
  const module = async (name) => import(`data:text/javascript,${encodeURIComponent(await files[name].text())}`);
  // Pyodide asks for its files by address: it is answered with those that came along, and nothing leaves the machine.
  self.fetch = async (address) => new Response(files[String(address).split("/").pop()]);

  async function start() {
    const [{ loadPyodide }, { default: createPyodideModule }] = await Promise.all([module("pyodide.mjs"), module("pyodide.asm.mjs")]);
    await module("katex.js"); // sets self.katex
    const python = await loadPyodide({ indexURL: "https://bundle.invalid/", createPyodideModule });
    say({ kind: "stage", text: "Loading SymPy" });
    python.FS.writeFile("/derive.zip", new Uint8Array(await files["derive.zip"].arrayBuffer()));
    python.runPython("import sys; sys.path.insert(0, '/derive.zip')");
    return python.pyimport("derive.site.playground.browser");
  }

  const typeset = (tex, displayMode) =>
    self.katex.renderToString(tex, { displayMode, output: "mathml", throwOnError: true, strict: "error" });

  try {
    const browser = await start();
    self.addEventListener("message", ({ data }) => {
      try {
        for (const piece of browser.derived(data.text, data.declared, typeset)) say({ kind: "piece", piece: JSON.parse(piece) });
        say({ kind: "done" });
      } catch (error) {
        say({ kind: "failed", text: String(error.message ?? error) });
      }
    });
    say({ kind: "ready" });
  } catch (error) {
    say({ kind: "failed", text: String(error.message ?? error) });
  }
};
