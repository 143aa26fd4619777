/* The clips: the first ones as cards beside the settings, all of them with the faces found in them in a view of their own. */
const STATE_TEXT = {starting: "Loading the face pack…", cancelled: "Stopped.", done: "Every clip was looked at."};
const POLL_MS = 1000, NUM_CARDS = 12;
let clipsOf = null, full = null, asked = 0, poll = null, checkedBefore = null;
const view = {open: false, page: 0, only: false};

const count = (n, one, many) => n.toLocaleString("en") + " " + (n === 1 ? one : many);
const clipRequest = () => ({values: draft.values, page: view.open ? view.page : 0, only_problems: view.open && view.only});
/* Everything that decides which clips are shown, and what counts as a face in them. */
const clipKey = () => JSON.stringify(["model.model_name", "data.metadata_path", "reward.reward_model_path", "reward.det_size", "reward.det_threshold", "reward.nms_threshold"].map(k => draft.values[k]));

async function showClips(anew = false) {
  const key = clipKey() + view.open + view.page + view.only;
  if (key === clipsOf && !anew) return;
  clipsOf = key;
  if (!$(".clips").children.length) fill($(".clips"), Array.from({length: 6}, () => el("div.clip.ghost", {}, el("div.pic"), el("p", {}, " "))));
  const mine = ++asked, answer = await server.load_clips(clipRequest()).catch(() => null);
  if (mine !== asked) return;
  if (!answer) {
    clipsOf = null;
    const sentence = "The clips could not be read: the app does not answer.";
    if (view.open) paintFull({rows: [], error: sentence, num_pages: 1}); else fill($(".clips"), el("p.muted", {}, sentence));
    return;
  }
  full = answer;
  if (view.open) paintFull(answer); else paintCards(answer);
  followCheck(answer.check);
}

/* Boxes are shares of the whole picture; under object-fit: cover a square shows only its middle. */
function faceBoxes(row, square) {
  const [w, h] = (row.size || "1 x 1").split(" x ").map(Number), aspect = w / h || 1;
  const [sx, sy] = square ? [Math.max(1, aspect), Math.max(1, 1 / aspect)] : [1, 1];
  const at = (share, scale) => 100 * (0.5 + (share - 0.5) * scale);
  return (row.faces?.boxes || []).map(([x0, y0, x1, y1]) => el("i.face", {style: `left:${at(x0, sx)}%;top:${at(y0, sy)}%;width:${100 * (x1 - x0) * sx}%;height:${100 * (y1 - y0) * sy}%`}));
}

const shape = row => [row.num_frames === null ? null : row.num_frames + " frames", row.size].filter(Boolean).join(" · ");

function paintCards(answer) {
  $(".clips-total").textContent = answer.num_rows ? count(answer.num_rows, "clip", "clips") + (answer.embedded ? " · built in" : "") + (answer.num_problems ? " · problems in " + answer.num_problems : "") : "";
  $(".clips-open").hidden = !answer.num_rows;
  if (answer.error) fill($(".clips"), el("p.f-error", {}, answer.error));
  else if (!answer.rows.length) fill($(".clips"), el("p.muted", {}, "No clips yet: give the metadata.csv of your clips below."));
  else fill($(".clips"), answer.rows.slice(0, NUM_CARDS).map(row => el("figure.clip", {title: [row.file, shape(row), row.fps && row.fps + " fps"].filter(Boolean).join(" · ")},
    el("div.pic", {}, row.picture ? el("img", {src: row.picture, alt: "First frame: " + (row.prompt || row.file), loading: "lazy"}) : null, faceBoxes(row, true)),
    el("figcaption", {}, row.prompt || row.file || "Row " + row.row), el("p", {class: row.problems.length ? "bad" : ""}, row.problems[0] || shape(row)))));
  const pictures = answer.rows.filter(row => row.picture).slice(0, 6);
  fill($(".hero-strip"), pictures.map(row => el("img", {src: row.picture, alt: ""})));
}

