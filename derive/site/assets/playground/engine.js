// The engine: one worker, which derives one text after the other. It is ended when it is stopped or takes too long, and another begins.
"use strict";
playground.Engine = class {
  // `heard` is told {kind: "stage" | "ready" | "begun" | "piece" | "done" | "failed" | "stopped", …}.
  constructor(files, seconds, heard) {
    Object.assign(this, { files, seconds, heard, waiting: null, running: false });
    this.begin();
  }

  begin() {
    const worker = new Worker(`data:text/javascript,${encodeURIComponent(`(${playground.work})()`)}`, { type: "module" });
    this.ready = false;
    this.worker = worker;
    const current = () => worker === this.worker; // of one that was ended, messages may still be under way
    worker.onmessage = ({ data }) => current() && this.hear(data);
    worker.onerror = (event) => current() && this.end(event.message || "the worker ended");
    worker.postMessage({ files: this.files });
    this.heard({ kind: "stage", text: "Starting Python" });
  }

  hear(message) {
    if (message.kind === "ready") {
      this.ready = true;
      this.heard(message);
      if (this.waiting) this.send();
    } else if (message.kind === "failed" && this.ready) {
      this.end(message.text); // Python may be left in any state
    } else {
      if (message.kind === "done") this.rest();
      this.heard(message);
    }
  }

  // Derives a text, now or when Python has started; what is derived meanwhile is given up.
  derive(text, declared) {
    if (this.running) this.restart();
    this.waiting = { text, declared };
    if (this.ready) this.send();
  }

  send() {
    this.running = true;
    this.heard({ kind: "begun" });
    this.clock = setTimeout(() => this.end(`this takes longer than ${this.seconds} seconds`), 1000 * this.seconds);
    this.worker.postMessage(this.waiting);
    this.waiting = null;
  }

  rest() {
    clearTimeout(this.clock);
    this.running = false;
  }

  restart() {
    this.rest();
    this.worker.terminate();
    this.begin();
  }

  // What the user asks for, while Python starts too.
  stop() {
    if (this.running) return this.end("you asked for it");
    this.waiting = null;
    this.heard({ kind: "stopped", text: "nothing was derived" });
  }

  // Ends the derivation, and says why.
  end(why) {
    const started = this.ready;
    this.waiting = null;
    this.rest();
    this.worker.terminate();
    this.heard({ kind: started ? "stopped" : "failed", text: why });
    if (started) this.begin(); // one that cannot start would fail again
  }
};
