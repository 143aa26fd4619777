const opened = new Map();  // id -> {node, cell, data, asked, turn, said, exports}

function toggle(id) {
  if (table.open.has(id)) table.open.delete(id); else table.open.add(id);
  note();
  paintRows();
}

function detailsNode(row) {
  let known = opened.get(row.id);
  if (!known) {
    const cell = el("td", {colspan: COLUMNS.length + 2}, el("p.muted", {}, "Reading…"));
    known = {node: el("tr.rn-more", {"data-more": row.id}, cell), cell, data: null, asked: "", turn: 0, said: el("span.rn-said", {role: "status"}), exports: new Exports(row.id, () => loadDetails(row.id, known))};
    opened.set(row.id, known);
  }
  const asked = JSON.stringify([row, now(row).state, row.finished ? 0 : Math.floor(Date.now() / 10000)]);  // checkpoints come on the way
  if (known.asked !== asked) { known.asked = asked; loadDetails(row.id, known); }
  return known.node;
}

/* What was read before a save, or before another reading, is not shown any more. */
async function loadDetails(id, known) {
  const turn = ++known.turn, data = await ask("load_details", {run: id});
  if (!data || turn !== known.turn) return;
  const editing = known.node.contains(document.activeElement) && document.activeElement.matches("textarea, input, select");
  known.data = data;
  if (!editing) paintDetails(id, known);
}

function paintDetails(id, known) {
  const d = known.data, row = rowOf(id) || {archived: false};
  const focus = known.node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const button = (label, run, kind = "") => el("button.btn.small", {type: "button", "data-key": label, class: kind, onclick: run}, label);
  const out = d.checkpoints.length && d.formats.length ? known.exports : null;
  if (out) out.update(d);
  fill(known.cell, el("div.rn-details", {},
    el("div.rn-acts", {},
      button("Look at", () => RFL.go("monitor", {run: id})),
      d.can_compare ? button("Compare videos", () => RFL.go("compare", {run: id})) : null,
      d.has_settings ? button("Change and rerun", () => fork(id)) : null,
      d.can_resume ? button("Resume", () => act(id, "resume"), "primary") : null,
      out && out.button,
      d.has_settings ? passportButton(id) : null,
      button(row.archived ? "Take out of the archive" : "Archive", () => act(id, row.archived ? "unarchive" : "archive")),
      d.finished || d.state === "queued" ? button("Delete…", () => confirmDelete([id]), "danger") : null),
    out && out.root,
    d.exit && d.exit.cause !== "completed" ? el("div.notice", {class: d.state === "stopped" ? "" : "bad"}, el("div", {}, el("p", {}, d.exit.sentence), d.exit.next_step ? el("p.next", {}, d.exit.next_step) : null), button("Open the log", () => { RFL.go("monitor", {run: id}); openLog(id); })) : null,
    el("div.rn-columns", {}, aboutPart(id, d, known), checkpointsPart(d))));
  if (focus) known.node.querySelector('[data-key="' + CSS.escape(focus) + '"]')?.focus();
}

function fork(id) {
  RFL.send("fork", {source: "run:" + id});
  RFL.go("train");
}

/* The log is opened once the Monitor page shows this run: one that is being changed closes it. */
function openLog(id, tries = 100) {
  const path = document.querySelector("#monitor-activity .path span");
  if (path && path.textContent.includes(id) && RFL.isShown(path.closest(".ma-log"))) RFL.send("log", {});
  else if (tries > 0) setTimeout(() => openLog(id, tries - 1), 100);
}

/* The passport is written when it is asked for, then downloaded; the link stays. */
function passportButton(id) {
  const button = el("button.btn.small", {type: "button", "data-key": "Passport", title: "One file that opens offline: what was trained on what, curves, before and after"}, "Passport");
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Writing…";
    const answer = await ask("make_passport", {run: id});
    button.disabled = false;
    button.textContent = "Passport";
    if (!answer) return;
    RFL.toast(answer.said);
    if (answer.ok) el("a", {href: fileUrl(answer.file), download: "passport " + nameOf(id) + ".html"}).click();
  });
  return button;
}

function aboutPart(id, d, known) {
  const {said} = known;  // outlives the painting that a save brings about
  const save = async values => {
    known.turn += 1;
    const answer = await ask("describe", {run: id, ...values});
    known.asked = "";
    if (!answer) return;
    said.textContent = answer.said;
    said.dataset.tone = answer.ok ? "up" : "down";
    if (answer.ok) { Object.assign(d, values); refresh(true); }
  };
  const notes = el("textarea", {rows: 3, "data-key": "notes", placeholder: "What you wanted to find out, what you saw", onchange: event => save({notes: event.target.value}),
    oninput: event => { clearTimeout(notes.timer); notes.timer = setTimeout(() => save({notes: event.target.value}), 700); }});
  notes.value = d.notes;
  const tags = el("input", {type: "text", "data-key": "tags", value: d.tags.join(", "), placeholder: "separated by commas", autocomplete: "off",
    onchange: event => save({tags: event.target.value.split(",").map(tag => tag.trim()).filter(Boolean)})});
  const fact = (title, ...content) => content.flat().some(Boolean) ? [el("dt", {}, title), el("dd", {}, content)] : null;
  const changed = d.from_parent.length ? el("ul.rn-changes", {}, d.from_parent.map(c => el("li", {}, el("code", {title: c.field}, c.field.split(".")[1]), " ", c.values[0] || "empty", " → ", el("b", {}, c.values[1] || "empty")))) : null;
  return el("div.rn-about", {},
    el("label.field", {}, el("span.f-label", {}, "Notes"), notes), el("label.field", {}, el("span.f-label", {}, "Tags"), tags), said,
    el("dl", {}, fact("Made from", d.parent ? [el("button.rn-link", {type: "button", onclick: () => show(d.parent.id)}, d.parent.name), changed || el("span.muted", {}, " with the same settings")] : d.parent_gone ? d.parent_gone + ", which is no longer there" : null),
      fact("Changed on the way", d.changes.length ? el("ul.rn-changes", {}, d.changes.map(sentence => el("li", {}, sentence))) : null),
      fact("On disk", bytes(d.bytes) + " in ", el("code.rn-path", {}, d.path))));
}

