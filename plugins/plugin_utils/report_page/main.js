// SPDX-FileCopyrightText: the ec2ops.storage contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// The page, from top to bottom. The figures that a person needs first are drawn first; the rest follows in the next
// frames.
"use strict";

const FIGURES = DATA.figures;
const FINDINGS = DATA.findings.rows;
const F = { severity: 0, id: 1, kind: 2, resource: 3, name: 4, place: 5, reason: 6, saving: 7, cost: 8, task: 9, also: 10, unpriced: 11, exclusion: 12, range: 13, outdone: 14 };
const tables = {};
let showRelations = () => {};

function showSnapshots(words) {
  tables.snapshots.only({ words });
  showSection("snapshots");
}

function figure(key, label, value, unit, about, bad = false, more = null) {
  return el("div", { class: bad ? "figure bad" : "figure" }, el("dt", {}, label),
    el("dd", { class: "value", "data-figure": key }, value, " ", unit ? el("span", { class: "unit" }, unit) : null), el("dd", { class: "muted" }, about, more ? " " : null, more));
}

function drawFigures() {
  const { volumes, snapshots, recovery, findings } = FIGURES;
  const atRisk = recovery.at_risk;
  const money = (sums) => (sums.length === 1 ? [spanText([sums[0].least, sums[0].most]), sums[0].currency] : [moneyText(sums) || "unknown", ""]);
  const noPrice = "EC2 shows no prices, and none is guessed";
  byId("figures").append(
    figure("capacity", "Capacity", gibText(volumes.gib).split(" ")[0], gibText(volumes.gib).split(" ")[1],
      `${counted(volumes.count, "volume")}, ${counted(snapshots.count, "snapshot")}, ${counted(FIGURES.images.count, "image")}`),
    figure("cost", "Cost a month", ...money(FIGURES.cost), FIGURES.cost.length ? (FIGURES.cost.every((each) => each.exact) ? "volumes and snapshots" : "A range, since EC2 does not show how much a snapshot stores.") : noPrice),
    figure("saving", "Savings found a month", ...money(FIGURES.saving), FIGURES.saving.length ? savingAbout() : noPrice, false,
      FIGURES.saving.length ? el("button", { type: "button", class: "link", click: () => { tables.findings.only({ order: SAVING }); showSection("findings"); } }, "Show them") : null),
    figure("at-risk", "Volumes at risk", whole.format(atRisk), "", `of ${counted(recovery.volumes, "volume")}, attached or not: ${whole.format(recovery.without_point)} without a recovery point, ${whole.format(atRisk - recovery.without_point)} with one older than the target`, atRisk > 0),
    figure("findings", "Findings", whole.format(SEVERITIES.reduce((sum, severity) => sum + findings[severity], 0)), "",
      SEVERITIES.filter((severity) => findings[severity]).map((severity) => `${whole.format(findings[severity])} ${severity}`).join(", ") || "nothing to mend", findings.high > 0,
      SEVERITIES.some((severity) => findings[severity]) ? "— one for each problem of a resource" : null));
}

/** Return whether the sum of the savings is a range, and which savings it leaves out. */
function savingAbout() {
  const isExact = FIGURES.saving.every((each) => each.most - each.least < 0.005);
  return [isExact ? "If you carry out every task." : "A range: each saving says why.",
    FINDINGS.some((row) => row[F.outdone]) ? "Of tasks that exclude each other, one counts." : "", unpricedText()].filter(Boolean).join(" ");
}

/** Return which regions a sum leaves out, since they have no price. */
function unpricedText() {
  const regions = FIGURES.unpriced_regions;
  if (!regions.length) return "";
  return `Without ${regions.length > 2 ? `${regions.length} regions` : regions.join(" and ")}, which ${regions.length === 1 ? "has" : "have"} no price.`;
}

