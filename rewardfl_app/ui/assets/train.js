/* Train: the model's cards, and what holds the parts of the page together. */
const FAMILIES = [
  {source: "preset:pocket", family: "pocket", title: "Pocket", text: "A miniature of the real thing, ready to go: the same classes and file formats, trains on a laptop in minutes.", badge: "ready"},
  {source: "preset:wan22_i2v_a14b", family: "wan2_2", title: "Wan2.2-I2V-A14B", text: "Two 14B experts with Lightning distillation, from your own files. Needs one or more GPUs with 80 GB.", badge: "by path"},
];

function paintFamilies() {
  const chosen = draft.values["model.model_name"], place = $(".families"), focused = place.contains(document.activeElement);
  fill(place, FAMILIES.map(f => el("button.family", {type: "button", role: "radio", "aria-checked": String(f.family === chosen), tabindex: f.family === chosen ? "0" : "-1",
    onclick: () => f.family !== draft.values["model.model_name"] && load(f.source)},
  el("b", {}, f.title, el("span.badge", {"data-kind": f.family === "pocket" ? "ready" : "path"}, f.badge)), el("span", {}, f.text))));
  if (focused) place.querySelector("[aria-checked=true]").focus();
}

function paintAll() {
  for (const key of fields.keys()) paintField(key);
  paintFamilies();
  paintSources();
  paintPlan();
  search();
}

$(".families").addEventListener("keydown", event => {
  const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (!by) return;
  event.preventDefault();
  const at = FAMILIES.findIndex(f => f.family === draft.values["model.model_name"]);
  load(FAMILIES[(at + by + FAMILIES.length) % FAMILIES.length].source);
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
