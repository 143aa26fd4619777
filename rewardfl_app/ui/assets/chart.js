/* A line chart: grid, lines, intervals, marks, dashed levels; crosshair and zoom are shared with the charts of its group.
   data: {title, help, unit, digits, floor, series, lines, marks}. A series: {label, role or color, x, t, y, marks: points drawn,
   dash: true for a dashed line, band: [low, high] of the same length as y, run or key: its name in the drawing}; null in y or
   band is a gap. */
window.RFL.Chart = window.RFL.Chart || (({paint, swatch, trace, intervals, spread, ticks, nearest}) => class Chart {
  constructor(root, group) {
    const {el} = RFL;
    this.root = root;
    this.group = group;
    this.data = null;
    this.svg = el("svg", {"aria-hidden": "true"});
    this.legend = el("div.ch-legend");
    this.title = el("h3");
    this.help = el("span.ch-help");
    this.tip = el("div.ch-tip", {hidden: true});
    this.said = el("span.sr", {role: "status"});
    this.plot = el("div.ch-plot", {tabindex: 0, role: "group", "aria-roledescription": "chart"}, this.svg, this.tip, this.said);
    root.append(el("div.ch-head", {}, el("div", {}, this.title, this.help), this.legend), this.plot);
    this.plot.addEventListener("pointermove", event => this.move(event));
    this.plot.addEventListener("pointerleave", () => { if (!this.drag) this.group.hover(null); });
    this.plot.addEventListener("pointerdown", event => this.press(event));
    this.plot.addEventListener("dblclick", () => this.group.zoom(null));
    this.plot.addEventListener("wheel", event => this.wheel(event), {passive: false});
    this.plot.addEventListener("keydown", event => this.key(event));
    this.plot.addEventListener("blur", () => { this.said.textContent = ""; this.group.hover(null); });
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.plot);
    group.charts.add(this);
  }

  remove() {
    this.resized.disconnect();
    this.group.charts.delete(this);
    this.root.remove();
  }

  update(data) {
    const {el, fill, short} = RFL;
    const before = this.group.whole().join();
    this.data = data;
    this.title.textContent = data.title;
    this.help.textContent = data.help || "";
    const last = data.series.map(s => s.label + " " + short(s.y[s.y.length - 1]) + (data.unit ? " " + data.unit : ""));
    this.plot.setAttribute("aria-label", data.title + ": " + last.join(", ") + ". Arrow keys read the points, plus and minus zoom, 0 shows all.");
    fill(this.legend, data.series.map(s => el("span.ch-key", {}, el("i", {class: s.dash ? "dash" : "", style: swatch(s)}), el("span", {title: s.label}, s.label),
      el("b", {}, this.text(s.y[s.y.length - 1])))),
      data.lines.map(l => el("span.ch-key", {}, el("i.dash", {style: "border-color:" + paint(l)}), l.label)));
    if (this.group.whole().join() === before) this.draw(); else this.group.redraw();
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

  where(x) { return this.group.axis === "time" ? RFL.duration(x) || "0 s" : "step " + Math.round(x); }

  smooth(y) {
    const keep = this.group.smoothing;
    if (!keep) return y;
    let sum = 0, weight = 0;
    return y.map(value => {
      if (!Number.isFinite(value)) return value;
      sum = keep * sum + (1 - keep) * value; weight = keep * weight + (1 - keep);
      return sum / weight;
    });
  }

  draw() {
    const data = this.data;
    const width = this.plot.clientWidth, height = this.plot.clientHeight;
    if (!data || width < 60 || height < 40) return;
    const {el, fill, short} = RFL;
    const [x0, x1] = this.group.range || this.group.whole();
    const lines = data.series.map(s => ({s, x: this.xs(s), raw: s.y, y: s.marks ? s.y : this.smooth(s.y)}));
    const [y0, y1] = spread(lines, data, x0, x1);
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
      el("text.ch-tick", {x: px(v), y: height - 6, "text-anchor": "middle"}, this.group.axis === "time" ? RFL.duration(v) || "0" : short(v)));
    const marks = (data.marks || []).filter(() => this.group.axis !== "time").filter(m => m.step >= x0 && m.step <= x1).map(m =>
      el("line.ch-event", {x1: px(m.step), x2: px(m.step), y1: top, y2: height - bottom}, el("title", {}, m.label)));
    const levels = data.lines.map(l => el("line.ch-level", {x1: left, x2: width - right, y1: py(l.y), y2: py(l.y), stroke: paint(l)}));
    const clip = this.clip = this.clip || "clip" + Math.random().toString(36).slice(2);
    const curves = lines.map(l => {
      const stroke = paint(l.s);
      const path = el("path.ch-line", {d: trace(l.x, l.y, px, py), stroke, "stroke-dasharray": l.s.dash ? "6 4" : null, class: l.s.role === "train" ? "faint" : ""});
      const raw = this.group.smoothing && !l.s.marks ? el("path.ch-line", {class: "raw", stroke, d: trace(l.x, l.raw, px, py)}) : null;
      const dots = l.s.marks || l.x.length === 1
        ? l.x.map((x, i) => Number.isFinite(l.y[i]) ? el("circle.ch-dot", {cx: px(x), cy: py(l.y[i]), r: l.x.length > 60 ? 2 : 3.2, fill: stroke}) : null) : [];
      return el("g.ch-series", {"data-series": l.s.run || l.s.key}, l.s.band ? intervals(l, px, py, stroke) : null, raw, path, dots);
    });
    const clipPath = document.createElementNS("http://www.w3.org/2000/svg", "clipPath");
    clipPath.id = clip;
    clipPath.append(el("rect", {x: left - 4, y: 0, width: width - left - right + 8, height: height - bottom + 4}));
    this.cross = el("line.ch-cross", {y1: top, y2: height - bottom, visibility: "hidden"});
    this.band = el("rect.ch-band", {y: top, height: height - top - bottom, width: 0, visibility: "hidden"});
    fill(this.svg, clipPath, grid, below, el("g", {"clip-path": "url(#" + clip + ")"}, marks, levels, curves), this.cross, this.band);
    this.plot.classList.toggle("zoomed", Boolean(this.group.range));
    const {x, owner} = this.group.hovered;
    if (x !== null) this.crosshair(x, owner === this);
  }

  at(event) {
    const box = this.plot.getBoundingClientRect();
    const {x0, x1, left, right, width} = this.scale;
    const share = (event.clientX - box.left - left) / (width - left - right);
    return x0 + Math.min(1, Math.max(0, share)) * (x1 - x0);
  }

  /* A drag marks the stretch to zoom to; with Shift or the middle button it moves the zoomed one. */
  press(event) {
    if (!this.scale || event.button > 1) return;
    const pan = Boolean(this.group.range) && (event.shiftKey || event.button === 1);
    if (event.button === 1 && !pan) return;
    event.preventDefault();
    this.plot.focus({preventScroll: true});
    this.drag = {pan, from: this.at(event), x: event.clientX};
    this.plot.setPointerCapture(event.pointerId);
    const done = up => {
      for (const name of ["pointerup", "pointercancel"]) this.plot.removeEventListener(name, done);
      const {from} = this.drag;
      this.drag = null;
      this.band.setAttribute("visibility", "hidden");
      const to = this.at(up), {px} = this.scale;
      if (!pan && up.type === "pointerup" && Math.abs(px(to) - px(from)) > 8) this.group.zoom([Math.min(from, to), Math.max(from, to)]);
    };
    for (const name of ["pointerup", "pointercancel"]) this.plot.addEventListener(name, done);
  }

  move(event) {
    if (!this.scale) return;
    const x = this.at(event);
    if (this.drag && this.drag.pan) {
      const {left, right, width} = this.scale, moved = this.drag.x - event.clientX;
      this.drag.x = event.clientX;
      this.group.pan(moved / (width - left - right));
      return;
    }
    if (this.drag) {
      const a = this.scale.px(this.drag.from), b = this.scale.px(x);
      this.band.setAttribute("x", Math.min(a, b));
      this.band.setAttribute("width", Math.abs(a - b));
      this.band.setAttribute("visibility", "visible");
    }
    this.group.hover(x, this);
  }

  /* Sideways (or with Shift) the wheel moves a zoomed chart; up and down stays the page's. */
  wheel(event) {
    const sideways = event.shiftKey && !event.deltaX ? event.deltaY : Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : 0;
    if (!sideways || !this.group.range) return;
    event.preventDefault();
    this.group.pan(sideways / this.plot.clientWidth);
  }

  key(event) {
    const {group} = this, point = group.hovered.x;
    if (event.ctrlKey || event.metaKey || event.altKey || !this.scale) return;
    const acts = {
      "+": () => group.zoomBy(0.5, point), "=": () => group.zoomBy(0.5, point), "-": () => group.zoomBy(2, point), "0": () => group.zoom(null),
      Escape: () => { if (!group.range) return false; group.zoom(null); },
      ArrowRight: () => event.shiftKey ? group.pan(0.25) : this.walk(1), ArrowLeft: () => event.shiftKey ? group.pan(-0.25) : this.walk(-1),
      Home: () => this.walk(-Infinity), End: () => this.walk(Infinity),
    };
    if (!acts[event.key] || acts[event.key]() === false) return;
    event.preventDefault();
  }

  /* Put the crosshair `by` points on and say what stands there. */
  walk(by) {
    const {x0, x1, lines} = this.scale;
    const xs = [...new Set(lines.flatMap(l => l.x))].filter(x => x >= x0 && x <= x1).sort((a, b) => a - b);
    if (!xs.length) return;
    const {x} = this.group.hovered, now = x === null ? -1 : nearest(xs, x);
    const place = x === null && by === -1 ? xs.length - 1 : Math.min(xs.length - 1, Math.max(0, now + by));
    this.group.hover(xs[place], this);
    this.said.textContent = this.tip.innerText.replace(/\s+/g, " ");
  }

  crosshair(x, owner) {
    if (!this.scale || !this.cross) return;
    if (x === null) { this.cross.setAttribute("visibility", "hidden"); this.tip.hidden = true; return; }
    const {el, fill} = RFL;
    const {px, lines, width} = this.scale;
    const rows = lines.map(line => [line, nearest(line.x, x)]).filter(([line, i]) => i >= 0 && line.x[i] >= this.scale.x0 && line.x[i] <= this.scale.x1);
    const best = rows.map(([line, i]) => line.x[i]).reduce((a, b) => a === null || Math.abs(b - x) < Math.abs(a - x) ? b : a, null);
    if (best === null) { this.crosshair(null); return; }
    const cx = px(best);
    this.cross.setAttribute("x1", cx); this.cross.setAttribute("x2", cx); this.cross.setAttribute("visibility", "visible");
    this.tip.hidden = !owner;
    if (!owner) return;
    fill(this.tip, el("div.ch-tip-x", {}, this.where(best)),
      rows.map(([line, i]) => el("div", {}, el("i", {class: line.s.dash ? "dash" : "", style: swatch(line.s)}), el("span", {}, line.s.label),
        el("b", {}, this.text(line.raw[i]), this.interval(line.s, i)))));
    this.tip.style.left = cx > width / 2 ? "auto" : cx + 12 + "px";
    this.tip.style.right = cx > width / 2 ? width - cx + 12 + "px" : "auto";
  }
})(RFL.plotting);
