/* Charts that share zoom, crosshair, axis and smoothing. The zoom lives here, so new data keep it. */
window.RFL.ChartGroup = window.RFL.ChartGroup || class ChartGroup {
  constructor() { this.charts = new Set(); this.range = null; this.axis = "step"; this.smoothing = 0; this.onzoom = null; this.hovered = {x: null, owner: null}; }

  /* From 0 (or the first point, if that is below) to the last point of all charts. */
  whole() {
    let low = 0, high = 0;
    for (const chart of this.charts) {
      for (const series of chart.data ? chart.data.series : []) {
        const xs = this.axis === "time" ? series.t : series.x;
        if (xs.length) { low = Math.min(low, xs[0]); high = Math.max(high, xs[xs.length - 1]); }
      }
    }
    return [low, Math.max(high, low + 1)];
  }

  zoom(range) {
    this.range = range;
    this.hovered = {x: null, owner: null};
    this.redraw();
    if (this.onzoom) this.onzoom(range);
  }

  /* Show a stretch `factor` times as long, around a point (default: the middle); what is as long as everything is no zoom. */
  zoomBy(factor, around = null) {
    const [low, high] = this.whole(), [x0, x1] = this.range || [low, high];
    const shortest = this.axis === "time" ? (high - low) / 2000 : 2;
    const length = Math.max(shortest, (x1 - x0) * factor);
    if (length >= (high - low) * 0.999) { this.zoom(null); return; }
    const middle = around !== null && around >= x0 && around <= x1 ? around : (x0 + x1) / 2;
    const share = (middle - x0) / (x1 - x0);
    const from = Math.min(high - length, Math.max(low, middle - share * length));
    this.zoom([from, from + length]);
  }

  /* Move the zoomed stretch by a share of its length; it stays within the data. */
  pan(share) {
    if (!this.range) return;
    const [low, high] = this.whole(), [x0, x1] = this.range, length = x1 - x0;
    const from = Math.max(low, Math.min(Math.max(low, high - length), x0 + share * length));
    this.zoom([from, from + length]);
  }

  hover(x, owner) {
    this.hovered = {x, owner: x === null ? null : owner};
    for (const chart of this.charts) chart.crosshair(x, chart === owner);
  }

  redraw() { for (const chart of this.charts) chart.draw(); }

  /* The buttons for what drag, wheel and keys do; one row for all charts of the group. */
  toolbar() {
    const {el} = RFL;
    const button = (label, sign, act) => el("button.btn.small.quiet", {type: "button", "aria-label": label, title: label, onclick: act}, sign);
    const moving = [button("Earlier", "‹", () => this.pan(-0.5)), button("Later", "›", () => this.pan(0.5)), button("Show everything", "Show all", () => this.zoom(null))];
    const bar = el("div.ch-tools", {role: "group", "aria-label": "Zoom of the curves"}, button("Zoom in", "+", () => this.zoomBy(0.5)), button("Zoom out", "−", () => this.zoomBy(2)), moving);
    const paintBar = range => { for (const node of moving) node.disabled = !range; bar.children[1].disabled = !range; };
    const before = this.onzoom;
    this.onzoom = range => { paintBar(range); if (before) before(range); };
    paintBar(this.range);
    return bar;
  }
};

/* {run id: CSS colour} for runs shown together, in the order in which they were chosen: one that is added changes no other's. */
window.RFL.runColors = window.RFL.runColors || (ids => Object.fromEntries(ids.map((id, i) => [id, "var(--rf-run-" + (i % 10 + 1) + ")"])));
