/* What was rendered before and what is in line: tiles, newest first. */
class PreviewHistory {
  /* `onpick(id)`: look at one; `onend(id)`: cancel or remove one. */
  constructor(root, onpick, onend) {
    this.root = root;
    this.onpick = onpick;
    this.onend = onend;
    this.shown = 24;
    this.painted = "";
    root.querySelector(".pg-more").addEventListener("click", () => { this.shown += 48; this.painted = ""; this.paint(this.last); });
  }

  /* {going, ids, results, chosen}: those in line and the ids of those that are finished, newest first; what is known of each, by id. */
  paint(state) {
    const {fill} = RFL, {going, ids, results, chosen} = this.last = state;
    const rows = [...going, ...ids.slice(0, this.shown).map(id => results.get(id)).filter(Boolean)];
    this.root.hidden = !rows.length;
    const key = JSON.stringify([rows.map(row => [row.id, row.state, Boolean(row.total), row.prompt, Boolean(row.thumbnail || (results.get(row.id) || {}).thumbnail)]), chosen, ids.length]);
    if (key === this.painted) { going.forEach(row => this.goOn(row)); return; }
    this.painted = key;
    const focused = this.root.querySelector(":focus")?.closest("[data-job]")?.dataset.job;
    this.root.querySelector(".pg-history-head .muted").textContent = ids.length + (ids.length === 1 ? " video" : " videos") + (going.length ? ", " + going.length + " in line" : "");
    fill(this.root.querySelector(".pg-tiles"), rows.map(row => this.tile(row, results.get(row.id) || row, chosen)));
    const more = this.root.querySelector(".pg-more"), left = ids.length - this.shown;
    more.hidden = left <= 0;
    more.textContent = "Show " + Math.min(48, left) + " more";
    if (focused) this.root.querySelector('[data-job="' + focused + '"] .pg-tile')?.focus();
  }

  /* How far a video is, without making its buttons anew: one that is pressed must still hear of its release. */
  goOn(row) {
    const cell = this.root.querySelector('[data-job="' + CSS.escape(row.id) + '"]'), word = pgWord(row);
    if (!cell || row.state !== "working") return;
    cell.querySelector(".pg-tile-text small").textContent = word;
    cell.querySelector(".pg-tile").setAttribute("aria-label", row.prompt + ": " + word);
    cell.querySelector(".bar i").style.width = (row.total ? 100 * row.done / row.total : 0) + "%";
  }

  tile(row, known, chosen) {
    const {el, fixed} = RFL, going = row.state === "waiting" || row.state === "working";
    const values = known.values || {}, base = (values.base || {}).reward, tuned = (values.tuned || {}).reward;
    const scores = row.state !== "done" ? null : known.tuned
      ? el("span.pg-tile-scores", {}, el("span.before", {}, fixed(base, 2)), " → ", el("b", {"data-tone": tuned > base + 0.005 ? "up" : tuned < base - 0.005 ? "down" : "flat"}, fixed(tuned, 2)))
      : el("span.pg-tile-scores", {}, el("span.before", {}, fixed(base, 2)));
    const word = pgWord(row);
    return el("div.pg-cell", {"data-job": row.id, "data-state": row.state},
      el("button.pg-tile", {type: "button", "aria-pressed": String(row.id === chosen), title: row.prompt, "aria-label": row.prompt + (word ? ": " + word : ""), onclick: () => this.onpick(row.id)},
        el("span.tile-pic", {}, known.thumbnail ? el("img", {src: known.thumbnail, alt: ""}) : null),
        el("span.pg-tile-text", {}, el("b", {}, row.prompt), el("small", {}, word || pgMade(known)), scores,
          row.state === "working" ? el("span.bar", {class: row.total ? "" : "unknown"}, el("i", {style: "width:" + (row.total ? 100 * row.done / row.total : 0) + "%"})) : null)),
      el("button.pg-x", {type: "button", "aria-label": (going ? "Cancel: " : "Delete: ") + row.prompt, title: going ? "Cancel" : "Delete", onclick: () => this.onend(row.id)}, "×"));
  }
}

const pgWord = row => ({waiting: "waits", working: row.message || "starting", failed: "failed", cancelled: "cancelled"}[row.state]);

/* With what a video was made, in few words. */
function pgMade(result) {
  const steps = result.step ? result.step + (result.step === 1 ? " step" : " steps") + (result.strength !== 1 ? " ×" + result.strength : "") : "base";
  return [steps, "seed " + result.seed, result.model].filter(Boolean).join(" · ");
}
