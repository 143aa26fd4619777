/* The memory a draft will take: the verdict, a bar for each phase, and the settings that make it fit. */
let memory = null;

const plannedFor = () => $(".mem-machine").value;
function planFor(gpu) { $(".mem-machine").value = FIRST.gpus.includes(gpu) ? gpu : ""; }

function memoryBar(phase, index, head) {
  const share = gb => (100 * gb / memory.whole).toFixed(2) + "%";
  const parts = phase.parts.map(part => part.what + " " + part.amount).join(", ");
  const over = memory.usable === null ? 0 : Math.max(0, phase.kept + phase.added - memory.usable);
  return el("button.mem-bar", {type: "button", "data-phase": index, "aria-label": phase.name + ": " + phase.amount + ", of it " + parts}, head,
    el("span.mem-track", {}, el("i", {style: "width:" + share(phase.kept)}), el("i.added", {style: "width:" + share(phase.added)}),
      over ? el("i.over", {style: "left:" + share(memory.usable) + ";width:" + share(over)}) : null,
      memory.usable === null ? null : el("i.usable", {style: "left:" + share(memory.usable)})));
}

/* While a value cannot be read the last plan keeps its place, unseen, so that nothing jumps. */
function paintMemory(answer) {
  const card = $(".memory"), sentence = $(".mem-sentence"), said = answer ? answer.sentence : "Told when every value can be read.";
  hideParts();
  card.dataset.state = answer ? answer.state : "unread";
  if (sentence.textContent !== said) sentence.textContent = said;
  if (!answer) return;
  const bar = document.activeElement?.closest(".mem-bar"), place = bar?.closest(".mem-most, .mem-phases");
  memory = answer;
  fill($(".mem-most"), memoryBar(answer.phases[answer.peak], answer.peak));
  fill($(".mem-phases"), answer.phases.map((phase, at) => el("li", {}, memoryBar(phase, at, el("span.mem-row", {}, phase.name, el("b", {}, phase.amount))))));
  if (bar) (place.querySelector("[data-phase='" + bar.dataset.phase + "']") || place.querySelector(".mem-bar")).focus({preventScroll: true});
  $(".mem-key-usable").hidden = answer.usable === null;
  $(".mem-beside").textContent = answer.beside;
  $(".mem-remedy").hidden = !answer.remedy;
  if (answer.remedy) fill($(".mem-changes"), "It fits with ", Object.entries(answer.remedy).map(memoryChange), answer.then + ".");
}

function memoryChange([key, value], at, all) {
  return [el("span.mem-change", {}, el("button.link.plain", {type: "button", onclick: () => reveal(key)}, key.split(".")[1]),
    " ", el("span.before", {}, String(draft.values[key] ?? "") || "empty"), " → ", el("b", {}, String(value)), at < all.length - 1 ? "," : ":"), " "];
}

/* The largest parts of the phase under the pointer or the focus. */
function showParts(bar) {
  const phase = memory.phases[Number(bar.dataset.phase)], place = $(".mem-parts"), row = bar.getBoundingClientRect(), told = $(".mem-told").getBoundingClientRect();
  fill(place, el("p.mem-row", {}, phase.name, el("b", {}, phase.amount)),
    phase.parts.map(part => el("p.mem-row", {}, el("span", {}, el("i", {class: part.kept ? "" : "added"}), part.what), part.amount)));
  place.hidden = false;
  const below = row.bottom + 4, fits = below + place.offsetHeight < Math.min(innerHeight, $(".side").getBoundingClientRect().bottom);
  place.style.top = (fits ? below : row.top - 4 - place.offsetHeight) - told.top + "px";
}
function hideParts() { $(".mem-parts").hidden = true; }

for (const kind of ["pointerover", "focusin", "click"]) {
  $(".mem-told").addEventListener(kind, event => { const bar = event.target.closest(".mem-bar"); if (bar) showParts(bar); else hideParts(); });
}
$(".mem-told").addEventListener("pointerleave", hideParts);
$(".mem-told").addEventListener("focusout", hideParts);
$(".mem-told").addEventListener("keydown", event => { if (event.key === "Escape") hideParts(); });

$(".mem-fit").addEventListener("click", () => {
  if (!memory?.remedy) return;
  for (const [key, value] of Object.entries(memory.remedy)) { draft.values[key] = value; edited(key); }
  $(".mem-sentence").focus({preventScroll: true});
  review();
});
$(".mem-machine").addEventListener("change", () => { remember(); review(); });
fill($(".mem-machine"), el("option", {value: ""}, "this machine"), FIRST.gpus.map(gb => el("option", {value: gb}, "a GPU of " + gb + " GB")));
