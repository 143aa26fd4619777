/* The draft: what was typed, kept in this tab over a refresh; a new tab goes on from the last one. What a run uses is only ever its own config.yaml. */
const DRAFT = "rewardfl_draft";
let timer = null, checked = 0, stashed = null;

function remember() {
  const text = JSON.stringify({source: draft.source, base: draft.base, values: draft.values, name: $(".name").value, planned: plannedFor(), stashed});
  try { sessionStorage.setItem(DRAFT, text); localStorage.setItem(DRAFT, text); } catch (error) { /* private mode: edits are lost on refresh */ }
}

/* Fields that the stored draft does not know, of an older version, keep what they have. */
function take(stored) {
  draft.source = stored.source;
  for (const key of fields.keys()) {
    if (key in stored.values) draft.values[key] = stored.values[key];
    if (stored.base && key in stored.base) draft.base[key] = stored.base[key];
  }
  $(".name").value = stored.name || "";
  if ("planned" in stored) planFor(stored.planned);
  stashed = stored.stashed || null;
}

function recall() {
  for (const store of [sessionStorage, localStorage]) {
    try {
      const stored = JSON.parse(store.getItem(DRAFT) || "null");
      if (stored && stored.values && stored.source) { take(stored); return; }
    } catch (error) { try { store.removeItem(DRAFT); } catch (denied) { /* private mode */ } }
  }
}

function edited(key) {
  paintField(key);
  if ($(".find-changed").checked) search();
  remember();
  paintPlan();
  clearTimeout(timer);
  timer = setTimeout(review, 250);
}

/* What a person named of files stays when another preset of the same model is loaded, which knows none of them. */
const OWN_FILES = [...fields.values()].filter(f => (f.path && f.section !== "deepspeed") || f.key === "model.model_id_with_origin_paths").map(f => f.key);
function ownFiles(id, values) {
  const name = values["model.model_name"];
  if (id.startsWith("run:") || name === "pocket" || name !== draft.values["model.model_name"]) return {};
  return Object.fromEntries(OWN_FILES.filter(key => draft.values[key] && !values[key]).map(key => [key, draft.values[key]]));
}

/* Settings of a preset or of a run into the form; `keep` puts the draft aside, so that leaving a fork brings it back. */
async function load(id, keep = false) {
  const answer = await server.load_source({source: id}).catch(() => ({error: "The app does not answer: start it again, then choose the settings once more."}));
  if (answer.error) { problems = [{field: "", message: answer.error}]; paintProblems(); paintSources(); paintMachines(); return false; }
  if (keep && !(stashed && draft.source.startsWith("run:"))) stashed = {source: draft.source, base: {...draft.base}, values: {...draft.values}, name: $(".name").value};
  if (!id.startsWith("run:")) stashed = null;
  draft.source = answer.source;
  draft.base = {...answer.values};
  draft.values = {...answer.values, ...ownFiles(id, answer.values)};
  if (keep) $(".name").value = "";
  paintAll();
  remember();
  await review();
  return true;
}

async function review() {
  clearTimeout(timer);
  const mine = ++checked;
  const answer = await server.review({values: draft.values, source: draft.source, planned_for: plannedFor()}).catch(() => null);
  if (!answer || mine !== checked) return;
  problems = answer.problems;
  paintProblems();
  paintNeeds(answer.needs);
  paintSide(answer);
  paintMemory(answer.memory);
  showClips();
}

function paintNeeds(needs) {
  fill($(".needs"), needs.map(n => el("li", {"data-state": n.state}, el("b", {}, n.title),
    el("span", {}, n.state === "ready" ? n.text : typed(n.text), " ", n.state !== "ready" && rows.has(n.field) ? el("button.link.plain", {type: "button", "aria-label": "Give " + n.title, onclick: () => reveal(n.field)}, "Give it") : null))));
}

RFL.on("fork", async ({source}) => {
  if (source === draft.source || await load(source, true)) { paintAll(); review(); $(".side-title").focus({preventScroll: true}); }
});
$(".fork-leave").addEventListener("click", () => {
  if (!stashed) { load(FIRST.source); return; }
  const before = stashed;
  stashed = null;
  take(before);
  paintAll();
  remember();
  review();
});