/* The whole data set. */
function faceCell(row) {
  const f = row.faces;
  if (!f) return el("span.muted", {}, row.problems.length ? "–" : "not looked for");
  if (!f.boxes.length) return el("b.bad", {}, "none");
  return [el("b.good", {}, f.boxes.length === 1 ? "found" : f.boxes.length + " found"), el("span.ds-small", {}, f.size === null ? null : Math.round(f.size) + " px across · score " + RFL.fixed(f.score, 2))];
}

function paintFull(answer) {
  $(".ds-path").textContent = answer.embedded ? "Built in: rendered portraits, in " + answer.path : answer.path || "";
  $(".ds-error").hidden = !answer.error;
  $(".ds-error").textContent = answer.error || "";
  const looked = answer.num_looked || 0, rest = answer.num_left || 0;
  const number = (value, text, tone) => el("li", tone ? {"data-tone": tone} : {}, el("b", {}, value.toLocaleString("en")), " ", text);
  fill($(".ds-counts"), answer.num_rows ? [number(answer.num_rows, answer.num_rows === 1 ? "clip" : "clips"), looked ? number(answer.num_found, "with a face in the first frame", "up") : null,
    number(answer.num_problems, answer.num_problems === 1 ? "with a problem" : "with problems", answer.num_problems ? "down" : null), rest ? number(rest, "not looked at yet") : null] : null);
  $(".ds-find").hidden = !answer.num_rows;
  $(".ds-find").textContent = looked && rest ? "Find the other faces" : rest ? "Find faces" : "Look again";
  $(".ds-find").classList.toggle("primary", rest > 0);
  $(".ds-find").title = answer.pack_problem || "Decodes every clip to its end and looks for faces in 9 frames of it; clips that were looked at before are passed over.";
  const here = answer.rows.length, first = answer.page * 24 + 1;
  $(".ds-where").textContent = answer.num_shown ? first + "–" + (first + here - 1) + " of " + answer.num_shown.toLocaleString("en") : "";
  for (const turn of element.querySelectorAll("[data-turn]")) turn.disabled = Number(turn.dataset.turn) < 0 ? !answer.page : answer.page + 1 >= answer.num_pages;
  $(".ds-pager").hidden = answer.num_pages < 2;
  for (const choice of element.querySelectorAll("[data-only]")) choice.setAttribute("aria-pressed", String((choice.dataset.only === "problems") === view.only));
  const empty = $(".ds-empty");
  empty.hidden = here > 0 || Boolean(answer.error);
  $(".ds-table").hidden = !here;
  empty.querySelector("h2").textContent = view.only ? "No problem is known" : "No clips yet";
  empty.querySelector("p").textContent = !view.only ? "Go back to the settings and give the metadata.csv of your clips." : rest ? count(rest, "clip was", "clips were") + " not looked at yet: find the faces to be sure." : "Every clip can be trained on.";
  fill($(".ds-table tbody"), answer.rows.map(row => el("tr", {class: row.problems.length ? "wrong" : ""},
    el("th.ds-row", {scope: "row"}, row.row),
    el("td", {}, el("div.frame", {}, row.picture ? el("img", {src: row.picture, alt: "First frame of row " + row.row, loading: "lazy"}) : el("span.muted", {}, "no picture"), faceBoxes(row, false))),
    el("td.ds-text", {}, row.prompt || (row.file ? el("span.muted", {}, "no prompt") : null), el("span.ds-small", {}, row.file), row.problems.map(text => el("p.f-error", {}, text))),
    el("td", {}, row.size || "–", el("span.ds-small", {}, [row.num_frames === null ? null : row.num_frames + " frames", row.fps === null ? null : row.fps + " fps"].filter(Boolean).join(" · "))),
    el("td", {}, faceCell(row)),
    el("td", {}, row.faces && row.faces.num_seen !== null ? row.faces.num_seen + " of " + row.faces.num_looked : "–"),
    el("td", {}, row.faces && row.faces.people !== null ? row.faces.people : "–"))));
}