const WORDS = [
  ["Recovery point", "the moment whose data a volume can be restored to at once: the newest completed snapshot that is not archived counts."],
  ["Target", () => `the largest age of the newest recovery point: the interval at which the volume's policy takes snapshots. For a volume without a known policy, it is the limit that the report was made with (option rpo_max)${rpoText()}.`],
  ["Policy", "rules of snapshot_rotate with a name: how often a volume gets a snapshot, and how long each one is kept."],
  ["Drill", "a restore from a snapshot whose volumes are deleted again. It shows that the snapshot can be restored."],
  ["At risk", "a volume without a recovery point, or with one that is older than its target."],
  ["Volume most at risk", "attached volumes come before others, volumes without a recovery point before late ones, and late ones by their age in relation to the target. Among equals, the largest volume counts, then the one with the lowest id."],
  ["Finding", "one problem of one resource. A volume can have several, and only an attached volume has a finding of high severity about its recovery points."],
  ["Saving", "the price of the resources that the task of a finding removes or changes, less what it adds."],
  ["Exclude", "two tasks exclude each other if both change or delete the same resource, such as the deletion of a volume and its change to gp3. Carry out one of them. The sum of the savings counts the larger saving."],
  ["Range", "a saving such as 80 to 90 has bounds, since EC2 does not show how much a snapshot stores. A task that deletes a volume takes a final snapshot first, which costs between nothing and the price of its full size."],
];

function rpoText() {
  const spans = [...new Set(DATA.places.filter((each) => each.rpo_max).map((each) => ageText(each.rpo_max)))];
  return spans.length ? `, here ${spans.join(" or ")}` : "";
}

function drawWords() {
  const parts = WORDS.flatMap(([word, text]) => [el("dt", {}, word), el("dd", {}, typeof text === "function" ? text() : text)]);
  byId("words").append(el("details", {}, el("summary", {}, "The words: recovery point, target, policy, drill, at risk, finding, saving, exclude, range"), el("dl", {}, ...parts)));
}

/** Return why a saving is a range, and which tasks exclude it. */
const savingNotes = (row) => (row ? [row[F.range], row[F.exclusion]].filter(Boolean) : []);

/** Return why this volume, and no other one, is the one most at risk. */
function riskRule(risk) {
  const others = risk.equals ? `${counted(risk.equals, `other ${risk.attached ? "attached " : "unattached "}volume`)} ${risk.equals === 1 ? "is" : "are"} equally at risk. This one is the largest${risk.gib ? `, with ${gibText(risk.gib)}` : ""}.` : "";
  if (others) return others;
  return risk.newest ? "No other volume is as overdue against its target." : `It is the only ${risk.attached ? "attached " : ""}volume without one.`;
}

function answer(kind, title, parts, task, resource) {
  const further = [el("button", { type: "button", click: () => { tables.findings.only({ words: resource }); showSection("findings"); } }, "Its findings"),
    el("button", { type: "button", click: () => { showRelations(resource); showSection("relations"); } }, "Its relations")];
  return el("div", { class: `answer ${kind}` }, el("h3", {}, title), ...parts.map((part) => el("p", {}, part)),
    task ? remedy(task, further) : el("div", { class: "buttons" }, ...further));
}

function drawAnswers() {
  const { at_risk: risk, largest_saving: saving } = FIGURES;
  if (risk) {
    const state = risk.newest ? `The newest recovery point is ${ageText(risk.newest.age)} old${risk.target ? `, and the target is ${ageText(risk.target)}` : ""}.` : "There is no recovery point.";
    const own = FINDINGS.find((row) => row[F.resource] === risk.volume_id && row[F.id].startsWith("volume-") && /recovery|policy/.test(row[F.id]) && row[F.task]);
    byId("answers").append(answer("risk", "Volume most at risk", [`${risk.name ? `${risk.name}, ` : ""}${risk.volume_id} in ${risk.region}${risk.account ? `, account ${risk.account}` : ""}`, `${state} ${riskRule(risk)}`], own ? own[F.task] : "", risk.volume_id));
  }
  if (saving && saving.saving) {
    byId("answers").append(answer("saving", "Largest saving", [`${spanText([saving.saving.least, saving.saving.most])} ${saving.currency} a month: ${saving.resource}${saving.name ? ` (${saving.name})` : ""} in ${saving.region}`, [saving.reason, ...savingNotes(FINDINGS.find((row) => row[F.id] === saving.id && row[F.resource] === saving.resource)), unpricedText()].filter(Boolean).join(" ")], saving.task, saving.resource));
  }
  const nothing = !risk && !saving && !FINDINGS.length;
  if (nothing) byId("answers").append(el("p", { class: "answer" }, FIGURES.volumes.count + FIGURES.snapshots.count ? "Nothing is at risk, and nothing is wasted." : "There is no volume, snapshot or image here yet."));
}

