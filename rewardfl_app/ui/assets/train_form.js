/* The form: one row per field of the schema, what is wrong beside it, and a search over all of them. */
const {el, fill} = RFL;
const $ = selector => element.querySelector(selector);
const fields = new Map();
for (const section of FIRST.form) for (const field of section.fields) fields.set(field.key, {...field, section: section.name, where: section.title});
const BASIC_ORDER = ["train", "reward", "sampling", "lora", "evaluation", "deepspeed"];
const APPLIES = {new: "new run", resume: "at resume", live: "live"};
const draft = {source: FIRST.source, base: {...FIRST.values}, values: {...FIRST.values}};
/* What stands between `backticks` in a sentence is to be typed. */
const typed = text => text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
let problems = [];

const rows = new Map();
function fieldRow(key) {
  const field = fields.get(key);
  const id = "field-" + key.replace(".", "-");
  let input;
  if (field.kind === "switch") input = el("input", {type: "checkbox", id, role: "switch"});
  else if (field.kind === "choice") input = el("select", {id}, field.choices.map(c => el("option", {value: c}, c)));
  else input = el("input", {type: "text", id, autocomplete: "off", spellcheck: "false", inputmode: field.kind === "text" ? "text" : "decimal"});
  if (field.limits) input.title = field.limits;
  input.setAttribute("aria-describedby", id + "-error " + id + "-help");
  const change = () => { draft.values[key] = field.kind === "switch" ? input.checked : input.value; edited(key); };
  input.addEventListener(field.kind === "switch" || field.kind === "choice" ? "change" : "input", change);
  const undo = el("button.undo", {type: "button", title: "Back to the loaded value", "aria-label": "Reset " + field.label,
    onclick: () => { draft.values[key] = draft.base[key]; edited(key); input.focus({preventScroll: true}); }}, "↺");
  const error = el("p.f-error", {id: id + "-error", hidden: true});
  const node = el("div.field", {"data-key": key, class: field.kind === "switch" ? "toggle" : field.path ? "wide" : ""},
    el("div.f-top", {}, el("label.f-label", {for: id}, field.label), undo,
      el("span.applies", {title: "Takes effect " + field.applies_text + ".", "data-applies": field.applies}, APPLIES[field.applies] || field.applies)),
    input, error, el("p.f-help", {id: id + "-help"}, el("code", {}, field.name), " ", field.help));
  rows.set(key, {node, input, error, undo, text: [field.name, field.label, field.help, field.where].join(" ").toLowerCase()});
  return node;
}

/* Whether two entries mean the same: 5e-4 is 0.0005. The server has the last word, see config_form.same_value. */
function sameValue(one, other) {
  const [a, b] = [one, other].map(v => String(v ?? "").split(",").map(part => part.trim()).join(","));
  return a === b || (a !== "" && b !== "" && Number(a) === Number(b));
}
const isChanged = key => !sameValue(draft.values[key], draft.base[key]);

function paintField(key) {
  const row = rows.get(key);
  if (!row) return;
  const field = fields.get(key), value = draft.values[key];
  if (field.kind === "switch") row.input.checked = value === true || value === "true";
  else if (row.input.value !== String(value ?? "")) row.input.value = String(value ?? "");
  if (field.path) row.input.placeholder = draft.values["model.model_name"] === "pocket" ? "built in" : "/path/to/…";
  else if (field.optional) row.input.placeholder = "automatic";
  row.node.classList.toggle("changed", isChanged(key));
  row.undo.hidden = !isChanged(key);
}

/* What only two experts leave open; with one network the value is given. */
const OF_ONE_NETWORK = {"model.low_noise_lora": "", "model.min_timestep_boundary": "0", "model.max_timestep_boundary": "1", "sampling.prefix_seeds": "0"};

/* A row that is not there for this model and these values. */
function isPointless(key) {
  const family = draft.values["model.model_name"];
  if (key === "model.model_paths") return family === "pocket" && !draft.values[key];
  return key in OF_ONE_NETWORK && !FIRST.mixtures.includes(family) && sameValue(draft.values[key], OF_ONE_NETWORK[key]);
}

