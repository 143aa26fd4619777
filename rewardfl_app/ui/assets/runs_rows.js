const body = $(".rn-table tbody"), head = $(".rn-table thead tr");
const drawn = new Map();  // id -> {key, node, live parts}
let renaming = null;

function paintHead() {
  const every = shownRows(), all = every.length > 0 && every.every(row => table.picked.includes(row.id));
  const box = el("input", {type: "checkbox", "aria-label": "Select all runs shown", checked: all, onchange: event => pickAll(event.target.checked)});
  fill(head, el("th.tick", {scope: "col"}, box), COLUMNS.map(column => {
    const on = view.sort === column.key;
    return el("th", {scope: "col", class: column.kind || "", "aria-sort": on ? (view.down ? "descending" : "ascending") : null},
      el("button.rn-sort", {type: "button", "data-sort": column.key, class: on ? "on" : "", onclick: () => sortBy(column)}, column.title, el("span", {"aria-hidden": "true"}, on ? (view.down ? " ↓" : " ↑") : "")));
  }), el("th.tick", {scope: "col"}, el("span.sr", {}, "Details")));
}

function sortBy(column) {
  view.down = view.sort === column.key ? !view.down : column.down;
  view.sort = column.key;
  keep();
  paintRows();
  head.querySelector("[data-sort=" + column.key + "]").focus();
}

function paintRows() {
  paintHead();
  const rows = shownRows(), nodes = [];
  for (const row of rows) {
    const {node} = rowNode(row);
    nodes.push(node);
    if (table.open.has(row.id)) nodes.push(detailsNode(row));
  }
  if (!rows.length) {
    nodes.push(el("tr.rn-nothing", {}, el("td", {colspan: COLUMNS.length + 2}, el("p", {}, "No run fits these filters."),
      el("button.btn.small", {type: "button", onclick: clearFilters}, "Show all runs"))));
  }
  place(body, nodes);
  for (const id of [...drawn.keys()]) if (!rowOf(id)) drawn.delete(id);
  const hidden = table.rows.filter(row => row.archived).length;
  $(".rn-count").textContent = rows.length === table.rows.length - (view.archived ? 0 : hidden) ? many(rows.length, "run") : rows.length + " of " + many(table.rows.length, "run");
  $("[data-for=archived]").hidden = !hidden && !view.archived;
}

/* Put nodes in this order; those that stand right stay untouched, so that nothing loses its focus. */
function place(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => { if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] || null); });
}

function rowNode(row) {
  const key = JSON.stringify([row, table.picked.includes(row.id), table.open.has(row.id), renaming === row.id, RFL.here().params.run === row.id]);
  const known = drawn.get(row.id);
  if (known && known.key === key) { paintLive(row, known); return known; }
  const made = makeRow(row);
  made.key = key;
  if (known && known.node.isConnected) {
    const place = [...known.node.querySelectorAll("button, input")].indexOf(document.activeElement);
    known.node.replaceWith(made.node);
    if (place >= 0) [...made.node.querySelectorAll("button, input")][place]?.focus();
  }
  drawn.set(row.id, made);
  paintLive(row, made);
  return made;
}

function makeRow(row) {
  const picked = table.picked.includes(row.id), open = table.open.has(row.id);
  const parts = {state: el("span.pill"), step: el("td.num"), took: el("td.num.late")};
  const name = renaming === row.id ? nameField(row) : el("div.rn-title", {},
    el("button.rn-name", {type: "button", title: "Look at this run on the Monitor page", onclick: () => RFL.go("monitor", {run: row.id})}, row.name),
    el("button.rn-pencil", {type: "button", "aria-label": "Rename " + row.name, title: "Rename", onclick: () => { renaming = row.id; paintRows(); drawn.get(row.id).node.querySelector(".rn-rename").select(); }}, "✎"));
  const under = [row.archived ? el("span.pill", {}, "archived") : null, row.tags.map(tag => el("span.rn-tag", {}, tag)),
    row.parent ? el("span.rn-fork", {title: "Made from " + nameOf(row.parent)}, "fork of " + nameOf(row.parent)) : null,
    row.notes ? el("span.rn-note", {title: row.notes}, row.notes.split("\n")[0]) : null];
  parts.node = el("tr", {"data-run": row.id, class: [picked ? "picked" : "", RFL.here().params.run === row.id ? "looked" : "", row.archived ? "away" : ""].join(" ")},
    el("td.tick", {}, el("input", {type: "checkbox", checked: picked, "aria-label": "Select " + row.name, onchange: event => pick(row.id, event.target.checked)})),
    el("td.rn-what", {}, name, under.flat().some(Boolean) ? el("div.rn-under", {}, under) : null),
    el("td", {}, parts.state, row.message ? el("span.rn-cause", {title: row.message}, row.message) : null),
    el("td.rn-when", {}, row.created ? when(row.created) : "–"), parts.took, parts.step,
    gainCell(row, "reward"), gainCell(row, "judge"), motionCell(row),
    el("td.num", {}, row.best ? el("span", {title: row.best.why}, row.best.step) : "–"),
    el("td.tick", {}, el("button.rn-open", {type: "button", "aria-expanded": String(open), "aria-label": "Details of " + row.name, onclick: () => toggle(row.id)}, el("span", {"aria-hidden": "true"}, "›"))));
  return parts;
}

