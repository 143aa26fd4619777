const {el, fill} = RFL;
const $ = selector => element.querySelector(selector);
const first = props.value;
const fields = new Map();
for (const section of first.form) for (const field of section.fields) fields.set(field.key, {...field, section: section.name});
const MOST = 8;
const BASIC_ORDER = ["train", "reward", "sampling", "lora", "evaluation", "deepspeed"];
const FAMILIES = [
  {source: "preset:pocket", family: "pocket", title: "Pocket", text: "A miniature of the real thing, ready to go: the same classes and file formats, trains on a laptop in minutes.", badge: "ready"},
  {source: "preset:wan22_i2v_a14b", family: "wan2_2", title: "Wan2.2-I2V-A14B", text: "Two 14B experts with Lightning distillation, from your own files. Needs one or more GPUs with 80 GB.", badge: "by path"},
];
let source = first.source, base = {...first.values}, values = {...first.values}, problems = [], busy = false, timer = null, clipsOf = null, checked = 0;

/* Unsent edits survive a refresh in this tab; what a run uses is only ever its own config.yaml. */
const DRAFT = "rewardfl_draft";
function remember() { try { sessionStorage.setItem(DRAFT, JSON.stringify({source, base, values, name: $(".name").value})); } catch (error) { /* private mode: edits are lost on refresh */ } }
function recall() {
  try {
    const draft = JSON.parse(sessionStorage.getItem(DRAFT) || "null");
    if (!draft || !draft.values) return;
    source = draft.source;
    for (const key of fields.keys()) { if (key in draft.values) values[key] = draft.values[key]; if (draft.base && key in draft.base) base[key] = draft.base[key]; }
    $(".name").value = draft.name || "";
  } catch (error) { sessionStorage.removeItem(DRAFT); }
}

const rows = new Map();
function fieldRow(key) {
  const field = fields.get(key);
  const id = "field-" + key.replace(".", "-");
  let input;
  if (field.kind === "switch") input = el("input", {type: "checkbox", id, role: "switch"});
  else if (field.kind === "choice") input = el("select", {id}, field.choices.map(c => el("option", {value: c}, c)));
  else input = el("input", {type: "text", id, autocomplete: "off", spellcheck: "false", inputmode: field.kind === "text" ? "text" : "decimal"});
  if (field.limits) input.title = field.limits;
  input.setAttribute("aria-describedby", id + "-help " + id + "-error");
  const change = () => { values[key] = field.kind === "switch" ? input.checked : input.value; edited(key); };
  input.addEventListener(field.kind === "text" || field.kind === "integer" || field.kind === "number" ? "input" : "change", change);
  const undo = el("button.undo", {type: "button", title: "Back to the loaded value", "aria-label": "Reset " + field.label, onclick: () => { values[key] = base[key]; paintField(key); edited(key); }}, "↺");
  const error = el("p.f-error", {id: id + "-error", hidden: true});
  const node = el("div.field", {"data-key": key, class: field.kind === "switch" ? "toggle" : field.path ? "wide" : ""},
    el("div.f-top", {}, el("label.f-label", {for: id}, field.label), undo,
      el("span.applies", {title: field.applies_text, "data-applies": field.applies}, {new: "new run", resume: "at resume", live: "live"}[field.applies] || field.applies)),
    input, error, el("p.f-help", {id: id + "-help"}, el("code", {}, field.name), " ", field.help));
  rows.set(key, {node, input, error, undo});
  return node;
}

function paintField(key) {
  const row = rows.get(key);
  if (!row) return;
  const field = fields.get(key), value = values[key];
  if (field.kind === "switch") row.input.checked = value === true || value === "true";
  else if (row.input.value !== String(value ?? "")) row.input.value = String(value ?? "");
  if (field.path) row.input.placeholder = values["model.model_name"] === "pocket" ? "built in" : "/path/to/…";
  else if (field.optional) row.input.placeholder = "automatic";
  const differs = String(value) !== String(base[key]);
  row.node.classList.toggle("changed", differs);
  row.undo.hidden = !differs;
}

