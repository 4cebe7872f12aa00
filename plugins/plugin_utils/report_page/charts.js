// SPDX-FileCopyrightText: the ec2ops.storage contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// The charts, as SVG made by Observable Plot. Beside each chart stands its table, for the keyboard and for screen readers.
"use strict";

const COLOURS = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => `var(--c${number})`);
const redraws = [];

/** Draw a chart into a new figure, and draw it again whenever its width changes. */
function chart(home, title, about, draw, table, open = false) {
  const area = el("div", { class: "plot" });
  home.append(el("figure", {}, el("h3", {}, title), about ? el("p", { class: "muted" }, about) : null, area,
    table ? el("details", open ? { open: true } : {}, el("summary", {}, `Table: ${title.toLowerCase()}`), table) : null));
  let width = 0;
  const redraw = () => {
    const now = Math.floor(area.clientWidth);
    if (now === width || now < 80) return;
    width = now;
    const drawn = draw(now);
    for (const svg of drawn.matches("svg") ? [drawn] : drawn.querySelectorAll("svg")) {
      // The swatches of a legend say nothing that the text beside them does not.
      if (svg.getAttribute("aria-label")) svg.setAttribute("role", "img");
      else svg.setAttribute("aria-hidden", "true");
      // Plot names the groups inside of the image, which have no role. The image has a name of its own.
      svg.querySelectorAll("[aria-label], [aria-description]").forEach((part) => { part.removeAttribute("aria-label"); part.removeAttribute("aria-description"); });
    }
    area.replaceChildren(drawn);
  };
  redraw();
  redraws.push(redraw);
  return () => { width = 0; redraw(); };
}

let waiting = false;
new ResizeObserver(() => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; redraws.forEach((redraw) => redraw()); });
}).observe(document.querySelector("main"));