function drawNotes() {
  const notes = [];
  for (const each of DATA.places) {
    if (each.error !== null) notes.push(`${each.host} was not read: ${each.error}`);
    for (const part of each.partial || []) notes.push(`${each.host}: ${part.missing} Allow ${part.permission || part.operation} to see it.`);
    if (each.error === null && each.prices_missing.length && each.price_source) notes.push(`${each.host}: there is no price for ${each.prices_missing.join(", ")}.`);
  }
  if (FIGURES.unpriced_regions.length) notes.push(`There is no price for ${FIGURES.unpriced_regions.join(", ")}. Resources there count with their size only.`);
  const shown = notes.slice(0, 12);
  if (notes.length > shown.length) shown.push(`${counted(notes.length - shown.length, "more note")}: see report.json.`);
  byId("notes").append(...shown.map((note) => el("p", { class: "note" }, note)));
}

/** Return a difference with its sign, such as "+8.00 to +13.00". */
function differenceText({ least, most }) {
  const signed = (amount) => `${amount < 0 ? "−" : "+"}${cents.format(Math.abs(amount))}`;
  const [low, high] = [Math.min(least, most), Math.max(least, most)];
  return high - low < 0.005 ? signed(high) : `${signed(low)} to ${signed(high)}`;
}

function drawChanges() {
  const found = DATA.changes;
  if (!found) return;
  byId("changes").hidden = false;
  document.querySelector('nav a[href="#changes"]').hidden = false;
  const moment = (text) => (text ? text.replace("T", " ").replace("Z", " UTC") : "none");
  byId("changes-title").textContent = `Changes since ${moment(found.since)}`;
  const others = found.not_compared.map((each) => `${each.account} ${each.region}`.trim());
  const body = byId("changes-body");
  body.append(el("p", { id: "changes-about" }, [`${counted(found.findings.new, "new finding")}, ${whole.format(found.findings.solved)} solved`,
    ...found.cost.map((each) => `cost a month ${differenceText(each)} ${each.currency}`), `${counted(found.worse_volumes, "volume")} with a newly late or lost recovery point`].join("; "), "."),
  others.length ? el("p", { class: "muted" }, `Not compared, since only one of the two reports has read it in this way: ${others.join(", ")}.`) : "");
  const id = (each, name) => wrap(idButton(each, name));
  const list = (title, total, heads, rows) => { if (total) body.append(el("details", {}, el("summary", {}, `${title}: ${whole.format(total)}`), simpleTable(title.toLowerCase(), heads, rows),
    total > rows.length ? el("p", { class: "muted" }, `${whole.format(total - rows.length)} more.`) : "")); };
  const finding = (each) => [severityMark(each.severity), each.id, id(each.resource, each.name), each.region, each.reason];
  list("New findings", found.findings.new, ["Severity", "Finding", "Resource", "Region", "Reason"], found.new.map(finding));
  list("Solved findings", found.findings.solved, ["Severity", "Finding", "Resource", "Region", "Reason then"], found.solved.map(finding));
  list("Newly late or lost recovery points", found.worse_volumes, ["Volume", "Region", "Newest then", "Newest now"],
    found.worse.map((each) => [id(each.volume_id, each.name), each.region, moment(each.before), `${moment(each.now)}${each.now && each.late ? ", late" : ""}`]));
}

const severityMark = (severity) => el("span", { class: `severity ${severity}` }, severity);
const idButton = (id, name) => [el("button", { type: "button", class: "link", title: "Show its relations", click: () => { showRelations(id); showSection("relations"); } }, id), name ? el("div", { class: "also" }, name) : ""];
const placeCell = (index) => el("div", { class: "place" }, regionOf(index), el("div", { class: "muted" }, place(index).account || place(index).host));
const wrap = (parts) => el("span", {}, ...parts);
const placeFilter = (of) => ({ key: "place", label: "Account and region", of, options: DATA.places.map((_each, index) => String(index)).filter((index) => place(index).error === null), text: placeText });

const SAVING = "saving";

function savingCell(row) {
  const finding = FINDINGS[row];
  if (finding[F.saving]) return el("div", {}, `${spanText(finding[F.saving])} ${currencyOf(finding[F.place])}`, finding[F.outdone] ? el("div", { class: "muted" }, "not in the sum of the savings") : null);
  return finding[F.unpriced] ? noPriceText([regionOf(finding[F.place])]) : "";
}

