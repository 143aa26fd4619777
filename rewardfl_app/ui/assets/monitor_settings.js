/* Settings of a run that can be changed now: live ones beside the running job, more for a resume.
   new RFL.RunSettings(root, server) with `server` {load_settings, set_live, resume_with}; `open(run)`, `refresh()`, `close()`. */
window.RFL.RunSettings = window.RFL.RunSettings || class RunSettings {
  constructor(root, server, onclose) {
    const {el} = RFL;
    Object.assign(this, {server, run: null, mode: "", rows: new Map(), onclose});
    this.title = el("h2", {tabindex: -1});
    this.about = el("p.muted");
    this.problem = el("p.rs-error", {role: "alert", hidden: true});
    this.find = el("input", {type: "text", placeholder: "Find a setting", "aria-label": "Find a setting", oninput: () => this.filter()});
    this.list = el("div.rs-list");
    this.go = el("button.btn.primary", {type: "button", onclick: () => this.resume()}, "Resume");
    this.foot = el("div.rs-foot", {}, el("span.rs-count.muted", {role: "status"}), this.go);
    this.root = el("section.card.rs", {"aria-label": "Settings of this run", hidden: true},
      el("div.rs-head", {}, this.title, this.find, el("button.btn.small.quiet", {type: "button", onclick: () => { this.close(); this.onclose(); }}, "Close")),
      this.about, this.problem, this.list, this.foot);
    this.root.addEventListener("keydown", event => { if (event.key === "Escape") { this.close(); this.onclose(); } });
    root.append(this.root);
  }

  get isOpen() { return !this.root.hidden; }

  async open(run) {
    this.run = run;
    this.mode = "";
    this.rows.clear();
    this.list.replaceChildren();
    this.root.hidden = false;
    await this.refresh();
    this.title.focus();
  }

  close() { this.root.hidden = true; this.run = null; }

  /* Read the settings again: a receipt has come, or the run has ended. What is being typed stays. */
  async refresh() {
    const asked = this.run;
    const v = asked && await this.server.load_settings({run: asked}).catch(() => null);
    if (!v || this.run !== asked) return;
    if (v.mode !== this.mode) { this.mode = v.mode; this.rows.clear(); this.list.replaceChildren(); this.layOut(v); }
    this.say(v.error);
    for (const field of v.fields) this.rows.get(field.key)?.take(field);
    this.count();
  }

  layOut(v) {
    const {el} = RFL, live = v.mode === "live";
    const resume = v.state === "completed" ? "Train on with changes" : "Resume with changes";
    this.title.textContent = live ? "Change while it runs" : v.mode === "resume" ? resume : "Settings";
    this.about.textContent = SETTINGS_MODES[v.mode] + (v.state === "completed" ? " Raise max_steps to train on." : "");
    this.foot.hidden = v.mode !== "resume";
    this.find.hidden = v.fields.length < 10;
    for (const field of v.fields) {
      const row = new RunSettingRow(field, live, this);
      this.rows.set(field.key, row);
      this.list.append(row.root);
    }
    this.filter();
  }

  filter() {
    const wanted = this.find.value.trim().toLowerCase();
    for (const row of this.rows.values()) row.root.hidden = Boolean(wanted) && !row.words.includes(wanted) && !row.changed;
  }

  say(error) { this.problem.hidden = !error; this.problem.textContent = error || ""; }

  changes() { return Object.fromEntries([...this.rows.values()].filter(row => row.changed).map(row => [row.key, row.text])); }

  count() {
    const number = Object.keys(this.changes()).length;
    this.foot.firstElementChild.textContent = number ? number + (number > 1 ? " settings" : " setting") + " changed" : "Nothing changed yet";
    this.go.textContent = number ? "Resume with " + (number > 1 ? "these changes" : "this change") : "Resume as it was";
  }

  async resume() {
    this.go.disabled = true;
    for (const row of this.rows.values()) row.fail("");
    const answer = await this.server.resume_with({run: this.run, changes: this.changes()}).catch(() => ({errors: {"": "The app does not answer."}}));
    this.go.disabled = false;
    if (answer && answer.message) { RFL.toast(answer.message); this.close(); this.onclose(); return; }
    const errors = (answer && answer.errors) || {"": "There is no such run any more."};
    const loose = Object.entries(errors).filter(([key]) => !this.rows.has(key)).map(([, text]) => text);
    this.say(loose.join(" "));
    for (const [key, text] of Object.entries(errors)) this.rows.get(key)?.fail(text);
    [...this.rows.values()].find(row => errors[row.key])?.input.focus();
  }
};