function simpleTable(name, heads, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${name}` }, el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell) => el("td", {}, cell)))))));
}

const short = (text, most = 24) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** Return labels that differ from each other, also where they are cut. */
function distinct(labels, most) {
  const seen = new Map();
  return labels.map((label) => {
    const cut = short(label, most);
    const number = (seen.get(cut) || 0) + 1;
    seen.set(cut, number);
    return number > 1 ? `${cut} (${number})` : cut;
  });
}

/** Return the value beside a bar. A part without a price is never left out in silence. */
function barText(cost, unpriced) {
  if (!cost) return noPriceText(unpriced);
  const text = spanText([cost.least, cost.most]);
  return unpriced.length ? `${text} + ?` : text;
}

/** Draw costs as bars: the certain part in full colour, and the part up to the upper bound in a light one. */
function costBars(home, title, rows, drill) {
  if (!rows.length) return;
  const currencies = [...new Set(rows.flatMap((row) => row.cost.map((cost) => cost.currency)))].sort();
  const currency = currencies[0];
  const of = (row, bound) => (row.cost.find((cost) => cost.currency === currency) || { [bound]: 0 })[bound];
  const most = rows.slice(0, 14);
  const labels = distinct(most.map((row) => row.label), 20);
  const priced = currencies.length > 0;
  const bars = most.map((row, index) => ({ label: labels[index], least: of(row, "least"), most: of(row, "most"), gib: row.gib,
    text: priced ? barText(row.cost.find((cost) => cost.currency === currency), row.unpriced) : gibText(row.gib) }));
  const draw = (width) => Plot.plot({
    width, height: 44 + 26 * bars.length, marginLeft: Math.min(160, width * 0.36), marginRight: Math.min(120, width * 0.3), marginBottom: 36, ariaLabel: title,
    x: { label: priced ? `${currency} a month` : "GiB", grid: true, ticks: Math.max(2, Math.floor(width / 110)), zero: true },
    y: { label: null, domain: labels, tickSize: 0 },
    marks: priced ? [
      Plot.barX(bars, { x1: 0, x2: "most", y: "label", fill: "var(--accent-soft)" }),
      Plot.barX(bars, { x1: 0, x2: "least", y: "label", fill: "var(--accent)" }),
      Plot.text(bars, { x: "most", y: "label", text: "text", textAnchor: "start", dx: 5, fill: "currentColor" }),
      Plot.ruleX([0]),
    ] : [Plot.barX(bars, { x1: 0, x2: "gib", y: "label", fill: "var(--accent)" }),
      Plot.text(bars, { x: "gib", y: "label", text: "text", textAnchor: "start", dx: 5, fill: "currentColor" }), Plot.ruleX([0])],
  });
  const named = (row) => (drill && drill(row) ? el("button", { type: "button", class: "link", click: drill(row) }, row.label) : row.label);
  chart(home, title, "", draw, simpleTable(title, ["What", "Resources", "Size", "A month"],
    rows.map((row) => [named(row), whole.format(row.count), gibText(row.gib), [moneyText(row.cost), noPriceText(row.unpriced)].filter(Boolean).join("; ")])));
}

// --- Recovery ---------------------------------------------------------------------------------------------------------

const V = { id: 0, name: 1, place: 2, type: 3, gib: 4, iops: 5, mibps: 6, state: 7, encrypted: 8, holder: 9, cost: 10, policies: 11,
  newest: 12, age: 13, target: 14, late: 15, elsewhere: 16, drilled: 17, known: 18 };
const VOLUMES = DATA.volumes.rows;
const RECOVERY_STATES = ["no recovery point", "late", "within its target", "no target"];

function recoveryState(volume) {
  if (!volume[V.known]) return "";
  if (volume[V.newest] === null) return RECOVERY_STATES[0];
  if (volume[V.late]) return RECOVERY_STATES[1];
  return volume[V.target] ? RECOVERY_STATES[2] : RECOVERY_STATES[3];
}

const volumeText = (volume) => (volume[V.name] ? `${volume[V.name]} (${volume[V.id]})` : volume[V.id]);

function recoveryStates(home, drill) {
  const counts = RECOVERY_STATES.map((state) => ({ state, volumes: VOLUMES.filter((volume) => recoveryState(volume) === state).length }));
  if (!counts.some((each) => each.volumes)) return;
  const colours = ["var(--high)", "var(--medium)", "var(--good)", "var(--info)"];
  const draw = (width) => Plot.plot({
    width, height: 150, marginLeft: 130, marginRight: 44, marginBottom: 36, ariaLabel: "Volumes by the state of their recovery points",
    x: { label: "volumes", grid: true, ticks: 4, tickFormat: (tick) => (Number.isInteger(tick) ? whole.format(tick) : "") },
    y: { label: null, domain: RECOVERY_STATES, tickSize: 0 }, color: { domain: RECOVERY_STATES, range: colours },
    marks: [Plot.barX(counts, { x: "volumes", y: "state", fill: "state" }),
      Plot.text(counts, { x: "volumes", y: "state", text: (each) => whole.format(each.volumes), textAnchor: "start", dx: 5, fill: "currentColor" }), Plot.ruleX([0])],
  });
  chart(home, "Volumes by the state of their recovery points", "", draw, simpleTable("states of recovery points", ["State", "Volumes"], counts.map((each) => [
    el("button", { type: "button", class: "link", click: () => drill({ recovery: each.state }) }, each.state), whole.format(each.volumes)])));
}

function recoveryAges(home) {
  const ranked = VOLUMES.filter((volume) => volume[V.newest] !== null && volume[V.target])
    .map((volume) => ({ volume, share: (100 * volume[V.age]) / volume[V.target] })).sort((one, other) => other.share - one.share).slice(0, 12);
  if (!ranked.length) return;
  const labels = distinct(ranked.map(({ volume }) => volume[V.name] || volume[V.id]), 22);
  const rows = ranked.map(({ volume, share }, index) => ({ volume, share, label: labels[index] }));
  const draw = (width) => Plot.plot({
    width, height: 60 + 24 * rows.length, marginLeft: Math.min(170, width * 0.4), marginRight: 24, marginBottom: 36,
    ariaLabel: "Age of the newest recovery point, against its target",
    x: { label: "age, in percent of the target", grid: true, zero: true, ticks: Math.max(2, Math.floor(width / 110)), type: rows[0].share > 2000 ? "sqrt" : "linear" },
    y: { label: null, domain: labels, tickSize: 0 },
    marks: [Plot.barX(rows, { x: "share", y: "label", fill: (row) => (row.share > 100 ? "late" : "good") }), Plot.ruleX([0]),
      Plot.ruleX([100], { stroke: "currentColor", strokeDasharray: "4 3" })],
    color: { domain: ["late", "good"], range: ["var(--medium)", "var(--good)"] },
  });
  const without = DATA.figures.recovery.without_point;
  const left = without ? ` ${counted(without, "volume")} without a recovery point ${without === 1 ? "has" : "have"} no age, and ${without === 1 ? "is" : "are"} not in it.` : "";
  chart(home, "Age of the newest recovery point", `The dashed line is the target, the largest age that the newest recovery point should have. The chart has the ${counted(rows.length, "volume")} with the largest age against the target.${left}`, draw,
    simpleTable("ages of recovery points", ["Volume", "Newest recovery point", "Age", "Target"], rows.map(({ volume }) =>
      [volumeText(volume), minuteText(volume[V.newest]), ageText(volume[V.age]), ageText(volume[V.target])])));
}

// --- Timeline ---------------------------------------------------------------------------------------------------------

const LANES = 12, MOST_POINTS = 200;
/** The recovery points stand above the line of their volume, and the deletions below it. */
const ABOVE = -5, BELOW = 6;
const NO_POLICY = "no policy";

/** Return the recovery points of a volume, the newest first, up to the limit of the chart. */
function pointsOf(volume) {
  const group = (SNAPSHOTS.groupsOf.get(volume[V.id]) || []).find((each) => SNAPSHOTS.places[each] === volume[V.place]);
  if (group === undefined) return [];
  const first = SNAPSHOTS.first[group];
  const points = [];
  for (let row = first; row < first + SNAPSHOTS.counts[group] && points.length < MOST_POINTS; row += 1) {
    if (SNAPSHOTS.flags[row] & GOOD) {
      const fate = fateOf(row);
      points.push({ row, volume, fate, deletion: fate && fate.deletion !== null ? new Date(fate.deletion * 60000) : null, moment: new Date(SNAPSHOTS.moment[row] * 60000), until: SNAPSHOTS.until[row] ? new Date(SNAPSHOTS.until[row] * 60000) : null,
        policy: SNAPSHOTS.policies[SNAPSHOTS.policy[row]] || NO_POLICY });
    }
  }
  return points;
}

/** Return what is known about a recovery point: who keeps it, and until when. */
function pointText({ row, volume, policy, until, fate }) {
  const lines = [volume[V.id], `snap-${SNAPSHOTS.ids[row]}, ${policy}`, `taken ${minuteText(SNAPSHOTS.moment[row])}`];
  if (until) lines.push(`locked until ${minuteText(SNAPSHOTS.until[row])}`);
  if (fate) {
    const idle = fate.idle === fate.deletion ? "" : `if the policy takes no more snapshots: ${fate.idle === null ? "not deleted" : minuteText(fate.idle)}`;
    lines.push(`kept by: ${fate.keptBy || "no rule"}`, `deletion: ${deletionText(row)}`, idle);
  } else if (policy !== NO_POLICY) lines.push(`deletion: ${deletionText(row)}`);
  return lines.filter(Boolean).join("\n");
}

function timeline(home) {
  if (!VOLUMES.some((volume) => volume[V.known])) return;
  const state = { words: [], from: 0 };
  const box = el("input", { type: "search", input: () => { Object.assign(state, { words: box.value.toLowerCase().split(/\s+/).filter(Boolean), from: 0 }); show(); } });
  const turn = (step) => () => { state.from += step; show(); };
  const back = el("button", { type: "button", click: turn(-LANES) }, "Previous volumes");
  const on = el("button", { type: "button", click: turn(LANES) }, "Next volumes");
  const count = el("p", { role: "status", class: "muted" });
  const table = el("div"), unknown = el("p", { class: "muted", id: "timeline-unknown" });
  let lanes = [], points = [];

  const draw = (width) => {
    if (!lanes.length) return el("p", { class: "empty" }, "No volume matches.");
    const labels = distinct(lanes.map((volume) => volume[V.name] || volume[V.id]), 22);
    const laneOf = new Map(lanes.map((volume, index) => [volume, labels[index]]));
    const lane = (point) => laneOf.get(point.volume);
    const policies = [...new Set(points.map((point) => point.policy))];
    const now = new Date(NOW * 60000), end = lastShown();
    const kept = points.filter((point) => point.fate);
    return Plot.plot({
      width, height: 70 + 30 * lanes.length, marginLeft: Math.min(180, width * 0.35), marginRight: 24, marginBottom: 30, marginTop: 28,
      ariaLabel: "Recovery points of each volume over time, and their coming deletions", x: { type: "utc", label: null, grid: true, ticks: Math.max(2, Math.floor(width / 120)) },
      y: { label: null, domain: labels, tickSize: 0, grid: true },
      color: { legend: policies.length > 0, domain: policies, range: policies.map((policy, index) => (policy === NO_POLICY ? COLOURS[7] : COLOURS[index % 7])) },
      marks: [Plot.link(points.filter((point) => point.until), { x1: "moment", x2: "until", y1: lane, y2: lane, stroke: "policy", strokeWidth: 9, strokeOpacity: 0.3, dy: ABOVE }),
        Plot.link(keptSpans(kept, end), { x1: "from", x2: "to", y1: lane, y2: lane, stroke: "policy", strokeWidth: 1.5, strokeOpacity: 0.6, dy: BELOW }),
        Plot.dot(points, { x: "moment", y: lane, fill: "policy", r: 4, dy: ABOVE, title: pointText }),
        Plot.dot(kept.filter((point) => point.deletion && point.deletion <= end), { x: "deletion", y: lane, stroke: "policy", symbol: "times", r: 4, strokeWidth: 2, dy: BELOW, title: pointText }),
        Plot.ruleX([now], { stroke: "currentColor", strokeDasharray: "4 3" }),
        Plot.text([now], { x: (moment) => moment, frameAnchor: "top", dy: -16, text: () => "now", fill: "currentColor" })],
    });
  };

  /** Return a line for each volume and policy, from its oldest point to its last deletion, or to the end of the chart. */
  function keptSpans(kept, end) {
    const spans = new Map();
    for (const point of kept) {
      const key = `${point.volume[V.id]} ${point.volume[V.place]} ${point.policy}`;
      const span = spans.get(key) || { volume: point.volume, policy: point.policy, from: point.moment, to: point.moment };
      const to = point.deletion && point.deletion < end ? point.deletion : end;
      spans.set(key, { ...span, from: Math.min(span.from, point.moment), to: Math.max(span.to, to) });
    }
    return [...spans.values()].map((span) => ({ ...span, from: new Date(span.from), to: new Date(span.to) }));
  }

  /** Return the end of the chart: the last deletion or lock, or as long after now as the oldest point is before it, or two weeks. */
  function lastShown() {
    const room = Math.max(14 * 1440, ...points.map((point) => NOW - SNAPSHOTS.moment[point.row]));
    const last = Math.max(NOW, ...points.map((point) => (point.deletion ? point.deletion / 60000 : 0)));
    return new Date(Math.min(last, NOW + room) * 60000);
  }

  const redraw = (() => {
    home.append(el("div", { class: "controls", role: "search", "aria-label": "Timeline" }, el("label", {}, "Search volumes", box), back, on), count);
    const area = el("div");
    home.append(area);
    select();
    home.append(unknown);
    return chart(area, "Recovery points over time", "A dot is a recovery point, and a band is its lock. Below, a cross is the coming run that deletes it. The forecast assumes that each policy takes all of its snapshots on time from now on. "
      + "A line that ends at the right edge has a later last deletion, or none is foreseen. Point at a mark to see the rules that keep the snapshot.", draw, table);
  })();

  function select() {
    const matching = VOLUMES.filter((volume) => volume[V.known] && state.words.every((word) => `${volume[V.id]} ${volume[V.name]} ${volume[V.policies]} ${volume[V.holder]}`.toLowerCase().includes(word)));
    state.from = Math.max(0, Math.min(state.from, LANES * Math.floor((matching.length - 1) / LANES)));
    lanes = matching.slice(state.from, state.from + LANES);
    points = lanes.flatMap(pointsOf);
    count.textContent = lanes.length ? `Volumes ${whole.format(state.from + 1)} to ${whole.format(state.from + lanes.length)} of ${whole.format(matching.length)}, the one most at risk first.` : "";
    back.disabled = state.from === 0;
    on.disabled = state.from + LANES >= matching.length;
    const without = [...new Set(points.filter((point) => !point.fate && point.policy !== NO_POLICY).map((point) => point.policy))];
    unknown.textContent = without.length ? `Unknown: when ${without.join(", ")} will delete its snapshots. EC2 does not show the rules of a policy, so name them in the variable storage_report_policies of the playbook storage_report.` : "";
    table.replaceChildren(simpleTable("recovery points", ["Volume", "Recovery points", "Oldest", "Newest", "Policies", "Next deletion"], lanes.map((volume) => {
      const own = points.filter((point) => point.volume === volume);
      const deletions = own.filter((point) => point.deletion).map((point) => point.deletion / 60000);
      const next = deletions.length ? minuteText(Math.min(...deletions)) : own.some((point) => point.fate) ? "none foreseen" : own.some((point) => point.policy !== NO_POLICY) ? "unknown" : "";
      return [el("button", { type: "button", class: "link", click: () => showSnapshots(volume[V.id]) }, volumeText(volume)), whole.format(own.length),
        own.length ? minuteText(SNAPSHOTS.moment[own.at(-1).row]) : "none", own.length ? minuteText(SNAPSHOTS.moment[own[0].row]) : "none",
        [...new Set(own.map((point) => point.policy))].join(", "), next];
    })));
  }

  function show() { select(); redraw(); }
}