function edited(key) {
  paintField(key);
  remember();
  clearTimeout(timer);
  timer = setTimeout(review, 250);
  paintPlan();
}

function buildForm() {
  for (const section of first.form) {
    const basics = section.fields.filter(f => f.level === "basic" && f.key !== "model.model_name");
    if (section.name === "model" || section.name === "data") element.querySelector(".fields[data-section=" + section.name + "]").append(...basics.map(f => fieldRow(f.key)));
  }
  const byName = Object.fromEntries(first.form.map(s => [s.name, s]));
  const group = (section, list) => list.length ? el("fieldset", {}, el("legend", {}, section.title, el("span", {}, section.help)), el("div.fields", {}, list.map(f => fieldRow(f.key)))) : null;
  const order = [...BASIC_ORDER, ...Object.keys(byName).filter(n => !BASIC_ORDER.includes(n) && n !== "model" && n !== "data")];
  fill($(".basic"), order.filter(n => byName[n]).map(n => group(byName[n], byName[n].fields.filter(f => f.level === "basic"))));
  fill($(".advanced"), first.form.map(s => group(s, s.fields.filter(f => f.level !== "basic"))));
}

function paintAll() {
  for (const key of fields.keys()) paintField(key);
  const family = values["model.model_name"];
  fill($(".families"), FAMILIES.map(f => el("button.family", {type: "button", role: "radio", "aria-checked": String(f.family === family), onclick: () => f.family !== values["model.model_name"] && load(f.source)},
    el("b", {}, f.title, el("span.badge", {"data-kind": f.family === "pocket" ? "ready" : "path"}, f.badge)), el("span", {}, f.text))));
  const paths = rows.get("model.model_paths");
  if (paths) paths.node.hidden = family === "pocket" && !values["model.model_paths"];
  paintSources();
  paintPlan();
}

let sources = first.sources;
function paintSources() {
  const select = $(".source"), groups = {preset: "Presets", run: "Earlier runs"};
  fill(select, Object.entries(groups).map(([kind, title]) => {
    const options = sources.filter(s => s.kind === kind).map(s => el("option", {value: s.id}, s.title + (s.started ? "  ·  " + RFL.when(s.started) : "")));
    if (!options.length) return null;
    const group = document.createElement("optgroup");
    group.label = title;
    group.append(...options);
    return group;
  }));
  select.value = source;
}

function paintPlan() {
  const v = values;
  $(".plan").textContent = v["train.max_steps"] + " steps of " + v["train.train_batch_size"] + " videos · " + v["evaluation.num_samples"] + " evaluation videos every " + v["evaluation.eval_steps"] + " steps · checkpoint every " + v["train.save_steps"];
}

async function load(id) {
  const answer = await server.load_source({source: id}).catch(() => ({error: "The app does not answer."}));
  if (answer.error) { problems = [{field: "", message: answer.error}]; paintProblems(); paintSources(); return; }
  source = answer.source;
  base = {...answer.values};
  values = {...answer.values};
  paintAll();
  remember();
  review();
}

async function review() {
  const mine = ++checked;
  const answer = await server.review({values, source}).catch(() => null);
  if (!answer || mine !== checked) return;
  problems = answer.problems;
  paintProblems();
  fill($(".needs"), answer.needs.map(n => el("li", {"data-state": n.state}, el("b", {}, n.title), el("span", {}, n.text))));
  const list = (title, changes) => changes.length ? el("div", {}, el("h3", {}, title), el("ul", {}, changes.slice(0, MOST).map(c => el("li", {}, el("code", {}, c.field.split(".")[1]), el("span.before", {}, c.before || "empty"), " → ", el("b", {}, c.after || "empty"))),
    changes.length > MOST ? el("li.before", {}, "and " + (changes.length - MOST) + " more") : null)) : null;
  const title = (sources.find(s => s.id === source) || {title: source}).title;
  const last = answer.since_last && "run:" + answer.since_last.run !== source ? answer.since_last : null;
  fill($(".diff"), list("Changed from " + title, answer.changes) || el("p.same", {}, "Nothing changed from " + title + "."),
    last ? (list("Differs from the last run", last.changes) || el("p.same", {}, "The same settings as the last run.")) : null);
  clips();
}

