/* Train: the model's cards, the machines it has settings for, and what holds the parts of the page together. */
const FAMILIES = [
  {family: "pocket", title: "Pocket", text: "A miniature of the real thing, ready to go: the same classes and file formats, trains on a laptop in minutes.", badge: "ready"},
  {family: "wan2_2_5b", title: "Wan2.2-TI2V-5B", text: "One network of 5 billion parameters, from your own files. For one card of 24 GB.", badge: "by path"},
  {family: "wan2_2", title: "Wan2.2-I2V-A14B", text: "Two 14B experts with Lightning distillation, from your own files. For one card of 80 GB, or many.", badge: "by path"},
];
const presetsOf = family => FIRST.sources.filter(source => source.family === family);
const chooseFamily = family => load(presetsOf(family)[0].id);

function paintFamilies() {
  const chosen = draft.values["model.model_name"], place = $(".families"), focused = place.contains(document.activeElement);
  fill(place, FAMILIES.map(f => el("button.family", {type: "button", role: "radio", "aria-checked": String(f.family === chosen), tabindex: f.family === chosen ? "0" : "-1",
    onclick: () => f.family !== draft.values["model.model_name"] && chooseFamily(f.family)},
  el("b", {}, f.title, el("span.badge", {"data-kind": f.family === "pocket" ? "ready" : "path"}, f.badge)), el("span", {}, f.text))));
  if (focused) place.querySelector("[aria-checked=true]").focus();
}

/* A family with several presets has one per machine; each is named after the family and then the machine. */
function paintMachines() {
  const chosen = draft.values["model.model_name"], title = FAMILIES.find(f => f.family === chosen)?.title + ", ", found = presetsOf(chosen), place = $(".machines");
  const capital = text => text.charAt(0).toUpperCase() + text.slice(1);
  place.hidden = found.length < 2;
  if (place.dataset.family !== chosen) {
    place.dataset.family = chosen;
    fill($(".machine-rows"), found.map(source => el("label.machine", {}, el("input", {type: "radio", name: "train-machine", value: source.id, onchange: () => load(source.id)}),
      el("b", {}, capital(source.title.replace(title, ""))), el("span", {}, source.text))));
  }
  for (const input of place.querySelectorAll("input")) input.checked = input.value === draft.source;
}

function paintAll() {
  for (const key of fields.keys()) paintField(key);
  paintFamilies();
  paintMachines();
  paintSources();
  paintPlan();
  search();
}

$(".families").addEventListener("keydown", event => {
  const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (!by) return;
  event.preventDefault();
  const at = FAMILIES.findIndex(f => f.family === draft.values["model.model_name"]);
  chooseFamily(FAMILIES[(at + by + FAMILIES.length) % FAMILIES.length].family);
});

function follow() {
  const value = props.value || {};
  const grew = !others.loading && value.newest !== others.newest;
  others = value;
  paintOthers();
  if (grew) { listSources(); review(); }
}

buildForm();
recall();
paintAll();
paintOthers();
review();
listSources();
showRoute(RFL.here());
watch("value", follow);