function findingsTable() {
  const of = (field) => (row) => FINDINGS[row][field];
  tables.findings = new DataTable(byId("findings-table"), {
    name: "Findings", noun: "finding", total: FINDINGS.length, leftOut: DATA.findings.left_out, where: "findings.csv and report.json",
    empty: "No finding: nothing is wasted, and nothing is at risk.",
    search: (row) => { const each = FINDINGS[row]; return [each[F.severity], each[F.id], each[F.resource], each[F.name], each[F.reason], placeText(each[F.place]), ...each[F.also]].join(" "); },
    filters: [
      { key: "severity", label: "Severity", of: of(F.severity), options: SEVERITIES.filter((severity) => FINDINGS.some((each) => each[F.severity] === severity)) },
      { key: "id", label: "Finding", of: of(F.id), options: optionsOf(FINDINGS.length, of(F.id)) },
      placeFilter(of(F.place)),
    ],
    columns: [
      { label: "Severity", value: (row) => SEVERITIES.indexOf(FINDINGS[row][F.severity]), cell: (row) => severityMark(FINDINGS[row][F.severity]) },
      { label: "Saving a month", kind: "number", value: (row) => (FINDINGS[row][F.saving] || [0, null])[1], cell: savingCell },
      { label: "Finding", value: of(F.id) },
      { label: "Resource", kind: "id", value: of(F.resource), cell: (row) => wrap(idButton(FINDINGS[row][F.resource], FINDINGS[row][F.name])) },
      { label: "Region", value: (row) => placeText(FINDINGS[row][F.place]), cell: (row) => placeCell(FINDINGS[row][F.place]) },
      { label: "Reason", kind: "text", value: of(F.reason), cell: (row) => el("div", {}, FINDINGS[row][F.reason], ...savingNotes(FINDINGS[row]).map((note) => el("div", { class: "muted" }, note)), FINDINGS[row][F.task] ? el("details", {}, el("summary", {}, "Show the task"), remedy(FINDINGS[row][F.task])) : el("div", { class: "muted" }, "A person must decide; there is no task.")) },
    ],
    orders: [{ key: "", label: "most severe first", column: null }, { key: SAVING, label: "largest saving first", column: 1 }],
  });
}

function volumesTable() {
  const of = (field) => (row) => VOLUMES[row][field];
  tables.volumes = new DataTable(byId("volumes-table"), {
    name: "Volumes", noun: "volume", total: VOLUMES.length, leftOut: DATA.volumes.left_out, where: "report.json", empty: "No volume.",
    search: (row) => { const each = VOLUMES[row]; return [each[V.id], each[V.name], each[V.type], each[V.state], each[V.holder], each[V.policies], placeText(each[V.place])].join(" "); },
    filters: [
      { key: "type", label: "Type", of: of(V.type), options: optionsOf(VOLUMES.length, of(V.type)) },
      { key: "state", label: "State", of: of(V.state), options: optionsOf(VOLUMES.length, of(V.state)) },
      { key: "recovery", label: "Recovery", of: (row) => recoveryState(VOLUMES[row]), options: RECOVERY_STATES },
      placeFilter(of(V.place)),
      { key: "region", label: "Region", of: (row) => regionOf(VOLUMES[row][V.place]), options: optionsOf(VOLUMES.length, (row) => regionOf(VOLUMES[row][V.place])) },
    ],
    columns: [
      { label: "Volume", kind: "id", value: of(V.id), cell: (row) => wrap(idButton(VOLUMES[row][V.id], VOLUMES[row][V.name])) },
      { label: "Region", value: (row) => placeText(VOLUMES[row][V.place]), cell: (row) => placeCell(VOLUMES[row][V.place]) },
      { label: "Type", value: of(V.type) },
      { label: "Size", kind: "number", value: of(V.gib), cell: (row) => gibText(VOLUMES[row][V.gib]) },
      { label: "State", value: of(V.state) },
      { label: "Attached to", value: of(V.holder) },
      { label: "Encrypted", value: (row) => ({ 1: "yes", 0: "no" })[VOLUMES[row][V.encrypted]] || "" },
      { label: "Policies", value: of(V.policies) },
      { label: "Recovery point", value: of(V.newest), cell: (row) => {
        const each = VOLUMES[row];
        const text = each[V.newest] === null ? (each[V.known] ? "none" : "") : `${ageText(each[V.age])} old`;
        return el("div", {}, SNAPSHOTS.groupsOf.has(each[V.id]) ? el("button", { type: "button", class: "link", title: "Show its snapshots", click: () => showSnapshots(each[V.id]) }, text || "snapshots") : text,
          el("div", { class: "muted" }, [recoveryState(each), each[V.elsewhere].length ? `also in ${each[V.elsewhere].join(", ")}` : "", each[V.drilled] ? `drilled ${minuteText(each[V.drilled])}` : ""].filter(Boolean).join("; ")));
      } },
      { label: "Cost a month", kind: "number", value: (row) => (VOLUMES[row][V.cost] || [0, null])[1], cell: (row) => (VOLUMES[row][V.cost] ? `${spanText(VOLUMES[row][V.cost])} ${currencyOf(VOLUMES[row][V.place])}` : noPriceText([regionOf(VOLUMES[row][V.place])])) },
    ],
  });
}

