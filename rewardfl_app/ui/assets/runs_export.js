/* Taking away what was trained. An export is made by a process of its own into the run's folder: it goes on when the page
   is closed, and asking twice gives the same one. */
class Exports {
  /* `changed` is called when the run's folder holds another export, or one less. */
  constructor(run, changed) {
    this.run = run;
    this.changed = changed;
    this.rows = null;
    this.formats = [];
    this.painted = "";
    this.list = el("ul.rn-exported", {"aria-label": "Exports"});
    this.said = el("p.rn-said", {role: "alert", "data-tone": "down"});
    this.help = el("p.rn-export-help");
    this.checkpoint = el("select", {"data-key": "export checkpoint"});
    this.format = el("select", {"data-key": "export format", onchange: () => this.explain()});
    this.start = el("button.btn.small.primary", {type: "button", "data-key": "start export", onclick: () => this.ask()}, "Export");
    this.button = el("button.btn.small", {type: "button", "data-key": "Export", "aria-expanded": "false", onclick: () => this.open(this.root.hidden)}, "Export…");
    this.root = el("section.rn-export", {"aria-label": "Export", hidden: true},
      el("div.rn-export-form", {}, el("label", {}, el("span.f-label", {}, "Checkpoint"), this.checkpoint), el("label", {}, el("span.f-label", {}, "Format"), this.format), this.start),
      this.help, this.said, this.list);
  }

  open(yes) {
    this.root.hidden = !yes;
    this.button.setAttribute("aria-expanded", String(yes));
    if (yes) this.follow();
  }

  /* What there is to export, as the run's details say it; what was chosen stays. */
  update(d) {
    const best = d.checkpoints.find(saved => saved.best), [newest] = d.checkpoints;
    const options = [["latest", "Latest, step " + newest.step], ...(best ? [["best", "Best by the rule, step " + best.step]] : []), ...d.checkpoints.map(saved => [String(saved.step), "Step " + saved.step])];
    this.formats = d.formats;
    this.choose(this.checkpoint, options, best ? "best" : "latest");
    this.choose(this.format, d.formats.map(format => [format.id, format.title]), d.formats[0].id);
    this.explain();
    this.follow();
  }

  choose(select, options, first) {
    const kept = select.value;
    fill(select, options.map(([value, title]) => el("option", {value}, title)));
    select.value = options.some(([value]) => value === kept) ? kept : first;
  }

  explain() {
    this.help.textContent = this.formats.find(format => format.id === this.format.value)?.text || "";
  }

  async ask() {
    this.start.disabled = true;
    this.said.textContent = "";
    const answer = await ask("start_export", {run: this.run, checkpoint: this.checkpoint.value, format: this.format.value});
    this.start.disabled = false;
    if (answer && !answer.ok) this.said.textContent = answer.said;
    await this.follow();
  }

  async remove(row) {
    const answer = await ask("remove_export", {run: this.run, export: row.id});
    this.said.textContent = answer && !answer.ok ? answer.said : "";
    await this.follow();
  }

  async follow() {
    clearTimeout(this.timer);
    const answer = await server.load_exports({run: this.run}).catch(() => null);
    if (answer) {
      const first = this.rows === null, made = rows => JSON.stringify((rows || []).filter(row => row.finished).map(row => row.id));
      const others = !first && made(this.rows) !== made(answer.exports);
      this.rows = answer.exports;
      this.paint();
      if (others) this.changed();
      if (first && this.rows.length && this.root.hidden) this.open(true);
    }
    clearTimeout(this.timer);
    if (this.rows && this.rows.some(row => !row.finished)) this.timer = setTimeout(() => this.follow(), answer ? 700 : 3000);
  }

  paint() {
    const now = JSON.stringify(this.rows);
    if (now === this.painted) return;
    this.painted = now;
    const focus = this.list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    fill(this.list, this.rows.map(row => this.node(row)));
    if (focus) this.list.querySelector('[data-key="' + CSS.escape(focus) + '"]')?.focus();
  }

  node(row) {
    const what = row.title + ", step " + row.step, share = row.total ? row.done / row.total : null;
    const state = row.state === "failed" ? row.message : row.finished ? bytes(row.bytes) : share === null ? "Reading the checkpoint…" : "Writing, " + row.done + " of " + row.total + " tensors";
    const bar = row.finished ? null : el("div.bar", {class: share === null ? "unknown" : "", role: "progressbar", "aria-label": what, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": share === null ? null : Math.round(100 * share)}, el("i", {style: "width:" + Math.round(100 * (share || 0)) + "%"}));
    const files = row.files.map(file => el("a.btn.small", {href: fileUrl(file.path), download: file.name, "aria-label": "Download " + file.name + " of " + what}, "↓ " + file.name + " · " + bytes(file.bytes)));
    return el("li", {},
      el("div.rn-exported-head", {}, el("b", {}, what), el("span", {role: "status", "data-tone": row.state === "failed" ? "down" : "flat"}, state), this.away(row, what)), bar,
      files.length ? el("div.rn-exported-files", {}, files) : null,
      row.state === "done" ? el("p", {}, "In ", el("code.rn-path", {}, row.path)) : null);
  }

  /* An export may be all that is left of a checkpoint, so a second click takes it away. */
  away(row, what) {
    if (!row.finished) return el("button.btn.quiet.small", {type: "button", "data-key": "away " + row.id, "aria-label": "Cancel: " + what, onclick: () => this.remove(row)}, "Cancel");
    const button = el("button.btn.quiet.small", {type: "button", "data-key": "away " + row.id, "aria-label": "Remove: " + what}, "Remove");
    let sure = row.state === "failed";
    button.addEventListener("click", () => {
      if (sure) { this.remove(row); return; }
      sure = true;
      button.textContent = "Remove " + bytes(row.bytes) + "?";
      button.setAttribute("aria-label", "Remove for good: " + what);
    });
    button.addEventListener("blur", () => { sure = row.state === "failed"; button.textContent = "Remove"; button.setAttribute("aria-label", "Remove: " + what); });
    return button;
  }
}
