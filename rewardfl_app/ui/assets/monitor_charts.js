const {el, fill} = RFL;
const $ = selector => element.querySelector(selector);
const bar = $(".mc-bar"), pick = $(".mc-pick"), list = $(".mc-runs"), chosen = $(".mc-chosen");
const MOST = 8;  // runs laid over one; more cannot be told apart
const group = new RFL.ChartGroup();
const panel = new RFL.HackingPanel($(".mc-hacking"));
const charts = new Map();
const others = new Map();
let main = null, stale = false;
$(".mc-zoom").append(group.toolbar());
for (const button of element.querySelectorAll("[data-axis]")) {
  button.addEventListener("click", () => {
    for (const other of element.querySelectorAll("[data-axis]")) other.setAttribute("aria-pressed", String(other === button));
    group.axis = button.dataset.axis;
    group.zoom(null);
  });
}
$("input[type=range]").addEventListener("input", event => { group.smoothing = Number(event.target.value); group.redraw(); });

/* The other groups stand below both columns. Which are folded is a view preference. */
const TITLES = {measures: "Evaluation videos", training: "Training", machine: "Time and memory"};
const folded = new Set(JSON.parse(localStorage.getItem("rewardfl_folded") || "[]"));
const groups = Object.entries(TITLES).map(([name, title]) => {
  const part = el("details.mc-group", {"data-group": name, open: !folded.has(name), hidden: true}, el("summary", {}, el("h3", {}, title)), el("div.mc-grid"));
  part.addEventListener("toggle", () => {
    folded[part.open ? "delete" : "add"](name);
    localStorage.setItem("rewardfl_folded", JSON.stringify([...folded]));
  });
  return part;
});
const settle = () => document.querySelector("#monitor-more .mc-more")?.append(...groups);
RFL.on("monitor-more", settle);
settle();

function draw() {
  const v = props.value || {run: null};
  const shown = main ? RFL.overlaidCharts(main, [...others.values()].filter(run => !run.missing), v.marks || []) : [];
  bar.hidden = !shown.length;
  const keys = new Set(shown.map(c => c.key));
  for (const [key, chart] of charts) if (!keys.has(key)) { chart.remove(); charts.delete(key); }
  for (const data of shown) {
    if (!charts.has(data.key)) charts.set(data.key, new RFL.Chart(el("article.card.ch", {"data-chart": data.key, class: data.wide ? "wide" : ""}), group));
    const chart = charts.get(data.key), place = placeOf(data.group);
    const at = shown.filter(c => c.group === data.group).indexOf(data);
    if (place.children[at] !== chart.root) place.insertBefore(chart.root, place.children[at] || null);
    chart.update(data);
  }
  for (const part of groups) part.hidden = !shown.some(c => c.group === part.dataset.group);
  panel.update(main && main.hacking && main.hacking.level !== "waiting" ? main.hacking : null);
  const rewards = placeOf("rewards");
  rewards.querySelector(".empty")?.remove();
  if (!v.run || shown.length || !main || !main.answered) return;
  rewards.append(el("div.empty.card", {}, el("p", {}, main.finished ? "This run made no step." : "The first point appears after the first step.")));
}

function placeOf(name) { return name === "rewards" ? $(".mc-grid") : groups.find(part => part.dataset.group === name).lastElementChild; }

/* Ask for new points; a page that cannot be seen asks when it can. */
async function refresh() {
  if (!main) return;
  if (!RFL.isShown(element)) { stale = true; return; }
  stale = false;
  const run = main;
  const asked = [run, ...others.values()].filter(r => !r.answered || r === run || !r.finished);
  const news = await Promise.all(asked.map(r => r.refresh().then(changed => { r.answered = true; return changed; })));
  if (run !== main) return;
  for (const [id, other] of others) if (other.missing) { others.delete(id); noteOverlay(); RFL.toast("There is no run “" + id + "” to lay over this one."); }
  if (news.some(Boolean) || !charts.size) draw();
  showChosen();
}
new IntersectionObserver(seen => { if (stale && seen.some(s => s.isIntersecting)) refresh(); }).observe($(".mc"));
document.addEventListener("visibilitychange", () => { if (stale) refresh(); });

