/* On a page that is read from a folder, browsers refuse workers whose script is a file. There the search runs in a hidden frame, which takes
   and gives the same messages. */
if (location.protocol === "file:") {
  const Native = window.Worker
  window.Worker = class extends EventTarget {
    constructor(url, options) {
      if (String(url).startsWith("data:")) return new Native(url, options)
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const script = frame.contentDocument.createElement("script")
      script.src = url
      frame.contentWindow.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.frame = new Promise(resolve => { script.onload = () => resolve(frame.contentWindow) })
      frame.contentDocument.body.append(script)
    }
    postMessage(data) {
      this.frame.then(inside => inside.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