/* A check that is going on is asked how far it is while it is looked at; each new clip is shown when it is done. */
function paintCheck(check) {
  const going = Boolean(check && !check.finished);
  $(".ds-find").disabled = going;
  $(".ds-stop").hidden = !going;
  $(".ds-progress").hidden = !check || check.state === "done";
  if (!check) return;
  $(".ds-state").textContent = check.state === "working" ? "Looking at clip " + Math.min((check.done || 0) + 1, check.total || 1) + " of " + (check.total || "…")
    : check.state === "failed" ? check.message : STATE_TEXT[check.state] + (check.state === "cancelled" ? " What was found is kept; it goes on from there." : "");
  $(".ds-progress").dataset.state = check.state;
  const bar = $(".ds-progress .bar");
  bar.hidden = check.finished;
  bar.classList.toggle("unknown", !check.total);
  bar.setAttribute("aria-valuemax", check.total || 1);
  bar.setAttribute("aria-valuenow", check.done || 0);
  bar.firstElementChild.style.width = check.total ? 100 * check.done / check.total + "%" : "";
}

function followCheck(check) {
  clearTimeout(poll);
  paintCheck(check);
  const told = check && check.state + check.done, grew = checkedBefore !== null && told !== checkedBefore;
  checkedBefore = check ? told : null;
  if (grew && (view.open || check.finished)) showClips(true);
  if (check && !check.finished) poll = setTimeout(askCheck, POLL_MS);
}

async function askCheck() {
  if (!RFL.isShown(element.querySelector(".tr"))) { poll = setTimeout(askCheck, POLL_MS); return; }
  const answer = await server.finding({values: draft.values}).catch(() => null);
  followCheck(answer ? answer.check : {state: "failed", done: 0, total: null, finished: true, message: "The app does not answer."});
}

$(".ds-find").addEventListener("click", async () => {
  if (full?.pack_problem) { RFL.go("train"); RFL.toast(full.pack_problem); reveal("reward.reward_model_path"); return; }
  paintCheck({state: "starting", done: 0, total: null, finished: false});
  checkedBefore = "";
  const answer = await server.find_faces({values: draft.values}).catch(() => ({error: "The app does not answer."}));
  if (answer.error) paintCheck({state: "failed", done: 0, total: null, finished: true, message: answer.error}); else followCheck(answer.check);
});
$(".ds-stop").addEventListener("click", async event => {
  const button = event.currentTarget;
  button.disabled = true;
  const answer = await server.stop_finding({values: draft.values}).catch(() => null);
  button.disabled = false;
  if (answer) followCheck(answer.check);
});

/* The full view has an address, so that Back closes it. */
function showRoute({page, params}) {
  if (page !== "train") return;
  const open = params.view === "clips";
  if (open === view.open) return;
  view.open = open;
  view.page = 0;
  $(".tr-page").hidden = open;
  $(".ds").hidden = !open;
  if (open) window.scrollTo(0, 0);
  showClips();
}
RFL.on("route", showRoute);
$(".clips-open").addEventListener("click", () => { RFL.go("train", {view: "clips"}); $(".ds-back").focus(); });
$(".ds-back").addEventListener("click", () => { RFL.go("train"); $(".clips-open").focus({preventScroll: true}); });
$(".ds-boxes").addEventListener("change", event => $(".ds-table").classList.toggle("bare", !event.target.checked));
for (const turn of element.querySelectorAll("[data-turn]")) turn.addEventListener("click", () => { view.page += Number(turn.dataset.turn); showClips(); $(".ds-table").scrollIntoView({block: "nearest"}); });
for (const choice of element.querySelectorAll("[data-only]")) choice.addEventListener("click", () => { view.only = choice.dataset.only === "problems"; view.page = 0; showClips(); });
