// Links: a cell's texts in the part of the address after #, which is sent to nobody.
"use strict";
playground.link = (function () {
  function read() {
    const found = new URLSearchParams(location.hash.slice(1));
    return found.has("text") ? { text: found.get("text"), declared: found.get("declared") ?? "" } : null;
  }

  function write({ text, declared }) {
    const found = new URLSearchParams(declared.trim() ? { text, declared } : { text });
    return `${location.href.split("#")[0]}#${found}`;
  }

  // Takes a cell out of the address that is another than the page's.
  function forget(texts) {
    const found = read();
    if (found && (found.text !== texts.text || found.declared.trim() !== texts.declared.trim())) {
      history.replaceState(null, "", location.href.split("#")[0]);
    }
  }

  return { read, write, forget };
})();
