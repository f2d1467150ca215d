// The page: what is shown, what the buttons do, where audio comes from.
//
// Query: ?overlay (captions alone, starts by itself) &transparent &lines=2 &size=48 &language=English &key=...

import {toSrt} from "./srt.js";
import {Stream, streamUrl} from "./stream.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const kept = {get: (name) => localStorage.getItem(`steno.${name}`), set: (name, value) => localStorage.setItem(`steno.${name}`, value)};

const finals = []; // messages, in order
const partials = new Map(); // by segment, those without a final
let stream = null;
let source = null;
let model = "";
let pinned = true; // to the end of the captions, until the reader scrolls up

// ---------------------------------------------------------------- showing

function showState(kind, words) {
  $("state").dataset.kind = kind;
  $("state").textContent = words;
}

function showTrouble(words, fatal = true) {
  $("trouble").textContent = words;
  $("trouble").hidden = !words;
  if (fatal && words) $("trouble").dataset.fatal = "";
  else delete $("trouble").dataset.fatal;
}

function showRefusal(words, code) {
  showState("bad", "not connected");
  showTrouble(words);
  if (code === "unauthorized") {
    $("key").hidden = false;
    $("key").focus();
  }
}

function clock(ms) {
  const s = Math.floor(ms / 1000);
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

function line(startMs, ...parts) {
  const p = document.createElement("p");
  const time = document.createElement("time");
  const words = document.createElement("span");
  time.textContent = clock(startMs);
  time.setAttribute("aria-hidden", "true");
  for (const [text, className] of parts) {
    const part = document.createElement("span");
    part.className = className;
    part.textContent = text;
    words.append(part);
  }
  p.append(time, words);
  return p;
}

function showLive() {
  const open = [...partials.values()].sort((a, b) => a.segment - b.segment);
  $("live").replaceChildren(
    ...open.map((m) => line(m.start_ms, [m.committed ?? "", "committed"], [m.tentative ?? "", "tentative"])),
  );
  const nothing = !finals.length && !open.length;
  $("hint").hidden = !nothing;
  for (const id of ["copy", "srt", "clear"]) $(id).disabled = !finals.length;
  if (pinned) $("scroller").scrollTop = $("scroller").scrollHeight;
}

$("scroller").addEventListener("scroll", () => {
  const {scrollTop, scrollHeight, clientHeight} = $("scroller");
  pinned = scrollHeight - scrollTop - clientHeight < 40;
});

function onMessage(message) {
  switch (message.type) {
    case "ready":
      fillLanguages(message.languages ?? []);
      break;
    case "partial":
      partials.set(message.segment, message);
      break;
    case "final":
      partials.delete(message.segment);
      if (message.text.trim()) {
        finals.push(message);
        $("finals").append(line(message.start_ms, [message.text.trim(), "final"]));
      }
      break;
    case "notice":
      showTrouble(message.message, false);
      break;
  }
  showLive();
}

function fillLanguages(names) {
  const select = $("language");
  if (select.options.length > 1) return;
  for (const name of names) select.add(new Option(name, name));
  select.value = names.includes(query.get("language")) ? query.get("language") : "";
}

// ---------------------------------------------------------------- audio

const REFUSALS = {
  NotAllowedError: "The browser does not give the microphone to this page. Allow it in the address bar and press Start again.",
  NotFoundError: "No microphone was found. Plug one in, or choose a file.",
  NotReadableError: "The microphone is in use by another program.",
  OverconstrainedError: "That microphone is not there any more. Choose another one.",
};

async function openMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(
      "Browsers give the microphone only to pages from https:// or from localhost. Open this page as " +
        `http://localhost:${location.port || 80}/ on the server's own machine, or start the server with --tls-cert and --tls-key.`,
    );
  }
  const deviceId = $("device").value;
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: {deviceId: deviceId ? {exact: deviceId} : undefined, channelCount: 1, autoGainControl: true},
    });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The microphone cannot be used: ${error.message}`);
  }
}

// A node that delivers audio, in a context that runs at 16 kHz where the browser can resample (Firefox: files only).
async function openSource(onBlock, onEnd) {
  if ($("source").value === "file") {
    const file = $("file").files[0];
    if (!file) throw new Error("Choose a file first.");
    const context = new AudioContext({sampleRate: 16000});
    let buffer;
    try {
      buffer = await context.decodeAudioData(await file.arrayBuffer());
    } catch {
      await context.close();
      throw new Error(`${file.name} cannot be read as audio by this browser.`);
    }
    const node = new AudioBufferSourceNode(context, {buffer});
    node.connect(context.destination); // so that it is heard, too
    node.onended = onEnd;
    return attach(context, node, onBlock, () => node.start(), () => node.stop());
  }
  const media = await openMicrophone();
  media.getAudioTracks()[0].onended = () => {
    showTrouble("The microphone went away.");
    onEnd();
  };
  let context = new AudioContext({sampleRate: 16000});
  let node;
  try {
    node = context.createMediaStreamSource(media);
  } catch {
    await context.close();
    context = new AudioContext();
    node = context.createMediaStreamSource(media);
  }
  void listDevices();
  return attach(context, node, onBlock, () => {}, () => media.getTracks().forEach((track) => track.stop()));
}

async function attach(context, node, onBlock, begin, end) {
  await context.suspend(); // until `begin`: not a sample of silence before the first of the source
  await context.audioWorklet.addModule("capture.js");
  const capture = new AudioWorkletNode(context, "capture", {numberOfOutputs: 0});
  node.connect(capture);
  let flushed = () => {};
  capture.port.onmessage = ({data}) => {
    if (data.pcm.byteLength) onBlock(new Int16Array(data.pcm), data.peak);
    if (data.last) flushed();
  };
  return {
    rate: context.sampleRate,
    begin() {
      begin();
      void context.resume();
    },
    // What the audio thread still holds comes before this resolves.
    async close() {
      const last = new Promise((resolve) => (flushed = resolve));
      capture.port.postMessage("flush");
      await Promise.race([last, new Promise((resolve) => setTimeout(resolve, 500))]);
      end();
      await context.close();
    },
  };
}

async function listDevices() {
  if (!navigator.mediaDevices?.enumerateDevices) return;
  const chosen = $("device").value || kept.get("device");
  const inputs = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "audioinput" && d.deviceId);
  const options = inputs
    .filter((d) => d.deviceId !== "default")
    .map((d, i) => new Option(d.label || `Microphone ${i + 1}`, d.deviceId));
  $("device").replaceChildren(new Option("Default microphone", ""), ...options);
  if (inputs.some((d) => d.deviceId === chosen)) $("device").value = chosen;
}

// ---------------------------------------------------------------- start and stop

async function start() {
  showTrouble("");
  showRunning(true);
  let opened = null;
  try {
    opened = source = await openSource((pcm, peak) => {
      stream?.send(pcm);
      $("level").firstElementChild.style.transform = `scaleX(${Math.min(1, Math.sqrt(peak))})`;
    }, stop);
  } catch (error) {
    showTrouble(error.message);
    return showRunning(false);
  }
  finals.length = 0;
  partials.clear();
  $("finals").replaceChildren();
  showLive();
  const options = {sample_rate: opened.rate, encoding: "pcm_s16le"};
  if ($("language").value) options.language = $("language").value;
  stream = new Stream(streamUrl(location), options, $("key").value, {
    onMessage,
    onState(kind, words, code) {
      showState(kind, words);
      if (kind === "bad") showRefusal(words, code);
      if (kind === "bad" || kind === "done") void finished(opened);
    },
    onAnew() {
      partials.clear();
      showLive();
    },
  });
  opened.begin();
  return undefined;
}

async function stop() {
  if (!source) return;
  const closing = source;
  source = null;
  $("start").disabled = true;
  showState("wait", "waiting for the last words");
  await closing.close();
  stream?.stop();
  $("start").disabled = false;
  $("start").textContent = "Stop now";
}

async function finished(opened) {
  const closing = source === opened;
  source = closing ? null : source;
  stream = null;
  showRunning(false);
  if (closing) await opened.close();
}

function showRunning(running) {
  $("start").disabled = false;
  $("start").textContent = running ? "Stop" : "Start";
  $("start").setAttribute("aria-pressed", String(running));
  for (const id of ["source", "device", "language", "file", "key"]) $(id).disabled = running;
  $("level").firstElementChild.style.transform = "scaleX(0)";
}

$("start").onclick = () => {
  if (source) void stop();
  else if (stream) stream.abort();
  else void start();
};

// ---------------------------------------------------------------- taking captions along

async function copy() {
  const text = finals.map((m) => m.text.trim()).join("\n");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages without https have no clipboard object; the old way still works.
    const area = Object.assign(document.createElement("textarea"), {value: text});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

$("copy").onclick = () => void copy();
$("srt").onclick = () => {
  const href = URL.createObjectURL(new Blob([toSrt(finals)], {type: "application/x-subrip"}));
  Object.assign(document.createElement("a"), {href, download: "captions.srt"}).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
};
$("clear").onclick = () => {
  finals.length = 0;
  $("finals").replaceChildren();
  showLive();
};

// ---------------------------------------------------------------- looks

const looks = {
  size: Number(query.get("size") ?? kept.get("size")) || (innerWidth < 640 ? 26 : 40),
  theme: query.get("theme") ?? kept.get("theme") ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"),
};

function look(changes = {}) {
  Object.assign(looks, changes);
  document.documentElement.style.setProperty("--size", `${looks.size}px`);
  document.documentElement.dataset.theme = looks.theme;
  for (const [name, value] of Object.entries(changes)) kept.set(name, value); // what the query says is not kept
}

look();
$("smaller").onclick = () => look({size: Math.max(16, Math.round(looks.size / 1.15))});
$("larger").onclick = () => look({size: Math.min(120, Math.round(looks.size * 1.15))});
$("theme").onclick = () => look({theme: looks.theme === "dark" ? "light" : "dark"});

$("full").onclick = () => void document.documentElement.requestFullscreen().catch(() => setAlone(true));
document.addEventListener("fullscreenchange", () => setAlone(Boolean(document.fullscreenElement)));
document.addEventListener("keydown", (event) => event.key === "Escape" && !query.has("overlay") && setAlone(false));
function setAlone(alone) {
  document.body.classList.toggle("captions-only", alone);
}

$("source").onchange = () => {
  const isFile = $("source").value === "file";
  $("picker").hidden = !isFile;
  $("device").hidden = isFile;
};
$("file").onchange = () => ($("picker").lastElementChild.textContent = $("file").files[0]?.name ?? "Choose a file…");
$("device").onchange = () => kept.set("device", $("device").value);
$("key").onchange = () => {
  showTrouble("");
  probe();
};
$("key").value = query.get("key") ?? "";
navigator.mediaDevices?.addEventListener?.("devicechange", () => void listDevices());

// A session without audio tells at once whether there is a server, and its languages.
function probe() {
  new Stream(streamUrl(location), {sample_rate: 16000, encoding: "pcm_s16le"}, $("key").value, {
    onMessage(message) {
      if (message.type !== "ready") return;
      fillLanguages(message.languages ?? []);
      model = message.model;
    },
    onState(kind, words, code) {
      if (stream) return;
      if (kind === "live") showState("ready", `ready · ${model}`);
      if (kind === "bad") showRefusal(words, code);
    },
  }).stop();
}

document.body.classList.toggle("transparent", query.has("transparent"));
document.body.style.setProperty("--lines", query.get("lines") ?? 2);
setAlone(query.has("overlay"));
showLive();
void listDevices();
if (query.has("overlay")) void start();
else probe();
