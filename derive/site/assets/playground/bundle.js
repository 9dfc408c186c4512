// The bundle: scripts that each hold a part of one compressed stream in base64, and the files that it is cut into.
"use strict";
playground.bundle = (function () {
  const TYPES = { mjs: "text/javascript", js: "text/javascript", wasm: "application/wasm" };

  function script(address) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = address;
      element.onload = () => (element.remove(), resolve());
      element.onerror = () => reject(new Error(`${address} cannot be loaded`));
      document.head.append(element);
    });
  }

  function decoded(text) {
    const characters = atob(text);
    const bytes = new Uint8Array(characters.length);
    for (let k = 0; k < bytes.length; k++) bytes[k] = characters.charCodeAt(k);
    return bytes;
  }

  // Returns the files by name, as Blobs: those may be sent to one worker after another without a copy.
  async function load(folder, { parts, files }, progress) {
    const pieces = [];
    for (let k = 0; k < parts; k++) {
      await script(`${folder}part-${k}.js`);
      pieces.push(decoded(playground.parts[k]));
      delete playground.parts[k];
      progress((k + 1) / parts);
    }
    const stream = new Blob(pieces).stream().pipeThrough(new DecompressionStream("gzip"));
    const whole = await new Response(stream).blob();
    let start = 0;
    const found = {};
    for (const [name, length] of files) {
      found[name] = whole.slice(start, start + length, TYPES[name.split(".").pop()]);
      start += length;
    }
    return found;
  }

  return { load };
})();
