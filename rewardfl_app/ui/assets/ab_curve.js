/* Similarity of every frame, one line per side, with the playhead on it. Click or drag to jump to a frame. */
window.RFL.AbCurve = window.RFL.AbCurve || class AbCurve {
  constructor(root, onseek) {
    const {el} = RFL;
    this.onseek = onseek;
    this.by = "similarity";
    this.sides = [];
    this.count = 1;
    this.frame = 0;
    this.now = el("span.curve-now");
    this.plot = el("div.ab-plot");
    this.title = el("h3", {}, "Face similarity, frame by frame");
    this.choice = el("div.seg", {role: "group", "aria-label": "Which recogniser"}, [["similarity", "Reward"], ["judge_similarity", "Judge"]].map(([key, label]) =>
      el("button", {type: "button", "data-by": key, "aria-pressed": String(key === this.by), onclick: () => this.choose(key)}, label)));
    root.append(el("div.curve-head", {}, el("div.ab-curve-title", {}, this.title, this.choice), this.now), this.plot);
    this.plot.addEventListener("pointerdown", event => this.press(event));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  /* `sides`: [{label, role, faces (content of faces.json or null)}] */
  show(sides, count) {
    this.sides = sides.filter(side => side.faces && side.faces.frames);
    this.count = Math.max(1, count);
    const judged = this.sides.some(side => side.faces.frames.some(frame => (frame.faces || []).some(face => Number.isFinite(face.judge_similarity))));
    this.choice.hidden = !judged;
    if (!judged) this.choose("similarity");
    this.draw();
  }

  choose(key) {
    this.by = key;
    for (const button of this.choice.children) button.setAttribute("aria-pressed", String(button.dataset.by === key));
    this.draw();
  }

  value(side, index) {
    const faces = ((side.faces.frames[index] || {}).faces || []).map(face => face[this.by]).filter(Number.isFinite);
    return faces.length ? Math.max(...faces) : null;
  }

  /* The frame has faces that were not scored (the given first one), or none at all. */
  word(side, index) {
    const found = ((side.faces.frames[index] || {}).faces || []).length;
    return found ? (index === 0 ? "given" : "not scored") : "no face";
  }

  draw() {
    const {el, fill, color} = RFL;
    const width = this.plot.clientWidth, height = this.plot.clientHeight, left = 36, right = 10, top = 8, bottom = 20;
    if (width < 60 || height < 40) return;
    const lines = this.sides.map(side => [side, side.faces.frames.map((_, i) => this.value(side, i))]);
    const known = lines.flatMap(([, line]) => line.filter(v => v !== null));
    if (!known.length) {
      this.scale = null;
      fill(this.plot, el("p.ab-plot-none", {}, this.sides.length ? "No face was scored in these videos." : "The faces of these videos were not measured."));
      fill(this.now);
      return;
    }
    let low = Math.min(...known), high = Math.max(...known);
    const pad = Math.max(0.02, (high - low) * 0.08);
    low = Math.max(-1, low - pad);
    high = Math.min(1, high + pad);
    const px = frame => left + frame / Math.max(1, this.count - 1) * (width - left - right);
    const py = v => top + (high - v) / (high - low) * (height - top - bottom);
    this.scale = {px, left, right, width};
    this.head = el("line.ch-head-line", {y1: top, y2: height - bottom});
    this.dots = lines.map(([side]) => el("circle.ab-dot", {r: 4, fill: color(side.role), visibility: "hidden"}));
    this.py = py;
    this.lines = lines;
    const grid = [low + pad, (low + high) / 2, high - pad].map(v => [el("line.ch-grid", {x1: left, x2: width - right, y1: py(v), y2: py(v)}),
      el("text.ch-tick", {x: left - 7, y: py(v) + 3.5, "text-anchor": "end"}, v.toFixed(2))]);
    const every = [1, 2, 4, 5, 8, 10, 16, 20, 40, 80].find(k => (this.count - 1) / k <= width / 60) || 100;
    const below = [];
    for (let frame = 0; frame < this.count; frame += every) below.push(el("text.ch-tick", {x: px(frame), y: height - 5, "text-anchor": "middle"}, String(frame + 1)));
    const curves = lines.map(([side, line], at) => {
      let d = "", pen = false;
      line.forEach((v, i) => { if (v === null) { pen = false; return; } d += (pen ? "L" : "M") + px(i).toFixed(1) + " " + py(v).toFixed(1); pen = true; });
      const lost = line.map((v, i) => v === null && this.word(side, i) === "no face"
        ? el("text.ch-noface", {x: px(i), y: height - bottom - 3 - 12 * at, "text-anchor": "middle", fill: color(side.role)}, "×", el("title", {}, side.label + ": no face in frame " + (i + 1))) : null);
      return [el("path.ch-line", {d, stroke: color(side.role)}), lost];
    });
    fill(this.plot, el("svg", {viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": this.summary()}, grid, below, curves, this.head, this.dots));
    this.paint(this.frame);
  }

  summary() {
    return "Face similarity of each frame. " + this.lines.map(([side, line]) => {
      const known = line.filter(v => v !== null), lost = line.filter((v, i) => v === null && this.word(side, i) === "no face").length;
      if (!known.length) return side.label + ": not scored";
      const worst = line.indexOf(Math.min(...known));
      return side.label + ": from " + known[0].toFixed(2) + " to " + known[known.length - 1].toFixed(2) + ", lowest " + Math.min(...known).toFixed(2) + " at frame " + (worst + 1) +
        (lost ? ", no face in " + lost + (lost === 1 ? " frame" : " frames") : "");
    }).join("; ") + ".";
  }

  /* Move the playhead. */
  paint(frame) {
    this.frame = frame;
    if (!this.scale) return;
    const {el, fill, color} = RFL, x = this.scale.px(frame);
    this.head.setAttribute("x1", x);
    this.head.setAttribute("x2", x);
    this.lines.forEach(([, line], i) => {
      const value = line[frame];
      this.dots[i].setAttribute("visibility", Number.isFinite(value) ? "visible" : "hidden");
      if (Number.isFinite(value)) { this.dots[i].setAttribute("cx", x); this.dots[i].setAttribute("cy", this.py(value)); }
    });
    fill(this.now, this.lines.map(([side, line]) => el("span", {title: side.label}, el("i", {style: "background:" + color(side.role)}),
      el("span.sr", {}, side.label + " "), Number.isFinite(line[frame]) ? RFL.fixed(line[frame], 3) : this.word(side, frame))));
  }

  /* What both sides say at a frame, for a screen reader. */
  spoken(frame) {
    return this.scale ? this.lines.map(([side, line]) => side.label + " " + (Number.isFinite(line[frame]) ? line[frame].toFixed(2) : this.word(side, frame))).join(", ") : "";
  }

  press(event) {
    if (!this.scale || event.button !== 0) return;
    const go = e => {
      const {left, right, width} = this.scale, box = this.plot.getBoundingClientRect();
      this.onseek(Math.min(this.count - 1, Math.max(0, Math.round((e.clientX - box.left - left) / (width - left - right) * (this.count - 1)))));
    };
    go(event);
    this.plot.setPointerCapture(event.pointerId);
    this.plot.addEventListener("pointermove", go);
    const end = () => this.plot.removeEventListener("pointermove", go);
    this.plot.addEventListener("pointerup", end, {once: true});
    this.plot.addEventListener("pointercancel", end, {once: true});
  }
};
