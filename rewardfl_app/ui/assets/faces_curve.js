/* Similarity of each frame: a line per person, the judge where one person is shown, amber where no face was found. A slider for
   the keyboard, a place to click for the mouse. */
const CURVE_LEFT = 38, CURVE_RIGHT = 10, CURVE_TOP = 8, CURVE_BOTTOM = 20, SNAP_PIXELS = 4;

class FaceCurve {
  constructor(root, onseek) {
    this.root = root;
    this.onseek = onseek;
    this.model = null;
    this.only = null;
    this.frame = 0;
    this.svg = RFL.el("svg", {"aria-hidden": "true"});
    this.tip = RFL.el("div.ch-tip", {hidden: true});
    root.append(this.svg, this.tip);
    root.addEventListener("pointerdown", event => this.press(event));
    root.addEventListener("pointermove", event => this.hover(event));
    root.addEventListener("pointerleave", () => this.hover(null));
    root.addEventListener("keydown", event => this.key(event));
    new ResizeObserver(() => this.draw()).observe(root);
  }

  show(model, only) {
    this.model = model;
    this.only = only;
    this.root.setAttribute("aria-valuemin", "1");
    this.root.setAttribute("aria-valuemax", String(Math.max(1, model ? model.count : 1)));
    this.draw();
  }

  get people() {
    const known = this.model ? this.model.people.filter(person => person.mean !== null) : [];
    return this.only && known.some(person => person.key === this.only) ? known.filter(person => person.key === this.only) : known;
  }

  lines() {
    const people = this.people;
    const lines = people.map(person => ({label: people.length > 1 ? person.label : "similarity", role: person.role, values: person.similarity}));
    if (people.length === 1 && people[0].judgeMean !== null) lines.unshift({label: "judge", role: "judge", values: people[0].judge});
    return lines;
  }

  draw() {
    const width = this.root.clientWidth, height = this.root.clientHeight, model = this.model;
    if (!model || width < 80 || !model.count) { RFL.fill(this.svg); this.scale = null; return; }
    const {el, fill, color} = RFL;
    const lines = this.lines();
    const values = lines.flatMap(line => line.values.filter(value => value !== null));
    let low = values.length ? values.reduce((a, b) => Math.min(a, b), 1) : 0, high = values.length ? values.reduce((a, b) => Math.max(a, b), -1) : 1;
    if (high - low < 0.2) { const middle = (high + low) / 2; high = Math.min(1, middle + 0.1); low = high - 0.2; }
    const pad = (high - low) * 0.08;
    high = Math.min(high + pad, Math.max(1.02, high));
    low -= pad;
    const inner = width - CURVE_LEFT - CURVE_RIGHT, floor = height - CURVE_BOTTOM;
    const step = inner / Math.max(1, model.count - 1);
    const px = frame => CURVE_LEFT + (model.count > 1 ? frame * step : inner / 2);
    const py = value => CURVE_TOP + (high - value) / (high - low) * (floor - CURVE_TOP);
    this.scale = {px, py, step, width, inner};
    const marks = niceTicks(low, high, 5);
    const grid = marks.map(v => [el("line.ch-grid", {x1: CURVE_LEFT, x2: width - CURVE_RIGHT, y1: py(v), y2: py(v)}),
      el("text.ch-tick", {x: CURVE_LEFT - 7, y: py(v) + 3.5, "text-anchor": "end"}, RFL.fixed(v, marks.length > 1 && marks[1] - marks[0] < 0.099 ? 2 : 1))]);
    const below = niceTicks(1, model.count, Math.max(2, Math.floor(inner / 110)), true).map(n => el("text.ch-tick", {x: px(n - 1), y: height - 5, "text-anchor": "middle"}, String(n)));
    const half = Math.max(1.5, step / 2);
    const missing = model.gaps().map(([first, last]) => {
      const x0 = Math.max(CURVE_LEFT, px(first) - half), x1 = Math.min(width - CURVE_RIGHT, px(last) + half);
      return [el("rect.fc-gap", {x: x0, y: CURVE_TOP, width: x1 - x0, height: floor - CURVE_TOP}), el("rect.fc-gap-mark", {x: x0, y: floor - 4, width: x1 - x0, height: 4, rx: 1.5})];
    });
    const curves = lines.map(line => {
      const {d, dots} = this.path(line.values, px, py, inner);
      const stroke = color(line.role);
      return [el("path.ch-line", {d, stroke, class: (line.role === "judge" ? "fc-judge " : "") + (model.count > inner ? "fc-dense" : "")}), dots.map(([x, y]) => el("circle", {cx: x, cy: y, r: 2.2, fill: stroke}))];
    });
    this.head = el("line.ch-head-line", {y1: CURVE_TOP, y2: floor});
    this.knobs = lines.map(line => el("circle.fc-knob", {r: 4.5, fill: color(line.role)}));
    this.cross = el("line.ch-cross", {y1: CURVE_TOP, y2: floor, visibility: "hidden"});
    this.svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    fill(this.svg, grid, below, missing, curves, this.cross, this.head, this.knobs);
    this.paintHead(this.frame);
  }

