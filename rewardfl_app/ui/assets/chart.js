/* A small line chart: grid, lines, marks, dashed levels, shared crosshair and zoom. Zoom lives here, so new data keep it.
   data: {title, help, unit, digits, floor, series, lines, marks}. A series: {label, role or color, x, t, y, marks: points drawn,
   dash: true for a dashed line, band: [low, high] of the same length as y, null where there is no interval}. */
window.RFL.Chart = window.RFL.Chart || class Chart {
  constructor(root, group) {
    const {el} = RFL;
    this.root = root;
    this.group = group;
    this.data = null;
    this.svg = el("svg", {role: "img"});
    this.legend = el("div.ch-legend");
    this.title = el("h3");
    this.help = el("span.ch-help");
    this.tip = el("div.ch-tip", {hidden: true});
    this.plot = el("div.ch-plot", {}, this.svg, this.tip);
    root.append(el("div.ch-head", {}, el("div", {}, this.title, this.help), this.legend), this.plot);
    this.plot.addEventListener("pointermove", event => this.move(event));
    this.plot.addEventListener("pointerleave", () => this.group.hover(null));
    this.plot.addEventListener("pointerdown", event => this.press(event));
    this.plot.addEventListener("dblclick", () => this.group.zoom(null));
    new ResizeObserver(() => this.draw()).observe(this.plot);
    group.charts.add(this);
  }

  remove() {
    this.group.charts.delete(this);
    this.root.remove();
  }

  update(data) {
    const {el, fill, short} = RFL;
    this.data = data;
    this.title.textContent = data.title;
    this.help.textContent = data.help || "";
    const last = data.series.map(s => s.label + " " + short(s.y[s.y.length - 1]) + (data.unit ? " " + data.unit : ""));
    this.svg.setAttribute("aria-label", data.title + ": " + last.join(", "));
    fill(this.legend, data.series.map(s => el("span.ch-key", {}, el("i", {class: s.dash ? "dash" : "", style: swatch(s)}), s.label,
      el("b", {}, this.text(s.y[s.y.length - 1])))),
      data.lines.map(l => el("span.ch-key", {}, el("i.dash", {style: "border-color:" + paint(l)}), l.label)));
    this.draw();
  }

  text(value) {
    const size = Math.abs(value);
    const digits = this.data.digits;
    const plain = size !== 0 && (size < 10 ** -digits || size >= 100000) ? RFL.short(value) : RFL.fixed(value, digits);
    return plain + (this.data.unit ? " " + this.data.unit : "");
  }

  /* " (low to high)" of a point, "" where there is no interval. */
  interval(series, i) {
    const [low, high] = (series.band || []).map(side => side[i]);
    return Number.isFinite(low) && Number.isFinite(high) ? " (" + RFL.fixed(low, this.data.digits) + " to " + RFL.fixed(high, this.data.digits) + ")" : "";
  }

  xs(series) { return this.group.axis === "time" ? series.t : series.x; }

  smooth(y) {
    const keep = this.group.smoothing;
    if (!keep) return y;
    let sum = 0, weight = 0;
    return y.map(value => { sum = keep * sum + (1 - keep) * value; weight = keep * weight + (1 - keep); return sum / weight; });
  }

  draw() {
    const data = this.data;
    const width = this.plot.clientWidth, height = this.plot.clientHeight;
    if (!data || width < 60 || height < 40) return;
    const {el, fill, short} = RFL;
    const all = data.series.flatMap(s => this.xs(s));
    let x0 = Math.min(...[0, ...all]), x1 = Math.max(...[...all, x0 + 1]);
    if (this.group.range) [x0, x1] = this.group.range;
    const lines = data.series.map(s => ({s, x: this.xs(s), raw: s.y, y: s.marks ? s.y : this.smooth(s.y)}));
    const inside = l => (_, i) => l.x[i] >= x0 && l.x[i] <= x1;
    const seen = lines.flatMap(l => [l.y, ...(l.s.band || [])].flatMap(y => y.filter(inside(l)))).concat(data.lines.map(l => l.y))
      .filter(Number.isFinite);
    let y0 = Math.min(...seen), y1 = Math.max(...seen);
    if (!Number.isFinite(y0)) { y0 = 0; y1 = 1; }
    if (data.floor !== null && data.floor !== undefined) y0 = Math.min(y0, data.floor);
    if (y1 - y0 < 1e-12) { const pad = Math.abs(y1) * 0.1 || 0.5; y0 -= data.floor === y0 ? 0 : pad; y1 += pad; }
    const pad = (y1 - y0) * 0.07;
    y1 += pad;
    if (data.floor !== y0) y0 -= pad;
    const left = 46, right = 10, top = 8, bottom = 22;
    const px = x => left + (x - x0) / (x1 - x0) * (width - left - right);
    const py = y => top + (y1 - y) / (y1 - y0) * (height - top - bottom);
    this.scale = {x0, x1, left, right, width, px, py, lines};
    this.svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    const grid = ticks(y0, y1, 4).map(v => [
      el("line.ch-grid", {x1: left, x2: width - right, y1: py(v), y2: py(v)}),
      el("text.ch-tick", {x: left - 8, y: py(v) + 3.5, "text-anchor": "end"}, short(v))]);
    const wanted = Math.max(2, Math.floor((width - left) / 90));
    const below = ticks(x0, x1, wanted, this.group.axis !== "time").map(v =>
      el("text.ch-tick", {x: px(v), y: height - 6, "text-anchor": "middle"}, this.group.axis === "time" ? RFL.duration(v) : short(v)));
    const marks = (data.marks || []).filter(() => this.group.axis !== "time").filter(m => m.step >= x0 && m.step <= x1).map(m =>
      el("line.ch-event", {x1: px(m.step), x2: px(m.step), y1: top, y2: height - bottom}, el("title", {}, m.label)));
    const levels = data.lines.map(l => el("line.ch-level", {x1: left, x2: width - right, y1: py(l.y), y2: py(l.y), stroke: paint(l)}));
    const clip = this.clip = this.clip || "clip" + Math.random().toString(36).slice(2);
    const curves = lines.map(l => {
      const d = l.x.map((x, i) => (i ? "L" : "M") + px(x).toFixed(1) + " " + py(l.y[i]).toFixed(1)).join("");
      const stroke = paint(l.s);
      const path = el("path.ch-line", {d, stroke, "stroke-dasharray": l.s.dash ? "6 4" : null, class: l.s.role === "train" ? "faint" : ""});
      const band = l.s.band ? stretches(l.s.band).map(([from, to]) => {
        const along = Array.from({length: to - from}, (_, i) => from + i);
        const edge = (y, order) => order.map(i => px(l.x[i]).toFixed(1) + " " + py(y[i]).toFixed(1));
        if (to - from === 1) return el("path.ch-whisker", {d: "M" + edge(l.s.band[0], along) + "L" + edge(l.s.band[1], along), stroke});
        return el("path.ch-interval", {d: "M" + [...edge(l.s.band[0], along), ...edge(l.s.band[1], along.reverse())].join("L") + "Z", fill: stroke});
      }) : null;
      const raw = this.group.smoothing && !l.s.marks
        ? el("path.ch-line", {class: "raw", stroke, d: l.x.map((x, i) => (i ? "L" : "M") + px(x).toFixed(1) + " " + py(l.raw[i]).toFixed(1)).join("")})
        : null;
      const dots = l.s.marks || l.x.length === 1 ? l.x.map((x, i) => el("circle.ch-dot", {cx: px(x), cy: py(l.y[i]), r: l.x.length > 60 ? 2 : 3.2, fill: stroke})) : [];
      return [band, raw, path, dots];
    });
    const clipPath = document.createElementNS("http://www.w3.org/2000/svg", "clipPath");
    clipPath.id = clip;
    clipPath.append(el("rect", {x: left - 4, y: 0, width: width - left - right + 8, height: height - bottom + 4}));
    this.cross = el("line.ch-cross", {y1: top, y2: height - bottom, visibility: "hidden"});
    this.band = el("rect.ch-band", {y: top, height: height - top - bottom, width: 0, visibility: "hidden"});
    fill(this.svg, clipPath, grid, below, el("g", {"clip-path": "url(#" + clip + ")"}, marks, levels, curves), this.cross, this.band);
    this.plot.classList.toggle("zoomed", Boolean(this.group.range));
  }

  at(event) {
    const box = this.plot.getBoundingClientRect();
    const {x0, x1, left, right, width} = this.scale;
    const share = (event.clientX - box.left - left) / (width - left - right);
    return x0 + Math.min(1, Math.max(0, share)) * (x1 - x0);
  }

  press(event) {
    if (!this.scale || event.button !== 0) return;
    this.from = this.at(event);
    this.plot.setPointerCapture(event.pointerId);
    const done = up => {
      this.plot.removeEventListener("pointerup", done);
      const to = this.at(up), from = this.from;
      this.from = null;
      this.band.setAttribute("visibility", "hidden");
      const {px} = this.scale;
      if (Math.abs(px(to) - px(from)) > 8) this.group.zoom([Math.min(from, to), Math.max(from, to)]);
    };
    this.plot.addEventListener("pointerup", done);
  }

  move(event) {
    if (!this.scale) return;
    const x = this.at(event);
    if (this.from !== null && this.from !== undefined) {
      const a = this.scale.px(this.from), b = this.scale.px(x);
      this.band.setAttribute("x", Math.min(a, b));
      this.band.setAttribute("width", Math.abs(a - b));
      this.band.setAttribute("visibility", "visible");
    }
    this.group.hover(x, this);
  }

  crosshair(x, owner) {
    if (!this.scale || !this.cross) return;
    if (x === null) { this.cross.setAttribute("visibility", "hidden"); this.tip.hidden = true; return; }
    const {el, fill} = RFL;
    const {px, lines, width} = this.scale;
    const rows = [];
    let best = null;
    for (const line of lines) {
      const i = nearest(line.x, x);
      if (i < 0) continue;
      if (best === null || Math.abs(line.x[i] - x) < Math.abs(best - x)) best = line.x[i];
      rows.push([line, i]);
    }
    if (best === null) return;
    const cx = px(best);
    this.cross.setAttribute("x1", cx); this.cross.setAttribute("x2", cx); this.cross.setAttribute("visibility", "visible");
    this.tip.hidden = !owner;
    if (!owner) return;
    fill(this.tip, el("div.ch-tip-x", {}, this.group.axis === "time" ? RFL.duration(best) : "step " + Math.round(best)),
      rows.map(([line, i]) => el("div", {}, el("i", {class: line.s.dash ? "dash" : "", style: swatch(line.s)}), line.s.label,
        el("b", {}, this.text(line.raw[i]), this.interval(line.s, i)))));
    this.tip.style.left = cx > width / 2 ? "auto" : cx + 12 + "px";
    this.tip.style.right = cx > width / 2 ? width - cx + 12 + "px" : "auto";
  }
};

