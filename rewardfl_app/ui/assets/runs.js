/* Rows are asked for when the page is seen and the tick says that they are others now. */
async function refresh(force) {
  const v = props.value || {};
  if (v.loading || (!force && (!RFL.isShown(element) || v.version === table.asked))) return;
  table.asked = v.version;
  const answer = await ask("load_rows", {});
  if (!answer) { table.asked = ""; return; }
  table.version = answer.version;
  table.asked = answer.version;
  table.rows = answer.rows;
  paintAll();
}

function paintAll() {
  const none = !table.rows.length;
  $(".rn-none").hidden = !none;
  $(".rn-main").hidden = none;
  const tags = [...new Set(table.rows.flatMap(row => row.tags))].sort(), select = $("[data-filter=tag]");
  if (view.tag && !tags.includes(view.tag)) view.tag = "";
  fill(select, el("option", {value: ""}, "Any tag"), tags.map(tag => el("option", {value: tag}, tag)));
  select.value = view.tag;
  $("[data-for=tag]").hidden = !tags.length;
  paintQueue();
  paintRows();
  paintPicked();
}

function tick() {
  const v = props.value || {live: [], queue: []};
  if (v.loading) return;
  table.live = new Map(v.live.map(run => [run.id, run]));
  const queue = v.queue.join() !== table.queue.join();
  table.queue = v.queue;
  if (!RFL.isShown(element) || !table.rows.length) { refresh(); return; }
  for (const row of table.rows) {
    if (row.finished || !drawn.has(row.id)) continue;
    paintLive(row, drawn.get(row.id));
    if (table.open.has(row.id)) detailsNode(row);
  }
  if (queue) paintQueue();
  if (v.live.some(run => table.picked.includes(run.id))) paintPicked();
  refresh();
}

function paintFilters() {
  for (const field of element.querySelectorAll("[data-filter]")) {
    if (field.type === "checkbox") field.checked = view[field.dataset.filter]; else field.value = view[field.dataset.filter];
  }
}
function clearFilters() {
  Object.assign(view, {text: "", state: "", tag: "", archived: false});
  keep();
  paintFilters();
  paintRows();
}
for (const field of element.querySelectorAll("[data-filter]")) {
  field.addEventListener("input", () => { view[field.dataset.filter] = field.type === "checkbox" ? field.checked : field.value; keep(); paintRows(); });
}
const ACTS = {
  train: () => RFL.go("train"),
  together: () => $(".rn-together").scrollIntoView({block: "start"}),
  compare: () => { const [older, newer] = [...table.picked].sort(); RFL.go("compare", {run: newer, with: older}); },
  "archive-picked": async () => {
    const away = table.picked.every(id => rowOf(id)?.archived);
    for (const id of [...table.picked]) await act(id, away ? "unarchive" : "archive");
    if (!away && !view.archived) pickAll(false);
  },
  "delete-picked": () => confirmDelete(table.picked),
  clear: () => pickAll(false),
};
element.addEventListener("click", event => { const what = event.target.closest("[data-do]")?.dataset.do; if (ACTS[what]) ACTS[what](); });

RFL.on("route", ({page}) => { if (page !== "runs") return; readAddress(); if (table.rows.length) paintAll(); });
new ResizeObserver(() => refresh()).observe(element);
window.addEventListener("rewardfl:scheme", () => group.redraw());
setInterval(() => { if (RFL.isShown(element)) for (const row of table.rows) if (!row.finished && drawn.has(row.id)) paintLive(row, drawn.get(row.id)); }, 1000);
readAddress();
paintFilters();
watch("value", tick);
tick();
