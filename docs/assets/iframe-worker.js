// Search from file://, where browsers start no workers: the worker's script runs in a hidden frame instead.
if (location.protocol === "file:")
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.onload = () => {
        const inside = frame.contentWindow
        inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}))
        const script = inside.document.createElement("script")
        script.src = new URL(url, location)
        script.onload = () => {
          this.postMessage = data => inside.dispatchEvent(new inside.MessageEvent("message", {data}))
          this.waiting.forEach(data => this.postMessage(data))
        }
        inside.document.body.appendChild(script)
      }
      document.body.appendChild(frame)
    }
    postMessage(data) {
      this.waiting.push(data)
    }
  }