function snapshotsTable() {
  const { ids, total, group, moment, until, gib, sources, places, policy, policies, flags, stored } = SNAPSHOTS;
  const names = new Map(VOLUMES.map((volume) => [volume[V.id], volume[V.name]]));
  const remarks = (bits) => [[ARCHIVED, "archived"], [UNENCRYPTED, "not encrypted"], [DRILLED, "drilled"], [COPY, "copy"], [SHARED, "shared"]].filter(([bit]) => bits & bit).map(([, text]) => text).join(", ");
  const told = (row) => remarks(flags[row]);
  const anyFate = SNAPSHOTS.fate.length > 0, anyLock = until.some((each) => each > 0);
  tables.snapshots = new DataTable(byId("snapshots-table"), {
    name: "Snapshots", noun: "snapshot", total, leftOut: DATA.snapshots.left_out, where: "report.json", empty: "No snapshot.",
    // Many snapshots share a volume, a policy and remarks, so a word is looked for once in each of these.
    matcher: (word) => {
      const has = (text) => text.toLowerCase().includes(word);
      const inSource = sources.map((source) => has(`${source} ${names.get(source) || ""}`));
      const inPolicy = policies.map(has);
      const inRemarks = Array.from({ length: 64 }, (_none, bits) => has(remarks(bits)));
      const id = word.startsWith("snap-") ? word.slice(5) : word;
      return (row) => inSource[group[row]] || inPolicy[policy[row]] || inRemarks[flags[row]] || ids[row].includes(id);
    },
    filters: [
      { key: "policy", label: "Policy", of: (row) => policies[policy[row]] || NO_POLICY, options: optionsOf(total, (row) => policies[policy[row]] || NO_POLICY) },
      { key: "use", label: "Recovery point", of: (row) => (flags[row] & GOOD ? "yes" : "no"), options: ["yes", "no"] },
      placeFilter((row) => places[group[row]]),
    ],
    columns: [
      { label: "Snapshot", kind: "id", value: (row) => ids[row], cell: (row) => wrap(idButton(`snap-${ids[row]}`, "")) },
      { label: "Volume", kind: "id", value: (row) => sources[group[row]], cell: (row) => wrap(idButton(sources[group[row]], names.get(sources[group[row]]) || "")) },
      { label: "Region", value: (row) => placeText(places[group[row]]), cell: (row) => placeCell(places[group[row]]) },
      { label: "Taken", kind: "time", value: (row) => moment[row], cell: (row) => minuteText(moment[row]) },
      { label: "Policy", value: (row) => policies[policy[row]] },
      ...(anyFate ? [{ label: "Kept by", value: (row) => (fateOf(row) || { keptBy: "" }).keptBy, cell: (row) => { const fate = fateOf(row); return fate ? fate.keptBy || "no rule" : ""; } }] : []),
      { label: "Deletion", kind: "time", value: (row) => (fateOf(row) || { deletion: null }).deletion, cell: (row) => (policies[policy[row]] || fateOf(row) ? deletionText(row) : "") },
      ...(anyLock ? [{ label: "Locked until", kind: "time", value: (row) => until[row] || null, cell: (row) => (until[row] ? minuteText(until[row]) : "") }] : []),
      { label: "Full size", kind: "number", value: (row) => gib[row] || null, cell: (row) => gibText(gib[row] || null) },
      ...(stored.length ? [{ label: "Stored", kind: "number", value: (row) => stored[row], cell: (row) => gibText(stored[row]) }] : []),
      { label: "Remarks", value: told },
    ],
  });
}

