// What the pages share. Text from servers only ever becomes text nodes, never markup.

const DEADLINE_MS = 8000;
const SHORT = 16;

export const at = (id) => document.getElementById(id);

export function el(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The sentence of an error answer, with its hint. */
export async function reason(response) {
  try {
    const { message, hint } = (await response.json()).error;
    return hint ? `${message} (${hint})` : message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

async function asked(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(await reason(response));
  return response.json();
}

export const get = (path) => asked(path, { signal: AbortSignal.timeout(DEADLINE_MS) });

/** One operation of POST /v1/jobs; `limit` is in milliseconds. */
export const operate = (operation, limit = DEADLINE_MS) =>
  asked("/v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(operation),
    signal: AbortSignal.timeout(limit),
  });

/** Show what went wrong, or nothing more. A poll that works again clears only a poll's trouble. */
export function trouble(error, by = "person") {
  const box = at("trouble");
  if (!error && by === "poll" && box.dataset.by !== "poll") return;
  box.dataset.by = by;
  box.hidden = !error;
  box.textContent = error ? error.message : "";
}

/** Run `tick` now and again, one at a time, while somebody looks; returns how to run it at once. */
export function poll(tick, ms) {
  let timer;
  let running = false;
  async function turn() {
    if (running) return;
    running = true;
    clearTimeout(timer);
    try {
      if (!document.hidden) {
        await tick();
        trouble(null, "poll");
      }
    } catch (error) {
      trouble(error, "poll");
    }
    running = false;
    timer = setTimeout(turn, ms);
  }
  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}

/**
 * Put rows into the table inside `box`, changing cells in place so that a button is never replaced
 * under a finger. A row is {key, cells}; a cell is text, {text, className} or {button, act}.
 */
export function table(box, titles, rows, empty) {
  box.querySelector(".empty")?.remove();
  if (!rows.length) {
    box.querySelector("table")?.remove();
    box.append(el("p", "empty", empty));
    return;
  }
  const body = box.querySelector("tbody") ?? head(box, titles);
  const old = new Map([...body.children].map((tr) => [tr.dataset.key, tr]));
  rows.forEach(({ key, cells }, place) => {
    const tr = old.get(key) ?? row(key, titles);
    old.delete(key);
    if (body.children[place] !== tr) body.insertBefore(tr, body.children[place] ?? null);
    cells.forEach((cell, i) => fill(tr.children[i], cell));
  });
  for (const tr of old.values()) tr.remove();
}

function head(box, titles) {
  const made = el("table");
  const tr = made.createTHead().insertRow();
  for (const title of titles) tr.append(el("th", "", title));
  box.append(made);
  return made.createTBody();
}

/** A cell knows its column's title: on a narrow screen there are no columns. */
function row(key, titles) {
  const tr = el("tr");
  tr.dataset.key = key;
  for (const title of titles) {
    const td = el("td");
    td.dataset.title = title;
    tr.append(td);
  }
  return tr;
}

function fill(td, cell) {
  if (cell?.button) {
    if (td.firstElementChild) return;
    const button = el("button", "", cell.button);
    button.addEventListener("click", async () => {
      button.disabled = true;
      trouble(null);
      try {
        await cell.act();
      } catch (error) {
        trouble(error);
      }
      button.disabled = false;
    });
    td.replaceChildren(button);
    td.className = "";
    return;
  }
  const text = String(cell?.text ?? cell ?? "");
  if (td.textContent !== text) td.replaceChildren(...jointed(text));
  td.className = cell?.className ?? "";
}

/** What is long may break at the joints of a name or an address, and nowhere else. */
function jointed(text) {
  if (text.length <= SHORT) return [text];
  const parts = text.split(/(?<=[\/:_-])(?=\w)|(?=\.[A-Za-z])/);
  return parts.flatMap((part, i) => (i ? [el("wbr"), part] : [part]));
}

const STATES = { ready: "good", failed: "bad", backoff: "bad", gone: "bad", stopped: "bad" };
export const state = (name) => ({ text: name, className: STATES[name] ?? "" });

export function tiles(box, facts) {
  box.replaceChildren(
    ...facts.map(([name, value]) => {
      const tile = el("div", "tile");
      tile.append(el("b", "", String(value)), el("span", "", name));
      return tile;
    }),
  );
}

/** A number stays on the line of its unit, here and below. */
export function size(bytes) {
  let amount = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (amount < 1024) return `${amount.toFixed(unit === "B" ? 0 : 1)}\u00a0${unit}`;
    amount /= 1024;
  }
  return `${amount.toFixed(1)}\u00a0TiB`;
}

export function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)}\u00a0s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}\u00a0min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)}\u00a0h`;
  return `${Math.round(seconds / 86400)}\u00a0d`;
}
