// The audio thread: whatever arrives, mixed to mono, as 16-bit blocks of 40 ms posted to the page.
//
// Knows samples only. Refuses to know where they come from and where they go. A message is
// {pcm: ArrayBuffer of Int16, peak: 0..1}; "flush" asks for what is left of the last block, answered with last: true.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate * 0.04));
    this.filled = 0;
    this.peak = 0;
    this.port.onmessage = () => this.post(true);
  }

  process([channels]) {
    for (let i = 0; channels.length && i < channels[0].length; i++) {
      let mixed = 0;
      for (const channel of channels) mixed += channel[i];
      mixed = Math.max(-1, Math.min(1, mixed / channels.length));
      this.peak = Math.max(this.peak, Math.abs(mixed));
      this.block[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(mixed * 32768)));
      if (this.filled === this.block.length) this.post(false);
    }
    return true;
  }

  post(last) {
    const pcm = this.block.slice(0, this.filled).buffer;
    this.port.postMessage({pcm, peak: this.peak, last}, [pcm]);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("capture", Capture);
