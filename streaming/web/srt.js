// Subtitles from finals, as in client/subtitles.py in short: cues of two lines, time shared out by length of text.

const LINE = 42;

export function toSrt(messages) {
  const cues = [];
  for (const {text, start_ms: start, end_ms: end} of messages) {
    const lines = wrapped(text.trim());
    const total = lines.join("").length;
    let shown = 0;
    for (let i = 0; i < lines.length; i += 2) {
      const pair = lines.slice(i, i + 2);
      const from = start + ((end - start) * shown) / total;
      shown += pair.join("").length;
      cues.push([from, start + ((end - start) * shown) / total, pair.join("\n")]);
    }
  }
  return cues.map(([from, to, text], i) => `${i + 1}\n${srtClock(from)} --> ${srtClock(to)}\n${text}\n\n`).join("");
}

function wrapped(text) {
  const wide = /[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]/;
  const units = text.match(/[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]|[^\s\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]+\s*/g) ?? [];
  const columns = (s) => [...s].reduce((sum, c) => sum + (wide.test(c) ? 2 : 1), 0);
  const lines = [""];
  for (const unit of units) {
    const last = lines.length - 1;
    if (lines[last] && columns((lines[last] + unit).trimEnd()) > LINE) lines.push(unit);
    else lines[last] += unit;
  }
  return lines.map((s) => s.trimEnd()).filter(Boolean);
}

function srtClock(ms) {
  const [s, rest] = [Math.floor(ms / 1000), Math.floor(ms % 1000)];
  const two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)},${String(rest).padStart(3, "0")}`;
}
