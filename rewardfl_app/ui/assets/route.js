/* Which page is open, in the address: `#compare?run=ID`. A page is opened by `RFL.go(page, params)`, so that Back, a
   refresh, a second tab and a copied address all show the same. Pages tell each other things with `RFL.send(name, detail)`
   and listen with `RFL.on(name, function)`. */
(() => {
  const TABS = {train: "Train", monitor: "Monitor", faces: "Faces", compare: "Compare", runs: "Runs", playground: "Playground"};
  const tab = page => [...document.querySelectorAll("#pages button[role=tab]")].find(b => b.textContent.trim() === TABS[page]);
  const isOpen = page => tab(page)?.getAttribute("aria-selected") === "true";

  /* {page, params} of the address; an unknown page is Train. */
  function here() {
    const [name, query] = location.hash.slice(1).split("?");
    return {page: name in TABS ? name : "train", params: Object.fromEntries(new URLSearchParams(query || ""))};
  }

  function address(page, params) {
    const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== null && v !== undefined && v !== "")).toString();
    return "#" + page + (query ? "?" + query : "");
  }

  /* Click the tab until it is open: Gradio takes a click only once the tabs are ready. */
  function open(page, tries = 100) {
    if (here().page !== page || isOpen(page)) return;
    tab(page)?.click();
    if (tries > 0) setTimeout(() => open(page, tries - 1), 50);
  }

  /* Open a page; `params` replace those of the address but for the run, which stays unless named. */
  function go(page, params = {}) {
    const {run} = here().params;
    const wanted = address(page, {run, ...params});
    if (wanted !== location.hash) history.pushState(null, "", wanted);
    open(page);
    send("route", here());
  }

  /* Note something in the address of the open page without a step in the history. */
  function note(params) {
    const {page, params: old} = here();
    const wanted = address(page, {...old, ...params});
    if (wanted !== location.hash) history.replaceState(null, "", wanted);
  }

  function send(name, detail) { window.dispatchEvent(new CustomEvent("rewardfl:" + name, {detail})); }
  function on(name, act) { window.addEventListener("rewardfl:" + name, event => act(event.detail)); }

  /* A sentence at the foot of the page for a few seconds, read out by screen readers. */
  function toast(text) {
    let place = document.querySelector(".toast");
    if (!place) document.body.append(place = RFL.el("div.toast", {role: "status"}));
    place.textContent = text;
    place.classList.add("on");
    clearTimeout(place.timer);
    place.timer = setTimeout(() => place.classList.remove("on"), 6000);
  }

  window.addEventListener("popstate", () => { open(here().page); send("route", here()); });
  document.addEventListener("click", event => {
    const clicked = event.target.closest?.("#pages button[role=tab]");
    const page = clicked && Object.keys(TABS).find(name => TABS[name] === clicked.textContent.trim());
    if (page && event.isTrusted && page !== here().page) go(page);
  });
  document.addEventListener("keydown", event => {  // as tabs everywhere: the arrow keys move between them
    if (!event.target.closest?.("#pages button[role=tab]")) return;
    const names = Object.keys(TABS), at = names.indexOf(here().page);
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const name = names[(to + names.length) % names.length];
    go(name);
    tab(name)?.focus();
  });
  (function start(tries) {
    if (tab("train")) open(here().page);
    else if (tries > 0) setTimeout(() => start(tries - 1), 50);
  })(400);

  Object.assign(RFL, {go, here, note, send, on, toast});
})();
