// SPDX-FileCopyrightText: the ec2ops.storage contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// A table that is searched, sorted and filtered over all of its rows, and shows a part of them.
"use strict";

const PAGE = 25;

/**
 * A table over the rows 0 to `total` - 1.
 * columns: { label, value(row) to sort by, cell(row) for other contents, kind: "number", "id", "time" or "text" }
 * filters: { key, label, of(row), options, text(option) }; a row passes if of(row) equals the option
 * orders: { key, label, column }; the column is sorted in its first direction, and null is the order of the rows
 * search(row): the text that the search box looks through; or matcher(word): a function that tells whether a row has the word
 */
class DataTable {
  constructor(home, { name, noun, total, columns, filters, orders = [], search = null, matcher = null, empty, leftOut = 0, where = "" }) {
    Object.assign(this, { home, name, noun, total, columns, filters, orders, search, matcher, empty, leftOut, where });
    this.chosen = {};
    this.words = [];
    this.sort = null;
    this.shown = PAGE;
    this.texts = null;
    if (total) this.build();
    else home.append(el("p", { class: "empty" }, empty));
  }

  build() {
    this.box = el("input", { type: "search", input: () => this.change({ words: this.box.value }) });
    this.selects = Object.fromEntries(this.filters.map((filter) => [filter.key, this.select(filter)]));
    this.ordering = el("select", { change: () => this.orderBy(this.ordering.value) }, ...this.orders.map((order) => el("option", { value: order.key }, order.label)));
    const controls = el("div", { class: "controls", role: "search", "aria-label": `Search the ${this.noun}s` },
      el("label", {}, "Search", this.box),
      ...this.filters.map((filter) => el("label", {}, filter.label, this.selects[filter.key])),
      this.orders.length ? el("label", {}, "Order", this.ordering) : null,
      el("button", { type: "button", click: () => this.only({}) }, "Show all"));
    this.count = el("p", { role: "status", class: "muted" });
    this.heads = this.columns.map((column, index) => el("th", { role: "columnheader", scope: "col", class: column.kind === "number" ? "number" : null },
      column.value ? el("button", { type: "button", click: () => this.sortBy(index) }, column.label) : column.label));
    // The roles stay where a narrow screen shows each row as a block of its own.
    this.body = el("tbody", { role: "rowgroup" });
    this.more = el("button", { type: "button", click: () => { this.shown += 4 * PAGE; this.render(); } });
    this.home.append(controls, this.count,
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table of ${this.noun}s` },
        el("table", { role: "table", class: "data" }, el("caption", { class: "skip" }, this.name), el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...this.heads)), this.body)),
      el("div", { class: "buttons" }, this.more));
    this.found = Array.from({ length: this.total }, (_none, row) => row);
    this.render();
  }

  select(filter) {
    const select = el("select", { change: () => this.change({ [filter.key]: select.value }) }, el("option", { value: "" }, "all"),
      ...filter.options.map((option) => el("option", { value: option }, filter.text ? filter.text(option) : option)));
    return select;
  }

  /** Apply one more choice, and keep the others. */
  change(choice) {
    for (const [key, value] of Object.entries(choice)) {
      if (key === "words") this.words = value.toLowerCase().split(/\s+/).filter(Boolean);
      else this.chosen[key] = value;
    }
    this.shown = PAGE;
    this.filter();
  }

  /** Apply these choices and no others, as a drill-down does. */
  only(choices) {
    if (!this.total) return;
    this.box.value = choices.words || "";
    for (const [key, select] of Object.entries(this.selects)) select.value = choices[key] || "";
    this.chosen = {};
    if (this.orders.length) this.orderBy(choices.order || "", false);
    this.change({ words: this.box.value, ...Object.fromEntries(Object.entries(this.selects).map(([key, select]) => [key, select.value])) });
  }

  filter() {
    const tests = this.filters.filter((filter) => this.chosen[filter.key]).map((filter) => [filter.of, this.chosen[filter.key]]);
    const matches = this.words.map((word) => (this.matcher || this.textMatcher).call(this, word));
    const found = [];
    for (let row = 0; row < this.total; row += 1) {
      if (tests.every(([of, option]) => String(of(row)) === option) && matches.every((matching) => matching(row))) found.push(row);
    }
    this.found = found;
    this.order();
    this.render();
  }

  textMatcher(word) {
    if (!this.texts) this.texts = Array.from({ length: this.total }, (_none, row) => this.search(row).toLowerCase());
    return (row) => this.texts[row].includes(word);
  }

  /** Sort as one of the orders says. */
  orderBy(key, renders = true) {
    const { column } = this.orders.find((order) => order.key === key);
    this.sort = null;
    this.heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (column === null) this.found.sort((one, other) => one - other);
    else this.sortBy(column, renders);
    this.ordering.value = key;
    if (renders) this.render();
  }

  sortBy(index, renders = true) {
    const again = this.sort && this.sort.index === index;
    this.sort = { index, down: again ? !this.sort.down : this.columns[index].kind === "number" };
    this.heads.forEach((head, each) => {
      if (each === index) head.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const order = this.orders.find((each) => each.column === index && this.sort.down);
    if (order) this.ordering.value = order.key;
    else this.ordering.selectedIndex = -1;
    this.order();
    if (renders) this.render();
  }

  order() {
    if (!this.sort) return;
    const { value } = this.columns[this.sort.index];
    const sign = this.sort.down ? -1 : 1;
    const keys = new Array(this.total);
    for (const row of this.found) keys[row] = value(row);
    // An unknown value is the last in both directions.
    this.found.sort((one, other) => {
      const left = keys[one], right = keys[other];
      if (left === right) return one - other;
      if (left === null || left === "") return 1;
      if (right === null || right === "") return -1;
      return left < right ? -sign : sign;
    });
  }

  render() {
    const rows = this.found.slice(0, this.shown);
    this.body.replaceChildren(...rows.map((row) => el("tr", { role: "row" }, ...this.columns.map((column) =>
      el("td", { role: "cell", class: column.kind || null, "data-label": column.label }, column.cell ? column.cell(row) : String(column.value(row) ?? ""))))));
    if (!rows.length) this.body.append(el("tr", { role: "row" }, el("td", { role: "cell", colspan: this.columns.length, class: "empty" }, `No ${this.noun} matches.`)));
    const rest = this.leftOut ? ` ${counted(this.leftOut, `more ${this.noun}`)} ${this.leftOut === 1 ? "is" : "are"} only in ${this.where}.` : "";
    this.count.textContent = `${whole.format(rows.length)} of ${counted(this.found.length, this.noun)} shown`
      + (this.found.length === this.total ? `.${rest}` : `, out of ${whole.format(this.total)}.${rest}`);
    const hidden = this.found.length - rows.length;
    this.more.hidden = hidden <= 0;
    this.more.textContent = `Show ${whole.format(Math.min(hidden, 4 * PAGE))} more`;
  }
}

/** Return the different values of a filter, those that most rows have first. */
function optionsOf(total, of) {
  const counts = new Map();
  for (let row = 0; row < total; row += 1) counts.set(of(row), (counts.get(of(row)) || 0) + 1);
  return [...counts].filter(([option]) => option !== "" && option !== null).sort((one, other) => other[1] - one[1]).map(([option]) => String(option));
}
