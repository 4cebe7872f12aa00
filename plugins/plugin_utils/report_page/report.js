// SPDX-FileCopyrightText: the ec2ops.storage contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// The data of the page, and the helpers that all parts share. Every text reaches the page as a text node, never as HTML.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const SEVERITIES = ["high", "medium", "low", "info"];
const GOOD = 1, ARCHIVED = 2, UNENCRYPTED = 4, DRILLED = 8, COPY = 16, SHARED = 32;

/** Return a new element. A function among the attributes is a listener; `null` and `false` leave an attribute out. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const byId = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Return a number of GiB, from 10,000 on in TiB. */
function gibText(gib) {
  if (gib === null || gib === undefined) return "";
  return gib >= 10000 ? `${(gib / 1024).toLocaleString("en", { maximumFractionDigits: 1 })} TiB` : `${whole.format(gib)} GiB`;
}

/** Return the bounds of a cost for a person, or an empty text if there is no price. */
function spanText(bounds) {
  if (!bounds) return "";
  const [least, most] = bounds;
  if (Math.abs(most - least) < 0.005) return cents.format(most);
  return least < 0.005 ? `up to ${cents.format(most)}` : `${cents.format(least)} to ${cents.format(most)}`;
}

/** Return sums by currency, such as "8.00 to 13.00 USD". */
function moneyText(sums) {
  return sums.map((each) => `${spanText([each.least, each.most])} ${each.currency}`).join(" + ");
}

/** Return that there is no price for these regions, or an empty text for none. */
function noPriceText(regions) {
  if (!regions.length) return "";
  return `no price for ${regions.length > 2 ? `${regions.length} regions` : regions.join(" and ")}`;
}

/** Return an age for a person, in the largest unit with a value of at least two, as the modules write it. */
function ageText(seconds) {
  if (seconds === null || seconds === undefined) return "";
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) return `${whole.format(Math.floor(seconds / length))} ${unit}`;
  }
  return `${seconds} s`;
}

/** Return minutes since 1970 as a date and time in UTC. */
function minuteText(minute) {
  return minute === null ? "" : new Date(minute * 60000).toISOString().slice(0, 16).replace("T", " ");
}

const counted = (number, noun) => `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;
const place = (index) => DATA.places[index];
const regionOf = (index) => place(index).region;
const currencyOf = (index) => place(index).currency;

/** Return the account and the region of a place. */
function placeText(index) {
  const each = place(index);
  return each.account ? `${each.account} ${each.region}` : each.region;
}

// --- Snapshots, from columns to typed arrays -------------------------------------------------------------------------

const SNAPSHOTS = (() => {
  const columns = DATA.snapshots;
  const ids = columns.ids ? columns.ids.split(" ") : [];
  const total = ids.length;
  const group = new Int32Array(total), moment = new Float64Array(total), until = new Float64Array(total), gib = new Int32Array(total);
  const sizes = new Map(columns.resized);
  const first = [];
  let row = 0;
  columns.counts.forEach((count, index) => {
    first.push(row);
    for (let each = 0; each < count; each += 1, row += 1) {
      group[row] = index;
      moment[row] = each ? moment[row - 1] - columns.moments[row] : columns.moments[row];
      until[row] = columns.until[row] ? moment[row] + columns.until[row] : 0;
      gib[row] = each ? sizes.get(row) ?? gib[row - 1] : columns.gib[index];
    }
  });
  const sources = columns.volumes.map((source) => (typeof source === "number" ? DATA.volumes.rows[source][0] : source));
  // A volume has several groups if another region has copies of its snapshots.
  const groupsOf = new Map();
  sources.forEach((source, index) => groupsOf.set(source, [...(groupsOf.get(source) || []), index]));
  return { ids, total, group, moment, until, gib, first, sources, groupsOf, counts: columns.counts, places: columns.places,
    policy: columns.policy, policies: columns.policies, flags: columns.flags, stored: columns.stored, fate: columns.fate, fates: columns.fates };
})();

const ONLY_IN_JSON = 1;

/** Return the forecast of a snapshot: by which rules it is kept now, and the minutes of its deletion, or null if the rules are unknown. */
function fateOf(row) {
  const index = SNAPSHOTS.fate[row] || 0;
  if (!index || index === ONLY_IN_JSON) return null;
  const [keptBy, deletion, idle] = SNAPSHOTS.fates[index];
  const at = (after) => (after ? SNAPSHOTS.moment[row] + after : null);
  return { keptBy, deletion: at(deletion), idle: at(idle) };
}

/** Return when a snapshot will be deleted, for a person. */
function deletionText(row) {
  if ((SNAPSHOTS.fate[row] || 0) === ONLY_IN_JSON) return "see report.json";
  const fate = fateOf(row);
  if (!fate) return "unknown";
  return fate.deletion === null ? "none foreseen" : minuteText(fate.deletion);
}

const NOW = DATA.generated ? Date.parse(DATA.generated) / 60000 : 0;

// --- Copy, theme, drill-down ------------------------------------------------------------------------------------------

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Browsers refuse the clipboard to some local files. This older way needs a selection in the page.
    const area = el("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Return a button that copies the text, and says so to everybody. */
function copyButton(label, text) {
  const button = el("button", { type: "button" }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(text)) ? "Copied" : "Copy failed: select the text";
    byId("status").textContent = button.textContent;
    setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}

/** Return the task as a playbook of its own. */
function asPlaybook(task) {
  const lines = task.trimEnd().split("\n").map((line) => (line ? `    ${line}` : line));
  return `---\n- name: Carry out a finding of the storage report\n  hosts: localhost\n  gather_facts: false\n  tasks:\n${lines.join("\n")}\n`;
}

/** Return the task, to read and to copy, and further buttons. */
function remedy(task, further = []) {
  return el("div", {},
    el("pre", { tabindex: "0", "aria-label": "The task" }, task),
    el("div", { class: "buttons" }, copyButton("Copy the task", task), copyButton("Copy as a playbook", asPlaybook(task)), ...further));
}

function showSection(id) {
  const title = byId(`${id}-title`);
  title.scrollIntoView({ block: "start" });
  title.focus({ preventScroll: true });
}

const THEMES = ["system", "light", "dark"];
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme || "system") + 1) % THEMES.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  byId("theme").textContent = `Theme: ${next}`;
});
document.body.append(el("p", { id: "status", role: "status", class: "skip" }));
