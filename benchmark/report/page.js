"use strict";

// Sort a table by a column: by the cells' numbers where they have one, else by their text; what has neither comes last.
function sort(button) {
  const head = button.closest("th");
  const table = head.closest("table");
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[head.cellIndex];
    if (cell.dataset.missing !== undefined) return null;
    if (cell.dataset.number !== undefined) return Number(cell.dataset.number);
    const text = cell.textContent.trim();
    return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
  };
  const rows = Array.from(body.rows, (row, place) => ({ row, place, key: key(row) }));
  rows.sort((a, b) => {
    if ((a.key === null) !== (b.key === null)) return a.key === null ? 1 : -1;
    let order = 0;
    if (typeof a.key === "number" && typeof b.key === "number") order = a.key - b.key;
    else if (a.key !== null) order = String(a.key).localeCompare(String(b.key), "en", { numeric: true });
    return (ascending ? order : -order) || a.place - b.place;
  });
  body.append(...rows.map((one) => one.row));
}

// The names of a line's methods, for the text filter: its group is "relational (RKD)" of every relational method, and has a filter.
function methods(row) {
  const heads = Array.from(row.closest("table").tHead.rows[0].cells, (head) => head.textContent.trim());
  return row.cells[heads.findIndex((head) => /^methods?$/.test(head))]?.textContent.toLowerCase() ?? "";
}

// The contents of a part come into the page when it is opened first: of many data sets, most stay closed.
function fill(part) {
  const template = part.querySelector(":scope > template");
  if (!template) return;
  part.append(template.content);
  template.remove();
}

// Show the lines that fit all filters; a table of which nothing is left is hidden with its heading.
// A table of one dimension fits or not as a whole: the teacher has another one, and is in it to be compared with.
function filter() {
  const value = (id) => document.getElementById(id)?.value ?? "";
  const [role, dim, set, sought] = [value("role"), value("dim"), value("set"), value("words").trim().toLowerCase()];
  const wanted = role !== "" || dim !== "" || set !== "" || sought !== "";
  let shown = 0;
  for (const section of document.querySelectorAll("section[data-set]")) {
    section.hidden = set !== "" && section.dataset.set !== set;
    const part = section.querySelector("details.part");
    if (part && wanted && !section.hidden) {
      fill(part);
      part.open = true;
    }
  }
  for (const table of document.querySelectorAll(".table")) {
    let left = 0;
    for (const row of table.querySelectorAll("tbody tr")) {
      const its = table.dataset.dim ?? row.dataset.dim;
      const fits =
        (role === "" || row.dataset.role === "" || row.dataset.role === role) &&
        (dim === "" || its === undefined || its === dim) &&
        (sought === "" || methods(row).includes(sought));
      row.hidden = !fits;
      if (fits) left += 1;
    }
    table.hidden = left === 0;
    if (!table.closest("section").hidden && table.closest("details.part")?.open !== false) shown += left;
  }
  for (const column of document.querySelectorAll("th[data-dim]")) {
    const hide = dim !== "" && column.dataset.dim !== dim;
    const table = column.closest("table");
    for (const row of table.rows) row.cells[column.cellIndex].hidden = hide;
  }
  const nothing = !wanted && shown === 0; // is open
  document.getElementById("count").value = nothing ? "" : shown === 1 ? "1 line" : `${shown} lines`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("thead button");
  if (button) sort(button);
});
document.addEventListener("toggle", (event) => {
  if (!event.target.matches("details.part")) return;
  fill(event.target);
  filter();
}, true);
// A link into a part that is closed opens it.
document.addEventListener("click", (event) => {
  const target = event.target.closest("nav a") && document.getElementById(decodeURIComponent(event.target.hash.slice(1)));
  const part = target?.querySelector("details.part");
  if (part) part.open = true;
});
for (const input of document.querySelectorAll(".filters select, .filters input")) input.addEventListener("input", filter);
filter();
