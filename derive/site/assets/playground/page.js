// The page: what is typed goes to the engine, what comes back is shown.
"use strict";
playground.page = (function () {
  const SECONDS = 60; // for one cell
  const at = (id) => document.getElementById(`play-${id}`);
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const data = playground.data;
  let engine = null;
  let started = 0; // when the derivation began

  const texts = () => ({ text: at("text").value, declared: at("declared").value });

  function fill({ text, declared }) {
    at("text").value = text;
    at("declared").value = declared;
    at("more").open = declared.trim() !== "";
  }

  function status(text, part = null) {
    at("status").textContent = text;
    at("progress").hidden = part === null;
    if (part !== null) part < 0 ? at("progress").removeAttribute("value") : (at("progress").value = part);
  }

  function clear() {
    at("result").replaceChildren();
    at("home").hidden = at("error").hidden = true;
    at("text").removeAttribute("aria-invalid");
  }

  function derive() {
    if (!engine) return;
    clear();
    at("stop").disabled = false;
    const { text, declared } = texts();
    playground.link.forget({ text, declared });
    engine.derive(text, declared);
  }

  function refused({ error, line, column }) {
    at("error").textContent = error;
    at("error").hidden = false;
    at("error").scrollIntoView({ block: "nearest" });
    if (!line) return;
    const before = at("text").value.split("\n").slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    at("text").setAttribute("aria-invalid", "true");
    at("text").setSelectionRange(before + column, before + column + 1);
  }

  function section({ title, html, above }) {
    const made = document.createElement("section");
    const head = document.createElement("h2");
    head.textContent = title;
    made.innerHTML = html; // made by derive, which escapes what it was given
    made.prepend(head);
    above ? at("result").prepend(made) : at("result").append(made);
  }

  function home({ file, name }) {
    at("file").textContent = file;
    at("download").href = URL.createObjectURL(new Blob([file], { type: "text/x-python" }));
    at("download").download = `${name}.py`;
    at("commands").textContent = `derive check ${name}.py\nderive generate ${name}.py --out kernels`;
    at("home").hidden = false;
  }

  function ended(text) {
    at("stop").disabled = true;
    status(text);
  }

  const HEARD = {
    stage: ({ text }) => status(text, -1),
    ready: () => status("Ready"),
    begun: () => ((started = performance.now()), status("Deriving", -1)),
    piece: ({ piece }) => ("error" in piece ? refused : "file" in piece ? home : section)(piece),
    done: () => ended(at("error").hidden ? `Derived in ${((performance.now() - started) / 1000).toFixed(1)} s` : "There is an error"),
    failed: ({ text }) => (ended(""), refused({ error: `Python could not be started: ${text}` })),
    stopped: ({ text }) => (ended(""), refused({ error: `Stopped: ${text}` })),
  };

  async function load() {
    status("Loading", 0);
    try {
      const files = await playground.bundle.load(folder, data, (part) => status("Loading", part));
      engine = new playground.Engine(files, SECONDS, (message) => HEARD[message.kind](message));
      derive();
    } catch (error) {
      refused({ error: `The bundle could not be loaded: ${error.message}` });
      ended("");
    }
  }

  async function share() {
    const address = playground.link.write(texts());
    history.replaceState(null, "", address);
    await navigator.clipboard?.writeText(address).catch(() => {}); // where that is forbidden, it still is in the address bar
    at("status").textContent = "The link is in the address bar";
  }

  function listen() {
    for (const { name, title } of data.examples) at("example").append(new Option(title, name));
    at("example").onchange = () => (fill(data.examples.find(({ name }) => name === at("example").value)), derive());
    at("form").onsubmit = (event) => (event.preventDefault(), derive());
    at("form").onkeydown = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) derive();
    };
    at("stop").onclick = () => engine.stop();
    at("link").onclick = share;
    window.onhashchange = () => {
      const found = playground.link.read();
      if (found) fill(found), derive();
    };
  }

  at("missing").hidden = data.parts > 0;
  at("form").hidden = data.parts === 0;
  if (data.parts) {
    listen();
    fill(playground.link.read() ?? data.examples[0] ?? texts());
    load();
  }
  return { engine: () => engine };
})();
