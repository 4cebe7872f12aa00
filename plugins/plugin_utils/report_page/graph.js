// SPDX-FileCopyrightText: the ec2ops.storage contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// The relations of one resource: its neighbours, and their neighbours. The list below the graph says the same.
"use strict";

const KINDS = [["snap-", "snapshots"], ["vol-", "volumes"], ["i-", "instances"], ["ami-", "images"]];
const HOLDERS = "users of images";
const MOST_OF_A_KIND = 8;
const kindOf = (id) => (KINDS.find(([prefix]) => id.startsWith(prefix)) || [null, HOLDERS])[1];

/** Return the relations of a resource as [from, kind, to]. */
const relationsOf = (() => {
  let index = null;
  const add = (id, relation) => { if (index.has(id)) index.get(id).push(relation); else index.set(id, [relation]); };
  return (id) => {
    if (!index) {
      index = new Map();
      const { names, kinds, rows } = DATA.relations;
      for (const [one, kind, other] of rows) {
        const relation = [names[one], kinds[kind], names[other]];
        add(relation[0], relation);
        add(relation[2], relation);
      }
    }
    const found = [...(index.get(id) || [])];
    for (const group of (id && SNAPSHOTS.groupsOf.get(id)) || []) {
      const first = SNAPSHOTS.first[group];
      for (let row = first; row < first + SNAPSHOTS.counts[group]; row += 1) found.push([`snap-${SNAPSHOTS.ids[row]}`, "of", id]);
    }
    if (id.startsWith("snap-")) {
      const row = SNAPSHOTS.ids.indexOf(id.slice(5));
      const source = row >= 0 ? SNAPSHOTS.sources[SNAPSHOTS.group[row]] : "";
      if (source) found.push([id, "of", source]);
    }
    return found;
  };
})();

/** Return the resources near *id* by kind, up to a number of each kind, and the relations between them. */
function neighbourhood(id) {
  const kept = new Map([[kindOf(id), [id]]]);
  const known = new Set([id]);
  const hidden = {};
  const edges = [];
  let ring = [id];
  for (let distance = 0; distance < 2; distance += 1) {
    const next = [];
    for (const each of ring) {
      for (const edge of relationsOf(each)) {
        const other = edge[0] === each ? edge[2] : edge[0];
        if (!known.has(other)) {
          const kind = kindOf(other);
          const list = kept.get(kind) || [];
          if (list.length >= MOST_OF_A_KIND) {
            hidden[kind] = (hidden[kind] || 0) + 1;
            continue;
          }
          kept.set(kind, [...list, other]);
          known.add(other);
          next.push(other);
        }
        if (!edges.some((drawn) => drawn.join() === edge.join())) edges.push(edge);
      }
    }
    ring = next;
  }
  return { kept, hidden, edges: edges.filter((edge) => known.has(edge[0]) && known.has(edge[2])) };
}

const labelOf = (id) => DATA.relations.labels[id] || (VOLUMES.find((volume) => volume[V.id] === id) || [])[V.name] || "";

function graph(home) {
  const start = [...DATA.relations.names.filter((name) => name.startsWith("vol-")), ...VOLUMES.map((volume) => volume[V.id]), ...DATA.relations.names]
    .find((id) => relationsOf(id).length) || (VOLUMES[0] || [])[V.id];
  if (!start) {
    home.append(el("p", { class: "empty" }, "There is no resource yet."));
    return () => {};
  }
  const box = el("input", { type: "search", list: "graph-ids", value: start });
  const go = el("button", { type: "button", click: () => show(box.value.trim()) }, "Show");
  box.addEventListener("keydown", (event) => { if (event.key === "Enter") show(box.value.trim()); });
  const suggestions = [...VOLUMES.map((volume) => volume[V.id]), ...DATA.relations.names.filter((name) => !name.startsWith("snap-"))].slice(0, 500);
  const about = el("p", { role: "status", class: "muted" });
  const area = el("div"), list = el("div");
  home.append(el("div", { class: "controls", role: "search", "aria-label": "Relations" }, el("label", {}, "Id of a resource", box), go,
    el("datalist", { id: "graph-ids" }, ...[...new Set(suggestions)].map((id) => el("option", { value: id })))), about, area, list);
  let chosen = start;
  const redraw = chart(area, "Relations", "", (width) => draw(chosen, width, show), null);

  function show(id) {
    chosen = id;
    box.value = id;
    const { edges, hidden } = neighbourhood(id);
    const more = Object.entries(hidden).map(([kind, number]) => `${whole.format(number)} more ${kind}`).join(", ");
    about.textContent = edges.length ? `${counted(edges.length, "relation")} near ${id}.${more ? ` Not drawn: ${more}.` : ""}` : `This report has no relation of ${id}.`;
    const link = (each) => el("button", { type: "button", class: "link", click: () => show(each) }, labelOf(each) ? `${each} (${labelOf(each)})` : each);
    list.replaceChildren(simpleTable("relations", ["From", "Relation", "To"], edges.map(([one, kind, other]) => [link(one), kind, link(other)])));
    redraw();
  }
  show(start);
  return show;
}

/** Draw the resources in a column for each kind, and the relations as curves between them. */
function draw(id, width, show) {
  const { kept, edges } = neighbourhood(id);
  const columns = [HOLDERS, "images", "instances", "volumes", "snapshots"].filter((kind) => kept.has(kind));
  const wide = Math.max(width, columns.length * 170);
  const gap = wide / columns.length, box = Math.min(gap - 36, 210), height = 46;
  const places = new Map();
  columns.forEach((kind, column) => kept.get(kind).forEach((each, row) => places.set(each, { x: column * gap, y: 30 + row * (height + 10) })));
  const tall = 40 + Math.max(...columns.map((kind) => kept.get(kind).length)) * (height + 10);
  const svg = d3.create("svg").attr("viewBox", `0 0 ${wide} ${tall}`).attr("width", wide).attr("height", tall).attr("aria-label", `Relations of ${id}`);
  columns.forEach((kind, column) => svg.append("text").attr("x", column * gap).attr("y", 16).attr("fill", "var(--muted)").text(kind));
  const curve = d3.linkHorizontal();
  for (const [one, kind, other] of edges) {
    const [left, right] = [places.get(one), places.get(other)].sort((a, b) => a.x - b.x);
    const same = left.x === right.x;
    svg.append("path").attr("fill", "none").attr("stroke", "var(--muted)").attr("stroke-opacity", 0.6)
      .attr("d", same ? `M${left.x + box},${left.y + height / 2} C${left.x + box + 30},${left.y + height / 2} ${right.x + box + 30},${right.y + height / 2} ${right.x + box},${right.y + height / 2}`
        : curve({ source: [left.x + box, left.y + height / 2], target: [right.x, right.y + height / 2] }))
      .append("title").text(`${one} ${kind} ${other}`);
  }
  for (const [each, { x, y }] of places) {
    const node = svg.append("g").attr("transform", `translate(${x},${y})`).style("cursor", "pointer").on("click", () => show(each));
    node.append("title").text(each);
    node.append("rect").attr("width", box).attr("height", height).attr("rx", 6).attr("fill", "var(--card)")
      .attr("stroke", each === id ? "var(--accent)" : "var(--line)").attr("stroke-width", each === id ? 3 : 1);
    const label = labelOf(each);
    const room = Math.floor(box / 7.4);
    node.append("text").attr("x", 10).attr("y", label ? 19 : 28).attr("fill", "var(--text)").text(short(label || each, room));
    if (label) node.append("text").attr("x", 10).attr("y", 36).attr("fill", "var(--muted)").text(short(each, room));
  }
  return svg.node();
}