function buildForm() {
  const byName = Object.fromEntries(FIRST.form.map(s => [s.name, s]));
  for (const name of ["model", "data"]) {
    const basics = byName[name].fields.filter(f => f.level === "basic" && f.key !== "model.model_name");
    element.querySelector(".fields[data-section=" + name + "]").append(...basics.map(f => fieldRow(f.key)));
  }
  const group = (section, list) => list.length ? el("fieldset", {}, el("legend", {}, section.title, el("span", {}, section.help)), el("div.fields", {}, list.map(f => fieldRow(f.key)))) : null;
  const order = [...BASIC_ORDER, ...Object.keys(byName).filter(n => !BASIC_ORDER.includes(n) && n !== "model" && n !== "data")];
  fill($(".basic"), order.filter(n => byName[n]).map(n => group(byName[n], byName[n].fields.filter(f => f.level === "basic"))));
  fill($(".advanced"), FIRST.form.map(s => group(s, s.fields.filter(f => f.level !== "basic"))));
}

/* The rows whose name, label, help or section has every word; those of the cards above are never hidden by it. */
function search() {
  const words = $(".find-text").value.toLowerCase().split(/\s+/).filter(Boolean), changed = $(".find-changed").checked;
  const asked = words.length > 0 || changed;
  let count = 0;
  for (const [key, row] of rows) {
    const inside = row.node.closest(".basic, .advanced"), fits = words.every(word => row.text.includes(word)) && (!changed || isChanged(key));
    row.node.hidden = isPointless(key) || (asked && inside !== null && !fits);
    if (asked && fits && !isPointless(key)) count += 1;
    row.node.classList.toggle("hit", asked && fits && inside === null);
  }
  for (const set of element.querySelectorAll(".tr fieldset")) set.hidden = [...set.querySelectorAll(".field")].every(node => node.hidden);
  const more = $(".more"), any = [...$(".advanced").querySelectorAll(".field")].some(node => !node.hidden);
  if (asked && any && !more.open) { more.open = true; more.dataset.opened = "search"; }
  if (!asked && more.dataset.opened) { more.open = false; delete more.dataset.opened; }
  more.hidden = asked && !any;
  $(".find-count").textContent = !asked ? "" : count ? count + (count === 1 ? " setting" : " settings") : changed && !words.length ? "Nothing was changed." : "No setting fits.";
}

function paintProblems() {
  const byField = new Map();
  for (const p of problems) byField.set(p.field, [...(byField.get(p.field) || []), p.message]);
  for (const [key, row] of rows) {
    const messages = byField.get(key) || [];
    row.error.hidden = !messages.length;
    fill(row.error, typed(messages.join(" ")));
    row.node.classList.toggle("wrong", messages.length > 0);
    row.input.setAttribute("aria-invalid", String(messages.length > 0));
  }
  fill($(".problems"), problems.length ? [el("h3", {}, problems.length === 1 ? "One thing to mend" : problems.length + " things to mend"), el("ul", {}, problems.map(p => el("li", {},
    rows.has(p.field) ? el("button.link", {type: "button", onclick: () => reveal(p.field)}, fields.get(p.field).label) : p.field ? el("b", {}, p.field) : null, p.field ? ": " : "", typed(rows.has(p.field) ? firstSentence(p.message) : p.message))))] : null);
}

/* How to mend it stands beside the field. */
function firstSentence(text) {
  const end = text.search(/\.\s+[A-Z`]/);
  return end < 0 ? text : text.slice(0, end + 1);
}

/* Bring a field into view, whatever hides it, and put the cursor there. */
function reveal(key) {
  const row = rows.get(key);
  if (!row) return;
  if (row.node.hidden || row.node.closest("fieldset")?.hidden) { $(".find-text").value = ""; $(".find-changed").checked = false; search(); }
  const folded = row.node.closest("details");
  if (folded) folded.open = true;
  row.node.hidden = false;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  row.node.scrollIntoView({block: "center", behavior: still ? "auto" : "smooth"});
  row.input.focus({preventScroll: true});
}

$(".find-text").addEventListener("input", search);
$(".find-text").addEventListener("keydown", event => { if (event.key === "Escape") { event.target.value = ""; search(); } });
$(".find-changed").addEventListener("change", search);
