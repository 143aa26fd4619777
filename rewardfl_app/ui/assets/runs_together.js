const group = new RFL.ChartGroup();
const charts = new Map();
const together = {key: "", steps: "", asked: 0, curves: null};
$(".rn-tools").append(group.toolbar());

function pick(id, on) {
  table.picked = on ? [...table.picked.filter(other => other !== id), id] : table.picked.filter(other => other !== id);
  note();
  paintRows();
  paintPicked();
}
function pickAll(on) {
  table.picked = on ? [...new Set([...table.picked, ...shownRows().map(row => row.id)])] : [];
  note();
  paintRows();
  paintPicked();
}

function paintPicked() {
  const picked = table.picked.filter(rowOf), count = picked.length;
  $(".rn-picked").hidden = !count;
  $(".rn-picked-count").textContent = many(count, "run") + " selected";
  $(".rn-picked-hint").textContent = count === 1 ? "Select another one to see what differs." : count > 10 ? "Curves are drawn for the first ten." : "";
  $("[data-do=together]").hidden = count < 2;
  $("[data-do=compare]").hidden = count !== 2;
  $("[data-do=archive-picked]").textContent = picked.length && picked.every(id => rowOf(id).archived) ? "Take out of the archive" : "Archive";
  $(".rn-together").hidden = count < 2;
  if (count >= 2) loadTogether(picked);
  else together.key = "";
}

/* Ask again when the selection, the choice of curves or a file of a selected run has changed. */
async function loadTogether(picked) {
  const key = JSON.stringify([picked, view.curves, picked.map(rowOf)]);
  const steps = picked.map(id => table.live.get(id)?.step).join();
  const wait = key === together.key;
  if (wait && (steps === together.steps || Date.now() - together.asked < 3000)) return;
  const fresh = JSON.stringify(picked) !== together.picked;
  Object.assign(together, {key, steps, asked: Date.now(), picked: JSON.stringify(picked)});
  if (fresh) group.range = null;
  const colors = RFL.runColors(picked);
  fill($(".rn-legend"), picked.map(id => el("span.rn-key", {onpointerenter: () => light(id), onpointerleave: () => light(null), onfocusin: () => light(id), onfocusout: () => light(null)}, el("i", {style: "background:" + colors[id]}), el("span", {title: nameOf(id)}, nameOf(id)),
    el("button", {type: "button", "aria-label": "Leave out " + nameOf(id), title: "Leave out", onclick: () => pick(id, false)}, "×"))));
  const [difference, curves] = await Promise.all([wait ? null : ask("load_difference", {runs: picked}), ask("load_curves", {runs: picked, keys: view.curves})]);
  if (together.key !== key) return;
  if (difference) paintDifference(difference, colors);
  if (curves) { together.curves = curves; paintCurves(curves, colors); }
}

function paintDifference(found, colors) {
  const same = found.rows.length ? "The other " + found.num_same + " settings are the same." : "All " + found.num_same + " settings are the same; what differs is chance, or the code.";
  const value = (row, v, first) => v === null ? el("span.muted", {}, "not known then") : v === "" ? el("span.muted", {}, "empty") : el("span", {class: v !== first ? "other" : ""}, v);
  fill($(".rn-difference"), found.rows.length ? el("table", {}, el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "Setting"), found.runs.map(run => el("th", {scope: "col"}, el("i", {style: "background:" + colors[run.id]}), run.name)))),
    el("tbody", {}, found.rows.map(row => el("tr", {"data-field": row.field}, el("th", {scope: "row"}, row.label, el("code", {}, row.field)), row.values.map(v => el("td", {}, value(row, v, row.values[0]))))))) : null,
    el("p.muted", {}, same), found.unreadable.map(item => el("p", {"data-tone": "warn"}, nameOf(item.run) + ": " + item.message)));
}

function paintCurves(found, colors) {
  const shown = new Set(found.charts.map(c => c.key));
  const focus = document.activeElement?.closest?.(".rn-choices [data-key]")?.dataset.key;
  fill($(".rn-choices"), found.choices.map(choice => el("button.rn-choice", {type: "button", "data-key": choice.key, "aria-pressed": String(shown.has(choice.key)), onclick: () => choose(choice.key, shown)}, choice.title)));
  if (focus) $('.rn-choices [data-key="' + CSS.escape(focus) + '"]')?.focus();
  $(".rn-curves-bar").hidden = !found.choices.length;
  for (const [key, chart] of charts) if (!shown.has(key)) { chart.remove(); charts.delete(key); }
  for (const data of found.charts) {
    if (!charts.has(data.key)) charts.set(data.key, new RFL.Chart(el("article.card.ch", {"data-chart": data.key}), group));
    const chart = charts.get(data.key);
    $(".rn-charts").append(chart.root);
    chart.update({...data, series: data.series.map(line => ({...line, label: nameOf(line.run), color: colors[line.run]}))});
  }
}

/* Lines may lie upon each other: the one whose name is pointed at comes to the front, the others fade. */
function light(id) {
  for (const line of element.querySelectorAll(".rn-charts .ch-series")) {
    line.classList.toggle("dim", id !== null && line.dataset.series !== id);
    if (line.dataset.series === id) line.parentElement.append(line);
  }
}

function choose(key, shown) {
  view.curves = shown.has(key) ? [...shown].filter(other => other !== key) : [...shown, key];
  keep();
  paintPicked();
}

for (const button of element.querySelectorAll("[data-axis]")) {
  button.addEventListener("click", () => {
    for (const other of element.querySelectorAll("[data-axis]")) other.setAttribute("aria-pressed", String(other === button));
    group.axis = button.dataset.axis;
    group.zoom(null);
  });
}
$(".rn-curves-bar input").addEventListener("input", event => { group.smoothing = Number(event.target.value); group.redraw(); });
