// Keeps the page that is shown current: rows in place, parts as a whole, ages by the second. Without it the pages are
// as complete, and show one moment.
"use strict";

(() => {
  const body = document.body;
  const base = body.dataset.base;
  const AGE_MS = 1000;
  const HEARD_MS = 60000;
  const RELOAD_MS = 2000;
  const FLASH_MS = 900;
  // More rows than this in one message, or messages without a pause, are no news for an eye.
  const FLASH_ROWS = 4;
  const CALM_MS = 600;
  const MAX_ROWS = 1000;
  document.documentElement.classList.add("js");

  // The stream: a shared worker's, or this page's own where there is none.

  let paused = false;
  let followed = "";
  let reloadedAt = 0;
  let appliedAt = 0;
  const connection = connect();

  function connect() {
    if (!document.getElementById("pulse")) return null;
    if (window.SharedWorker) {
      const worker = new SharedWorker(`${base}/static/live-worker.js?v=${body.dataset.version}`, `adsum ${base}`);
      worker.port.onmessage = ({ data }) => receive(data);
      setInterval(() => worker.port.postMessage({}), HEARD_MS);
      return {
        follow: (topic, since) => worker.port.postMessage({ topic, since }),
        leave: () => worker.port.postMessage({ leave: true }),
      };
    }
    const stream = new LiveStream(base);
    const follower = { deliver: receive };
    return {
      follow: (topic, since) => stream.follow(follower, topic, since),
      leave: () => stream.leave(follower),
    };
  }

  const region = () => document.getElementById("live");

  // Follow what the page shows now; a page that is hidden or paused follows nothing, and goes on from the same position.
  function follow() {
    const shown = region();
    if (!connection || !shown?.dataset.topic) return;
    document.getElementById("pulse").hidden = false;
    if (paused || document.hidden) {
      if (followed) connection.leave();
      followed = "";
      showState(paused ? "paused" : "waiting");
      return;
    }
    followed = shown.dataset.topic;
    connection.follow(followed, shown.dataset.since);
  }

  function receive(message) {
    if (!followed) return;
    if (message.state) return showState(message.state);
    if (message.reload) return reload();
    apply(message);
    if (message.since) region().dataset.since = message.since;
    showState("live");
  }

  // Changes were missed. The page is read again, with focus and scroll position as they are.
  async function reload() {
    followed = "";
    const wait = reloadedAt + RELOAD_MS - Date.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    reloadedAt = Date.now();
    htmx.ajax("GET", location.href, { target: "#live", select: "#live", swap: "outerHTML" });
  }

  const LABELS = { live: "Live", paused: "Paused", waiting: "Waiting", connecting: "Connecting", reconnecting: "Reconnecting" };

  function showState(state) {
    const shown = document.getElementById("state");
    if (shown.dataset.state === state) return;
    shown.dataset.state = state;
    shown.textContent = LABELS[state];
  }

  // Messages

  function apply({ rows = [], gone = [], prepend = [], parts = {} }) {
    const list = document.getElementById("rows");
    if (list) {
      gone.forEach((key) => document.getElementById(key)?.remove());
      const made = parse([...rows, ...prepend]);
      const put = rows.map(([key, , before], number) => putRow(list, key, made[number], before));
      prepend.forEach(([key], number) => {
        put.push(putRow(list, key, made[rows.length + number], list.firstElementChild?.id ?? ""));
      });
      if (put.length <= FLASH_ROWS && Date.now() - appliedAt > CALM_MS) put.forEach(flash);
      if (put.length) appliedAt = Date.now();
      trim(list);
      const empty = document.getElementById("empty");
      if (empty) empty.hidden = list.firstElementChild !== null;
    }
    for (const [id, html] of Object.entries(parts)) {
      const part = document.getElementById(id);
      if (part) htmx.swap({ target: part, text: html, swap: "outerMorph", sourceElement: part });
    }
  }

  function parse(rows) {
    const template = document.createElement("template");
    template.innerHTML = rows.map(([, html]) => html).join("");
    return [...template.content.children];
  }

  // `before` is the key of the row before which a new one belongs, empty for the end; undefined for a row that is there.
  // A row that is there keeps its element: the browser then knows that it is not on the screen, and lays nothing out.
  function putRow(list, key, row, before) {
    const present = document.getElementById(key);
    if (present) {
      const focused = present.contains(document.activeElement);
      present.replaceChildren(...row.childNodes);
      if (focused) present.querySelector("a")?.focus({ preventScroll: true });
      return present;
    }
    if (before === undefined) return null;
    return list.insertBefore(row, before ? document.getElementById(before) : null);
  }

  // A page that is open for days keeps no more rows than a new one has.
  function trim(list) {
    const most = Number(list.dataset.limit ?? MAX_ROWS);
    while (list.childElementCount > most) list.lastElementChild.remove();
  }

  function flash(row) {
    if (!row) return;
    row.classList.add("changed");
    setTimeout(() => row.classList.remove("changed"), FLASH_MS);
  }

  // Ages, by the server's clock

  const ahead = Date.parse(body.dataset.now) - Date.now();

  function inWords(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole}s`;
    const two = (number) => String(number).padStart(2, "0");
    if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}`;
    if (whole < 86400) return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}`;
    return `${Math.floor(whole / 86400)}d${two(Math.floor((whole % 86400) / 3600))}`;
  }

  function age() {
    if (document.hidden) return;
    document.querySelectorAll("[data-ago]:not(#rows [data-ago])").forEach(ageOf);
    for (const row of rowsOnScreen()) row.querySelectorAll("[data-ago]").forEach(ageOf);
  }

  // Of a thousand rows those count on that are seen. The first of them is found by halving.
  function* rowsOnScreen() {
    const rows = document.getElementById("rows")?.children ?? [];
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].getBoundingClientRect().bottom < 0) low = middle + 1;
      else high = middle;
    }
    for (; low < rows.length && rows[low].getBoundingClientRect().top < innerHeight; low++) yield rows[low];
  }

  function ageOf(time) {
    const at = (time.at ??= Date.parse(time.dateTime));
    const text = inWords((Date.now() + ahead - at) / 1000);
    if (time.firstChild?.nodeValue !== text) time.textContent = text;
  }

  // Buttons

  function togglePause(button) {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    follow();
  }

  async function copy(id) {
    const source = document.getElementById(id);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say(id, "Copied");
    } catch {
      // Browsers refuse it on pages that came over a network without TLS. Then the text is selected, to be copied.
      getSelection().selectAllChildren(source);
      say(id, "Selected");
    }
  }

  // What buttons say for a moment, also where their part of the page is rendered anew meanwhile.
  const said = new Map();

  function say(id, text) {
    said.set(id, text);
    showSaid();
    setTimeout(() => {
      said.delete(id);
      showSaid();
    }, 1500);
  }

  function showSaid() {
    for (const button of document.querySelectorAll("button[data-copy]"))
      button.textContent = said.get(button.dataset.copy) ?? "Copy";
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button?.id === "pause") togglePause(button);
    else if (button?.dataset.copy) copy(button.dataset.copy);
  });
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => connection?.leave());
  window.addEventListener("pageshow", ({ persisted }) => persisted && follow());
  document.addEventListener("htmx:after:swap", ({ detail }) => {
    const { target } = detail.ctx;
    showSaid();
    if (target === "#live" || target?.id === "live") follow();
  });
  setInterval(age, AGE_MS);
  // Rows that come onto the screen have the ages of the time when they were rendered.
  addEventListener("scroll", () => requestAnimationFrame(age), { passive: true });
  age();
  follow();
})();
