/* Geometry of the charts: colours, paths, axes. */
window.RFL.plotting = window.RFL.plotting || (() => {
  /* The colour of a series or level: `color` (any CSS colour) before its role's. */
  function paint(series) { return series.color || RFL.color(series.role); }

  function swatch(series) { return (series.dash ? "border-color:" : "background:") + paint(series); }

  /* The path of a line; points that are not numbers are gaps. */
  function trace(x, y, px, py) {
    let d = "", pen = false;
    for (let i = 0; i < x.length; i++) {
      if (!Number.isFinite(y[i])) { pen = false; continue; }
      d += (pen ? "L" : "M") + px(x[i]).toFixed(1) + " " + py(y[i]).toFixed(1);
      pen = true;
    }
    return d;
  }

  /* The area between the ends of an interval, an upright stroke where it stands alone. */
  function intervals(line, px, py, color) {
    const [low, high] = line.s.band;
    return stretches(line.s.band).map(([from, to]) => {
      const along = Array.from({length: to - from}, (_, i) => from + i);
      const edge = (y, order) => order.map(i => px(line.x[i]).toFixed(1) + " " + py(y[i]).toFixed(1));
      if (to - from === 1) return RFL.el("path.ch-whisker", {d: "M" + edge(low, along) + "L" + edge(high, along), stroke: color});
      return RFL.el("path.ch-interval", {d: "M" + [...edge(low, along), ...edge(high, along.reverse())].join("L") + "Z", fill: color});
    });
  }

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

  /* [lowest, highest] of the vertical axis for what is seen from x0 to x1, with some air. */
  function spread(lines, data, x0, x1) {
    let y0 = Infinity, y1 = -Infinity;
    const take = value => { if (Number.isFinite(value)) { y0 = Math.min(y0, value); y1 = Math.max(y1, value); } };
    for (const l of lines) {
      l.x.forEach((x, i) => { if (x >= x0 && x <= x1) for (const y of [l.y, ...(l.s.band || [])]) take(y[i]); });
    }
    for (const level of data.lines) take(level.y);
    if (!Number.isFinite(y0)) { y0 = 0; y1 = 1; }
    const floor = data.floor === null || data.floor === undefined ? null : data.floor;
    if (floor !== null) y0 = Math.min(y0, floor);
    if (y1 - y0 < 1e-12) { const pad = Math.abs(y1) * 0.1 || 0.5; if (floor !== y0) y0 -= pad; y1 += pad; }
    const air = (y1 - y0) * 0.07;
    return [floor === y0 ? y0 : y0 - air, y1 + air];
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

  return {paint, swatch, trace, intervals, spread, ticks, nearest};
})();