/* Runs laid over this one: chosen from a list, kept in the address. */
const load = request => server.load_curves(request);
function overlay(ids) {
  for (const id of others.keys()) if (!ids.includes(id)) others.delete(id);
  for (const id of ids) if (!others.has(id) && id !== main?.run) others.set(id, new RFL.FollowedCurves(id, load));
}
function noteOverlay() { if (RFL.here().page === "monitor") RFL.note({with: [...others.keys()].join(",")}); }
function fromAddress() {
  const {page, params} = RFL.here();
  if (page !== "monitor") return;
  overlay((params.with || "").split(",").filter(Boolean).slice(0, MOST));
}
function toggle(id, on) {
  const ids = [...others.keys()].filter(other => other !== id);
  overlay(on ? [...ids, id] : ids);
  noteOverlay();
  listRuns();
  draw();
  refresh();
}
function showChosen() {
  const colors = RFL.runColors([...others.keys()]);
  chosen.hidden = !others.size;
  fill(chosen, [...others.values()].map(run => el("li", {}, el("i", {style: "background:" + colors[run.run]}), run.name,
    el("button", {type: "button", "aria-label": "Take away " + run.name, onclick: () => { toggle(run.run, false); pick.focus(); }}, "×"))));
}
function listRuns() {
  const wanted = (list.querySelector("input[type=text]") || {value: ""}).value.trim().toLowerCase();
  const runs = (RFL.runs || []).filter(r => r.id !== main?.run && r.state !== "queued");
  const found = runs.filter(r => r.name.toLowerCase().includes(wanted) || r.id.includes(wanted));
  let rows = list.querySelector(".mc-rows");
  if (!rows) {
    list.append(el("input", {type: "text", placeholder: "Find a run", "aria-label": "Find a run", oninput: listRuns}), rows = el("div.mc-rows"));
  }
  const focused = rows.contains(document.activeElement) ? document.activeElement.value : null;
  fill(rows, found.map(r => el("label.check", {},
    el("input", {type: "checkbox", value: r.id, checked: others.has(r.id), disabled: !others.has(r.id) && others.size >= MOST, onchange: event => toggle(r.id, event.target.checked)}),
    el("span", {}, r.name), el("small", {}, r.started ? RFL.when(r.started) : ""))),
  found.length ? null : el("p.muted", {}, runs.length ? "No run is called so." : "There is no other run yet."));
  if (focused) [...rows.querySelectorAll("input")].find(input => input.value === focused)?.focus();
}
function unfold(open) {
  list.hidden = !open;
  pick.setAttribute("aria-expanded", String(open));
  if (open) { listRuns(); list.querySelector("input").focus(); }
}
pick.addEventListener("click", () => unfold(list.hidden));
element.addEventListener("keydown", event => { if (event.key === "Escape" && !list.hidden) { unfold(false); pick.focus(); } });
document.addEventListener("pointerdown", event => { if (!list.hidden && !$(".mc-overlay").contains(event.target)) unfold(false); });

function show() {
  const v = props.value || {run: null};
  if (v.run !== (main && main.run)) {
    main = v.run ? new RFL.FollowedCurves(v.run, load) : null;
    group.zoom(null);
    others.delete(v.run);
    draw();
    showChosen();
  } else if (main && JSON.stringify(v.marks) !== JSON.stringify(main.marks)) draw();
  if (main) main.marks = v.marks;
  refresh();
}
window.addEventListener("rewardfl:scheme", draw);
RFL.on("route", () => { fromAddress(); draw(); refresh(); });
fromAddress();
watch("value", show);
show();
/* A run laid over this one may go on while this one does not: the ticks of this one do not tell. */
setInterval(() => { if ([...others.values()].some(run => !run.finished)) refresh(); }, 3000);