const SETTINGS_MODES = {
  live: "A new value holds from the next step on; the receipt says which. More can be changed when the run is stopped and resumed.",
  resume: "It goes on from its last checkpoint. What is not here needs a new run: fork this one.",
  none: "It waits in the queue: its settings are fixed. Take it out of the queue and resume it with changes.",
};

/* One field: what it is now, what it shall be, what is wrong with that. */
class RunSettingRow {
  constructor(field, live, panel) {
    const {el} = RFL, id = "rs-" + field.key.replace(/\W/g, "-");
    Object.assign(this, {key: field.key, live, panel, value: field.value, words: (field.label + " " + field.key + " " + field.help).toLowerCase()});
    const common = {id, "aria-describedby": id + "-help " + id + "-said"};
    if (field.kind === "switch") this.input = el("select", common, el("option", {value: "true"}, "on"), el("option", {value: "false"}, "off"));
    else if (field.kind === "choice") this.input = el("select", common, field.optional ? el("option", {value: ""}, "–") : null, field.choices.map(c => el("option", {value: c}, c)));
    else this.input = el("input", {...common, type: "text", autocomplete: "off", spellcheck: "false"});
    this.input.value = String(field.value);
    this.now = el("span.rs-now");
    this.said = el("p.rs-said", {id: id + "-said", role: "status"});
    this.apply = live ? el("button.btn.small", {type: "button", disabled: true, "aria-label": "Apply " + field.label, onclick: () => this.send()}, "Apply") : null;
    this.input.addEventListener("input", () => { this.fail(""); this.paint(); panel.count(); });
    this.input.addEventListener("keydown", event => { if (event.key === "Enter" && live && this.changed) this.send(); });
    this.root = el("div.rs-row", {"data-key": field.key}, el("label", {for: id}, field.label, " ", el("code", {}, field.key)), this.now,
      el("div.rs-edit", {}, this.input, this.apply), el("p.rs-help", {id: id + "-help"}, field.help + (field.limits ? " (" + field.limits + ")" : "")), this.said);
    this.take(field);
  }

  get text() { return this.input.value.trim(); }
  get changed() { return this.text !== String(this.value).trim(); }

  /* The value as it is now; one that was not touched follows it. */
  take(field) {
    const touched = this.changed;
    this.value = field.value;
    if (!touched) this.input.value = String(field.value);
    const empty = field.value === "" ? "empty" : field.value === true ? "on" : field.value === false ? "off" : String(field.value);
    this.now.textContent = "now " + empty;
    const waiting = field.pending !== null && field.pending !== undefined;
    if (this.waiting && !waiting) this.note("");
    this.waiting = waiting;
    if (waiting) this.note("Asked for " + field.pending + "; waiting for the next step.");
    this.paint();
  }

  paint() {
    this.root.classList.toggle("changed", this.changed);
    if (this.apply) this.apply.disabled = !this.changed || this.waiting;
  }

  note(text) { this.said.textContent = text; this.said.className = "rs-said"; this.input.removeAttribute("aria-invalid"); }

  fail(text) {
    if (!text && !this.input.hasAttribute("aria-invalid")) return;
    this.said.textContent = text;
    this.said.className = "rs-said" + (text ? " wrong" : "");
    if (text) this.input.setAttribute("aria-invalid", "true"); else this.input.removeAttribute("aria-invalid");
  }

  async send() {
    this.apply.disabled = true;
    const answer = await this.panel.server.set_live({run: this.panel.run, field: this.key, value: this.text}).catch(() => ({errors: {"": "The app does not answer."}}));
    if (answer && answer.message) this.note(answer.message);
    else this.fail(Object.values((answer && answer.errors) || {"": "There is no such run any more."}).join(" "));
    this.paint();
    this.panel.refresh();
  }
}