function checkpointsPart(d) {
  const rows = d.checkpoints.map(saved => el("tr", {}, el("th", {scope: "row"}, "Step " + saved.step, saved.best ? el("span.pill", {"data-state": "completed"}, "best") : null), el("td.num", {}, bytes(saved.bytes)),
    el("td", {}, saved.has_videos ? el("button.btn.small", {type: "button", "aria-label": "Compare the videos of step " + saved.step + " with the base model's", onclick: () => RFL.go("compare", {run: d.run, b: saved.step})}, "Compare") : null,
      el("button.btn.small", {type: "button", "aria-label": "Try step " + saved.step + " in the Playground", onclick: () => RFL.go("playground", {run: d.run, model: d.run, step: saved.step})}, "Try it"),
      saved.files.map(file => file.path ? el("a.btn.small", {href: fileUrl(file.path), download: nameOf(d.run) + " step " + saved.step + (file.expert && " " + file.expert) + ".safetensors", "aria-label": "Download the " + file.kind + (file.expert && " of the " + file.expert + " expert") + " at step " + saved.step},
      "↓ " + file.kind + (saved.files.length > 1 ? ", " + file.expert : "") + " · " + bytes(file.bytes)) : null))));
  return el("div.rn-saved", {}, el("h3", {}, "Checkpoints"),
    rows.length ? el("table", {}, el("thead.sr", {}, el("tr", {}, ["Step", "Size", "Download"].map(t => el("th", {scope: "col"}, t)))), el("tbody", {}, rows)) : el("p.muted", {}, d.finished ? "None was saved." : "The first one is saved on the way."),
    d.best ? el("p.rn-why", {}, el("b", {}, "Why step " + d.best.step + ": "), d.best.why, d.checkpoints.some(s => s.best) ? "" : " Its checkpoint is no longer there.") : rows.length ? el("p.rn-why", {}, d.no_best) : null);
}

/* Bring a run into view, opened. */
function show(id) {
  const row = rowOf(id);
  if (!row) return;
  if (!fits(row)) clearFilters();
  table.open.add(id);
  note();
  paintRows();
  drawn.get(id).node.scrollIntoView({block: "center"});
  drawn.get(id).node.querySelector(".rn-open").focus();
}

const dialog = $(".rn-dialog");
let doomed = [];
async function confirmDelete(ids) {
  const found = await ask("weigh", {runs: ids});
  if (!found || !found.runs.length) return;
  doomed = found.runs.filter(run => !run.refused).map(run => run.id);
  $("#rn-dialog-title").textContent = found.runs.length === 1 ? "Delete “" + found.runs[0].name + "”?" : "Delete " + many(found.runs.length, "run") + "?";
  const goes = run => [many(run.num_checkpoints, "checkpoint"), many(run.num_videos, "video"), bytes(run.bytes)].join(", ");
  const children = table.rows.filter(row => doomed.includes(row.parent) && !doomed.includes(row.id)).length;
  fill($(".rn-dialog-text"), el("p", {}, "This cannot be undone. It removes from disk, with settings, curves and log:"),
    el("ul", {}, found.runs.map(run => el("li", {}, el("b", {}, run.name), el("span", {"data-tone": run.refused ? "down" : null}, run.refused || goes(run))))),
    children ? el("p", {}, many(children, "run") + " made from " + (doomed.length === 1 ? "it stays" : "them stay") + " and only lose" + (children === 1 ? "s" : "") + " the reference.") : null);
  const button = dialog.querySelector("[data-do=delete]");
  button.disabled = !doomed.length;
  button.textContent = doomed.length ? "Delete " + bytes(found.bytes) : "Delete";
  dialog.showModal();
  dialog.querySelector("[data-do=keep]").focus();
}
dialog.addEventListener("click", async event => {
  const what = event.target === dialog ? "keep" : event.target.dataset.do;
  if (!what) return;
  dialog.close();
  if (what !== "delete") return;
  for (const id of doomed) {
    if (await act(id, "delete")) { table.picked = table.picked.filter(other => other !== id); table.open.delete(id); opened.delete(id); }
  }
  note();
  paintAll();
});