function paintProblems() {
  const byField = new Map();
  for (const p of problems) byField.set(p.field, [...(byField.get(p.field) || []), p.message]);
  for (const [key, row] of rows) {
    const messages = byField.get(key) || [];
    row.error.hidden = !messages.length;
    row.error.textContent = messages.join(" ");
    row.node.classList.toggle("wrong", messages.length > 0);
    row.input.setAttribute("aria-invalid", String(messages.length > 0));
  }
  fill($(".problems"), problems.length ? [el("h3", {}, problems.length === 1 ? "One thing to mend" : problems.length + " things to mend"), el("ul", {}, problems.map(p => el("li", {},
    rows.has(p.field) ? el("button.link", {type: "button", onclick: () => reveal(p.field)}, fields.get(p.field).label) : p.field ? el("b", {}, p.field) : null, p.field ? ": " : "", p.message)))] : null);
}

function reveal(key) {
  const row = rows.get(key);
  const folded = row.node.closest("details");
  if (folded) folded.open = true;
  row.node.hidden = false;
  row.node.scrollIntoView({block: "center", behavior: "smooth"});
  row.input.focus({preventScroll: true});
}

async function clips() {
  const key = values["model.model_name"] + "|" + values["data.metadata_path"];
  if (key === clipsOf) return;
  clipsOf = key;
  if (!$(".clips").children.length) fill($(".clips"), Array.from({length: 6}, () => el("div.clip.ghost", {}, el("div.pic"), el("p", {}, " "))));
  const answer = await server.load_dataset({values}).catch(() => null);
  if (clipsOf !== key) return;
  if (!answer) { clipsOf = null; fill($(".clips"), el("p.muted", {}, "The clips could not be read: the app does not answer.")); return; }
  $(".clips-total").textContent = answer.total ? answer.total + (answer.total === 1 ? " clip" : " clips") + (answer.embedded ? " · built in" : "") : "";
  if (answer.error) fill($(".clips"), el("p.f-error", {}, answer.error));
  else if (!answer.rows.length) fill($(".clips"), el("p.muted", {}, "No clips yet: give the metadata.csv of your clips below."));
  else fill($(".clips"), answer.rows.map(r => el("figure.clip", {title: r.file + (r.error ? "" : " · " + r.size + " · " + r.num_frames + " frames · " + r.fps + " fps")},
    el("div.pic", {}, r.picture ? el("img", {src: r.picture, alt: "First frame: " + r.prompt, loading: "lazy"}) : null),
    el("figcaption", {}, r.prompt || r.file), el("p", {class: r.error ? "bad" : ""}, r.error || r.num_frames + " frames · " + r.size))));
  const pictures = answer.rows.filter(r => r.picture).slice(0, 6);
  fill($(".hero-strip"), pictures.map(r => el("img", {src: r.picture, alt: ""})));
}

$(".source").addEventListener("change", event => load(event.target.value));
$(".source").addEventListener("focus", async () => { const found = await server.list_sources({}).catch(() => null); if (found && JSON.stringify(found) !== JSON.stringify(sources)) { sources = found; paintSources(); } });
$(".name").addEventListener("input", remember);
$(".start").addEventListener("click", async event => {
  if (busy) return;
  busy = true;
  const button = event.currentTarget;
  button.disabled = true;
  button.textContent = "Starting…";
  const answer = await server.start_run({values, source, name: $(".name").value}).catch(() => ({problems: [{field: "", message: "The app does not answer; the run may not have started."}]}));
  busy = false;
  button.disabled = false;
  button.textContent = "Start";
  problems = answer.problems || [];
  paintProblems();
  if (answer.run) { $(".name").value = ""; remember(); RFL.go("monitor", {run: answer.run}); review(); }
  else if (problems.length && rows.has(problems[0].field)) reveal(problems[0].field);
});

buildForm();
recall();
paintAll();
review();
