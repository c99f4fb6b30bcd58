// Runs beside the page's thread while it records: hands over the samples of the first channel as they come.
registerProcessor(
  "capture",
  class extends AudioWorkletProcessor {
    process(inputs) {
      const [channel] = inputs[0];
      if (channel) this.port.postMessage(channel.slice());
      return true;
    }
  },
);