/* Charts that share zoom, crosshair, axis and smoothing. */
window.RFL.ChartGroup = window.RFL.ChartGroup || class ChartGroup {
  constructor() { this.charts = new Set(); this.range = null; this.axis = "step"; this.smoothing = 0; this.onzoom = null; }
  zoom(range) { this.range = range; this.redraw(); if (this.onzoom) this.onzoom(range); }
  hover(x, owner) { for (const chart of this.charts) chart.crosshair(x, chart === owner); }
  redraw() { for (const chart of this.charts) chart.draw(); }
};

/* {run id: CSS colour} for runs shown together: the same runs always get the same colours, no two of up to ten the same. A run
   keeps its colour when another one is added, unless both want the same one. */
window.RFL.runColors = function (ids) {
  const NUM = 10, taken = new Set(), found = {};
  for (const id of [...new Set(ids)].sort()) {
    let place = [...id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7) % NUM;
    while (taken.has(place) && taken.size < NUM) place = (place + 1) % NUM;
    taken.add(place);
    found[id] = "var(--rf-run-" + (place + 1) + ")";
  }
  return found;
};

/* The colour of a series or level: `color` (any CSS colour) before its role's. */
function paint(series) { return series.color || RFL.color(series.role); }

function swatch(series) { return (series.dash ? "border-color:" : "background:") + paint(series); }

/* [from, to) of the stretches in which a band has both sides. */
function stretches([low, high]) {
  const found = [];
  for (let i = 0; i < low.length; i++) {
    if (!Number.isFinite(low[i]) || !Number.isFinite(high[i])) continue;
    const last = found[found.length - 1];
    if (last && last[1] === i) last[1] = i + 1; else found.push([i, i + 1]);
  }
  return found;
}

function ticks(low, high, wanted, whole) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map(k => k * power).find(k => k >= rough) || rough;
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9 && found.length < 30; i++) found.push(i * step);
  return found;
}

function nearest(sorted, x) {
  let low = 0, high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < x) low = middle + 1; else high = middle;
  }
  return low > 0 && Math.abs(sorted[low - 1] - x) <= Math.abs(sorted[low] - x) ? low - 1 : Math.min(low, sorted.length - 1);
}
