// The connection: 16-bit audio out, messages in, over a socket that may break. Protocol version 1 (streaming/protocol.py).
//
// Knows the socket, what has been said and how to come back: a broken session is resumed where the server offers it;
// where the session is lost, a new one gets all audio after the last final. Refuses to know the page and microphones.

const DELAYS_MS = [250, 500, 1000, 2000, 4000, 8000];
const AHEAD_S = 50; // what a new session may get to hear again: servers refuse audio far ahead of the clock
const MENDABLE = new Set(["restarting", "internal", "slow_reader", "full", "unknown_resume", "resume_lost"]);
const FORGOTTEN = new Set(["unknown_resume", "resume_lost"]);

export function streamUrl(page) {
  const url = new URL("v1/stream", page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = url.hash = "";
  return url.href;
}

// Audio at sample positions, from the oldest that may have to be said again; `cursor` is the next to send.
class Replay {
  constructor(limit) {
    this.limit = limit;
    this.frames = []; // {start, pcm: Int16Array}, without gaps
    this.end = 0;
    this.cursor = 0;
  }

  add(pcm) {
    this.frames.push({start: this.end, pcm});
    this.end += pcm.length;
    this.forget(this.end - this.limit);
  }

  forget(before) {
    while (this.frames.length && this.frames[0].start + this.frames[0].pcm.length <= before) this.frames.shift();
    this.cursor = Math.max(this.cursor, this.start);
  }

  get start() {
    return this.frames.length ? this.frames[0].start : this.end;
  }

  rewind(to) {
    this.cursor = Math.min(Math.max(to, this.start), this.end);
  }

  *unsent() {
    for (const {start, pcm} of this.frames) {
      if (start + pcm.length <= this.cursor) continue;
      yield pcm.subarray(Math.max(0, this.cursor - start));
      this.cursor = start + pcm.length;
    }
  }
}

// onMessage(message): the server's, numbered over all sessions. onState(kind, words, code): wait, live, done or bad, for
// which `code` is the server's, if it gave one.
// onAnew(): segments without a final begin again.
export class Stream {
  constructor(url, start, key, {onMessage, onState, onAnew = () => {}}) {
    Object.assign(this, {url, start, key, onMessage, onState, onAnew});
    this.rate = start.sample_rate;
    this.replay = new Replay(AHEAD_S * this.rate);
    this.resume = null; // the token
    this.received = 0; // highest seq seen
    this.origin = 0; // position at which the current session began
    this.transcribed = 0; // position before which all is in a final
    this.firstSegment = this.finals = 0;
    this.stopping = this.over = this.begun = false;
    this.tries = 0;
    this.connect();
  }

  send(pcm) {
    this.replay.add(pcm);
    this.flush();
  }

  // No more audio; the last words still come. Before `ready`, or while reconnecting, it is said later.
  stop() {
    if (this.listening && !this.stopping) this.say({type: "stop"});
    this.stopping = true;
  }

  // Without waiting for the last words.
  abort() {
    this.end("done", "stopped");
  }

  connect() {
    // A browser sends no headers: a key goes into an offered sub-protocol, or, with characters not allowed there, the URL.
    const plain = /^[\w.~!#$%&'*+^`|-]*$/.test(this.key);
    const protocols = ["steno.v1", ...(this.key && plain ? [`steno-key.${this.key}`] : [])];
    const url = plain ? this.url : `${this.url}?api_key=${encodeURIComponent(this.key)}`;
    this.onState("wait", this.begun ? "reconnecting" : "connecting");
    this.lastError = null;
    this.listening = false;
    const socket = (this.socket = new WebSocket(url, protocols));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      const back = this.resume ? {resume: this.resume, received: this.received} : {};
      this.say({type: "start", version: 1, ...this.start, ...back});
    };
    socket.onmessage = ({data}) => socket === this.socket && this.receive(JSON.parse(data));
    socket.onclose = (event) => socket === this.socket && this.closed(event);
  }

  say(message) {
    this.socket.send(JSON.stringify(message));
  }

  flush() {
    if (!this.listening) return;
    for (const pcm of this.replay.unsent()) this.socket.send(pcm);
  }

  receive(message) {
    if (message.type === "ready") return this.ready(message);
    if (message.type === "error") {
      this.lastError = message;
      if (message.audio_ms !== undefined) this.transcribed = this.position(message.audio_ms);
      return undefined;
    }
    if (message.seq) {
      if (message.seq <= this.received) return undefined; // said again after a resume
      this.received = message.seq;
      this.tries = 0;
    }
    if (message.type === "final") {
      this.transcribed = this.position(message.end_ms);
      this.finals = this.firstSegment + message.segment + 1;
      this.replay.forget(this.transcribed);
    }
    this.onMessage(this.translated(message));
    if (message.type === "done") this.end("done", "done");
    return undefined;
  }

  ready(message) {
    if (this.resume) {
      this.replay.rewind(message.stopped ? this.replay.end : this.origin + (message.audio_samples ?? 0));
    } else {
      this.origin = Math.max(this.transcribed, this.replay.start);
      this.firstSegment = this.finals;
      this.received = 0;
      this.replay.rewind(this.origin);
      if (this.begun) this.onAnew();
    }
    this.begun = this.listening = true;
    this.resume = message.resume ?? null;
    this.onMessage(message);
    this.onState("live", "listening");
    this.flush();
    if (this.stopping && !message.stopped) this.say({type: "stop"});
  }

  closed(event) {
    const ended = this.listening && this.lastError; // an error within a session is its end
    this.listening = false;
    if (this.over) return undefined;
    const {code, message} = this.lastError ?? {};
    if (code && (!this.begun || !MENDABLE.has(code))) return this.end("bad", message, code);
    if (!this.begun) return this.end("bad", "The server cannot be reached.");
    if (ended || FORGOTTEN.has(code)) this.resume = null;
    const delay = DELAYS_MS[Math.min(this.tries++, DELAYS_MS.length - 1)];
    this.onState("wait", `connection lost${event.reason ? ` (${event.reason})` : ""}, next try in ${delay / 1000} s`);
    this.timer = setTimeout(() => this.connect(), delay);
    return undefined;
  }

  end(kind, words, code) {
    if (this.over) return;
    this.over = true;
    this.listening = false;
    clearTimeout(this.timer);
    this.socket.close(1000);
    this.onState(kind, words, code);
  }

  position(ms) {
    return this.origin + Math.floor((ms * this.rate) / 1000);
  }

  translated(message) {
    const ms = Math.floor((this.origin * 1000) / this.rate);
    const moved = {...message};
    for (const field of ["at_ms", "start_ms", "end_ms", "audio_ms"]) if (field in moved) moved[field] += ms;
    for (const field of ["segment", "segments"]) if (field in moved) moved[field] += this.firstSegment;
    return moved;
  }
}
