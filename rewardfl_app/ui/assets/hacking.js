/* The reward-hacking panel: new RFL.HackingPanel(root).update(payload) with a payload of ui/hacking.py, null to clear it.
   A verdict, reward against judge, and what a gained similarity may have cost, each relative to the base model. */
window.RFL.HackingPanel = window.RFL.HackingPanel || class HackingPanel {
  constructor(root) {
    const {el} = RFL;
    this.group = new RFL.ChartGroup();
    this.charts = new Map();
    this.pill = el("span.pill.hk-pill");
    this.sentence = el("p.hk-said", {role: "status"});
    this.todo = el("div.hk-todo", {hidden: true});
    this.main = el("div.hk-main");
    this.small = el("div.hk-small");
    this.root = el("section.card.hk", {"aria-label": "Reward hacking", hidden: true},
      el("div.hk-head", {}, el("h2", {}, "Is the gain real?"), this.pill), this.sentence, this.main, this.small);
    root.append(this.root);
    window.addEventListener("rewardfl:scheme", () => { for (const {chart, data} of this.charts.values()) chart.update(data); });
  }

  update(v) {
    const {el, fill} = RFL;
    this.root.hidden = !v;
    if (!v) return;
    this.root.dataset.level = v.level;
    this.pill.textContent = v.title;
    if (this.sentence.textContent !== v.sentence) this.sentence.textContent = v.sentence;
    this.main.hidden = !v.chart.series.length;
    this.small.hidden = !v.measures.length;
    const wanted = [...(v.chart.series.length ? ["gains"] : []), ...v.measures.map(m => m.key)];
    for (const [key, {chart}] of this.charts) if (!wanted.includes(key)) { chart.remove(); this.charts.delete(key); }
    if (v.chart.series.length) this.draw(v.chart, this.main, {});
    for (const m of v.measures) this.draw(m.chart, this.small, m);
    this.todo.hidden = !v.to_do.length;
    fill(this.todo, el("h3", {}, "What to do"), el("ul", {}, v.to_do.map(text => el("li", {}, text))));
    this.main.append(this.todo);
    this.main.classList.toggle("alone", !v.to_do.length);
  }

  draw(data, place, {said, tone}) {
    const {el} = RFL;
    let known = this.charts.get(data.key);
    if (!known) {
      const card = el("article.ch", {"data-hacking": data.key});
      const note = el("p.hk-note");
      known = {chart: new RFL.Chart(card, this.group), note};
      card.append(note);
      this.charts.set(data.key, known);
    }
    place.append(known.chart.root);
    known.note.textContent = said || "";
    known.note.title = data.help;
    known.note.dataset.tone = tone || "flat";
    known.data = data;
    known.chart.update(data);
  }
};
