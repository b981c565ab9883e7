// The page's beginning: what sorts, folds and shows once the document is there.

/** Sorts the rows of a table's first body by a column of figures or texts; rows without a figure stay last. */
function sortRows(table, column, ascending) {
  const body = table.tBodies[0];
  const keyOf = (row) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const missing = (key) => Number.isNaN(key) || key === "—" || key === "";
  const rows = [...body.rows].map((row) => [keyOf(row), row]);
  rows.sort(([one], [other]) => {
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    const order = typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(other);
    return ascending ? order : -order;
  });
  body.append(...rows.map(([, row]) => row));
}

/** Makes the heads of a table sort it: the better end first, then the other. */
function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    const button = head.querySelector("button.sort");
    if (!button) continue;
    button.disabled = false;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const first = head.dataset.better === "higher" ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = before === first ? second : first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      sortRows(table, column, order === "ascending");
      announce(`sorted by ${button.textContent.trim()}, ${order}`);
    });
  }
}

/** Says to a screen reader what changed without a sound. */
function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Folded parts print as they would be read: open. */
function openForPrint() {
  const folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = true;
  addEventListener("afterprint", () => folded.forEach((details) => (details.open = false)), { once: true });
}

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
addEventListener("beforeprint", openForPrint);
showListening(document.getElementById("listen-body"));
showCodebook();
showScatter();
showClips();
