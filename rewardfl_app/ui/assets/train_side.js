/* The card beside the form: where the settings are from, what differs, how long it takes, and Start or Add to queue. */
const MOST = 8;
const BUSY = {true: "Queueing…", false: "Starting…"};
let sources = FIRST.sources, busy = false, others = props.value || {}, suggested = "", last = null;

const quoted = name => "“" + name + "”";

function paintSources() {
  const select = $(".source"), groups = {preset: "Presets", run: "Fork of a run"};
  fill(select, Object.entries(groups).map(([kind, title]) => {
    const options = sources.filter(s => s.kind === kind).map(s => el("option", {value: s.id}, s.title + (s.started ? "  ·  " + RFL.when(s.started) : "")));
    if (!options.length) return null;
    const group = document.createElement("optgroup");
    group.label = title;
    group.append(...options);
    return group;
  }));
  if (!sources.some(s => s.id === draft.source)) select.append(el("option", {value: draft.source}, draft.source.replace(/^run:/, "")));
  select.value = draft.source;
  $("#train-source-text").textContent = sources.find(s => s.id === draft.source)?.text || "";
}

async function listSources() {
  const found = await server.list_sources({source: draft.source}).catch(() => null);
  if (!found || JSON.stringify(found) === JSON.stringify(sources)) return;
  sources = found;
  paintSources();
  if (last) paintSide(last);
}

function paintPlan() {
  const v = new Proxy(draft.values, {get: (values, key) => (/^\s*\d+\s*$/.test(values[key]) ? values[key] : "?")});
  $(".plan").textContent = v["train.max_steps"] + " steps of " + v["train.train_batch_size"] + " videos · " + v["evaluation.num_samples"] + " evaluation videos every " + v["evaluation.eval_steps"] + " steps · checkpoint every " + v["train.save_steps"];
}

/* A list of changes; each name leads to its field. */
function changeList(title, changes) {
  if (!changes.length) return null;
  const shown = changes.slice(0, MOST);
  return el("div", {}, el("h3", {}, title), el("ul", {}, shown.map(c => el("li", {},
    el("button.link.plain", {type: "button", onclick: () => reveal(c.field)}, c.field.split(".")[1]), " ", el("span.before", {}, c.before || "empty"), " → ", el("b", {}, c.after || "empty"))),
  changes.length > MOST ? el("li.before", {}, "and " + (changes.length - MOST) + " more") : null));
}

function paintSide(answer) {
  last = answer;
  const fork = draft.source.startsWith("run:"), title = (sources.find(s => s.id === draft.source) || {title: draft.source.replace(/^\w+:/, "")}).title;
  $(".side-title").textContent = fork ? "Fork of " + title : "New run";
  $(".fork-leave").hidden = !fork;
  $(".fork-note").hidden = !fork;
  $(".fork-note").textContent = answer.changes.length ? "A new run from the start, with the settings of " + quoted(title) + " except for these." : "The settings of " + quoted(title) + ". Change what you want to try; with nothing changed it is the same run again.";
  suggested = answer.name;
  $(".name").placeholder = suggested;
  const told = answer.estimate;
  $(".estimate").hidden = !told;
  if (told) $(".estimate").textContent = "About " + RFL.duration(told.seconds) + ", by the pace of " + quoted(told.name) + " (" + RFL.short(told.step_seconds) + " s a step).";
  const since = answer.since_last && "run:" + answer.since_last.run !== draft.source ? answer.since_last : null;
  fill($(".diff"), changeList(fork ? "Changed" : "Changed from " + title, answer.changes) || (fork ? null : el("p.same", {}, "Nothing changed from " + title + ".")),
    since ? (changeList("Since the last run, " + quoted(since.name), since.changes) || el("p.same", {}, "The same settings as the last run, " + quoted(since.name) + ".")) : null);
}

/* While a run is going on, the queue is the better place: two at once slow each other down. */
function paintOthers() {
  const {active, num_queued: waiting} = others, start = $(".start"), anyway = $(".start-anyway"), first = !others.loading && !others.newest;
  element.querySelector(".tr").classList.toggle("first", first);
  $(".guide").hidden = !first;
  if (!busy) start.textContent = active ? "Add to queue" : "Start";
  anyway.hidden = !active;
  $(".busy-note").hidden = !active;
  if (active) $(".busy-note").textContent = quoted(active.name) + " is going on. Two runs at once share this machine: both take longer, and their memory may not suffice. From the queue this one starts by itself when its turn comes.";
  $(".queue-note").hidden = !waiting;
  $(".queue-note span").textContent = waiting === 1 ? "1 run waits in the queue." : waiting + " runs wait in the queue.";
}

async function send(queue, anyway, button) {
  if (busy) return;
  busy = true;
  clearTimeout(timer);
  const buttons = [$(".start"), $(".start-anyway")];
  for (const b of buttons) b.disabled = true;
  button.textContent = BUSY[queue];
  const request = {values: draft.values, source: draft.source, name: $(".name").value, queue, anyway, seen: others.newest};
  const answer = await server.start_run(request).catch(() => ({problems: [{field: "", message: "The app does not answer: see whether the run is on the Runs page before you try again."}]}));
  busy = false;
  for (const b of buttons) b.disabled = false;
  $(".start-anyway").textContent = "Start anyway";
  checked += 1;  // an older review must not paint over this answer
  problems = answer.problems || [];
  paintProblems();
  if (answer.run) {
    others = {...others, newest: answer.run};
    $(".name").value = "";
    remember();
    if (answer.again) RFL.toast(quoted(answer.name) + " was " + (queue ? "queued" : "started") + " already, from here or from another page.");
    else if (queue) RFL.toast(quoted(answer.name) + " waits in the queue and starts by itself.");
    if (!queue) RFL.go("monitor", {run: answer.run});
    review();
    listSources();
  } else if (problems.length && rows.has(problems[0].field)) reveal(problems[0].field);
  paintOthers();
}

$(".source").addEventListener("change", event => load(event.target.value, event.target.value.startsWith("run:")));
$(".source").addEventListener("focus", listSources);
$(".name").addEventListener("input", remember);
$(".name").addEventListener("keydown", event => { if (event.key === "Enter") $(".start").click(); });
$(".start").addEventListener("click", event => send(Boolean(others.active), false, event.currentTarget));
$(".start-anyway").addEventListener("click", event => send(false, true, event.currentTarget));
$(".see-queue").addEventListener("click", () => RFL.go("runs"));