  /* One point per frame, or the lowest and highest of each pixel column where there are more frames than pixels. */
  path(values, px, py, inner) {
    const every = Math.max(1, Math.ceil(values.length / Math.max(1, inner)));
    const dots = [];
    let d = "", pen = false;
    for (let start = 0; start < values.length; start += every) {
      let lowest = null, highest = null;
      for (let i = start; i < Math.min(values.length, start + every); i++) {
        if (values[i] === null) continue;
        if (lowest === null || values[i] < values[lowest]) lowest = i;
        if (highest === null || values[i] > values[highest]) highest = i;
      }
      if (lowest === null) { pen = false; continue; }
      for (const i of lowest === highest ? [lowest] : [Math.min(lowest, highest), Math.max(lowest, highest)]) {
        d += (pen ? "L" : "M") + px(i).toFixed(1) + " " + py(values[i]).toFixed(1);
        pen = true;
      }
      const alone = every === 1 && (start === 0 || values[start - 1] === null) && (start + 1 >= values.length || values[start + 1] === null);
      if (alone) dots.push([px(start), py(values[start])]);
    }
    return {d, dots};
  }

  paintHead(frame) {
    this.frame = frame;
    if (!this.scale || !this.head) return;
    const x = this.scale.px(frame);
    this.head.setAttribute("x1", x);
    this.head.setAttribute("x2", x);
    const lines = this.lines();
    lines.forEach((line, i) => {
      const value = line.values[frame], knob = this.knobs[i];
      if (!knob) return;
      knob.setAttribute("visibility", value === null || value === undefined ? "hidden" : "visible");
      if (value !== null && value !== undefined) { knob.setAttribute("cx", x); knob.setAttribute("cy", this.scale.py(value)); }
    });
    this.root.setAttribute("aria-valuenow", String(frame + 1));
    this.root.setAttribute("aria-valuetext", "frame " + (frame + 1) + ": " + (this.model.frames[frame] && this.model.frames[frame].length
      ? lines.map(line => line.label + " " + RFL.fixed(line.values[frame] ?? null, 2)).join(", ") || "a face that was not compared" : "no face"));
  }

  frameAt(event) {
    const box = this.root.getBoundingClientRect();
    const share = (event.clientX - box.left - CURVE_LEFT) / this.scale.inner;
    return Math.round(Math.min(1, Math.max(0, share)) * (this.model.count - 1));
  }

  /* In a long clip a dip is narrower than a pixel: a click takes the lowest frame that lies under it. */
  snapped(frame) {
    const reach = Math.floor(SNAP_PIXELS / this.scale.step);
    let best = frame, lowest = Infinity;
    for (let i = Math.max(0, frame - reach); i <= Math.min(this.model.count - 1, frame + reach); i++) {
      for (const person of this.people) {
        const value = person.similarity[i];
        if (value !== null && value < lowest) { lowest = value; best = i; }
      }
    }
    return best;
  }

  press(event) {
    if (!this.scale || event.button !== 0) return;
    this.onseek(this.snapped(this.frameAt(event)));
    this.root.setPointerCapture(event.pointerId);
    const drag = moved => this.onseek(this.frameAt(moved));
    this.root.addEventListener("pointermove", drag);
    this.root.addEventListener("pointerup", () => this.root.removeEventListener("pointermove", drag), {once: true});
  }

  hover(event) {
    if (!this.scale || !event) { this.tip.hidden = true; if (this.cross) this.cross.setAttribute("visibility", "hidden"); return; }
    const {el, fill, fixed, color} = RFL;
    const frame = this.frameAt(event), x = this.scale.px(frame), empty = !this.model.frames[frame].length;
    this.cross.setAttribute("x1", x);
    this.cross.setAttribute("x2", x);
    this.cross.setAttribute("visibility", "visible");
    fill(this.tip, el("div.ch-tip-x", {}, "frame " + (frame + 1) + "  ·  " + (frame / this.model.fps).toFixed(2) + " s"),
      empty ? el("div.fc-tip-none", {}, "no face") : this.lines().map(line => el("div", {}, el("i", {style: "background:" + color(line.role)}), line.label, el("b", {}, fixed(line.values[frame], 3)))));
    this.tip.hidden = false;
    this.tip.style.left = x > this.scale.width / 2 ? "auto" : x + 12 + "px";
    this.tip.style.right = x > this.scale.width / 2 ? this.scale.width - x + 12 + "px" : "auto";
  }

  key(event) {
    if (!this.model || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10}[event.key];
    const to = by ? this.frame + by : event.key === "Home" ? 0 : event.key === "End" ? this.model.count - 1 : null;
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.onseek(Math.min(this.model.count - 1, Math.max(0, to)));
  }
}

function niceTicks(low, high, wanted, whole) {
  const rough = (high - low) / Math.max(1, wanted), power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-9)));
  let step = [1, 2, 5, 10].map(k => k * power).find(k => k >= rough * 0.999) || rough;
  if (whole) step = Math.max(1, Math.round(step));
  const found = whole && step > 1 ? [low] : [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9 && found.length < 40; i++) if (!found.length || i * step - found[found.length - 1] > step * 0.6) found.push(i * step);
  return found;
}
