const {el, fill, fixed, signed, percent, duration, when, fileUrl, short} = RFL;
const $ = selector => element.querySelector(selector);
const KEPT = "rewardfl_runs";

/* What the reader chose to see; kept for this tab. The runs that are selected and opened stand in the address. */
const view = Object.assign({text: "", state: "", tag: "", archived: false, sort: "created", down: true, curves: null}, kept());
const table = {version: "", rows: [], live: new Map(), queue: [], picked: [], open: new Set(), asked: ""};

function kept() {
  try { return JSON.parse(sessionStorage.getItem(KEPT)) || {}; } catch { return {}; }
}
function keep() {
  try { sessionStorage.setItem(KEPT, JSON.stringify(view)); } catch { /* a browser that keeps nothing */ }
}
function note() {
  if (RFL.here().page === "runs") RFL.note({sel: table.picked.join(",") || null, open: [...table.open].join(",") || null});
}
function readAddress() {
  const {page, params} = RFL.here();
  if (page !== "runs") return;
  table.picked = (params.sel || "").split(",").filter(Boolean);
  table.open = new Set((params.open || "").split(",").filter(Boolean));
}

const rowOf = id => table.rows.find(row => row.id === id);
const nameOf = id => rowOf(id)?.name || id;
/* The row with what has changed since it was read: state and step of a run that goes on. */
const now = row => ({...row, ...table.live.get(row.id)});

/* key, title, class, how to sort, shown first when sorted: true for the largest */
const COLUMNS = [
  {key: "name", title: "Run", value: row => row.name.toLowerCase(), down: false},
  {key: "state", title: "State", value: row => row.word, down: false},
  {key: "created", title: "Started", value: row => row.created, down: true},
  {key: "seconds", title: "Took", kind: "num late", value: row => seconds(row), down: true},
  {key: "step", title: "Step", kind: "num", value: row => now(row).step, down: true},
  {key: "reward", title: "Reward", kind: "num", value: row => row.reward && row.reward.gain, down: true},
  {key: "judge", title: "Judge", kind: "num", value: row => row.judge && row.judge.gain, down: true},
  {key: "motion", title: "Motion", kind: "num", value: row => row.motion && row.motion.ratio, down: true},
  {key: "best", title: "Best step", kind: "num", value: row => row.best && row.best.step, down: true},
];

function seconds(row) { return row.finished ? row.seconds : row.since ? Date.now() / 1000 - row.since : null; }

function fits(row) {
  const state = now(row).state;
  const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
  const said = [row.name, row.notes, row.id, ...row.tags].join(" ").toLowerCase();
  const inState = {"": true, live: !row.finished && state !== "queued", failed: state === "failed" || state === "lost"}[view.state] ?? state === view.state;
  return (view.archived || !row.archived) && inState && (!view.tag || row.tags.includes(view.tag)) && words.every(word => said.includes(word));
}

/* Sorted and filtered; runs without the value come last either way. */
function shownRows() {
  const column = COLUMNS.find(c => c.key === view.sort) || COLUMNS[2];
  const value = row => { const v = column.value(row); return v === undefined ? null : v; };
  return table.rows.filter(fits).sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null) || (a.id < b.id ? 1 : -1);
    return (x < y ? -1 : x > y ? 1 : 0) * (view.down ? -1 : 1) || (a.id < b.id ? 1 : -1);
  });
}

function bytes(size) {
  if (size < 1e6) return Math.max(1, Math.round(size / 1e3)) + " kB";
  return size < 1e9 ? (size / 1e6).toFixed(size < 1e7 ? 1 : 0) + " MB" : (size / 1e9).toFixed(1) + " GB";
}
const many = (count, word) => count + " " + word + (count === 1 ? "" : "s");

/* Ask the server; what goes wrong on the way is said, not swallowed. */
async function ask(name, request) {
  try { return await server[name](request); } catch { RFL.toast("The app did not answer; try again."); return null; }
}
async function act(run, what) {
  const answer = await ask("act", {run, do: what});
  if (answer) RFL.toast(answer.said);
  await refresh(true);
  return Boolean(answer && answer.ok);
}
