/* Blind vote: one pair at a time, the sides hidden and shuffled by the server, which also keeps the votes. The videos come as
   data, so that nothing in the page tells which is which. */
class BlindVote {
  constructor(root, server, onleave) {
    const {el} = RFL;
    this.root = root;
    this.server = server;
    this.busy = false;
    this.progress = el("p.cp-vote-progress", {role: "status"});
    this.prompt = el("p.cp-prompt");
    const place = el("div.cp-vote-player");
    const choice = (key, text, hint) => el("button.btn.cp-choice", {type: "button", "data-choice": key, title: hint, onclick: () => this.vote(key)}, text, el("kbd", {"aria-hidden": "true"}, hint));
    this.buttons = [choice("left", "Left is better", "←"), choice("same", "The same", "↓"), choice("right", "Right is better", "→")];
    this.back = el("button.btn.quiet.small", {type: "button", onclick: () => this.call({do: "undo"})}, "Take the last vote back");
    this.peek = el("button.btn.quiet.small", {type: "button", onclick: () => { this.reveal = true; this.call({do: "look"}); }}, "Show the result now");
    this.error = el("p.f-error", {role: "alert"});
    this.result = el("div.card.cp-result", {hidden: true});
    this.note = el("p.muted.cp-vote-note", {}, "Which one shows the same person all the way through, and still looks alive? You are not told which is which; the order is shuffled.");
    root.append(el("div.card.cp-ballot", {tabindex: "-1", role: "group", "aria-label": "Blind vote"},
      el("div.cp-vote-head", {}, el("h2", {}, "Blind vote"), this.progress, el("button.btn.small", {type: "button", onclick: onleave}, "Back to the comparison")),
      this.note, this.prompt, place, el("div.cp-choices", {}, this.buttons), this.error, el("div.cp-vote-foot", {}, this.back, this.peek)), this.result);
    this.player = new RFL.AbPlayer(place, {label: "Left and right", keys: root.firstChild, curve: false, arrows: false,
      more: [["← ↓ →", "left, the same, right", {ArrowLeft: () => this.vote("left"), ArrowRight: () => this.vote("right"), ArrowDown: () => this.vote("same")}]]});
  }

  open(contest) {
    const same = JSON.stringify(contest) === JSON.stringify(this.contest);
    this.contest = contest;
    if (same && !this.root.hidden) return;
    this.root.hidden = false;
    this.reveal = false;
    this.offer(null, 0);
    this.player.setMode("side", false);
    this.call({do: "look"});
    this.root.firstChild.focus({preventScroll: true});
  }

  close() {
    this.root.hidden = true;
    this.player.clear();
    this.ballot = null;
  }

  /* What can be pressed: nothing before the pair is there, nothing to take back or to look at before the first vote. */
  offer(ballot, votes) {
    this.ballot = ballot;
    for (const button of this.buttons) button.disabled = !ballot;
    this.back.hidden = this.peek.hidden = !votes;
  }

  vote(choice) {
    if (!this.ballot || this.busy) return;
    this.call({do: "vote", number: this.ballot.number, choice});
  }

  async call(request) {
    if (this.busy) return;
    this.busy = true;
    const contest = this.contest;
    let answer = null;
    try { answer = await this.server.vote({...contest, ...request, reveal: this.reveal}); } catch (error) { /* said below */ }
    this.busy = false;
    if (this.root.hidden) return;
    if (contest !== this.contest) { this.call({do: "look"}); return; }  // other models were chosen meanwhile
    this.error.textContent = answer ? answer.error : "The app did not answer: the vote was not kept. Try again.";
    if (answer) this.show(answer);
  }

  show({ballot, votes, shown_from, standing}) {
    const {el, fill} = RFL;
    this.offer(ballot, votes);
    if (!ballot) { this.player.clear(); this.result.hidden = true; return; }
    this.progress.textContent = "Pair " + (ballot.place + 1) + " of " + ballot.count + (ballot.round ? ", round " + (ballot.round + 1) : "") + " · " + votes + (votes === 1 ? " vote" : " votes") + " kept";
    this.prompt.textContent = ballot.prompt;
    if (standing) this.peek.hidden = true;
    this.note.lastChild.textContent = "Which one shows the same person all the way through, and still looks alive? You are not told which is which; the order is shuffled." +
      (standing ? "" : " The result appears after " + shown_from + (shown_from === 1 ? " vote." : " votes."));
    const side = (key, label) => ({key, label, role: "real", video: ballot[key], faces: null, note: ""});
    this.player.load({sides: [side("left", "Left"), side("right", "Right")], fps: ballot.fps, count: ballot.num_frames, key: "ballot " + ballot.number + " " + JSON.stringify(this.contest)});
    this.result.hidden = !standing;
    if (standing) fill(this.result, this.standing(standing));
  }

  standing(s) {
    const {el, percent} = RFL, share = v => (100 * v).toFixed(1) + "%";
    const shown = s.rate === null ? null : el("div.cp-rate-bar", {role: "img", "aria-label": "From " + percent(s.low) + " to " + percent(s.high) + ", chance is 50%"},
      el("i.cp-rate-range", {style: "left:" + share(s.low) + ";right:" + share(1 - s.high)}), el("i.cp-rate-half"), el("i.cp-rate-dot", {style: "left:" + share(s.rate)}));
    return [el("div.cp-rate", {}, el("h3", {}, s.names.after + " preferred to " + s.names.before),
      el("p.cp-rate-value", {}, s.rate === null ? "–" : percent(s.rate), s.rate === null ? null : el("small", {}, "95% interval " + percent(s.low) + " to " + percent(s.high))), shown,
      shown ? el("div.cp-rate-ends", {"aria-hidden": "true"}, el("span", {}, "0%"), el("span", {}, "chance"), el("span", {}, "100%")) : null),
    el("div", {}, el("dl.cp-tally", {}, [["after", s.names.after], ["before", s.names.before], ["same", "The same"]].map(([key, label]) => el("div", {}, el("dt", {}, label), el("dd", {}, String(s[key]))))),
      el("p.cp-meaning", {}, s.sentence), el("p.muted", {}, "The rate counts the votes that chose; the interval is Wilson’s. “The same” is counted apart."))];
  }
}