/* What changes from second to second. */
function paintLive(row, parts) {
  const seen = now(row);
  parts.state.textContent = seen.word;
  parts.state.dataset.state = seen.state;
  const step = seen.total ? seen.step + " / " + seen.total : "–";
  if (parts.step.textContent !== step) parts.step.textContent = step;
  const took = seconds(row), text = took === null || (!row.finished && seen.state === "queued") ? "–" : duration(took);
  if (parts.took.textContent !== text) parts.took.textContent = text;
}

function gainCell(row, key) {
  const gain = row[key];
  if (!gain) return el("td.num.muted", {}, "–");
  const tone = gain.low === null ? "flat" : gain.low > 0 ? "up" : gain.high < 0 ? "down" : "flat";
  const alarm = key === "judge" && row.alarm ? el("span.rn-alarm", {title: row.alarm.sentence}, "alarm since step " + row.alarm.since) : null;
  const range = gain.low === null ? "one video" : signed(gain.low, 3) + " to " + signed(gain.high, 3);
  const about = "change from the base model at step " + row.evaluated + ": " + fixed(gain.value, 3) + " now; 95% interval of the change " + range;
  return el("td.num", {}, el("b", {"data-tone": tone, title: about}, signed(gain.gain, 3)), alarm || el("small", {}, range));
}

function motionCell(row) {
  if (!row.motion || row.motion.ratio === null) return el("td.num.muted", {}, "–");
  const {ratio} = row.motion;
  return el("td.num", {}, el("b", {"data-tone": ratio < 0.95 ? "warn" : "flat", title: "of the base model's motion"}, percent(ratio)), el("small", {}, "of before"));
}

function nameField(row) {
  const done = async save => {
    if (renaming !== row.id) return;
    const value = field.value.trim();
    if (save && value !== row.name) {
      const answer = await ask("describe", {run: row.id, name: value});
      if (answer && !answer.ok) { wrong.textContent = answer.said; wrong.hidden = false; field.setAttribute("aria-invalid", "true"); field.focus(); return; }
      if (answer) row.name = value;
    }
    renaming = null;
    paintRows();
    drawn.get(row.id)?.node.querySelector(".rn-pencil")?.focus();
    refresh(true);
  };
  const wrong = el("p.f-error", {id: "rn-wrong-" + row.id, role: "alert", hidden: true});
  const field = el("input.rn-rename", {type: "text", value: row.name, maxlength: 120, "aria-label": "Name of the run", "aria-describedby": "rn-wrong-" + row.id,
    onkeydown: event => { if (event.key === "Enter") done(true); if (event.key === "Escape") { event.stopPropagation(); done(false); } }, onblur: () => done(true)});
  return el("div.rn-title", {}, field, wrong);
}

function paintQueue() {
  const waiting = table.queue.map(rowOf).filter(Boolean), list = $(".rn-queue ol");
  const focus = document.activeElement?.closest?.(".rn-queue [data-key]")?.dataset.key;
  $(".rn-queue").hidden = !waiting.length;
  const button = (row, what, label, sign, off) => el("button.btn.small", {type: "button", "data-key": row.id + what, "aria-label": label + " " + row.name, title: label, disabled: off, onclick: () => act(row.id, what)}, sign);
  fill(list, waiting.map((row, i) => el("li", {}, el("span.rn-place", {}, i + 1), el("span.rn-queued", {}, el("b", {}, row.name), row.parent ? el("small", {}, "fork of " + nameOf(row.parent)) : null),
    button(row, "earlier", "Start earlier:", "↑", i === 0), button(row, "later", "Start later:", "↓", i === waiting.length - 1), button(row, "take_out", "Take out of the queue:", "Take out", false))));
  if (focus) list.querySelector('[data-key="' + CSS.escape(focus) + '"]')?.focus();
}
