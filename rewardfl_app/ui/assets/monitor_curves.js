/* The points of one run as the page has them. `refresh` asks for those it has not got; `charts` puts several runs into charts. */
window.RFL.FollowedCurves = window.RFL.FollowedCurves || class FollowedCurves {
  constructor(run, load) {
    Object.assign(this, {run, load, name: run, layout: [], series: {}, hacking: null, finished: false, missing: false, seen: {}});
    this.asking = null;
  }

  /* Resolves to true when something is new. Asked while an answer is under way, it asks once more after that. */
  refresh() {
    if (this.asking) { this.again = true; return this.asking; }
    this.asking = this.ask().finally(() => { this.asking = null; });
    return this.asking;
  }

  async ask() {
    let changed = false;
    do {
      this.again = false;
      const news = await this.load({run: this.run, ...this.seen}).catch(() => undefined);
      if (news === undefined) return changed;  // the app does not answer; the next tick asks again
      this.missing = news === null;
      if (news) changed = this.take(news) || changed;
    } while (this.again);
    return changed;
  }

  take(news) {
    const MOST = 2500;  // points of a curve; then they are asked for anew, thinned
    if (news.whole) this.series = {};
    for (const [key, points] of Object.entries(news.series)) {
      const known = this.series[key];
      if (!known) { this.series[key] = points; continue; }
      if (points.low && !known.low) { known.low = known.y.map(() => null); known.high = known.y.map(() => null); }
      for (const part of Object.keys(known)) known[part] = known[part].concat(points[part] || points.y.map(() => null));
    }
    const changed = news.whole || Object.keys(news.series).length > 0;
    this.seen = {generation: news.generation, trained: news.trained, evaluated: news.evaluated};
    if (Object.values(this.series).some(points => points.y.length > MOST)) { this.seen = {}; this.again = true; }
    Object.assign(this, {layout: news.layout, name: news.name, finished: news.finished});
    if (news.hacking || news.whole) this.hacking = news.hacking;
    return changed;
  }

  has(curve) { return Boolean(this.series[curve.key]); }

  line(curve, more) {
    const {x, t, y, low, high} = this.series[curve.key];
    return {key: curve.key, label: curve.label, role: curve.role, marks: curve.marks, x, t, y, ...(low ? {band: [low, high]} : {}), ...more};
  }
};

/* The charts of a run with others laid over it, each of those in a colour of its own; without others their colours are the roles'. */
window.RFL.overlaidCharts = window.RFL.overlaidCharts || function (main, others, marks) {
  const known = new Map();
  for (const run of [main, ...others]) for (const chart of run.layout) if (!known.has(chart.key)) known.set(chart.key, chart);
  const colors = RFL.runColors(others.map(run => run.run));
  return [...known.values()].map(chart => {
    const own = main.layout.find(c => c.key === chart.key);
    const curves = own ? own.curves.filter(curve => main.has(curve)) : [];
    const name = (run, curve, all) => all.length > 1 ? run.name + " · " + curve.label : run.name;
    const series = curves.map(curve => main.line(curve, others.length ? {label: name(main, curve, curves)} : {}));
    for (const run of others) {
      const theirs = (run.layout.find(c => c.key === chart.key) || {curves: []}).curves.filter(curve => run.has(curve));
      const measured = theirs.filter(curve => curve.role !== "train");
      const shown = measured.length ? measured : theirs;
      for (const [place, curve] of shown.entries()) series.push(run.line(curve, {label: name(run, curve, shown), color: colors[run.run], dash: place > 0, band: undefined}));
    }
    return {...chart, series, lines: own ? own.lines : [], marks: chart.key === "reward" ? marks : []};
  }).filter(chart => chart.series.length).sort((a, b) => a.order - b.order);
};