function drill(choices) {
  tables.volumes.only(choices);
  showSection("volumes");
}

function drawCosts() {
  const { type, region, tags } = DATA.costs;
  const exact = FIGURES.cost.every((each) => each.exact);
  byId("costs-about").textContent = [exact ? "" : "A light bar is an upper bound: the price if a snapshot had stored every block of its volume.",
    [...type, ...region].some((row) => row.cost.length && row.unpriced.length) ? "A question mark stands for resources without a price." : "",
    `Prices: ${priceTexts(false).join(". ") || "none"}.`].filter(Boolean).join(" ");
  const types = new Set(VOLUMES.map((volume) => volume[V.type]));
  costBars(byId("cost-type"), "Cost by type", type, (row) => (types.has(row.label) ? () => drill({ type: row.label }) : () => showSection("snapshots")));
  costBars(byId("cost-region"), "Cost by region", region, (row) => () => drill({ region: row.label }));
  if (!tags.length) return;
  const home = byId("cost-tag"), bars = el("div");
  const select = el("select", { change: () => redraw() }, ...tags.map((tag, index) => el("option", { value: index }, tag.key)));
  const redraw = () => { bars.replaceChildren(); costBars(bars, `Cost by the tag ${tags[select.value].key}`, tags[select.value].rows, null); };
  home.append(bars, el("div", { class: "controls" }, el("label", {}, "Tag", select)));
  redraw();
}

const SOURCES = { task: "from the task", file: "from a file", api: "from the AWS Pricing API", shipped: "from the table of ec2ops.storage" };
/** The meaning of the date of a source. */
const DATED = { task: "dated", file: "dated", api: "published on", shipped: "read on" };

/** Return the names of some prices, or their number if there are many. */
const priceNames = (names) => (names.length > 3 ? `${whole.format(names.length)} prices` : names.join(", "));

/** Return each source of a region's prices, with its date. Several sources have the names of their prices. */
function sourceText({ price_sources: sources }) {
  if (!sources.length) return "has no price";
  return sources.map(({ source, date, names }) => `${sources.length > 1 ? `${priceNames(names)} ` : ""}${SOURCES[source] || source}${date ? `, ${DATED[source] || "dated"} ${date}` : ", without a date"}`).join("; ");
}

/** Return the sources and dates of the prices of each region. */
function priceTexts(references) {
  const read = DATA.places.filter((each) => each.error === null);
  return [...new Set(read.map((each) => `${each.region} ${sourceText(each)}${references && each.price_references.length ? ` (${each.price_references.join(", ")})` : ""}`))];
}

function drawSources() {
  byId("sources").append(el("p", {}, "Prices are those of a month, without taxes and discounts:"),
    ...priceTexts(true).slice(0, 8).map((each) => el("p", {}, each)),
    el("p", {}, "Charts: D3 7.9.0 and Observable Plot 0.6.17, ISC licence, copyright Mike Bostock and Observable, Inc. This page loads nothing from a network."));
}

/** Return the accounts and regions of the report, and the number of those that could not be read. */
function aboutPlaces() {
  const names = [...new Set(DATA.places.map((each, index) => (each.region ? placeText(index) : "")).filter(Boolean))];
  const more = names.length > 6 ? `; and ${whole.format(names.length - 6)} more` : "";
  return `account and region: ${names.slice(0, 6).join("; ")}${more}${FIGURES.failed_places ? `. ${whole.format(FIGURES.failed_places)} could not be read` : ""}`;
}

byId("about").textContent = DATA.generated ? `As of ${DATA.generated.replace("T", " ").replace("Z", " UTC")}, ${aboutPlaces()}` : "Nothing could be read.";
const steps = [drawFigures, drawAnswers, drawNotes, drawWords, drawChanges, findingsTable, drawCosts, () => recoveryStates(byId("recovery-states"), drill), () => recoveryAges(byId("recovery-ages")),
  () => timeline(byId("timeline")), volumesTable, snapshotsTable, () => { showRelations = graph(byId("graph")); }, drawSources];
const firstFrame = 6;
steps.slice(0, firstFrame).forEach((step) => step());
requestAnimationFrame(() => setTimeout(() => {
  steps.slice(firstFrame).forEach((step) => step());
  document.body.dataset.ready = "yes";
}));
