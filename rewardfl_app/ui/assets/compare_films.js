/* The menu of what can be taken away: the film of this pair, the film and the report of all. Made by a child process; the
   files lie in the run's folder, so asking twice gives the same ones. */
class Films {
  constructor(server, current) {
    const {el} = RFL;
    this.server = server;
    this.current = current;  // () => {a, b, name}
    this.entries = {};
    const entry = (key, file, title, help) => {
      const state = el("p.cp-film-state", {role: "status"}), link = el("a.link", {hidden: true}, "Save again");
      const button = el("button.btn.small", {type: "button", "aria-label": "Download: " + title, onclick: () => this.ask(key)}, "Download");
      const stop = el("button.btn.quiet.small", {type: "button", hidden: true, onclick: () => this.cancel(key)}, "Cancel");
      this.entries[key] = {file, state, link, button, stop, asked: null};
      return el("li", {}, el("div", {}, el("b", {}, title), el("p", {}, help), state), el("div.cp-film-do", {}, link, stop, button));
    };
    this.root = el("details.cp-films", {}, el("summary.btn", {}, "Download"), el("div.card.cp-menu", {}, el("ul", {},
      entry("pair", "side_by_side.mp4", "This pair", "Side by side with both scores, mp4 (H.264)."),
      entry("film", "side_by_side.mp4", "All pairs", "One film, a pair after the other, mp4 (H.264)."),
      entry("report", "report.html", "Report", "One page that opens offline: videos, curves, changes with intervals."))));
    document.addEventListener("pointerdown", event => { if (this.root.open && !this.root.contains(event.target)) this.root.open = false; });
    this.root.addEventListener("keydown", event => { if (event.key === "Escape") { this.root.open = false; this.root.querySelector("summary").focus(); } });
  }

  /* Another pair is shown: what was said of the former one goes. */
  changed() {
    const {a, b, name} = this.current();
    for (const [key, entry] of Object.entries(this.entries)) {
      const asked = JSON.stringify([a, b, key === "pair" ? name : null]);
      if (entry.asked !== null && entry.asked !== asked) { entry.asked = null; this.say(entry, ""); entry.link.hidden = true; entry.button.disabled = false; entry.stop.hidden = true; }
    }
  }

  say(entry, text, bad = false) {
    entry.state.textContent = text;
    entry.state.dataset.tone = bad ? "down" : "flat";
  }

  async ask(key) {
    const {a, b, name} = this.current(), entry = this.entries[key], asked = JSON.stringify([a, b, key === "pair" ? name : null]);
    entry.asked = asked;
    entry.run = b.run;
    entry.button.disabled = true;
    entry.link.hidden = true;
    this.say(entry, "Starting …");
    let answer = await this.call("start", {kind: "film", a, b, ...(key === "pair" ? {name} : {})});
    for (;;) {
      if (entry.asked !== asked) return;
      const job = answer && answer.job;
      if (!job) { this.end(entry, (answer && answer.error) || "The app did not answer: try again.", true); return; }
      entry.job = job.id;
      if (job.finished) { this.finish(entry, job); return; }
      entry.stop.hidden = false;
      this.say(entry, job.total ? "Writing, " + job.done + " of " + job.total : "Reading the videos …");
      await new Promise(done => setTimeout(done, 400));
      answer = await this.call("look", {run: b.run, job: job.id});
    }
  }

  async call(name, request) {
    try { return await this.server[name](request); } catch (error) { return null; }
  }

  finish(entry, job) {
    const file = job.files.find(f => f.name === entry.file);
    if (job.state !== "done" || !file) { this.end(entry, job.message || "The file was not written.", job.state === "failed"); return; }
    this.end(entry, "Ready, " + (file.bytes >= 1e6 ? (file.bytes / 1e6).toFixed(1) + " MB" : Math.ceil(file.bytes / 1000) + " kB") + ".");
    entry.link.href = RFL.fileUrl(file.path) + "?v=" + job.id + file.bytes;
    entry.link.download = "rewardfl_" + file.name;
    entry.link.hidden = false;
    entry.link.click();
  }

  end(entry, text, bad = false) {
    entry.button.disabled = false;
    entry.stop.hidden = true;
    this.say(entry, text, bad);
  }

  async cancel(key) {
    const entry = this.entries[key];
    await this.call("look", {run: entry.run, job: entry.job, cancel: true});
  }
}
