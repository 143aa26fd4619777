const {el} = RFL;
const grid = element.querySelector(".mc-grid"), bar = element.querySelector(".mc-bar"), reset = element.querySelector(".mc-reset");
const group = new RFL.ChartGroup();
const charts = new Map();
let run = null;
group.onzoom = range => { reset.hidden = !range; };
reset.addEventListener("click", () => group.zoom(null));
for (const button of element.querySelectorAll("[data-axis]")) {
  button.addEventListener("click", () => {
    for (const other of element.querySelectorAll("[data-axis]")) other.setAttribute("aria-pressed", String(other === button));
    group.axis = button.dataset.axis;
    group.zoom(null);
  });
}
element.querySelector("input[type=range]").addEventListener("input", event => { group.smoothing = Number(event.target.value); group.redraw(); });

function show() {
  const v = props.value || {run: null, charts: []};
  if (v.run !== run) { run = v.run; group.range = null; reset.hidden = true; }
  bar.hidden = !v.charts.length;
  const keys = new Set(v.charts.map(c => c.key));
  for (const [key, chart] of charts) if (!keys.has(key)) { chart.remove(); charts.delete(key); }
  for (const data of v.charts) {
    if (!charts.has(data.key)) {
      const card = el("article.card.ch", {"data-chart": data.key, class: data.wide ? "wide" : ""});
      grid.append(card);
      charts.set(data.key, new RFL.Chart(card, group));
    }
    const chart = charts.get(data.key);
    grid.append(chart.root);
    chart.update(data);
  }
  if (v.run && !v.charts.length && !grid.querySelector(".empty")) grid.append(el("div.empty.card", {}, el("p", {}, "The first point appears after the first step.")));
  if (v.charts.length || !v.run) grid.querySelector(".empty")?.remove();
}
window.addEventListener("rewardfl:scheme", () => { for (const data of (props.value || {charts: []}).charts) charts.get(data.key)?.update(data); });
watch("value", show);
show();
